//! What is particular to Linux and stands by itself: scheduling, memory policy, namespaces,
//! devices, network devices.

use nri_proto::api::{
    LinuxMemoryPolicy, LinuxNamespace, LinuxScheduler, LinuxSchedulerPolicy as Policy, MpolFlag,
    MpolMode,
};

use super::super::names::NAMESPACES;
use super::lists::{NODES, is_plain_list};
use super::rule::{Asked, Broken, shortened};
use crate::merge::removal_marker::marked;

/// The scheduler that is set, with its policy. Numbers of a newer protocol are not judged here.
fn scheduler<'a>(asked: &Asked<'a>) -> Option<(&'a LinuxScheduler, Policy)> {
    let scheduler = asked.linux.scheduler.as_ref()?;
    let policy = Policy::try_from(scheduler.policy).ok()?;
    (policy != Policy::SchedNone).then_some((scheduler, policy))
}

pub(super) fn scheduler_reserved(asked: &Asked<'_>) -> Option<Broken> {
    let (_, policy) = scheduler(asked)?;
    (policy == Policy::SchedIso).then(|| Broken::by(policy.as_str_name()))
}

fn is_real_time(policy: Policy) -> bool {
    matches!(policy, Policy::SchedFifo | Policy::SchedRr)
}

pub(super) fn scheduler_priority(asked: &Asked<'_>) -> Option<Broken> {
    let (scheduler, policy) = scheduler(asked)?;
    let wrong = is_real_time(policy) && !(1..=99).contains(&scheduler.priority);
    wrong.then(|| Broken::by(scheduler.priority))
}

pub(super) fn scheduler_no_priority(asked: &Asked<'_>) -> Option<Broken> {
    let (scheduler, policy) = scheduler(asked)?;
    let wrong = !is_real_time(policy) && scheduler.priority != 0;
    wrong.then(|| Broken::by(scheduler.priority))
}

pub(super) fn scheduler_nice(asked: &Asked<'_>) -> Option<Broken> {
    let (scheduler, _) = scheduler(asked)?;
    (!(-20..=19).contains(&scheduler.nice)).then(|| Broken::by(scheduler.nice))
}

pub(super) fn scheduler_times(asked: &Asked<'_>) -> Option<Broken> {
    let (scheduler, policy) = scheduler(asked)?;
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    let wrong = policy != Policy::SchedDeadline && times != [0; 3];
    wrong.then(|| Broken::by(shown(scheduler)))
}

/// A period of 0 stands for the deadline. The kernel keeps times in units of 1024 ns, and a bit for
/// itself.
pub(super) fn scheduler_deadline(asked: &Asked<'_>) -> Option<Broken> {
    let (scheduler, policy) = scheduler(asked)?;
    let period = match scheduler.period {
        0 => scheduler.deadline,
        period => period,
    };
    let holds = 1024 <= scheduler.runtime
        && scheduler.runtime <= scheduler.deadline
        && scheduler.deadline <= period
        && period < 1 << 63;
    (policy == Policy::SchedDeadline && !holds).then(|| Broken::by(shown(scheduler)))
}

fn shown(scheduler: &LinuxScheduler) -> String {
    format!(
        "{}/{}/{}",
        scheduler.runtime, scheduler.deadline, scheduler.period
    )
}

fn memory_policy<'a>(asked: &Asked<'a>) -> Option<(&'a LinuxMemoryPolicy, MpolMode)> {
    let policy = asked.linux.memory_policy.as_ref()?;
    Some((policy, MpolMode::try_from(policy.mode).ok()?))
}

pub(super) fn policy_without_nodes(asked: &Asked<'_>) -> Option<Broken> {
    let (policy, mode) = memory_policy(asked)?;
    let takes_none = matches!(mode, MpolMode::MpolDefault | MpolMode::MpolLocal);
    (takes_none && !policy.nodes.is_empty()).then(|| Broken::by(&policy.nodes))
}

/// Without nodes, "preferred" means the local node.
pub(super) fn policy_with_nodes(asked: &Asked<'_>) -> Option<Broken> {
    let (policy, mode) = memory_policy(asked)?;
    let needs = !matches!(
        mode,
        MpolMode::MpolDefault | MpolMode::MpolLocal | MpolMode::MpolPreferred
    );
    (needs && policy.nodes.is_empty()).then(|| Broken::by(mode.as_str_name()))
}

pub(super) fn policy_nodes(asked: &Asked<'_>) -> Option<Broken> {
    let (policy, _) = memory_policy(asked)?;
    let wrong = !policy.nodes.is_empty() && !is_plain_list(&policy.nodes, NODES);
    wrong.then(|| Broken::by(&policy.nodes))
}

