//! What an adjustment or update touches, spelled out by hand: independent of the table of rules, so
//! that laws about owners and conflicts do not check the table against itself.

use std::collections::BTreeSet;

use nri_proto::api::{ContainerAdjustment, Field, LinuxResources};

use crate::keys::KeyKind;
use crate::merge::removal_marker::marked;

/// A field, and the entry for fields that have entries, by the normal form of its key.
pub(super) type Place = (Field, Option<String>);

/// What one adjustment does.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    pub(super) sets: BTreeSet<Place>,
    pub(super) removes: BTreeSet<Place>,
    /// Whether a list sets a key twice.
    pub(super) twice: bool,
    pub(super) hooks: bool,
    pub(super) device_rules: bool,
}

impl Touched {
    pub(super) fn all(&self) -> BTreeSet<Place> {
        self.sets.union(&self.removes).cloned().collect()
    }

    fn single(&mut self, field: Field, is_set: bool) {
        if is_set {
            self.sets.insert((field, None));
        }
    }

    fn entries<'a>(
        &mut self,
        field: Field,
        removable: bool,
        keys: impl IntoIterator<Item = &'a String>,
    ) {
        for key in keys {
            let normal = |key: &str| Some(KeyKind::of(field).normal(key).into_owned());
            match marked(key).filter(|_| removable) {
                Some(key) => {
                    self.removes.insert((field, normal(key)));
                }
                None => self.twice |= !self.sets.insert((field, normal(key))),
            }
        }
    }

    pub(super) fn resources(mut self, resources: &LinuxResources) -> Self {
        if let Some(memory) = &resources.memory {
            self.single(Field::MemLimit, memory.limit.is_some());
            self.single(Field::MemReservation, memory.reservation.is_some());
            self.single(Field::MemSwapLimit, memory.swap.is_some());
            self.single(Field::MemKernelLimit, memory.kernel.is_some());
            self.single(Field::MemTcpLimit, memory.kernel_tcp.is_some());
            self.single(Field::MemSwappiness, memory.swappiness.is_some());
            self.single(
                Field::MemDisableOomKiller,
                memory.disable_oom_killer.is_some(),
            );
            self.single(Field::MemUseHierarchy, memory.use_hierarchy.is_some());
        }
        if let Some(cpu) = &resources.cpu {
            self.single(Field::CpuShares, cpu.shares.is_some());
            self.single(Field::CpuQuota, cpu.quota.is_some());
            self.single(Field::CpuPeriod, cpu.period.is_some());
            self.single(Field::CpuRealtimeRuntime, cpu.realtime_runtime.is_some());
            self.single(Field::CpuRealtimePeriod, cpu.realtime_period.is_some());
            self.single(Field::CpuSetCpUs, !cpu.cpus.is_empty());
            self.single(Field::CpuSetMems, !cpu.mems.is_empty());
        }
        self.single(Field::PidsLimit, resources.pids.is_some());
        self.single(Field::BlockioClass, resources.blockio_class.is_some());
        self.single(Field::RdtClass, resources.rdt_class.is_some());
        let sizes = resources.hugepage_limits.iter().map(|l| &l.page_size);
        self.entries(Field::HugepageLimits, false, sizes);
        self.entries(Field::CgroupsUnified, false, resources.unified.keys());
        self.device_rules = !resources.devices.is_empty();
        self
    }

    pub(super) fn of(adjustment: &ContainerAdjustment) -> Self {
        let mut touched = Self::default();
        touched.entries(Field::Annotations, true, adjustment.annotations.keys());
        let mounts = adjustment.mounts.iter().map(|m| &m.destination);
        touched.entries(Field::Mounts, true, mounts);
        touched.entries(Field::Env, true, adjustment.env.iter().map(|e| &e.key));
        let rlimits = adjustment.rlimits.iter().map(|r| &r.r#type);
        touched.entries(Field::Rlimits, false, rlimits);
        let cdi = adjustment.cdi_devices.iter().map(|d| &d.name);
        touched.entries(Field::CdiDevices, false, cdi);
        let (takes_over, args) = match adjustment.args.split_first() {
            Some((first, rest)) if first.is_empty() => (true, rest),
            _ => (false, &adjustment.args[..]),
        };
        if takes_over {
            touched.removes.insert((Field::Args, None));
        }
        touched.single(Field::Args, !args.is_empty());
        touched.hooks = adjustment.hooks.iter().any(|hooks| {
            [
                &hooks.prestart,
                &hooks.create_runtime,
                &hooks.create_container,
                &hooks.start_container,
                &hooks.poststart,
                &hooks.poststop,
            ]
            .iter()
            .any(|list| !list.is_empty())
        });
        let Some(linux) = &adjustment.linux else {
            return touched;
        };
        touched.entries(Field::Devices, true, linux.devices.iter().map(|d| &d.path));
        touched.single(Field::CgroupsPath, !linux.cgroups_path.is_empty());
        touched.single(Field::OomScoreAdj, linux.oom_score_adj.is_some());
        touched.single(Field::IoPriority, linux.io_priority.is_some());
        touched.single(Field::SeccompPolicy, linux.seccomp_policy.is_some());
        let namespaces = linux.namespaces.iter().map(|n| &n.r#type);
        touched.entries(Field::Namespace, true, namespaces);
        touched.entries(Field::Sysctl, true, linux.sysctl.keys());
        touched.entries(Field::LinuxNetDevices, true, linux.net_devices.keys());
        touched.single(Field::LinuxSched, linux.scheduler.is_some());
        touched.single(Field::MemoryPolicy, linux.memory_policy.is_some());
        if let Some(rdt) = &linux.rdt {
            let fields = [
                (Field::RdtClosId, rdt.clos_id.is_some()),
                (Field::RdtSchemata, rdt.schemata.is_some()),
                (Field::RdtEnableMonitoring, rdt.enable_monitoring.is_some()),
            ];
            for (field, is_set) in fields {
                touched.single(field, is_set);
                if rdt.remove {
                    touched.removes.insert((field, None));
                }
            }
        }
        match &linux.resources {
            Some(resources) => touched.resources(resources),
            None => touched,
        }
    }
}
