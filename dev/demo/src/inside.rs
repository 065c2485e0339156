//! Whether an adjustment is visible inside the container that was made with it.

use nri_core::api;
use serde_json::Value;

/// One thing that was looked for.
pub(super) struct Evidence {
    pub(super) what: String,
    /// Whether it was there.
    pub(super) found: bool,
}

/// Looks for an adjustment in what the low-level runtime says of the container and in what the
/// container printed: its environment, the targets of its mounts, and its CPU shares after the
/// update.
pub(super) fn look(
    adjustment: &api::ContainerAdjustment,
    cpu_shares: u64,
    state: &Value,
    printed: &str,
) -> Vec<Evidence> {
    let (environment, rest) = printed.split_once("--mounts\n").unwrap_or((printed, ""));
    let (mounts, rest) = rest.split_once("--\n").unwrap_or((rest, ""));
    let is_line = |text: &str, line: &str| text.lines().any(|candidate| candidate == line);
    let mut evidence = Vec::new();
    let mut seen = |what: String, found: bool| evidence.push(Evidence { what, found });

    for env in adjustment.env.iter() {
        match env.key.strip_prefix('-') {
            Some(removed) => {
                let set_too = adjustment.env.iter().any(|other| other.key == removed);
                let gone = !environment
                    .lines()
                    .any(|line| line.starts_with(&format!("{removed}=")));
                if !set_too {
                    seen(format!("environment: no {removed}"), gone);
                }
            }
            None => {
                let line = format!("{}={}", env.key, env.value);
                let found = is_line(environment, &line);
                seen(format!("environment: {line}"), found);
            }
        }
    }
    for mount in adjustment
        .mounts
        .iter()
        .filter(|mount| !mount.destination.starts_with('-'))
    {
        seen(
            format!("mount: {}", mount.destination),
            is_line(mounts, &mount.destination),
        );
    }
    for (key, value) in adjustment
        .annotations
        .iter()
        .filter(|(key, _)| !key.starts_with('-'))
    {
        seen(
            format!("annotation in the runtime's state: {key}={value}"),
            state["annotations"][key] == value.as_str(),
        );
    }
    // With cgroup v2 the kernel has a weight instead, on another scale.
    let line = format!("cpu shares: {cpu_shares}");
    let weight = format!(
        "cpu shares: {}",
        1 + (cpu_shares.saturating_sub(2) * 9999) / 262_142
    );
    seen(
        format!("after the update: {line}"),
        is_line(rest, &line) || is_line(rest, &weight),
    );
    evidence
}
