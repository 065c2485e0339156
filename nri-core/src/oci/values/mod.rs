//! Which values can work: the rules of the OCI runtime spec, of the kernel and of runc, in one
//! table.
//!
//! An adjustment or an update with a value that is bound to be refused later, by a low-level
//! runtime that is less clear about it, is refused when it is applied. The table says for each rule
//! which field it is about, where it comes from, and to which [`Family`] it belongs; a runtime
//! whose low-level runtime allows more leaves whole families to it
//! ([`ApplyOptions::left_to_runtime`](super::ApplyOptions::left_to_runtime)). Only what an
//! adjustment brings is judged, and what it makes impossible together with the rest of the spec: a
//! spec's own values are its runtime's affair.
//!
//! What may not enter: the shape of a message or a document (see [`shape`](super::shape)), keys and
//! their spelling, rules that need to know the host (how many processors, whether there is a swap
//! controller).

#[cfg(any(test, feature = "strategies"))]
pub mod examples;
mod lists;
mod mounts;
mod outcome;
mod process;
mod resources;
mod rule;
mod seccomp;
mod setting;
mod texts;

use std::collections::BTreeSet;

use nri_proto::api::{ContainerAdjustment, Field, LinuxContainerAdjustment, LinuxResources};
use serde_json::Value;

pub(super) use rule::Breach;
use rule::{Asked, Broken, Judged, Outcome};
pub use rule::{Family, Rule, Source};

