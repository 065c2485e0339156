//! What plugins ask for: adjustments of every kind, updates, validation, errors.

use nri_core::{api, merge};
use serde_json::{Map, Value, json};

use super::pairing::{ID, Pairing, container, expect, only, pod, same, with_container};
use super::runtime::{self, Runtime, message, updates};

/// What is set below a message: every field of it, those of messages inside `opened` each on its
/// own.
fn paths(pairing: &Pairing<'_>, message: &str, opened: &[&str]) -> Vec<Vec<String>> {
    let schema = &pairing.plugin.level().schema;
    let mut all = Vec::new();
    for (field, held) in schema.fields(message) {
        let known_to_both = pairing
            .runtime_schema
            .fields(message)
            .any(|(name, _)| name == field);
        if !known_to_both {
            continue;
        }
        if opened.contains(&held) {
            for mut path in paths(pairing, held, opened) {
                path.insert(0, field.to_owned());
                all.push(path);
            }
        } else {
            all.push(vec![field.to_owned()]);
        }
    }
    all
}

/// The message with one of its values only.
fn alone(full: &Value, path: &[String]) -> Value {
    match path {
        [] => full.clone(),
        [first, rest @ ..] => {
            let inner = alone(&full[first], rest);
            Value::Object(Map::from_iter([(first.clone(), inner)]))
        }
    }
}

/// An adjustment as it is compared.
fn adjustment(value: &Value) -> Result<Option<api::ContainerAdjustment>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let adjustment: api::ContainerAdjustment = message(value)?;
    // What goes through the reference gains and loses empty messages.
    Ok(merge::normal_form(adjustment).and_then(merge::compare::strip_go))
}

fn create(runtime: &mut Runtime, id: &str) -> Result<runtime::Answer, String> {
    runtime.ask("create-container", with_container(container(id, "pod")))
}

/// Adjustments of every field, each alone and then all at once, one plugin's; then two plugins that
/// complete each other, that conflict, and that take over.
pub(super) fn adjustments(pairing: &Pairing<'_>) -> Result<String, String> {
    let (case_dir, mut runtime, mut plugin) = pairing.pair()?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let full = pairing.passed(
        "ContainerAdjustment",
        &pairing.full("ContainerAdjustment", json!({}))?,
    );
    const OPENED: &[&str] = &[
        "LinuxContainerAdjustment",
        "LinuxResources",
        "LinuxMemory",
        "LinuxCPU",
        "Hooks",
    ];
    let mut paths = paths(pairing, "ContainerAdjustment", OPENED);
    let mut full = full;
    if !pairing.runtime.validates() {
        // The oldest runtime does not take rules for devices.
        paths.retain(|path| path.join(".") != "linux.resources.devices");
        if let Some(resources) = full["linux"]["resources"].as_object_mut() {
            resources.remove("devices");
        }
    }
    let each = paths
        .iter()
        .map(|path| (path.join("."), alone(&full, path)));
    for (number, (name, asked)) in each
        .chain([("everything".to_owned(), full.clone())])
        .enumerate()
    {
        plugin.script(vec![
            json!({"on": "CreateContainer", "answer": {"adjust": asked}}),
        ])?;
        let created =
            create(&mut runtime, &format!("c{number}"))?.map_err(|e| format!("{name}: {e}"))?;
        expect(
            &format!("adjustment of {name}"),
            adjustment(&created["adjustment"])?,
            adjustment(&asked)?,
        )?;
    }

    let mut second = pairing.start_plugin(&case_dir, "20", "second")?;
    second.connect()?;
    runtime.wait_for_plugins(2)?;
    let (mut left, mut right) = (full.clone(), json!({}));
    for field in ["env", "mounts", "annotations"] {
        if let Some(members) = left.as_object_mut() {
            right[field] = members.remove(field).unwrap_or_default();
        }
    }
    plugin.script(vec![
        json!({"on": "CreateContainer", "answer": {"adjust": left}}),
    ])?;
    second.script(vec![
        json!({"on": "CreateContainer", "answer": {"adjust": right}}),
    ])?;
    let created = create(&mut runtime, "both")?.map_err(|e| format!("two plugins: {e}"))?;
    expect(
        "adjustment by two",
        adjustment(&created["adjustment"])?,
        adjustment(&full)?,
    )?;

    let annotation = |value: &str| json!({"annotations": {"key": value}});
    plugin.script(vec![
        json!({"on": "CreateContainer", "answer": {"adjust": annotation("first")}}),
        json!({"on": "CreateContainer", "answer": {"adjust": annotation("first")}}),
    ])?;
    second.script(vec![
        json!({"on": "CreateContainer", "answer": {"adjust": annotation("second")}}),
        json!({"on": "CreateContainer", "answer": {"adjust": {"annotations": {"-key": "", "key": "second"}}}}),
    ])?;
    let error = match create(&mut runtime, "conflict")? {
        Ok(answer) => return Err(format!("a conflict is not found: {answer}")),
        Err(error) => error,
    };
    for named in [ID, "20-second", "key"] {
        if !error.contains(named) {
            return Err(format!("the error does not name {named}: {error}"));
        }
    }
    let taken = create(&mut runtime, "taken")?.map_err(|e| format!("taking over: {e}"))?;
    expect(
        "annotation that was taken over",
        &taken["adjustment"]["annotations"]["key"],
        &json!("second"),
    )?;
    runtime.quit()?;
    Ok(format!(
        "{} fields alone, all at once, by two plugins; a conflict; a take-over",
        paths.len()
    ))
}

