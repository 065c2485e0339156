//! An adjustment or more for every rule that breaks it, and adjustments that just keep within the
//! rules.
//!
//! For the tests of whoever runs a low-level runtime: what is refused here should be refused there,
//! where the rule says so, and what is accepted here should be accepted there.

mod linux;
mod made;
mod process;
mod resources;

use nri_proto::api::{
    ContainerAdjustment, Hooks, LinuxSyscall, MpolFlag, MpolMode, OptionalUInt32,
};
use serde_json::{Value, json};

use crate::build::{Adjust, SetResources};
pub use made::Example;
use made::{
    adjustment, args, argument, clos, device, device_rule, env, hook, huge_pages, mount, namespace,
    net_devices, policy, rlimit, rule, scheduler, schemata, set, syscall, sysctl, unified,
};

/// The spec of a container as a runtime makes them, with limits and namespaces of its own. It has
/// no root and no mounts: those depend on the machine.
pub fn spec() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "container",
        "process": {
            "args": ["/bin/true"],
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin"],
            "user": {"uid": 0, "gid": 0},
            "rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
        },
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/bus"],
            "resources": {
                "memory": {"limit": 1 << 30, "swap": 1u64 << 31},
                "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
                "pids": {"limit": 100},
                "devices": [{"allow": false, "access": "rwm"}],
            },
        },
    })
}

/// What breaks the rules, in the order of the table.
pub fn broken() -> Vec<Example> {
    [process::broken(), linux::broken(), resources::broken()].concat()
}

/// What just keeps within the rules.
pub fn at_the_bounds() -> Vec<ContainerAdjustment> {
    type Made = ContainerAdjustment;
    vec![
        env("A", "\n"),
        args(&["", "/bin/true", ""]),
        mount("", &["bind"]),
        mount("none", &["ro", "rbind"]),
        mount("tmpfs", &[]),
        mount("bind", &["bind"]),
        set(Made::set_oom_score_adj, Some(1000)),
        rlimit("RLIMIT_CORE", u64::MAX, u64::MAX),
        rlimit("RLIMIT_NOFILE", 1024, 1024),
        hook("/bin/true", Some(1), ""),
        hook("/bin/true", Some(9_223_372_036), ""),
        scheduler(2, 0, 99, [0; 3]),
        scheduler(4, -20, 0, [0; 3]),
        scheduler(7, 0, 0, [1024, 1024, 0]),
        policy(MpolMode::MpolPreferred, "", &[]),
        policy(
            MpolMode::MpolBind,
            "0-1023",
            &[MpolFlag::MpolFNumaBalancing],
        ),
        argument(5, "SCMP_CMP_MASKED_EQ"),
        rule(LinuxSyscall {
            errno_ret: Some(OptionalUInt32 { value: 4094 }),
            ..syscall(&["personality", "no_such_call"], "SCMP_ACT_ERRNO")
        }),
        namespace("cgroup", ""),
        namespace("-pid", ""),
        namespace("-ipc", ""),
        sysctl("net.ipv4.ip_forward", "0\n"),
        sysctl("kernel.shmmax", "65536"),
        sysctl("fs.mqueue.msg_max", "10"),
        sysctl("kernel.domainname", "example"),
        net_devices(&[
            ("fifteen-bytes-x", "a%d"),
            ("eth1", "a%d"),
            ("eth2", "eth1"),
        ]),
        device(0, 0, Some(0o177_777)),
        device(4095, 1_048_575, None),
        device_rule("", None, "m"),
        device_rule("a", Some(-1), "rwm"),
        device_rule("b", Some(i64::from(u32::MAX) - 1), "rrw"),
        set(Made::set_cgroups_path, "/nri-a:b"),
        clos("gold"),
        clos("/"),
        schemata("L3:0=ff;1=ff"),
        set(Made::set_memory_limit, -1),
        set(Made::set_memory_limit, 1 << 32),
        set(Made::set_memory_swap, 1 << 30),
        set(Made::set_memory_swap, -1),
        set(Made::set_memory_reservation, -1),
        set(Made::set_memory_swappiness, 0),
        set(Made::set_memory_swappiness, 100),
        set(Made::set_cpu_shares, 0),
        set(Made::set_cpu_shares, 2),
        set(Made::set_cpu_shares, 262_144),
        set(Made::set_cpu_quota, -1),
        set(Made::set_cpu_quota, 1000),
        set(Made::set_cpu_period, 1000),
        set(Made::set_cpu_period, 1_000_000),
        set(Made::set_cpuset_cpus, "0,"),
        set(Made::set_cpuset_mems, "0"),
        set(Made::set_pids_limit, -1),
        set(Made::set_pids_limit, 1 << 22),
        huge_pages("2048KB"),
        unified("memory.high"),
        adjustment(|a| a.hooks = Some(Hooks::default())),
    ]
}
