//! What the hub is for, with real pods: before, during and after whatever can happen to the hub, to
//! containerd and to plugins. Every event is counted at every plugin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use serde_json::json;

use super::pods::{BEGINNING, END, Life, Pods};
use super::recorder::counted;
pub(crate) use super::stage::Needs;
use super::stage::{Asking, LONG, PLUGINS, Stage};
use crate::pairing::expect;
use crate::program::TEST_TIMEOUT;
use nri_hub::PluginStatus;

/// A row: its subject, and how it is tried.
pub(crate) type Row = (&'static str, fn(Needs<'_>) -> Result<String, String>);

pub(crate) const ROWS: &[Row] = &[
    ("what plugins ask for", what_they_ask_for),
    ("the hub killed", hub_killed),
    ("the hub upgraded", hub_upgraded),
    ("containerd killed", containerd_killed),
    ("a plugin that sleeps", plugin_sleeps),
    ("a required plugin", plugin_required),
    ("a plugin upgraded", plugin_upgraded),
    ("a policy reloaded", policy_reloaded),
];

fn all(_: &str) -> bool {
    true
}

/// Checks that a running container has what the plugins ask for that are nearest to either end.
fn has_variables(pods: &Pods, life: &Life) -> Result<(), String> {
    let env = pods.inspect(life)?.env.unwrap_or_default();
    for variable in ["NRI_VARIABLE=of-10", "NRI_OURS=of-40"] {
        if !env.iter().any(|one| one == variable) {
            return Err(format!("{} has no {variable}, but {env:?}", life.name));
        }
    }
    Ok(())
}

