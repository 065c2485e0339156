//! Every event with every field: a pod and a container in which everything is set live their whole
//! life.

use serde_json::{Value, json};

use super::pairing::container;
use super::pairing::{ID, INDEX, NAME, Pairing, expect, names, only, pod, same, with_container};
use super::plugin;
use super::runtime::Runtime;
use super::schema::leaves;

/// The events, with the commands that bring them, in the order of a life. Those that came with
/// v0.10 are marked.
const LIFE: &[(&str, &str, bool)] = &[
    ("run-pod", "RunPodSandbox", false),
    ("create-container", "CreateContainer", false),
    ("", "ValidateContainerAdjustment", true),
    ("post-create-container", "PostCreateContainer", false),
    ("start-container", "StartContainer", false),
    ("post-start-container", "PostStartContainer", false),
    ("update-container", "UpdateContainer", false),
    ("post-update-container", "PostUpdateContainer", false),
    ("update-pod", "UpdatePodSandbox", true),
    ("post-update-pod", "PostUpdatePodSandbox", true),
    ("stop-container", "StopContainer", false),
    ("remove-container", "RemoveContainer", false),
    ("stop-pod", "StopPodSandbox", false),
    ("remove-pod", "RemovePodSandbox", false),
];

/// The state in which a container is shown at an event.
fn state_at(event: &str) -> &'static str {
    match event {
        "CreateContainer"
        | "ValidateContainerAdjustment"
        | "PostCreateContainer"
        | "StartContainer" => "CONTAINER_CREATED",
        "StopContainer" | "RemoveContainer" => "CONTAINER_STOPPED",
        _ => "CONTAINER_RUNNING",
    }
}

/// What is sent: pods and containers with everything set.
pub(super) struct Sent {
    /// Those that exist when the plugin comes.
    there: (Value, Value),
    pod: Value,
    container: Value,
    /// What the container is updated to, which is what it has.
    resources: Value,
}

impl Sent {
    pub(super) fn new(pairing: &Pairing<'_>) -> Result<Self, String> {
        let pod = |id: &str| pairing.full("PodSandbox", json!({"id": id}));
        let container = |id: &str, pod: &str, state: &str| {
            let change = json!({"id": id, "podSandboxId": pod, "state": state});
            pairing.full("Container", change)
        };
        let there = (
            pod("there")?,
            container("container-there", "there", "CONTAINER_RUNNING")?,
        );
        let container = container("container", "pod", "CONTAINER_CREATED")?;
        let mut resources = container["linux"]["resources"].clone();
        // Rules for devices would be added to those that there are.
        resources.as_object_mut().map(|r| r.remove("devices"));
        Ok(Self {
            there,
            pod: pod("pod")?,
            container,
            resources,
        })
    }

    /// Tells a runtime what exists, and lets it listen.
    pub(super) fn open(&self, runtime: &mut Runtime) -> Result<(), String> {
        let (pod, container) = self.there.clone();
        runtime.done("add-pod", json!({"pod": pod}))?;
        runtime.done("add-container", with_container(container))?;
        runtime.open()
    }

    /// Leads a pod and a container through their life.
    pub(super) fn live(&self, pairing: &Pairing<'_>, runtime: &mut Runtime) -> Result<(), String> {
        let (pod, container) = (&self.pod, &self.container);
        for (command, _, new) in LIFE {
            let members = match *command {
                "" => continue,
                _ if *new && !pairing.runtime.validates() => continue,
                "run-pod" => json!({"pod": pod}),
                "create-container" => with_container(container.clone()),
                "update-container" => {
                    json!({"container_id": "container", "resources": self.resources})
                }
                "update-pod" => json!({
                    "pod_id": "pod",
                    "overhead": pod["linux"]["podOverhead"],
                    "resources": pod["linux"]["podResources"],
                }),
                "stop-container" if pairing.runtime.is_ours() => json!({
                    "container_id": "container",
                    "exit_code": container["exitCode"],
                    "finished_at": container["finishedAt"].as_str().and_then(|at| at.parse::<i64>().ok()),
                    "reason": container["statusReason"],
                }),
                other if other.ends_with("-pod") => json!({"pod_id": "pod"}),
                _ => json!({"container_id": "container"}),
            };
            runtime.done(command, members)?;
        }
        Ok(())
    }

