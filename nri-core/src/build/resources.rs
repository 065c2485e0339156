//! Setting resources, wherever they are.

use nri_proto::api::{
    ContainerAdjustment, ContainerUpdate, Field, HugepageLimit, LinuxCpu, LinuxMemory, LinuxPids,
    LinuxResources,
};

use super::entries::add_entry;
use super::{BuildError, Wrapper};

/// Whatever carries resources: an adjustment, an update, resources themselves.
///
/// A setter replaces the value of an earlier call. What is set to zero is set; what is not set
/// stays as it is.
///
/// ```
/// use nri_core::api::LinuxResources;
/// use nri_core::build::SetResources;
///
/// let mut resources = LinuxResources::default();
/// resources.set_cpu_quota(50_000).set_cpu_period(100_000).set_pids_limit(-1);
/// assert_eq!(resources.cpu.unwrap().period.unwrap().value, 100_000);
/// ```
pub trait SetResources: Sized {
    /// The resources, made if they are not there yet.
    fn resources_mut(&mut self) -> &mut LinuxResources;

    /// Limit of memory in bytes; -1 is no limit.
    fn set_memory_limit(&mut self, bytes: i64) -> &mut Self {
        self.memory(|memory| memory.limit = Some(Wrapper::wrap(bytes)))
    }

    /// Soft limit of memory in bytes, enforced when memory is short.
    fn set_memory_reservation(&mut self, bytes: i64) -> &mut Self {
        self.memory(|memory| memory.reservation = Some(Wrapper::wrap(bytes)))
    }

    /// Limit of memory and swap together, in bytes; -1 is no limit.
    fn set_memory_swap(&mut self, bytes: i64) -> &mut Self {
        self.memory(|memory| memory.swap = Some(Wrapper::wrap(bytes)))
    }

    /// Limit of kernel memory in bytes. Obsolete in current kernels.
    fn set_memory_kernel(&mut self, bytes: i64) -> &mut Self {
        self.memory(|memory| memory.kernel = Some(Wrapper::wrap(bytes)))
    }

    /// Limit of kernel memory for TCP buffers, in bytes.
    fn set_memory_kernel_tcp(&mut self, bytes: i64) -> &mut Self {
        self.memory(|memory| memory.kernel_tcp = Some(Wrapper::wrap(bytes)))
    }

    /// How eagerly pages are swapped out, 0 to 100.
    fn set_memory_swappiness(&mut self, swappiness: u64) -> &mut Self {
        self.memory(|memory| memory.swappiness = Some(Wrapper::wrap(swappiness)))
    }

    /// Whether a process that exceeds the limit waits for memory, and is not killed.
    fn set_memory_disable_oom_killer(&mut self, disable: bool) -> &mut Self {
        self.memory(|memory| memory.disable_oom_killer = Some(Wrapper::wrap(disable)))
    }

    /// Whether the limits count for the whole subtree. Cgroup v1 only.
    fn set_memory_use_hierarchy(&mut self, whole: bool) -> &mut Self {
        self.memory(|memory| memory.use_hierarchy = Some(Wrapper::wrap(whole)))
    }

    /// Weight relative to others; 1024 is the usual one.
    fn set_cpu_shares(&mut self, shares: u64) -> &mut Self {
        self.cpu(|cpu| cpu.shares = Some(Wrapper::wrap(shares)))
    }

    /// Time that may be used per period, in microseconds; -1 is no limit.
    fn set_cpu_quota(&mut self, microseconds: i64) -> &mut Self {
        self.cpu(|cpu| cpu.quota = Some(Wrapper::wrap(microseconds)))
    }

    /// Length of a period in microseconds.
    fn set_cpu_period(&mut self, microseconds: u64) -> &mut Self {
        self.cpu(|cpu| cpu.period = Some(Wrapper::wrap(microseconds)))
    }