/// Updates in answers to a creation, an update, a stop and a synchronisation, of every resource;
/// and on the plugin's own accord.
pub(super) fn side_updates(pairing: &Pairing<'_>) -> Result<String, String> {
    let mut resources = pairing.passed(
        "LinuxResources",
        &pairing.full("LinuxResources", json!({}))?,
    );
    // Rules for devices cannot be updated. The reference does not take the limit of processes from
    // an update (D16).
    let left_out: &[&str] = if pairing.runtime.is_ours() {
        &["devices"]
    } else {
        &["devices", "pids"]
    };
    for field in left_out {
        resources.as_object_mut().map(|r| r.remove(*field));
    }
    let update = json!({"containerId": "other", "linux": {"resources": resources}});
    let expected: Vec<api::ContainerUpdate> = vec![message(&update)?];
    let answer = json!({"update": [update]});

    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime = pairing.start_runtime(&case_dir)?;
    runtime.done("add-pod", json!({"pod": pod("pod")}))?;
    runtime.done("add-container", with_container(container("other", "pod")))?;
    runtime.open()?;
    let mut plugin = pairing.start_plugin(&case_dir, "10", "scripted")?;
    let mut rules = vec![json!({"on": "Synchronize", "answer": answer})];
    for event in ["CreateContainer", "UpdateContainer", "StopContainer"] {
        rules.push(json!({"on": event, "answer": answer}));
    }
    // Of the container itself, beside what is asked for.
    rules.push(json!({"on": "UpdateContainer", "answer": {"update": [
        {"containerId": "container", "linux": {"resources": {"memory": {"limit": {"value": "9"}}}}},
    ]}}));
    plugin.script(rules)?;
    plugin.connect()?;
    runtime.wait_for_plugins(1)?;
    expect(
        "updates after the synchronisation",
        runtime.updates()?,
        expected.clone(),
    )?;

    let created = runtime.done(
        "create-container",
        with_container(container("container", "pod")),
    )?;
    expect(
        "updates in a creation",
        updates(&created)?,
        expected.clone(),
    )?;
    let asked =
        json!({"container_id": "container", "resources": {"cpu": {"shares": {"value": "7"}}}});
    let updated = runtime.done("update-container", asked.clone())?;
    expect("updates in an update", updates(&updated)?, expected.clone())?;
    let updated = runtime.done("update-container", asked)?;
    let merged = json!({"cpu": {"shares": {"value": "7"}}, "memory": {"limit": {"value": "9"}}});
    same("updated resources", &updated["resources"], &merged)?;
    let stopped = runtime.done("stop-container", json!({"container_id": "container"}))?;
    expect("updates in a stop", updates(&stopped)?, expected.clone())?;

    let before = runtime.updates()?.len();
    let failed = plugin.update(vec![update.clone()])?;
    expect("unsolicited updates that failed", failed, Ok(Vec::new()))?;
    let mut all = runtime.updates()?;
    expect("unsolicited updates", all.split_off(before), expected)?;
    let members = json!({"container_id": "other", "what": "update", "reason": "no"});
    runtime.done("fail", members)?;
    let failed = plugin.update(vec![update.clone()])?;
    let failed = failed.map_err(|e| format!("an update that fails: {e}"))?;
    same("failed update", &json!(failed), &json!([update]))?;
    runtime.quit()?;
    Ok("in answers to synchronisation, creation, update and stop, of the container itself, and unsolicited, applied and refused".to_owned())
}