    /// Compares what a plugin heard with what was sent; says what was compared.
    pub(super) fn check(&self, pairing: &Pairing<'_>, heard: &[Value]) -> Result<String, String> {
        let configured = only(heard, "Configure")?;
        expect(
            "runtime",
            &configured["runtime"],
            &json!(pairing.runtime.name()),
        )?;
        let mut compared = 0;
        let mut check = |what: &str, message: &str, found: &Value, sent: &Value| {
            let expected = pairing.passed(message, sent);
            compared += leaves(&expected);
            same(what, found, &expected)
        };
        let shown = only(heard, "Synchronize")?;
        for (kind, message, there) in [
            ("pods", "PodSandbox", &self.there.0),
            ("containers", "Container", &self.there.1),
        ] {
            expect(kind, shown[kind].as_array().map(Vec::len), Some(1))?;
            check(
                &format!("Synchronize.{kind}[0]"),
                message,
                &shown[kind][0],
                there,
            )?;
        }

        let expected: Vec<&str> = LIFE
            .iter()
            .filter(|(_, _, new)| !new || pairing.validates())
            .map(|(_, event, _)| *event)
            .collect();
        let of_life = |line: &&Value| LIFE.iter().any(|(_, event, _)| line["event"] == *event);
        let lived: Vec<Value> = heard.iter().filter(of_life).cloned().collect();
        expect("events heard", names(&lived), expected.clone())?;
        for line in &lived {
            let event = line["event"].as_str().unwrap_or_default();
            let line = match event {
                "ValidateContainerAdjustment" => &line["request"],
                _ => line,
            };
            check(
                &format!("{event}.pod"),
                "PodSandbox",
                &line["pod"],
                &self.pod,
            )?;
            if event == "UpdatePodSandbox" {
                for (member, field) in [("overhead", "podOverhead"), ("resources", "podResources")]
                {
                    let what = format!("{event}.{member}");
                    let sent = &self.pod["linux"][field];
                    check(&what, "LinuxResources", &line[member], sent)?;
                }
            }
            if event.ends_with("PodSandbox") {
                continue;
            }
            let mut sent = self.container.clone();
            sent["state"] = state_at(event).into();
            let mut found = line["container"].clone();
            if matches!(event, "StopContainer" | "RemoveContainer") {
                // Its process is gone; not every runtime says so.
                for side in [&mut sent, &mut found] {
                    side.as_object_mut().map(|members| members.remove("pid"));
                }
            }
            check(&format!("{event}.container"), "Container", &found, &sent)?;
            // The oldest library does not tell a plugin what is asked for.
            if event == "UpdateContainer" && !line["resources"].is_null() {
                let what = format!("{event}.resources");
                check(&what, "LinuxResources", &line["resources"], &self.resources)?;
            }
            if event == "ValidateContainerAdjustment" {
                let consulted = json!([{"name": NAME, "index": INDEX}]);
                same("plugins consulted", &line["plugins"], &consulted)?;
            }
        }
        Ok(format!(
            "{} events in order and a synchronisation; {compared} values of full messages as sent",
            expected.len()
        ))
    }
}

/// A plugin that connects hears every event of a full pod and container, and is shown those that
/// exist.
pub(super) fn every_event(pairing: &Pairing<'_>) -> Result<String, String> {
    let sent = Sent::new(pairing)?;
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    sent.open(&mut runtime)?;
    let mut plugin = pairing.start_plugin(&case_dir, INDEX, NAME)?;
    plugin.connect()?;
    runtime.wait_for_plugins(1)?;
    sent.live(pairing, &mut runtime)?;
    runtime.quit()?;
    sent.check(pairing, &plugin.heard()?)
}

/// A plugin that the runtime launches gets its configuration, hears events, and adjusts.
pub(super) fn launched(pairing: &Pairing<'_>) -> Result<String, String> {
    const CONFIG: &str = "a: configuration\n# with two lines and an ü\n";
    let case_dir = pairing.scratch.case_dir()?;
    let rules = json!([{
        "on": "CreateContainer", "keep": true, "answer": {"adjust": {"annotations": {"by": ID}}},
    }]);
    let mut report = plugin::install(pairing.plugin, &case_dir, ID, &rules)?;
    let config = case_dir.plugin_configs().join(format!("{ID}.conf"));
    std::fs::write(&config, CONFIG).map_err(|e| format!("{}: {e}", config.display()))?;

    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.open()?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let members = with_container(container("container", "pod"));
    let created = runtime.done("create-container", members)?;
    expect(
        "annotation",
        &created["adjustment"]["annotations"]["by"],
        &json!(ID),
    )?;
    let heard = report.more()?;
    let configured = only(&heard, "Configure")?;
    expect("configuration", &configured["config"], &json!(CONFIG))?;
    for event in ["RunPodSandbox", "CreateContainer"] {
        only(&heard, event)?;
    }
    // The oldest runtime synchronises the plugins that connect, and not those that it launches.
    if pairing.runtime.validates() {
        only(&heard, "Synchronize")?;
    }
    runtime.quit()?;
    Ok("launched with its configuration; events heard, container adjusted".to_owned())
}
