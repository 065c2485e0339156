//! Resources, for creations and updates alike.

use nri_proto::api::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxResources, OptionalInt64};
use serde_json::Value;

use super::super::tree;
use super::lists::{NODES, PROCESSORS, is_list};
use super::rule::Broken;
use crate::keys::page_size_bytes;

fn device_rule(
    resources: &LinuxResources,
    breaks: impl Fn(&LinuxDeviceCgroup) -> Option<String>,
) -> Option<Broken> {
    resources.devices.iter().find_map(breaks).map(Broken::by)
}

pub(super) fn device_rule_type(resources: &LinuxResources) -> Option<Broken> {
    device_rule(resources, |rule| {
        (!["", "a", "b", "c"].contains(&rule.r#type.as_str())).then(|| rule.r#type.clone())
    })
}

pub(super) fn device_rule_access(resources: &LinuxResources) -> Option<Broken> {
    device_rule(resources, |rule| {
        let known = rule.access.bytes().all(|b| b"rwm".contains(&b));
        (!known).then(|| rule.access.clone())
    })
}

pub(super) fn device_rule_no_access(resources: &LinuxResources) -> Option<Broken> {
    device_rule(resources, |rule| {
        rule.access.is_empty().then(|| rule.r#type.clone())
    })
}

/// The kernel takes the highest number for all of them.
pub(super) fn device_rule_number(resources: &LinuxResources) -> Option<Broken> {
    device_rule(resources, |rule| {
        let numbers = [rule.major, rule.minor].into_iter().flatten();
        let mut numbers = numbers.map(|number| number.value);
        numbers
            .find(|number| !(-1..i64::from(u32::MAX)).contains(number))
            .map(|number| number.to_string())
    })
}

/// A limit of -1 means none; what is below means nothing.
fn limit(
    resources: &LinuxResources,
    member: impl Fn(&LinuxMemory) -> Option<OptionalInt64>,
) -> Option<Broken> {
    let limit = member(resources.memory.as_ref()?)?.value;
    (limit < -1).then(|| Broken::by(limit))
}

pub(super) fn memory_limit(resources: &LinuxResources) -> Option<Broken> {
    limit(resources, |memory| memory.limit)
}

pub(super) fn memory_reservation(resources: &LinuxResources) -> Option<Broken> {
    limit(resources, |memory| memory.reservation)
}

pub(super) fn memory_swap(resources: &LinuxResources) -> Option<Broken> {
    limit(resources, |memory| memory.swap)
}

pub(super) fn memory_kernel(resources: &LinuxResources) -> Option<Broken> {
    limit(resources, |memory| memory.kernel)
}

pub(super) fn memory_kernel_tcp(resources: &LinuxResources) -> Option<Broken> {
    limit(resources, |memory| memory.kernel_tcp)
}

pub(super) fn swappiness(resources: &LinuxResources) -> Option<Broken> {
    let swappiness = resources.memory.as_ref()?.swappiness?.value;
    (swappiness > 100).then(|| Broken::by(swappiness))
}

/// Not judged if neither has changed. No limit (or one of 0) is judged where the whole is known.
pub(super) fn swap_below_limit(before: &Value, after: &Value) -> Option<Broken> {
    let of = |resources, name| tree::int(resources, &["memory", name]).unwrap_or_default();
    let sizes = |resources| (of(resources, "limit"), of(resources, "swap"));
    let (limit, swap) = sizes(after);
    let below = swap > 0 && (limit < 0 || swap < limit);
    (below && sizes(before) != (limit, swap)).then(|| Broken::by(swap))
}

fn cpu(resources: &LinuxResources) -> Option<&LinuxCpu> {
    resources.cpu.as_ref()
}

/// What runc does with cgroup v1, where the kernel would take the nearest; with cgroup v2 there is
/// no such weight either.
pub(super) fn cpu_shares(resources: &LinuxResources) -> Option<Broken> {
    let shares = cpu(resources)?.shares?.value;
    (shares != 0 && !(2..=262_144).contains(&shares)).then(|| Broken::by(shares))
}

/// The kernel's least is a millisecond; its most is what fits in its fixed point numbers.
pub(super) fn cpu_quota(resources: &LinuxResources) -> Option<Broken> {
    let quota = cpu(resources)?.quota?.value;
    (quota > 0 && !(1000..1 << 44).contains(&quota)).then(|| Broken::by(quota))
}

pub(super) fn cpu_period(resources: &LinuxResources) -> Option<Broken> {
    let period = cpu(resources)?.period?.value;
    (period != 0 && !(1000..=1_000_000).contains(&period)).then(|| Broken::by(period))
}

pub(super) fn cpu_realtime(before: &Value, after: &Value) -> Option<Broken> {
    let times = |resources| {
        let runtime = tree::int(resources, &["cpu", "realtimeRuntime"]).unwrap_or_default();
        let period = tree::uint(resources, &["cpu", "realtimePeriod"]);
        (runtime, period.filter(|period| *period != 0))
    };
    let (runtime, period) = times(after);
    let above = u64::try_from(runtime).is_ok_and(|time| time > period.unwrap_or(1_000_000));
    (above && times(before) != (runtime, period)).then(|| Broken::by(runtime))
}

pub(super) fn cpuset_cpus(resources: &LinuxResources) -> Option<Broken> {
    let cpus = &cpu(resources)?.cpus;
    (!is_list(cpus, PROCESSORS)).then(|| Broken::by(cpus))
}

pub(super) fn cpuset_mems(resources: &LinuxResources) -> Option<Broken> {
    let mems = &cpu(resources)?.mems;
    (!is_list(mems, NODES)).then(|| Broken::by(mems))
}

pub(super) fn pids_limit(resources: &LinuxResources) -> Option<Broken> {
    let limit = resources.pids?.limit;
    (limit < -1).then(|| Broken::by(limit))
}

pub(super) fn pids_most(resources: &LinuxResources) -> Option<Broken> {
    let limit = resources.pids?.limit;
    (limit > 1 << 22).then(|| Broken::by(limit))
}

/// All page sizes of all machines are powers of two.
pub(super) fn huge_page_size(resources: &LinuxResources) -> Option<Broken> {
    let mut sizes = resources.hugepage_limits.iter().map(|l| &l.page_size);
    sizes
        .find(|size| !page_size_bytes(size).is_some_and(u64::is_power_of_two))
        .map(Broken::by)
}

pub(super) fn unified_name(resources: &LinuxResources) -> Option<Broken> {
    let mut names = resources.unified.keys();
    names
        .find(|name| name.is_empty() || name.contains('/') || *name == "." || *name == "..")
        .map(Broken::by)
}

pub(super) fn unified_form(resources: &LinuxResources) -> Option<Broken> {
    let mut names = resources.unified.keys();
    names
        .find(|name| {
            let parts = name.split_once('.');
            !parts.is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty())
        })
        .map(Broken::by)
}
