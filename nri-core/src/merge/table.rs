//! The table of fields: what can be adjusted, by which rule, and where it is found.
//!
//! To add the next field of the protocol, add its row here. Everything else follows from it:
//! conflicts, owners, the view of later plugins, the reply, application, normal form, and what a
//! runtime supports.
//!
//! Suppose `LinuxContainerAdjustment` and `LinuxContainer` get a `string hostname` and the enum
//! `Field` the value `Hostname`. The change is, in the table of `Linux`,
//!
//! ```text
//!     hostname: Single<String> = Hostname;
//! ```
//!
//! A test fails as long as a field of the protocol has no row. A list or map whose entries have
//! keys is `KeyedList<T>` or `KeyedMap<T>` (a new type of entry says which of its members is the
//! key); `[hidden]` at the end of a row says that a container does not show the field. Then come a
//! setter in `build`, and whatever applies it (`oci::apply`).

use nri_proto::api::{
    CdiDevice, Container, ContainerAdjustment, Field, HugepageLimit, KeyValue, LinuxContainer,
    LinuxContainerAdjustment, LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxIoPriority,
    LinuxMemory, LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice, LinuxPids, LinuxResources,
    LinuxScheduler, LinuxSeccomp, Mount, OptionalBool, OptionalInt, OptionalInt64, OptionalString,
    OptionalUInt64, PosixRlimit,
};

use super::error::Clash;
use super::kind::{
    AppendedHooks, AppendedList, Args, AsKernelParameter, KeyedList, KeyedMap, LiteralMap, Rdt,
    Single,
};
use super::owners::ContainerOwners;
use super::rule::{Group, Nested, Rule};
use super::sieve::Sieve;
use crate::PluginId;

group! {
    /// Everything that can be adjusted in a container that is being created.
    pub(super) struct Adjustments: ContainerAdjustment => Container {
        annotations: KeyedMap<String> = Annotations;
        mounts: KeyedList<Mount> = Mounts;
        env: KeyedList<KeyValue> = Env;
        args: Args = Args;
        hooks: AppendedHooks = OciHooks;
        linux: Nested<Linux> = None;
        rlimits: KeyedList<PosixRlimit> = Rlimits;
        cdi_devices: KeyedList<CdiDevice> = CdiDevices;
    }
}

group! {
    /// What is particular to Linux.
    pub(super) struct Linux: LinuxContainerAdjustment => LinuxContainer {
        devices: KeyedList<LinuxDevice> = Devices;
        resources: Nested<Resources> = None;
        cgroups_path: Single<String> = CgroupsPath;
        oom_score_adj: Single<Option<OptionalInt>> = OomScoreAdj;
        io_priority: Single<Option<LinuxIoPriority>> = IoPriority;
        seccomp_policy: Single<Option<LinuxSeccomp>> = SeccompPolicy;
        namespaces: KeyedList<LinuxNamespace> = Namespace;
        sysctl: KeyedMap<String, AsKernelParameter> = Sysctl;
        net_devices: KeyedMap<LinuxNetDevice> = LinuxNetDevices;
        scheduler: Single<Option<LinuxScheduler>> = LinuxSched;
        rdt: Rdt = None;
        memory_policy: Single<Option<LinuxMemoryPolicy>> = MemoryPolicy [hidden];
    }
}

group! {
    /// Resources: what an update can carry too. (The device rules are the exception; updates are
    /// rid of them before.)
    pub(super) struct Resources: LinuxResources => LinuxResources {
        memory: Nested<Memory> = None;
        cpu: Nested<Cpu> = None;
        hugepage_limits: KeyedList<HugepageLimit> = HugepageLimits;
        devices: AppendedList<LinuxDeviceCgroup> = None;
        unified: LiteralMap<String> = CgroupsUnified;
        blockio_class: Single<Option<OptionalString>> = BlockioClass;
        rdt_class: Single<Option<OptionalString>> = RdtClass;
        pids: Single<Option<LinuxPids>> = PidsLimit;
    }
}

group! {
    /// Memory.
    pub(super) struct Memory: LinuxMemory => LinuxMemory {
        limit: Single<Option<OptionalInt64>> = MemLimit;
        reservation: Single<Option<OptionalInt64>> = MemReservation;
        swap: Single<Option<OptionalInt64>> = MemSwapLimit;
        kernel: Single<Option<OptionalInt64>> = MemKernelLimit;
        kernel_tcp: Single<Option<OptionalInt64>> = MemTcpLimit;
        swappiness: Single<Option<OptionalUInt64>> = MemSwappiness;
        disable_oom_killer: Single<Option<OptionalBool>> = MemDisableOomKiller;
        use_hierarchy: Single<Option<OptionalBool>> = MemUseHierarchy;
    }
}

group! {
    /// Processor time and placement.
    pub(super) struct Cpu: LinuxCpu => LinuxCpu {
        shares: Single<Option<OptionalUInt64>> = CpuShares;
        quota: Single<Option<OptionalInt64>> = CpuQuota;
        period: Single<Option<OptionalUInt64>> = CpuPeriod;
        realtime_runtime: Single<Option<OptionalInt64>> = CpuRealtimeRuntime;
        realtime_period: Single<Option<OptionalUInt64>> = CpuRealtimePeriod;
        cpus: Single<String> = CpuSetCpUs;
        mems: Single<String> = CpuSetMems;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_protocol_has_a_rule_and_only_one() {
        let mut ruled: Vec<Field> = Adjustments::fields()
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        ruled.retain(|field| *field != Field::None);
        ruled.sort();
        let all: Vec<Field> = (1..1024)
            .filter_map(|number| Field::try_from(number).ok())
            .collect();
        assert_eq!(ruled, all);
    }
}