macro_rules! rules {
    ($($name:ident: $field:ident, $family:ident, $source:ident, $judged:ident($check:path), $rule:literal;)*) => {
        /// All rules, in the order in which they are judged.
        pub const RULES: &[Rule] = &[$(Rule {
            name: stringify!($name),
            field: Field::$field,
            family: Family::$family,
            source: Source::$source,
            rule: $rule,
            judged: Judged::$judged($check),
        }),*];

        /// A test per rule, by its name: what breaks it is refused with its words, and passes where
        /// it is left to the low-level runtime.
        #[cfg(test)]
        mod by_name {
            $(#[test] fn $name() { super::tests::refuses_what_breaks_it(stringify!($name)); })*
        }
    };
}

rules! {
    // name: field, family, source, what is judged, the rule in words.
    text_without_nul: None, Texts, Kernel, Asked(texts::without_nul), "a text for the kernel must not hold a NUL";
    path_length: None, Texts, Kernel, Asked(texts::path_length), "a path has at most 4095 bytes, and each of its names 255";
    variable_name: Env, Process, Oci, Asked(process::variable_name), "the name of a variable must not be empty or hold = or NUL";
    command: Args, Process, Runc, Asked(process::command), "the first argument is the program, and must not be empty";
    oom_score: OomScoreAdj, Process, Runc, Asked(process::oom_score), "it must be between -1000 and 1000";
    io_priority: IoPriority, Process, Kernel, Asked(process::io_priority), "the priority must be between 0 and 7";
    rlimit_name: Rlimits, Rlimits, Runc, Asked(process::rlimit_name), "the type must start with RLIMIT_";
    rlimit_known: Rlimits, Rlimits, Runc, Asked(process::rlimit_known), "there is no such limit; one that only this host has belongs to the options (rlimit_names)";
    rlimit_order: Rlimits, Rlimits, Runc, Asked(process::rlimit_order), "the soft limit must not be above the hard limit";
    mount_type: Mounts, Mounts, Runc, Asked(mounts::mount_type), "without the option bind or rbind it needs a file system for a type";
    hook_path: OciHooks, Hooks, Oci, Asked(process::hook_path), "the path of a hook must be absolute";
    hook_timeout: OciHooks, Hooks, Oci, Asked(process::hook_timeout), "the timeout of a hook must be a second or more, and at most 9223372036 of them";
    cdi_name: CdiDevices, Cdi, Oci, Asked(process::cdi_name), "the name of a CDI device looks like vendor.com/class=name";

    scheduler_reserved: LinuxSched, Scheduler, Kernel, Asked(setting::scheduler_reserved), "Linux has no such policy: the number is reserved";
    scheduler_priority: LinuxSched, Scheduler, Kernel, Asked(setting::scheduler_priority), "the priority of this policy must be between 1 and 99";
    scheduler_no_priority: LinuxSched, Scheduler, NewerRunc, Asked(setting::scheduler_no_priority), "only SCHED_FIFO and SCHED_RR have a priority";
    scheduler_nice: LinuxSched, Scheduler, NewerRunc, Asked(setting::scheduler_nice), "nice must be between -20 and 19";
    scheduler_times: LinuxSched, Scheduler, NewerRunc, Asked(setting::scheduler_times), "only SCHED_DEADLINE has a runtime, a deadline and a period";
    scheduler_deadline: LinuxSched, Scheduler, Kernel, Asked(setting::scheduler_deadline), "it must hold that 1024 <= runtime <= deadline <= period < 2^63, in nanoseconds";
    policy_without_nodes: MemoryPolicy, MemoryPolicy, Kernel, Asked(setting::policy_without_nodes), "this mode takes no nodes";
    policy_with_nodes: MemoryPolicy, MemoryPolicy, Kernel, Asked(setting::policy_with_nodes), "this mode needs nodes";
    policy_nodes: MemoryPolicy, MemoryPolicy, Kernel, Asked(setting::policy_nodes), "the nodes must be a list such as 0-3,7, in ascending ranges below 1024";
    policy_flags: MemoryPolicy, MemoryPolicy, Kernel, Asked(setting::policy_flags), "these flags do not go together with each other or with this mode";

    seccomp_default: SeccompPolicy, Seccomp, Oci, Asked(seccomp::default_action), "it has no default action";
    seccomp_names: SeccompPolicy, Seccomp, Oci, Asked(seccomp::names), "one of its rules names no system call";
    seccomp_empty_name: SeccompPolicy, Seccomp, Runc, Asked(seccomp::empty_name), "one of its rules has an empty name among its system calls";
    seccomp_no_action: SeccompPolicy, Seccomp, Runc, Asked(seccomp::no_action), "one of its rules has no action";
    seccomp_action: SeccompPolicy, Seccomp, Runc, Asked(seccomp::action), "there is no such action";
    seccomp_architecture: SeccompPolicy, Seccomp, Runc, Asked(seccomp::architecture), "there is no such architecture";
    seccomp_operator: SeccompPolicy, Seccomp, Runc, Asked(seccomp::operator), "there is no such operator";
    seccomp_flag: SeccompPolicy, Seccomp, Oci, Asked(seccomp::flag), "there is no such flag";
    seccomp_argument: SeccompPolicy, Seccomp, Runc, Asked(seccomp::argument), "a system call has the arguments 0 to 5";
    seccomp_errno: SeccompPolicy, Seccomp, Runc, Asked(seccomp::errno), "an error number is at most 4094";
    seccomp_notify: SeccompPolicy, Seccomp, Runc, Asked(seccomp::notify), "SCMP_ACT_NOTIFY needs a listener path, and is neither for the default nor for write";

    namespace_type: Namespace, Namespaces, Runc, Asked(setting::namespace_type), "there is no such namespace";
    namespace_path: Namespace, Namespaces, Oci, Asked(setting::namespace_path), "the path of a namespace must be absolute";
    namespace_needed: Namespace, Namespaces, Runc, Outcome(outcome::namespace_needed), "the spec has what needs a namespace of the container's own";
    user_mappings: Namespace, Namespaces, Runc, Outcome(outcome::user_mappings), "a new user namespace needs id mappings, and the spec has none";
    sysctl_name: Sysctl, Sysctl, Runc, Outcome(outcome::sysctl_name), "it is no name of a kernel parameter";
    sysctl_value: Sysctl, Sysctl, Kernel, Outcome(outcome::sysctl_value), "the value must be one line without a NUL";
    sysctl_of_host: Sysctl, Sysctl, Runc, Outcome(outcome::sysctl_of_host), "it is a parameter of the whole host: no namespace has it to itself";
    sysctl_hostname: Sysctl, Sysctl, Runc, Outcome(outcome::sysctl_hostname), "the name of the host is the member hostname of the spec, not a parameter";
    net_device_name: LinuxNetDevices, NetDevices, Kernel, Asked(setting::net_device_name), "the name of an interface has 1 to 15 bytes, no slash, colon or white space, and is not . or ..";
    net_device_loopback: LinuxNetDevices, NetDevices, Kernel, Asked(setting::net_device_loopback), "every network namespace has a loopback of its own, which neither moves nor gives its name away";
    net_device_namespace: LinuxNetDevices, NetDevices, NewerRunc, Outcome(outcome::net_device_namespace), "it needs a network namespace of the container's own";
    net_device_clash: LinuxNetDevices, NetDevices, Kernel, Outcome(outcome::net_device_clash), "two devices would have the same name in the container";
    device_number: Devices, Devices, Runc, Asked(setting::device_number), "major numbers are 0 to 4095, minor numbers 0 to 1048575";
    device_mode: Devices, Devices, Kernel, Asked(setting::device_mode), "the file mode must be at most 0o177777";
    cgroups_path: CgroupsPath, Cgroup, Runc, Asked(setting::cgroups_path), "the path of a cgroup must not hold a line break";
    clos_name: RdtClosId, Rdt, Runc, Outcome(outcome::clos_name), "a class of service is a directory of resctrl: a name of at most 255 bytes without slash or line break, not . or ..; / alone is the default class";
    clos_reserved: RdtClosId, Rdt, Kernel, Outcome(outcome::clos_reserved), "resctrl has this directory for itself";
    rdt_schemata: RdtSchemata, Rdt, Oci, Outcome(outcome::rdt_schemata), "each of the schemata is one line such as L3:0=ff;1=ff";

    device_rule_type: Devices, Devices, Runc, Resources(resources::device_rule_type), "the type of a device cgroup rule must be a, b or c";
    device_rule_access: Devices, Devices, Kernel, Resources(resources::device_rule_access), "the access of a device cgroup rule is made of r, w and m";
    device_rule_no_access: Devices, Devices, Runc, Resources(resources::device_rule_no_access), "the access of a device cgroup rule must not be empty";
    device_rule_number: Devices, Devices, Runc, Resources(resources::device_rule_number), "the numbers of a device cgroup rule are -1 (all) to 4294967294";
    memory_limit: MemLimit, Memory, Runc, Resources(resources::memory_limit), "it must be -1 (unlimited) or more";
    memory_reservation: MemReservation, Memory, Runc, Resources(resources::memory_reservation), "it must be -1 (unlimited) or more";
    memory_swap: MemSwapLimit, Memory, Runc, Resources(resources::memory_swap), "it must be -1 (unlimited) or more";
    memory_kernel: MemKernelLimit, Memory, Kernel, Resources(resources::memory_kernel), "it must be -1 (unlimited) or more";
    memory_kernel_tcp: MemTcpLimit, Memory, Kernel, Resources(resources::memory_kernel_tcp), "it must be -1 (unlimited) or more";
    swappiness: MemSwappiness, Memory, Runc, Resources(resources::swappiness), "it must be between 0 and 100";
    swap_below_limit: MemSwapLimit, Memory, Runc, Sum(resources::swap_below_limit), "it is the limit of memory and swap together, and must not be below that of memory";
    swap_without_limit: MemSwapLimit, Memory, Runc, Outcome(outcome::swap_without_limit), "it is the limit of memory and swap together, and memory has none";
    cpu_shares: CpuShares, Cpu, Runc, Resources(resources::cpu_shares), "it must be 0 (unset), or between 2 and 262144";
    cpu_quota: CpuQuota, Cpu, Runc, Resources(resources::cpu_quota), "it must be 0 (unset), -1 (unlimited), or between 1000 and 17592186044415 microseconds";
    cpu_period: CpuPeriod, Cpu, Runc, Resources(resources::cpu_period), "it must be 0 (unset), or between 1000 and 1000000 microseconds";
    cpu_realtime: CpuRealtimeRuntime, Cpu, Kernel, Sum(resources::cpu_realtime), "it must not be above the real-time period (1000000 microseconds if there is none)";
    cpuset_cpus: CpuSetCpUs, Cpu, Runc, Resources(resources::cpuset_cpus), "it must be a list of processors such as 0-3,7, in ascending ranges";
    cpuset_mems: CpuSetMems, Cpu, Runc, Resources(resources::cpuset_mems), "it must be a list of memory nodes such as 0-1, in ascending ranges";
    pids_limit: PidsLimit, Pids, Oci, Resources(resources::pids_limit), "it must be -1 (unlimited) or more";
    pids_most: PidsLimit, Pids, Runc, Resources(resources::pids_most), "it must be at most 4194304, the most processes that there can be";
    huge_page_size: HugepageLimits, HugePages, Oci, Resources(resources::huge_page_size), "it must be a page size such as 2MB";
    unified_name: CgroupsUnified, Cgroup, Oci, Resources(resources::unified_name), "it must be the name of a cgroup file";
    unified_form: CgroupsUnified, Cgroup, NewerRunc, Resources(resources::unified_form), "the name of a cgroup file looks like controller.parameter";
    blockio_weight: BlockioClass, BlockIo, Oci, Outcome(outcome::blockio_weight), "a weight of block I/O must be between 10 and 1000";
}

/// The first rule of those that `broken` judges which is broken and not left to the low-level
/// runtime.
fn first(
    left: &BTreeSet<Family>,
    broken: impl Fn(&Judged) -> Option<Broken>,
) -> Result<(), Breach> {
    for rule in RULES.iter().filter(|rule| !left.contains(&rule.family)) {
        if let Some(broken) = broken(&rule.judged) {
            return Err(Breach { rule, broken });
        }
    }
    Ok(())
}

/// Judges what an adjustment asks for, where these resource limits are known. Resources are judged
/// where they are written.
pub(super) fn judge_asked(
    adjustment: &ContainerAdjustment,
    linux: &LinuxContainerAdjustment,
    rlimit_names: &[String],
    left: &BTreeSet<Family>,
) -> Result<(), Breach> {
    let asked = Asked {
        adjustment,
        linux,
        rlimit_names,
    };
    first(left, |judged| match judged {
        Judged::Asked(check) => check(&asked),
        _ => None,
    })
}

/// Judges resources that are asked for.
pub(super) fn judge_resources(
    resources: &LinuxResources,
    left: &BTreeSet<Family>,
) -> Result<(), Breach> {
    first(left, |judged| match judged {
        Judged::Resources(check) => check(resources),
        _ => None,
    })
}

/// Judges a `linux.resources` object that was changed.
pub(super) fn judge_sum(
    before: &Value,
    after: &Value,
    left: &BTreeSet<Family>,
) -> Result<(), Breach> {
    first(left, |judged| match judged {
        Judged::Sum(check) => check(before, after),
        _ => None,
    })
}

/// Judges a spec that was adjusted.
pub(super) fn judge_outcome(
    before: &Value,
    after: &Value,
    linux: &LinuxContainerAdjustment,
    left: &BTreeSet<Family>,
) -> Result<(), Breach> {
    let outcome = Outcome {
        before,
        after,
        linux,
    };
    first(left, |judged| match judged {
        Judged::Outcome(check) => check(&outcome),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