/// The kernel's rules: not static and relative at once, neither without nodes, and balancing for
/// two modes only.
pub(super) fn policy_flags(asked: &Asked<'_>) -> Option<Broken> {
    let (policy, mode) = memory_policy(asked)?;
    let has = |flag: MpolFlag| policy.flags.contains(&flag.into());
    let r#static = has(MpolFlag::MpolFStaticNodes);
    let relative = has(MpolFlag::MpolFRelativeNodes);
    let balancing = has(MpolFlag::MpolFNumaBalancing);
    let local =
        mode == MpolMode::MpolLocal || (mode == MpolMode::MpolPreferred && policy.nodes.is_empty());
    let balanced = matches!(mode, MpolMode::MpolBind | MpolMode::MpolPreferredMany);
    let wrong =
        (r#static && relative) || (local && (r#static || relative)) || (balancing && !balanced);
    let flags = policy
        .flags
        .iter()
        .filter_map(|f| MpolFlag::try_from(*f).ok());
    let names: Vec<&str> = flags.map(|flag| flag.as_str_name()).collect();
    wrong.then(|| Broken::by(format!("{} {}", mode.as_str_name(), names.join(" "))))
}

pub(super) fn namespace_type(asked: &Asked<'_>) -> Option<Broken> {
    let mut namespaces = asked.linux.namespaces.iter();
    let name = namespaces.find_map(|namespace| {
        let name = marked(&namespace.r#type).unwrap_or(&namespace.r#type);
        (!NAMESPACES.contains(&name)).then_some(name)
    })?;
    let known = NAMESPACES.join(", ");
    Some(Broken::by(name).because(format!("there is no such namespace, only {known}")))
}

pub(super) fn namespace_path(asked: &Asked<'_>) -> Option<Broken> {
    let wrong = |namespace: &&LinuxNamespace| {
        let path = &namespace.path;
        marked(&namespace.r#type).is_none() && !path.is_empty() && !path.starts_with('/')
    };
    let namespace = asked.linux.namespaces.iter().find(wrong)?;
    Some(Broken::by(&namespace.r#type).because(format!(
        "the path of a namespace must be absolute, not {:?}",
        shortened(&namespace.path)
    )))
}

/// The kernel's `dev_valid_name`. Its white space is that of Latin-1: a no-break space counts.
fn is_interface(name: &str) -> bool {
    let is_white = |b: u8| b.is_ascii_whitespace() || b == 0x0b || b == 0xa0;
    let refused = |b: u8| b == b'/' || b == b':' || b == 0 || is_white(b);
    (1..=15).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(refused)
}

pub(super) fn net_device_name(asked: &Asked<'_>) -> Option<Broken> {
    let mut devices = asked.linux.net_devices.iter();
    devices
        .find(|(host, device)| {
            // The host's name is kept if there is no other.
            let in_container = device.name.is_empty() || is_interface(&device.name);
            marked(host).is_none() && !(is_interface(host) && in_container)
        })
        .map(|(host, device)| {
            let broken = Broken::by(host);
            if is_interface(host) {
                broken.because(format!(
                    "the name of an interface has 1 to 15 bytes, no slash, colon or white space, and is not . or ..: {:?} is none",
                    shortened(&device.name)
                ))
            } else {
                broken
            }
        })
}

pub(super) fn net_device_loopback(asked: &Asked<'_>) -> Option<Broken> {
    let mut devices = asked.linux.net_devices.iter();
    devices
        .find(|(host, device)| *host == "lo" || device.name == "lo")
        .map(|(host, _)| Broken::by(host))
}

pub(super) fn device_number(asked: &Asked<'_>) -> Option<Broken> {
    let mut devices = asked.linux.devices.iter();
    let device = devices.find(|device| {
        let known = (0..1 << 12).contains(&device.major) && (0..1 << 20).contains(&device.minor);
        marked(&device.path).is_none() && !known
    })?;
    Some(Broken::by(&device.path).because(format!(
        "major numbers are 0 to 4095, minor numbers 0 to 1048575, and this is {}:{}",
        device.major, device.minor
    )))
}

/// The mode's bits of a file type are passed over by runtimes; above them there is nothing.
pub(super) fn device_mode(asked: &Asked<'_>) -> Option<Broken> {
    let mut devices = asked.linux.devices.iter();
    let (device, mode) = devices.find_map(|device| {
        let mode = device.file_mode?.value;
        (marked(&device.path).is_none() && mode > 0o177_777).then_some((device, mode))
    })?;
    Some(Broken::by(&device.path).because(format!(
        "the file mode must be at most 0o177777, not 0o{mode:o}"
    )))
}

pub(super) fn cgroups_path(asked: &Asked<'_>) -> Option<Broken> {
    let path = &asked.linux.cgroups_path;
    path.contains('\n').then(|| Broken::by(path))
}
