//! Of resources.

use nri_proto::api::ContainerAdjustment;

use super::made::{Example, adjustment, device_rule, example, huge_pages, set, unified};
use crate::build::SetResources;

pub(super) fn broken() -> Vec<Example> {
    type Made = ContainerAdjustment;
    vec![
        example(
            "device_rule_type",
            device_rule("x", None, "r"),
            "Devices \"x\": the type of a device cgroup rule must be a, b or c",
        ),
        example(
            "device_rule_type",
            device_rule("p", None, "r"),
            "Devices \"p\": the type of a device cgroup rule",
        ),
        example(
            "device_rule_access",
            device_rule("c", None, "rwx"),
            "Devices \"rwx\": the access of a device cgroup rule is made of r, w and m",
        ),
        example(
            "device_rule_no_access",
            device_rule("c", None, ""),
            "Devices \"c\": the access of a device cgroup rule must not be empty",
        ),
        example(
            "device_rule_number",
            device_rule("c", Some(-2), "r"),
            "Devices \"-2\": the numbers of a device cgroup rule",
        ),
        example(
            "device_rule_number",
            device_rule("c", Some(1 << 32), "r"),
            "Devices \"4294967296\": the numbers of a device cgroup rule",
        ),
        example(
            "memory_limit",
            set(Made::set_memory_limit, -5),
            "MemLimit \"-5\": it must be -1 (unlimited) or more",
        ),
        example(
            "memory_reservation",
            set(Made::set_memory_reservation, -2),
            "MemReservation \"-2\": it must be -1",
        ),
        example(
            "memory_swap",
            set(Made::set_memory_swap, -2),
            "MemSwapLimit \"-2\": it must be -1",
        ),
        example(
            "memory_kernel",
            set(Made::set_memory_kernel, -2),
            "MemKernelLimit \"-2\": it must be -1",
        ),
        example(
            "memory_kernel_tcp",
            set(Made::set_memory_kernel_tcp, -2),
            "MemTCPLimit \"-2\": it must be -1",
        ),
        example(
            "swappiness",
            set(Made::set_memory_swappiness, 1000),
            "MemSwappiness \"1000\": it must be between 0 and 100",
        ),
        example(
            "swap_below_limit",
            set(Made::set_memory_swap, 1 << 29),
            "MemSwapLimit \"536870912\": it is the limit of memory and swap together",
        ),
        example(
            "swap_below_limit",
            adjustment(|a| {
                a.set_memory_limit(-1).set_memory_swap(1 << 30);
            }),
            "MemSwapLimit \"1073741824\": it is the limit",
        ),
        example(
            "cpu_shares",
            set(Made::set_cpu_shares, 1),
            "CPUShares \"1\": it must be 0 (unset), or between 2 and 262144",
        ),
        example(
            "cpu_shares",
            set(Made::set_cpu_shares, 262_145),
            "CPUShares \"262145\": it must be",
        ),
        example(
            "cpu_quota",
            set(Made::set_cpu_quota, 999),
            "CPUQuota \"999\": it must be 0 (unset), -1 (unlimited), or between 1000",
        ),
        example(
            "cpu_quota",
            set(Made::set_cpu_quota, 1 << 44),
            "CPUQuota \"17592186044416\": it must be",
        ),
        example(
            "cpu_period",
            set(Made::set_cpu_period, 999),
            "CPUPeriod \"999\": it must be 0 (unset), or between 1000 and 1000000",
        ),
        example(
            "cpu_period",
            set(Made::set_cpu_period, 1_000_001),
            "CPUPeriod \"1000001\": it must be",
        ),
        example(
            "cpu_realtime",
            set(Made::set_cpu_realtime_runtime, 1_000_001),
            "CPURealtimeRuntime \"1000001\": it must not be above the real-time period",
        ),
        example(
            "cpuset_cpus",
            set(Made::set_cpuset_cpus, "1-0"),
            "CPUSetCPUs \"1-0\": it must be a list of processors",
        ),
        example(
            "cpuset_cpus",
            set(Made::set_cpuset_cpus, "x"),
            "CPUSetCPUs \"x\": it must be a list of processors",
        ),
        example(
            "cpuset_mems",
            set(Made::set_cpuset_mems, "0;1"),
            "CPUSetMems \"0;1\": it must be a list of memory nodes",
        ),
        example(
            "pids_limit",
            set(Made::set_pids_limit, -2),
            "PidsLimit \"-2\": it must be -1 (unlimited) or more",
        ),
        example(
            "pids_most",
            set(Made::set_pids_limit, (1 << 22) + 1),
            "PidsLimit \"4194305\": it must be at most 4194304",
        ),
        example(
            "huge_page_size",
            huge_pages("big"),
            "HugepageLimits \"big\": it must be a page size such as 2MB",
        ),
        example(
            "huge_page_size",
            huge_pages("3MB"),
            "HugepageLimits \"3MB\": it must be a page size",
        ),
        example(
            "unified_name",
            unified("a/b.c"),
            "CgroupsUnified \"a/b.c\": it must be the name of a cgroup file",
        ),
        example(
            "unified_form",
            unified("memory"),
            "CgroupsUnified \"memory\": the name of a cgroup file looks like controller.parameter",
        ),
    ]
}
