//! The process: environment, arguments, OOM score, scheduling. And the single members beside it:
//! cgroups path, memory policy.

use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api::{
    Field, IoPrioClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, MpolFlag, MpolMode,
};
use serde_json::{Value, json};

use super::draft::{Draft, enum_name};
use super::error::ApplyError;
use crate::merge::removal_marker::marked;
use crate::oci::tree::{self, Object};

/// Environment variables: `process.env`, entries `NAME=value`.
///
/// A variable that is set takes the place of its first occurrence and drops the others; entries of
/// variables that are not mentioned stay byte for byte.
pub(super) fn env(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    if draft.adjustment.env.is_empty() {
        return Ok(());
    }
    let mut removals = BTreeSet::new();
    let mut sets = BTreeMap::new();
    let mut order = Vec::new();
    for entry in &draft.adjustment.env {
        let name = marked(&entry.key).unwrap_or(&entry.key);
        if marked(&entry.key).is_some() {
            removals.insert(name);
        } else if sets.insert(name, entry.value.as_str()).is_none() {
            order.push(name);
        }
    }
    let had_list = tree::get(&draft.spec, &["process", "env"]).is_some();
    let old = tree::existing_list_mut(&mut draft.spec, &["process", "env"])
        .map(std::mem::take)
        .unwrap_or_default();
    let mut placed = BTreeSet::new();
    let mut new: Vec<Value> = Vec::with_capacity(old.len() + order.len());
    for entry in old {
        let name = variable_name(&entry).to_owned();
        if let Some((name, value)) = sets.get_key_value(name.as_str()) {
            if placed.insert(*name) {
                new.push(variable(name, value));
            }
        } else if !removals.contains(name.as_str()) {
            new.push(entry);
        }
    }
    for name in order {
        if !placed.contains(name) {
            new.push(variable(name, sets[name]));
        }
    }
    if had_list || !new.is_empty() {
        *tree::list_mut(&mut draft.spec, &["process", "env"]) = new;
    }
    Ok(())
}

/// The name in an entry of the environment; one without `=` is a name without a value.
fn variable_name(entry: &Value) -> &str {
    let entry = entry.as_str().unwrap_or_default();
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn variable(name: &str, value: &str) -> Value {
    format!("{name}={value}").into()
}

/// The command line: `process.args`, replaced as a whole. A first element that is empty is what is
/// left of a marker.
pub(super) fn args(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let args = match draft.adjustment.args.as_slice() {
        [first, rest @ ..] if first.is_empty() => rest,
        args => args,
    };
    if !args.is_empty() {
        tree::set(&mut draft.spec, &["process"], "args", args.to_vec());
    }
    Ok(())
}

/// `linux.cgroupsPath`, as it stands.
pub(super) fn cgroups_path(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let path = &draft.linux.cgroups_path;
    if !path.is_empty() {
        tree::set(&mut draft.spec, &["linux"], "cgroupsPath", path.as_str());
    }
    Ok(())
}

/// `process.oomScoreAdj`.
pub(super) fn oom_score_adj(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(score) = draft.linux.oom_score_adj.map(|wrapper| wrapper.value) else {
        return Ok(());
    };
    tree::set(&mut draft.spec, &["process"], "oomScoreAdj", score);
    Ok(())
}

/// `process.ioPriority`; the class "none" deletes it.
pub(super) fn io_priority(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(priority) = draft.linux.io_priority else {
        return Ok(());
    };
    let Ok(class) = IoPrioClass::try_from(priority.class) else {
        return Err(draft.invalid(
            Field::IoPriority,
            &priority.class.to_string(),
            "no such class",
        ));
    };
    if class == IoPrioClass::IoprioClassNone {
        tree::remove(&mut draft.spec, &["process"], "ioPriority");
        return Ok(());
    }
    let value = json!({"class": class.as_str_name(), "priority": priority.priority});
    tree::set(&mut draft.spec, &["process"], "ioPriority", value);
    Ok(())
}

/// `process.scheduler`, replaced as a whole; the policy "none" deletes it.
pub(super) fn scheduler(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(scheduler) = &draft.linux.scheduler else {
        return Ok(());
    };
    let invalid = |value: i64, reason: &str| {
        Err(draft.invalid(Field::LinuxSched, &value.to_string(), reason))
    };
    let Ok(policy) = LinuxSchedulerPolicy::try_from(scheduler.policy) else {
        return invalid(scheduler.policy.into(), "no such policy");
    };
    let mut flags = Vec::new();
    for flag in &scheduler.flags {
        match enum_name(*flag, LinuxSchedulerFlag::as_str_name) {
            Some(name) => flags.push(name.to_owned()),
            None => return invalid((*flag).into(), "no such flag"),
        }
    }
    if policy == LinuxSchedulerPolicy::SchedNone {
        tree::remove(&mut draft.spec, &["process"], "scheduler");
        return Ok(());
    }
    let mut oci = Object::new();
    tree::insert_text(&mut oci, "policy", policy.as_str_name());
    let nonzero = |number: i32| (number != 0).then_some(number);
    tree::insert_some(&mut oci, "nice", nonzero(scheduler.nice));
    tree::insert_some(&mut oci, "priority", nonzero(scheduler.priority));
    tree::insert_texts(&mut oci, "flags", &flags);
    let nonzero = |number: u64| (number != 0).then_some(number);
    tree::insert_some(&mut oci, "runtime", nonzero(scheduler.runtime));
    tree::insert_some(&mut oci, "deadline", nonzero(scheduler.deadline));
    tree::insert_some(&mut oci, "period", nonzero(scheduler.period));
    tree::set(&mut draft.spec, &["process"], "scheduler", oci);
    Ok(())
}

/// `linux.memoryPolicy`, replaced as a whole. There is no way to delete it.
pub(super) fn memory_policy(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(policy) = &draft.linux.memory_policy else {
        return Ok(());
    };
    let invalid =
        |value: &str, reason: &str| Err(draft.invalid(Field::MemoryPolicy, value, reason));
    let Ok(mode) = MpolMode::try_from(policy.mode) else {
        return invalid(&policy.mode.to_string(), "no such mode");
    };
    let mut flags = Vec::new();
    for flag in &policy.flags {
        match enum_name(*flag, MpolFlag::as_str_name) {
            Some(name) => flags.push(name.to_owned()),
            None => return invalid(&flag.to_string(), "no such flag"),
        }
    }
    let mut oci = Object::new();
    tree::insert_text(&mut oci, "mode", mode.as_str_name());
    oci.insert("nodes".to_owned(), policy.nodes.as_str().into());
    tree::insert_texts(&mut oci, "flags", &flags);
    tree::set(&mut draft.spec, &["linux"], "memoryPolicy", oci);
    Ok(())
}
