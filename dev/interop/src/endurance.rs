//! Much at once, and ends that nobody planned.

use serde_json::{Value, json};

use super::pairing::{INDEX, NAME, Pairing, container, expect, names, only, pod, with_container};

const CONTAINERS: usize = 10_000;
const PODS: usize = 100;

/// Ten thousand containers exist when the plugin comes.
pub(super) fn ten_thousand(pairing: &Pairing<'_>) -> Result<String, String> {
    // Where a synchronisation may take several messages it does.
    let filler = if pairing.splits() { 1000 } else { 20 };
    let existing = |number: usize| {
        let pod = format!("pod-{}", number % PODS);
        let filler = format!("FILLER-{number}={}", "x".repeat(filler));
        let mut container =
            json!({"id": format!("container-{number}"), "podSandboxId": pod, "env": [filler]});
        container["state"] = "CONTAINER_RUNNING".into();
        // Plugins are always shown a Linux part.
        container["linux"] = json!({});
        container
    };
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    for number in 0..PODS {
        runtime.done("add-pod", json!({"pod": {"id": format!("pod-{number}")}}))?;
    }
    let mut bytes = 0;
    for number in 0..CONTAINERS {
        let container = existing(number);
        bytes += container["env"][0].as_str().map_or(0, str::len);
        runtime.tell("add-container", &mut with_container(container))?;
    }
    for _ in 0..CONTAINERS {
        runtime.answer()??;
    }
    runtime.open()?;
    let mut plugin = pairing.start_plugin(&case_dir, INDEX, NAME)?;
    plugin.connect()?;
    runtime.wait_for_plugins(1)?;
    let heard = plugin.heard()?;
    let shown = only(&heard, "Synchronize")?;
    expect("pods", shown["pods"].as_array().map(Vec::len), Some(PODS))?;
    let mut found: Vec<&Value> = shown["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let mut expected: Vec<Value> = (0..CONTAINERS).map(existing).collect();
    let id = |container: &Value| container["id"].as_str().unwrap_or_default().to_owned();
    found.sort_by_key(|container| id(container));
    expected.sort_by_key(id);
    expect("containers", found.len(), CONTAINERS)?;
    if let Some((found, expected)) = found.iter().zip(&expected).find(|(a, b)| **a != *b) {
        return Err(format!("container: found {found}, expected {expected}"));
    }
    runtime.quit()?;
    Ok(format!(
        "{CONTAINERS} containers with {} MB of environment as they are",
        bytes / 1_000_000
    ))
}

/// More exists than fits into one message, and the plugin's library takes but one: it is let go,
/// and nothing else happens.
pub(super) fn too_much_for_one_message(pairing: &Pairing<'_>) -> Result<String, String> {
    const LARGE: usize = 5;
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.done("add-pod", json!({"pod": pod("there")}))?;
    for number in 0..LARGE {
        let filler = format!("F={}", "x".repeat(1 << 20));
        let container =
            json!({"id": format!("large-{number}"), "podSandboxId": "there", "env": [filler]});
        runtime.done("add-container", with_container(container))?;
    }
    runtime.open()?;
    let mut plugin = pairing.start_plugin(&case_dir, INDEX, NAME)?;
    plugin.connect()?;
    plugin.wait_for_close()?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let heard = plugin.heard()?;
    expect(
        "event of a pod",
        names(&heard).contains(&"RunPodSandbox"),
        false,
    )?;
    runtime.quit()?;
    Ok(format!(
        "{LARGE} MiB to be shown: the plugin is closed, and the runtime goes on"
    ))
}

/// The limit of a message less what is around the filler.
const NEARLY_4_MIB: usize = (4 << 20) - 1024;

/// Requests and answers of all sizes.
pub(super) fn sizes(pairing: &Pairing<'_>) -> Result<String, String> {
    const SIZES: &[usize] = &[
        1,
        100,
        3900,
        4000,
        4096,
        4200,
        8192,
        65_536,
        1 << 20,
        3 << 20,
        NEARLY_4_MIB,
    ];
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.open()?;
    let mut plugin = pairing.start_plugin(&case_dir, INDEX, NAME)?;
    // A validator would get the request and the answer in one message.
    plugin.script(vec![
        json!({"on": "Configure", "events": "CreateContainer"}),
    ])?;
    plugin.connect()?;
    runtime.wait_for_plugins(1)?;
    runtime.done("run-pod", json!({"pod": {"id": "p"}}))?;
    for (number, size) in SIZES.iter().enumerate() {
        plugin.heard()?;
        let (request, answer) = (format!("r{number}"), format!("a{number}"));
        let filler = format!("F={}", "y".repeat(*size));
        let large = json!({"id": request, "podSandboxId": "p", "env": [filler]});
        runtime
            .done("create-container", with_container(large))
            .map_err(|e| format!("a request of {size} bytes: {e}"))?;
        let heard = plugin.heard()?;
        let env = &only(&heard, "CreateContainer")?["container"]["env"][0];
        if *env != json!(filler) {
            return Err(format!("a request of {size} bytes did not come as it was"));
        }
        plugin.script(vec![json!({"on": "CreateContainer", "pad": size})])?;
        let small = json!({"id": answer, "podSandboxId": "p"});
        let created = runtime
            .done("create-container", with_container(small))
            .map_err(|e| format!("an answer of {size} bytes: {e}"))?;
        let env = created["adjustment"]["env"][0]["value"].as_str();
        if env != Some(&"x".repeat(*size)) {
            return Err(format!("an answer of {size} bytes did not come as it was"));
        }
        for id in [request, answer] {
            runtime.done("remove-container", json!({"container_id": id}))?;
        }
    }
    runtime.quit()?;
    Ok(format!(
        "requests and answers of {} sizes, 1 B to {NEARLY_4_MIB} B",
        SIZES.len()
    ))
}

/// A plugin dies while it is asked: the request goes on with the next one.
pub(super) fn killed(pairing: &Pairing<'_>) -> Result<String, String> {
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.open()?;
    // A validator that dies would refuse the creation.
    let no_validation = json!({"on": "Configure", "events": "CreateContainer"});
    let mut first = pairing.start_plugin(&case_dir, INDEX, NAME)?;
    first.script(vec![no_validation])?;
    first.connect()?;
    runtime.wait_for_plugins(1)?;
    let mut second = pairing.start_plugin(&case_dir, "20", "second")?;
    second.connect()?;
    runtime.wait_for_plugins(2)?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let annotate = |id: &str| {
        let adjust = json!({"annotations": {id: "here"}});
        json!({"on": "CreateContainer", "keep": true, "answer": {"adjust": adjust}})
    };
    first.script(vec![json!({"on": "CreateContainer", "kill": true})])?;
    second.script(vec![annotate("second")])?;
    for id in ["during", "after"] {
        let created = runtime.done("create-container", with_container(container(id, "pod")))?;
        expect(
            "annotations",
            &created["adjustment"]["annotations"],
            &json!({"second": "here"}),
        )?;
    }
    first.wait_for_death()?;
    // The same identity may come again.
    let mut again = pairing.start_plugin(&case_dir, INDEX, "again")?;
    again.script(vec![annotate("again")])?;
    again.connect()?;
    runtime.wait_for_plugins(if pairing.runtime.is_ours() { 2 } else { 3 })?;
    let created = runtime.done("create-container", with_container(container("last", "pod")))?;
    expect(
        "annotations",
        &created["adjustment"]["annotations"],
        &json!({"again": "here", "second": "here"}),
    )?;
    runtime.quit()?;
    Ok(
        "killed by SIGKILL in the middle of a creation, which goes on; its successor is ready"
            .to_owned(),
    )
}

/// The runtime ends under a plugin and comes again, twice: in good order, and killed.
pub(super) fn restarted(pairing: &Pairing<'_>) -> Result<String, String> {
    let (case_dir, mut runtime, mut plugin) = pairing.pair()?;
    for killed in [false, true] {
        runtime.done("run-pod", json!({"pod": pod("pod")}))?;
        expect(
            "events",
            names(&plugin.heard()?).contains(&"RunPodSandbox"),
            true,
        )?;
        if killed {
            runtime.kill()?;
        } else {
            runtime.quit()?;
        }
        plugin.wait_for_close()?;
        runtime = pairing.start_runtime(&case_dir)?;
        runtime.done("add-pod", json!({"pod": pod("there")}))?;
        runtime.open()?;
        plugin.connect()?;
        runtime.wait_for_plugins(1)?;
        let heard = plugin.heard()?;
        let shown = only(&heard, "Synchronize")?;
        expect("pods shown again", &shown["pods"][0]["id"], &json!("there"))?;
    }
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    only(&plugin.heard()?, "RunPodSandbox")?;
    runtime.quit()?;
    Ok(
        "stopped and killed under the plugin, which is told, connects again and is synchronised"
            .to_owned(),
    )
}