    /// Real-time that may be used per period, in microseconds.
    fn set_cpu_realtime_runtime(&mut self, microseconds: i64) -> &mut Self {
        self.cpu(|cpu| cpu.realtime_runtime = Some(Wrapper::wrap(microseconds)))
    }

    /// Length of a real-time period in microseconds.
    fn set_cpu_realtime_period(&mut self, microseconds: u64) -> &mut Self {
        self.cpu(|cpu| cpu.realtime_period = Some(Wrapper::wrap(microseconds)))
    }

    /// Processors that may be used, as `0-3,7`. An empty list takes an earlier call back.
    fn set_cpuset_cpus(&mut self, cpus: impl Into<String>) -> &mut Self {
        self.cpu(|cpu| cpu.cpus = cpus.into())
    }

    /// Memory nodes that may be used, as `0-1`. An empty list takes an earlier call back.
    fn set_cpuset_mems(&mut self, mems: impl Into<String>) -> &mut Self {
        self.cpu(|cpu| cpu.mems = mems.into())
    }

    /// Limit on the number of processes; -1 is no limit.
    fn set_pids_limit(&mut self, limit: i64) -> &mut Self {
        self.resources_mut().pids = Some(LinuxPids { limit });
        self
    }

    /// Limit on huge pages of a size such as `2MB`, in bytes.
    ///
    /// # Errors
    /// The page size has a limit already.
    fn add_hugepage_limit(
        &mut self,
        page_size: impl Into<String>,
        bytes: u64,
    ) -> Result<&mut Self, BuildError> {
        let limit = HugepageLimit {
            page_size: page_size.into(),
            limit: bytes,
        };
        let limits = &mut self.resources_mut().hugepage_limits;
        add_entry(limits, Field::HugepageLimits, limit)?;
        Ok(self)
    }

    /// Class of block I/O, as the runtime's configuration defines it. The empty class clears it.
    fn set_blockio_class(&mut self, class: impl Into<String>) -> &mut Self {
        self.resources_mut().blockio_class = Some(Wrapper::wrap(class.into()));
        self
    }

    /// Class of RDT, as the runtime's configuration defines it. The empty class clears it.
    fn set_rdt_class(&mut self, class: impl Into<String>) -> &mut Self {
        self.resources_mut().rdt_class = Some(Wrapper::wrap(class.into()));
        self
    }

    /// Parameter of cgroup v2: name of the file, and its content. A leading `-` is part of the
    /// name.
    ///
    /// # Errors
    /// The parameter is set already.
    fn add_unified(
        &mut self,
        name: impl Into<String>,
        content: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let (key, content) = (name.into(), content.into());
        let unified = &mut self.resources_mut().unified;
        if unified.contains_key(&key) {
            let field = Field::CgroupsUnified;
            return Err(BuildError::Duplicate { field, key });
        }
        unified.insert(key, content);
        Ok(self)
    }

    /// Changes what is particular to memory.
    #[doc(hidden)]
    fn memory(&mut self, change: impl FnOnce(&mut LinuxMemory)) -> &mut Self {
        change(self.resources_mut().memory.get_or_insert_default());
        self
    }

    /// Changes what is particular to processors.
    #[doc(hidden)]
    fn cpu(&mut self, change: impl FnOnce(&mut LinuxCpu)) -> &mut Self {
        change(self.resources_mut().cpu.get_or_insert_default());
        self
    }
}

impl SetResources for LinuxResources {
    fn resources_mut(&mut self) -> &mut LinuxResources {
        self
    }
}

impl SetResources for ContainerAdjustment {
    fn resources_mut(&mut self) -> &mut LinuxResources {
        let linux = self.linux.get_or_insert_default();
        linux.resources.get_or_insert_default()
    }
}

impl SetResources for ContainerUpdate {
    fn resources_mut(&mut self) -> &mut LinuxResources {
        let linux = self.linux.get_or_insert_default();
        linux.resources.get_or_insert_default()
    }
}
