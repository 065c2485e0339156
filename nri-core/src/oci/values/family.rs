//! What rules about values are about.

/// What a rule is about. Families are left to the low-level runtime as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Texts that become arguments of system calls.
    Texts,
    /// The command, its environment, its OOM score and I/O priority.
    Process,
    /// POSIX resource limits.
    Rlimits,
    /// OCI hooks.
    Hooks,
    /// CDI devices.
    Cdi,
    /// The scheduler.
    Scheduler,
    /// Memory policy.
    MemoryPolicy,
    /// Seccomp.
    Seccomp,
    /// Namespaces.
    Namespaces,
    /// Kernel parameters.
    Sysctl,
    /// Network devices.
    NetDevices,
    /// Device nodes and device cgroup rules.
    Devices,
    /// The path of the cgroup, and parameters of cgroup v2.
    Cgroup,
    /// Memory and swap.
    Memory,
    /// Processor time and processors.
    Cpu,
    /// The number of processes.
    Pids,
    /// Huge pages.
    HugePages,
    /// Block I/O.
    BlockIo,
    /// RDT.
    Rdt,
}
