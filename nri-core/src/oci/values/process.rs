//! The process: its command, environment, limits, hooks.

use nri_proto::api::IoPrioClass;

use super::super::names::is_cdi_device;
use super::rule::{Asked, Broken};
use super::texts::hooks;
use crate::merge::removal_marker::marked;

pub(super) fn variable_name(asked: &Asked<'_>) -> Option<Broken> {
    let names = asked.adjustment.env.iter();
    let mut names = names.map(|entry| marked(&entry.key).unwrap_or(&entry.key));
    names
        .find(|name| name.is_empty() || name.contains(['=', '\0']))
        .map(Broken::by)
}

/// An empty first argument is what is left of a marker, and no program.
pub(super) fn command(asked: &Asked<'_>) -> Option<Broken> {
    let program = match asked.adjustment.args.as_slice() {
        [marker, program, ..] if marker.is_empty() => program,
        _ => return None,
    };
    program.is_empty().then(|| Broken::by(program))
}

pub(super) fn oom_score(asked: &Asked<'_>) -> Option<Broken> {
    let score = asked.linux.oom_score_adj?.value;
    (!(-1000..=1000).contains(&score)).then(|| Broken::by(score))
}

pub(super) fn io_priority(asked: &Asked<'_>) -> Option<Broken> {
    let priority = asked.linux.io_priority?;
    let counts = priority.class != i32::from(IoPrioClass::IoprioClassNone);
    (counts && !(0..=7).contains(&priority.priority)).then(|| Broken::by(priority.priority))
}

pub(super) fn rlimit_name(asked: &Asked<'_>) -> Option<Broken> {
    let mut kinds = asked.adjustment.rlimits.iter().map(|limit| &limit.r#type);
    kinds
        .find(|kind| !kind.starts_with("RLIMIT_"))
        .map(Broken::by)
}

pub(super) fn rlimit_known(asked: &Asked<'_>) -> Option<Broken> {
    let known = &asked.rlimit_names;
    let mut kinds = asked.adjustment.rlimits.iter().map(|limit| &limit.r#type);
    kinds.find(|kind| !known.contains(kind)).map(Broken::by)
}

pub(super) fn rlimit_order(asked: &Asked<'_>) -> Option<Broken> {
    let limit = asked.adjustment.rlimits.iter().find(|l| l.soft > l.hard)?;
    Some(Broken::by(&limit.r#type).because(format!(
        "the soft limit {} is above the hard limit {}",
        limit.soft, limit.hard
    )))
}

pub(super) fn hook_path(asked: &Asked<'_>) -> Option<Broken> {
    hooks(asked.adjustment)
        .find(|hook| !hook.path.starts_with('/'))
        .map(|hook| Broken::by(&hook.path))
}

/// The bound is runc's: it counts in nanoseconds, and a timeout that is too long is over before it
/// begins.
pub(super) fn hook_timeout(asked: &Asked<'_>) -> Option<Broken> {
    hooks(asked.adjustment).find_map(|hook| {
        let timeout = hook.timeout?.value;
        (!(1..=i64::MAX / 1_000_000_000).contains(&timeout)).then(|| {
            Broken::by(&hook.path).because(format!(
                "the timeout of a hook must be a second or more, and at most 9223372036 of them, not {timeout}"
            ))
        })
    })
}

pub(super) fn cdi_name(asked: &Asked<'_>) -> Option<Broken> {
    let mut devices = asked.adjustment.cdi_devices.iter();
    devices
        .find(|device| !is_cdi_device(&device.name))
        .map(|device| Broken::by(&device.name))
}