/// Has pods live in threads of their own while something is done, which can wait for some more of
/// them; all that have lived. Every one has what the plugins ask for.
fn meanwhile(
    pods: &Pods,
    threads: usize,
    work: impl FnOnce(&mut dyn FnMut(usize) -> Result<(), String>) -> Result<(), String>,
) -> Result<Vec<Life>, String> {
    let one = |pods: &Pods| {
        let life = pods.begin("meanwhile", "interop")?;
        has_variables(pods, &life)?;
        pods.end(&life)?;
        Ok::<_, String>(life)
    };
    let each = (0..threads).map(|number| pods.beside(&format!("thread-{number}")));
    let each: Vec<Pods> = each.collect::<Result<_, _>>()?;
    let enough = AtomicBool::new(false);
    let (finished, lives) = channel();
    let mut lived = Vec::new();
    let done = std::thread::scope(|threads| {
        for pods in each {
            let (finished, enough) = (finished.clone(), &enough);
            threads.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let life = one(&pods);
                    let failed = life.is_err();
                    if finished.send(life).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(finished);
        let mut some_more = |count: usize| {
            for _ in 0..count {
                let life = lives.recv_timeout(2 * TEST_TIMEOUT);
                let life = life.map_err(|_| "no further pod has lived".to_owned())?;
                lived.push(life?);
            }
            Ok(())
        };
        let done = work(&mut some_more);
        enough.store(true, Ordering::Relaxed);
        done
    });
    done?;
    for life in lives {
        lived.push(life?);
    }
    Ok(lived)
}

fn what_they_ask_for(needs: Needs<'_>) -> Result<String, String> {
    let mut stage = Stage::new(needs, LONG, "", all)?;
    let life = stage.pods.begin("asked", "interop")?;
    let inside = stage.pods.inspect(&life)?;
    has_variables(&stage.pods, &life)?;
    let mounts = inside.mounts.unwrap_or_default();
    expect("the mount", mounts.iter().any(|it| it == "/of-20"), true)?;
    let annotations = inside.annotations.unwrap_or_default();
    let of = annotations.get("example.com/of").map(String::as_str);
    expect("the annotation", of, Some("30"))?;
    expect("the limit", inside.memory_limit, Some(104_857_600))?;
    for variable in ["NRI_VARIABLE=of-10", "NRI_OURS=of-40"] {
        stage.pods.wait_for_print(&life, variable)?;
    }
    stage.pods.end(&life)?;
    let events = stage.counted(&[life])?;
    Ok(format!(
        "variables, mount, annotation and limit of three Go plugins and ours in a real container; {events} events, none lost or doubled"
    ))
}

fn hub_killed(needs: Needs<'_>) -> Result<String, String> {
    let mut stage = Stage::new(needs, LONG, "", all)?;
    let before = stage.pods.whole("before")?;
    let across = stage.pods.begin("across", "interop")?;
    // What containerd has told is with the plugins.
    for plugin in &mut stage.plugins {
        plugin.wait_for_event("PostStartContainer", &across.container)?;
    }
    stage.kill_hub()?;
    let without = stage.pods.whole("without")?.told(&[]);
    let begun = stage.pods.begin("begun", "interop")?.told(&[END]);
    stage.start_hub()?;
    stage.wait_for_synchronizations(2)?;
    for plugin in &stage.plugins {
        let shown = plugin.shown();
        let both = [across.container.as_str(), begun.container.as_str()];
        let has_both = shown.len() == 2 && both.iter().all(|id| shown.contains(id));
        expect(&format!("{} is shown both", plugin.id), has_both, true)?;
    }
    let after = stage.pods.begin("after", "interop")?;
    has_variables(&stage.pods, &after)?;
    for life in [&across, &begun, &after] {
        stage.pods.end(life)?;
    }
    let events = stage.counted(&[before, across, without, begun, after])?;
    Ok(format!(
        "killed with -9 and started: {events} events at 4 plugins, none lost or doubled but for those of two pods while there was no hub, of which the one that lived was shown"
    ))
}

fn hub_upgraded(needs: Needs<'_>) -> Result<String, String> {
    const TIMES: usize = 3;
    let mut stage = Stage::new(needs, LONG, "", all)?;
    let begun = Instant::now();
    let pods = stage.pods.clone();
    let mut lives = meanwhile(&pods, 3, |some_more| {
        some_more(3)?;
        for _ in 0..TIMES {
            stage.replace_hub()?;
            some_more(3)?;
        }
        Ok(())
    })?;
    let rate = lives.len() as f64 / begun.elapsed().as_secs_f64();
    let status = stage.wait_for_status("being ready", |status| status.not_ready.is_empty())?;
    expect("connections to containerd", status.runtime.connections, 1)?;
    let all = lives.len();
    lives.push(stage.pods.whole("last")?);
    let events = stage.counted(&lives)?;
    Ok(format!(
        "{TIMES} times while {all} pods lived, {rate:.1} a second: each has what all plugins ask for; {events} events, none lost or doubled"
    ))
}

fn containerd_killed(needs: Needs<'_>) -> Result<String, String> {
    let mut stage = Stage::new(needs, LONG, "", all)?;
    let before = stage.pods.whole("before")?;
    let across = stage.pods.begin("across", "interop")?;
    let ends = stage.pods.begin("ends", "interop")?;
    for plugin in &mut stage.plugins {
        plugin.wait_for_event("PostStartContainer", &ends.container)?;
    }
    let heard = stage.plugins.iter().flat_map(|plugin| &plugin.heard);
    let of_container = heard.filter(|line| line["container"]["id"] == ends.container.as_str());
    let pid = of_container
        .filter_map(|line| line["container"]["pid"].as_u64())
        .find(|pid| *pid > 0)
        .ok_or("no plugin was told the pid of a container")?;
    stage.daemon.kill()?;
    stage.daemon.end_process(pid)?;
    stage.start_containerd()?;
    for plugin in &mut stage.plugins {
        plugin.wait_for_event("RemoveContainer", &ends.container)?;
    }
    let after = stage.pods.begin("after", "interop")?;
    has_variables(&stage.pods, &after)?;
    for life in [&across, &ends, &after] {
        stage.pods.end(life)?;
    }
    let status = stage.wait_for_status("being ready", |status| status.not_ready.is_empty())?;
    expect("connections to containerd", status.runtime.connections, 2)?;
    // It does not tell of the end of a pod that it did not run itself.
    let of_container: &[&str] = &["StopContainer", "RemoveContainer"];
    let [across, ends] = [across, ends].map(|life| life.told(&[BEGINNING, of_container]));
    let events = stage.counted(&[before, across, ends, after])?;
    Ok(format!(
        "killed with -9 and started: {events} events, none lost or doubled but the ends of two pods from before, which containerd does not tell; the end of a container meanwhile is told"
    ))
}

/// A plugin that is late.
const SLEEPER: Asking = (
    "90",
    "sleeper",
    Some("v0.12"),
    |_| json!({"annotations": {"example.com/of": "90"}}),
);

fn plugin_sleeps(needs: Needs<'_>) -> Result<String, String> {
    const SECONDS: u64 = 10;
    let tables = "[plugins.sleeper]\nrequest_timeout = '2s'\nafter_late = 'resync'";
    // The one whose annotation would be in its way is left out.
    let mut stage = Stage::new(needs, "8s", tables, |name| name != "annotation")?;
    // A validator that owes an answer fails every creation, as it has to.
    let events = [BEGINNING, END].concat().join(",");
    let rules = [
        json!({"on": "Configure", "events": events}),
        // One creation as usual, and the second one late.
        json!({"on": "CreateContainer"}),
        json!({"on": "CreateContainer", "sleep": SECONDS * 1000}),
    ];
    let mut sleeper = stage.plugin(&SLEEPER, &rules, false)?;
    sleeper.wait_for_synchronization(1)?;
    let before = stage.pods.whole("before")?;
    let begun = Instant::now();
    let late = stage.pods.begin("late", "interop")?;
    let took = begun.elapsed();
    let meanwhile = stage.pods.whole("meanwhile")?;
    sleeper.wait_for_synchronization(2)?;
    expect(
        "the sleeper is shown the container",
        sleeper.shown().contains(late.container.as_str()),
        true,
    )?;
    let is_sleeper = |plugin: &&PluginStatus| plugin.plugin == "90-sleeper";
    let status = stage.wait_for_status("the sleeper being ready", |status| {
        let mut plugins = status.plugins.iter().filter(is_sleeper);
        plugins.any(|plugin| plugin.state == "ready")
    })?;
    let timeouts = status.plugins.iter().find(is_sleeper);
    let timeouts = timeouts.map_or(0, |plugin| plugin.timeouts);
    expect("it was late", timeouts > 0, true)?;
    let after = stage.pods.begin("after", "interop")?;
    has_variables(&stage.pods, &after)?;
    let annotations = stage.pods.inspect(&after)?.annotations.unwrap_or_default();
    let of = annotations.get("example.com/of").map(String::as_str);
    expect("what the sleeper asks for afterwards", of, Some("90"))?;
    stage.pods.end(&late)?;
    stage.pods.end(&after)?;
    let status = stage.wait_for_status("an answer", |_| true)?;
    expect("connections to containerd", status.runtime.connections, 1)?;
    let events = stage.counted(&[before.clone(), late, meanwhile, after.clone()])?;
    sleeper.wait_for_event("RemovePodSandbox", &after.pod)?;
    let own = counted(&sleeper.id, &sleeper.heard, &[before, after])?;
    Ok(format!(
        "a pod ran after {:.1} s while it slept {SECONDS} s, and one had its whole life; it is shown what exists then, and goes on; {} events, none lost or doubled, and containerd kept the hub",
        took.as_secs_f64(),
        events + own,
    ))
}

fn plugin_required(needs: Needs<'_>) -> Result<String, String> {
    let tables = "[default_validator]\nenable = true\nrequired_plugins = ['mount']";
    let mut stage = Stage::new(needs, LONG, tables, all)?;
    let before = stage.pods.whole("before")?;
    let across = stage.pods.begin("across", "interop")?;
    let place = stage
        .plugins
        .iter()
        .position(|plugin| plugin.id == "20-mount")
        .ok_or("20-mount is not there")?;
    let mut missing = stage.plugins.remove(place);
    missing.wait_for_event("PostStartContainer", &across.container)?;
    let heard = missing.ended_by_force()?;
    stage.wait_for_status("not being ready", |status| !status.not_ready.is_empty())?;
    let reason = stage.pods.refused("refused", "interop")?;
    if !reason.contains("mount") || !reason.contains("required") {
        return Err(format!("crictl does not say why: {reason}"));
    }
    let again = stage.plugin(&PLUGINS[1], &[], true)?;
    stage.plugins.insert(place, again);
    stage.plugins[place].heard = heard;
    stage.plugins[place].wait_for_synchronization(2)?;
    let after = stage.pods.begin("after", "interop")?;
    stage.pods.end(&across)?;
    stage.pods.end(&after)?;
    let events = stage.counted(&[before, across, after])?;
    let reason = reason.split("rpc error").last().unwrap_or(&reason);
    Ok(format!(
        "without it crictl says {reason:?}; {events} events, none lost or doubled"
    ))
}

fn plugin_upgraded(needs: Needs<'_>) -> Result<String, String> {
    let mut stage = Stage::new(needs, LONG, "", |name| name != "variable")?;
    let mut old = stage.plugin(&PLUGINS[0], &[], false)?;
    old.wait_for_synchronization(1)?;
    let mut new = None;
    let pods = stage.pods.clone();
    let mut lives = meanwhile(&pods, 2, |some_more| {
        some_more(3)?;
        let mut next = stage.plugin(&PLUGINS[0], &[], false)?;
        next.wait_for_synchronization(1)?;
        new = Some(next);
        some_more(4)
    })?;
    lives.push(stage.pods.whole("last")?);
    let mut events = stage.counted(&lives)?;
    let mut new = new.ok_or("there is no new instance")?;
    let last = &lives[lives.len() - 1];
    new.wait_for_event("RemovePodSandbox", &last.pod)?;
    let mut heard = old.ended()?;
    let by_old = heard.len();
    heard.append(&mut new.heard);
    events += counted(&new.id, &heard, &lives)?;
    Ok(format!(
        "taken over while {} pods lived, after {by_old} lines of the old instance; each has what all plugins ask for; {events} events, none lost or doubled",
        lives.len()
    ))
}

/// A plugin that asks for a hook, which leaves a line in a file.
const HOOKS: Asking = ("50", "hooks", Some("v0.12"), |place| {
    let line = format!("echo hooked >> '{}'", place.file("hooked").display());
    json!({"hooks": {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", line]}]}})
});

const POLICY: &str = "
[policy]
default = 'allow'
[[policy.rules]]
name = 'no-hooks'
namespaces = ['prod']
fields = ['oci-hooks']
action = 'deny'
";

fn policy_reloaded(needs: Needs<'_>) -> Result<String, String> {
    let mut stage = Stage::new(needs, LONG, "", all)?;
    let hooks = stage.plugin(&HOOKS, &[], true)?;
    stage.plugins.push(hooks);
    stage.wait_for_synchronizations(1)?;
    let hooked = |stage: &Stage<'_>| {
        let text = super::read(&stage.below.file("hooked"))?;
        Ok::<_, String>(text.lines().count())
    };
    let before = stage.pods.begin("before", "prod")?;
    expect("containers with the hook", hooked(&stage)?, 1)?;
    let pods = stage.pods.clone();
    let mut reason = String::new();
    let mut lives = meanwhile(&pods, 1, |some_more| {
        some_more(1)?;
        stage.reload(POLICY)?;
        reason = stage.pods.refused("refused", "prod")?;
        some_more(1)
    })?;
    if !reason.contains("no-hooks") || !reason.contains("50-hooks") {
        return Err(format!("crictl does not say why: {reason}"));
    }
    expect("containers with the hook", hooked(&stage)?, 1 + lives.len())?;
    stage.pods.end(&before)?;
    lives.insert(0, before);
    lives.push(stage.pods.whole("after")?);
    let status = stage.wait_for_status("an answer", |_| true)?;
    expect("connections to containerd", status.runtime.connections, 1)?;
    let events = stage.counted(&lives)?;
    for plugin in &stage.plugins {
        let shown = plugin.heard.iter();
        let times = shown.filter(|line| line["event"] == "Synchronize").count();
        expect(&format!("synchronisations of {}", plugin.id), times, 1)?;
    }
    let reason = reason.split("rpc error").last().unwrap_or(&reason);
    Ok(format!(
        "a hook in another namespace and not in this one, where crictl says {reason:?}; {events} events, none lost or doubled, nobody disconnected"
    ))
}
