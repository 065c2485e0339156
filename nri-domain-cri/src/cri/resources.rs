//! Resources of pods and containers.

use std::collections::BTreeMap;

use super::field::message;

message! {
    /// Linux resources. A number that is 0 and a text that is empty say nothing.
    pub struct LinuxContainerResources {
        /// Length of a CFS period, in microseconds.
        cpu_period = 1 / "cpuPeriod": i64,
        /// CPU time in a CFS period, in microseconds.
        cpu_quota = 2 / "cpuQuota": i64,
        /// Relative weight.
        cpu_shares = 3 / "cpuShares": i64,
        /// Memory limit, in bytes.
        memory_limit_in_bytes = 4 / "memoryLimitInBytes": i64,
        /// OOM score adjustment.
        oom_score_adj = 5 / "oomScoreAdj": i64,
        /// CPUs, as a list such as `0-3,7`.
        cpuset_cpus = 6 / "cpusetCpus": String,
        /// Memory nodes, as a list such as `0,1`.
        cpuset_mems = 7 / "cpusetMems": String,
        /// Limits of huge pages.
        hugepage_limits = 8 / "hugepageLimits": Vec<HugepageLimit>,
        /// cgroup v2 files.
        unified = 9 / "unified": BTreeMap<String, String>,
        /// Limit of memory and swap together, in bytes.
        memory_swap_limit_in_bytes = 10 / "memorySwapLimitInBytes": i64,
    }
}

message! {
    /// The limit of one size of huge pages.
    pub struct HugepageLimit {
        /// The size, for example `2MB`.
        page_size = 1 / "pageSize": String,
        /// The limit, in bytes.
        limit = 2 / "limit": u64,
    }
}