/// A validator accepts and rejects, and is told who set what.
pub(super) fn validation(pairing: &Pairing<'_>) -> Result<String, String> {
    let (_room, mut runtime, mut plugin) = pairing.pair()?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    let asked = json!({"annotations": {"key": "value"}, "env": [{"key": "B", "value": "2"}]});
    plugin.script(vec![
        json!({"on": "CreateContainer", "keep": true, "answer": {"adjust": asked}}),
        json!({"on": "ValidateContainerAdjustment", "id": "rejected", "error": "not with me"}),
    ])?;
    create(&mut runtime, "accepted")?.map_err(|e| format!("accepted: {e}"))?;
    let heard = plugin.heard()?;
    let request = &only(&heard, "ValidateContainerAdjustment")?["request"];
    expect(
        "adjustment that validators see",
        adjustment(&request["adjust"])?,
        adjustment(&asked)?,
    )?;
    let owners: api::OwningPlugins = message(&request["owners"])?;
    let annotations = owners
        .owners
        .get("accepted")
        .and_then(|owners| owners.compound.get(&api::Field::Annotations.into()))
        .and_then(|entries| entries.owners.get("key").cloned());
    expect("owner of the annotation", annotations, Some(ID.to_owned()))?;
    let error = match create(&mut runtime, "rejected")? {
        Ok(answer) => return Err(format!("a rejection is not heeded: {answer}")),
        Err(error) => error,
    };
    if !error.contains("not with me") {
        return Err(format!("the error does not give the reason: {error}"));
    }
    create(&mut runtime, "accepted-again")?.map_err(|e| format!("accepted: {e}"))?;
    runtime.quit()?;
    Ok("accepted with adjustment and owners shown; rejected with the reason".to_owned())
}

/// An error of a plugin fails the request and nothing else.
pub(super) fn errors(pairing: &Pairing<'_>) -> Result<String, String> {
    let (_room, mut runtime, mut plugin) = pairing.pair()?;
    plugin.script(vec![
        json!({"on": "RunPodSandbox", "error": "no pods today"}),
        json!({"on": "CreateContainer", "error": "no containers today"}),
        json!({"on": "UpdateContainer", "error": "no updates today"}),
    ])?;
    let refused = |error: String, reason: &str| match error.contains(reason) {
        true => Ok(()),
        false => Err(format!("the error does not say {reason:?}: {error}")),
    };
    let error = runtime.refused("run-pod", json!({"pod": pod("pod")}))?;
    refused(error, "no pods today")?;
    runtime.done("run-pod", json!({"pod": pod("pod")}))?;
    match create(&mut runtime, "c")? {
        Ok(answer) => return Err(format!("an error is not heeded: {answer}")),
        Err(error) => refused(error, "no containers today")?,
    }
    create(&mut runtime, "c")?.map_err(|e| format!("after the error: {e}"))?;
    let error = runtime.refused("update-container", json!({"container_id": "c"}))?;
    refused(error, "no updates today")?;
    runtime.done("update-container", json!({"container_id": "c"}))?;
    runtime.quit()?;
    Ok("errors fail their requests with their texts, and the plugin stays".to_owned())
}
