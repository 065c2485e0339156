//! An adjustment or more for every rule that breaks it, and adjustments that just keep within the
//! rules.
//!
//! For the tests of whoever runs a low-level runtime: what is refused here should be refused there,
//! where the rule says so, and what is accepted here should be accepted there.

use nri_proto::api::{
    CdiDevice, ContainerAdjustment, Hook, Hooks, KeyValue, LinuxDevice, LinuxDeviceCgroup,
    LinuxIoPriority, LinuxNamespace, LinuxNetDevice, LinuxScheduler, LinuxSeccomp, LinuxSeccompArg,
    LinuxSyscall, Mount, MpolFlag, MpolMode, OptionalFileMode, OptionalInt, OptionalInt64,
    OptionalUInt32, PosixRlimit,
};
use serde_json::{Value, json};

use crate::build::{Adjust, SetResources};

/// An adjustment that breaks a rule.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Example {
    /// The name of the rule.
    pub rule: &'static str,
    /// The adjustment, for the spec of [`spec`].
    pub adjustment: ContainerAdjustment,
    /// What the error says, from the field on.
    pub says: &'static str,
}

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

/// An adjustment that `change` makes.
fn adjustment(change: impl FnOnce(&mut ContainerAdjustment)) -> ContainerAdjustment {
    let mut adjustment = ContainerAdjustment::default();
    change(&mut adjustment);
    adjustment
}

fn env(name: &str, value: &str) -> ContainerAdjustment {
    let (key, value) = (name.into(), value.into());
    adjustment(|a| a.env.push(KeyValue { key, value }))
}

fn args(args: &[&str]) -> ContainerAdjustment {
    adjustment(|a| a.args = args.iter().map(|arg| (*arg).to_owned()).collect())
}

fn rlimit(r#type: &str, hard: u64, soft: u64) -> ContainerAdjustment {
    let r#type = r#type.into();
    adjustment(|a| a.rlimits.push(PosixRlimit { r#type, hard, soft }))
}

fn hook(path: &str, timeout: Option<i64>, arg: &str) -> ContainerAdjustment {
    let hook = Hook {
        path: path.into(),
        args: vec![arg.into()],
        timeout: timeout.map(|value| OptionalInt { value }),
        ..Default::default()
    };
    adjustment(|a| a.hooks.get_or_insert_default().prestart.push(hook))
}

/// A mount of this type with these options.
fn mount(r#type: &str, options: &[&str]) -> ContainerAdjustment {
    let mount = Mount {
        destination: "/mnt".into(),
        source: "/usr".into(),
        r#type: r#type.into(),
        options: options.iter().map(|option| (*option).into()).collect(),
    };
    adjustment(|a| a.mounts.push(mount))
}

fn scheduler(policy: i32, nice: i32, priority: i32, times: [u64; 3]) -> ContainerAdjustment {
    let [runtime, deadline, period] = times;
    adjustment(|a| {
        a.set_scheduler(LinuxScheduler {
            policy,
            nice,
            priority,
            runtime,
            deadline,
            period,
            ..Default::default()
        });
    })
}

fn policy(mode: MpolMode, nodes: &str, flags: &[MpolFlag]) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_memory_policy(mode, nodes, flags.iter().copied());
    })
}

fn seccomp(change: impl FnOnce(&mut LinuxSeccomp)) -> ContainerAdjustment {
    let mut policy = LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        ..Default::default()
    };
    change(&mut policy);
    adjustment(|a| {
        a.set_seccomp_policy(policy);
    })
}

fn syscall(names: &[&str], action: &str) -> LinuxSyscall {
    LinuxSyscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.into(),
        ..Default::default()
    }
}

fn rule(rule: LinuxSyscall) -> ContainerAdjustment {
    seccomp(|policy| policy.syscalls.push(rule))
}

fn argument(index: u32, op: &str) -> ContainerAdjustment {
    let arg = LinuxSeccompArg {
        index,
        op: op.into(),
        ..Default::default()
    };
    rule(LinuxSyscall {
        args: vec![arg],
        ..syscall(&["personality"], "SCMP_ACT_ERRNO")
    })
}

fn namespace(r#type: &str, path: &str) -> ContainerAdjustment {
    let (r#type, path) = (r#type.into(), path.into());
    adjustment(|a| a.linux().namespaces.push(LinuxNamespace { r#type, path }))
}

fn sysctl(name: &str, value: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.linux().sysctl.insert(name.into(), value.into());
    })
}

fn net_devices(devices: &[(&str, &str)]) -> ContainerAdjustment {
    adjustment(|a| {
        for (host, name) in devices {
            let name = (*name).to_owned();
            let device = LinuxNetDevice { name };
            a.linux().net_devices.insert((*host).to_owned(), device);
        }
    })
}

fn device(major: i64, minor: i64, mode: Option<u32>) -> ContainerAdjustment {
    device_at("/dev/x", major, minor, mode)
}

fn device_at(path: &str, major: i64, minor: i64, mode: Option<u32>) -> ContainerAdjustment {
    let device = LinuxDevice {
        path: path.into(),
        r#type: "c".into(),
        major,
        minor,
        file_mode: mode.map(|value| OptionalFileMode { value }),
        ..Default::default()
    };
    adjustment(|a| a.linux().devices.push(device))
}

fn device_rule(r#type: &str, major: Option<i64>, access: &str) -> ContainerAdjustment {
    let rule = LinuxDeviceCgroup {
        allow: true,
        r#type: r#type.into(),
        major: major.map(|value| OptionalInt64 { value }),
        access: access.into(),
        ..Default::default()
    };
    adjustment(|a| {
        a.add_cgroup_device_rule(rule);
    })
}

fn schemata(line: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_rdt_schemata([line]);
    })
}

fn clos(name: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_rdt_clos_id(name);
    })
}

fn huge_pages(size: &str) -> ContainerAdjustment {
    adjustment(|a| {
        // One limit is never there twice.
        let _ = a.add_hugepage_limit(size, 0);
    })
}

fn unified(name: &str) -> ContainerAdjustment {
    adjustment(|a| {
        let _ = a.add_unified(name, "1");
    })
}

/// A setter of [`SetResources`] or [`Adjust`] with a value.
fn set<T>(
    setter: impl FnOnce(&mut ContainerAdjustment, T) -> &mut ContainerAdjustment,
    value: T,
) -> ContainerAdjustment {
    adjustment(|a| {
        setter(a, value);
    })
}

/// What breaks the rules, in the order of the table.
pub fn broken() -> Vec<Example> {
    type Made = ContainerAdjustment;
    let example = |rule, adjustment, says| Example {
        rule,
        adjustment,
        says,
    };
    vec![
        example(
            "text_without_nul",
            args(&["/bin/true", "a\0b"]),
            "Args \"a\\0b\": a text for the kernel must not hold a NUL",
        ),
        example("text_without_nul", env("A", "\0"), "Env \"A\": a text"),
        example(
            "text_without_nul",
            hook("/bin/true", None, "\0"),
            "OciHooks \"/bin/true\": a text",
        ),
        example(
            "text_without_nul",
            device_at("/dev/\0", 1, 3, None),
            "Devices \"/dev/\\0\": a text",
        ),
        example(
            "text_without_nul",
            namespace("ipc", "/p\0"),
            "Namespace \"ipc\": a text",
        ),
        example(
            "text_without_nul",
            set(Made::set_cgroups_path, "/a\0"),
            "CgroupsPath \"/a\\0\": a text",
        ),
        example(
            "text_without_nul",
            set(Made::set_blockio_class, "a\0"),
            "BlockioClass \"a\\0\": a text",
        ),
        example(
            "text_without_nul",
            rule(syscall(&["a\0"], "SCMP_ACT_LOG")),
            "SeccompPolicy \"a\\0\": a text",
        ),
        example(
            "text_without_nul",
            adjustment(|a| {
                a.mounts.push(Mount {
                    destination: "/m".into(),
                    source: "tmpfs".into(),
                    r#type: "tmpfs".into(),
                    options: vec!["size=\0".into()],
                })
            }),
            "Mounts \"/m\": a text",
        ),
        example(
            "path_length",
            device_at(&format!("/dev/{}", "x".repeat(256)), 1, 3, None),
            "Devices \"/dev/xxx",
        ),
        example(
            "variable_name",
            env("A=B", "x"),
            "Env \"A=B\": the name of a variable must not be empty or hold = or NUL",
        ),
        example("variable_name", env("", "x"), "Env: the name of a variable"),
        example(
            "command",
            args(&["", "", "x"]),
            "Args: the first argument is the program, and must not be empty",
        ),
        example(
            "mount_type",
            mount("", &["ro"]),
            "Mounts \"/mnt\": its type is \"\", which is no file system, and none of its options is bind",
        ),
        example(
            "mount_type",
            mount("none", &["rprivate"]),
            "Mounts \"/mnt\": its type is \"none\"",
        ),
        example(
            "oom_score",
            set(Made::set_oom_score_adj, Some(1001)),
            "OomScoreAdj \"1001\": it must be between -1000 and 1000",
        ),
        example(
            "oom_score",
            set(Made::set_oom_score_adj, Some(-1001)),
            "OomScoreAdj \"-1001\": it must be",
        ),
        example(
            "io_priority",
            set(
                Made::set_io_priority,
                LinuxIoPriority {
                    class: 2,
                    priority: 8,
                },
            ),
            "IoPriority \"8\": the priority must be between 0 and 7",
        ),
        example(
            "rlimit_name",
            rlimit("NOFILE", 1, 1),
            "Rlimits \"NOFILE\": the type must start with RLIMIT_",
        ),
        example(
            "rlimit_name",
            rlimit("rlimit_nofile", 1, 1),
            "Rlimits \"rlimit_nofile\": the type must start with RLIMIT_",
        ),
        example(
            "rlimit_known",
            rlimit("RLIMIT_NEW", 1, 1),
            "Rlimits \"RLIMIT_NEW\": there is no such limit",
        ),
        example(
            "rlimit_order",
            rlimit("RLIMIT_CORE", 1, 2),
            "Rlimits \"RLIMIT_CORE\": the soft limit 2 is above the hard limit 1",
        ),
        example(
            "hook_path",
            hook("bin/true", None, ""),
            "OciHooks \"bin/true\": the path of a hook must be absolute",
        ),
        example(
            "hook_path",
            hook("", None, ""),
            "OciHooks: the path of a hook must be absolute",
        ),
        example(
            "hook_timeout",
            hook("/bin/true", Some(0), ""),
            "OciHooks \"/bin/true\": the timeout of a hook must be a second or more, and at most 9223372036 of them, not 0",
        ),
        example(
            "hook_timeout",
            hook("/bin/true", Some(1 << 40), ""),
            "OciHooks \"/bin/true\": the timeout",
        ),
        example(
            "cdi_name",
            adjustment(|a| a.cdi_devices.push(CdiDevice { name: "gpu".into() })),
            "CdiDevices \"gpu\": the name of a CDI device looks like vendor.com/class=name",
        ),
        example(
            "scheduler_reserved",
            scheduler(5, 0, 0, [0; 3]),
            "LinuxSched \"SCHED_ISO\": Linux has no such policy",
        ),
        example(
            "scheduler_priority",
            scheduler(2, 0, 0, [0; 3]),
            "LinuxSched \"0\": the priority of this policy must be between 1 and 99",
        ),
        example(
            "scheduler_priority",
            scheduler(3, 0, 100, [0; 3]),
            "LinuxSched \"100\": the priority of this policy",
        ),
        example(
            "scheduler_no_priority",
            scheduler(1, 0, 1, [0; 3]),
            "LinuxSched \"1\": only SCHED_FIFO and SCHED_RR have a priority",
        ),
        example(
            "scheduler_no_priority",
            scheduler(6, 0, 1, [0; 3]),
            "LinuxSched \"1\": only SCHED_FIFO and SCHED_RR",
        ),
        example(
            "scheduler_nice",
            scheduler(4, 20, 0, [0; 3]),
            "LinuxSched \"20\": nice must be between -20 and 19",
        ),
        example(
            "scheduler_nice",
            scheduler(6, -21, 0, [0; 3]),
            "LinuxSched \"-21\": nice must be between -20 and 19",
        ),
        example(
            "scheduler_times",
            scheduler(2, 0, 1, [2048; 3]),
            "LinuxSched \"2048/2048/2048\": only SCHED_DEADLINE has a runtime, a deadline and a period",
        ),
        example(
            "scheduler_deadline",
            scheduler(7, 0, 0, [3000, 2000, 5000]),
            "LinuxSched \"3000/2000/5000\": it must hold that 1024 <= runtime <= deadline <= period",
        ),
        example(
            "policy_without_nodes",
            policy(MpolMode::MpolLocal, "0", &[]),
            "MemoryPolicy \"0\": this mode takes no nodes",
        ),
        example(
            "policy_with_nodes",
            policy(MpolMode::MpolBind, "", &[]),
            "MemoryPolicy \"MPOL_BIND\": this mode needs nodes",
        ),
        example(
            "policy_with_nodes",
            policy(MpolMode::MpolInterleave, "", &[]),
            "MemoryPolicy \"MPOL_INTERLEAVE\": this mode needs nodes",
        ),
        example(
            "policy_with_nodes",
            policy(MpolMode::MpolPreferredMany, "", &[]),
            "MemoryPolicy \"MPOL_PREFERRED_MANY\": this mode needs nodes",
        ),
        example(
            "policy_with_nodes",
            policy(MpolMode::MpolWeightedInterleave, "", &[]),
            "MemoryPolicy \"MPOL_WEIGHTED_INTERLEAVE\": this mode needs nodes",
        ),
        example(
            "policy_nodes",
            policy(MpolMode::MpolBind, "3-1", &[]),
            "MemoryPolicy \"3-1\": the nodes must be a list such as 0-3,7",
        ),
        example(
            "policy_nodes",
            policy(MpolMode::MpolBind, "1024", &[]),
            "MemoryPolicy \"1024\": the nodes must be a list",
        ),
        example(
            "policy_flags",
            policy(
                MpolMode::MpolBind,
                "0",
                &[MpolFlag::MpolFStaticNodes, MpolFlag::MpolFRelativeNodes],
            ),
            "MemoryPolicy \"MPOL_BIND MPOL_F_STATIC_NODES MPOL_F_RELATIVE_NODES\": these flags do not go together",
        ),
        example(
            "policy_flags",
            policy(
                MpolMode::MpolInterleave,
                "0",
                &[MpolFlag::MpolFNumaBalancing],
            ),
            "MemoryPolicy \"MPOL_INTERLEAVE MPOL_F_NUMA_BALANCING\": these flags",
        ),
        example(
            "policy_flags",
            policy(MpolMode::MpolPreferred, "", &[MpolFlag::MpolFStaticNodes]),
            "MemoryPolicy \"MPOL_PREFERRED MPOL_F_STATIC_NODES\": these flags",
        ),
        example(
            "seccomp_default",
            seccomp(|policy| policy.default_action.clear()),
            "SeccompPolicy: it has no default action",
        ),
        example(
            "seccomp_names",
            rule(syscall(&[], "SCMP_ACT_ERRNO")),
            "SeccompPolicy: one of its rules names no system call",
        ),
        example(
            "seccomp_empty_name",
            rule(syscall(&["read", ""], "SCMP_ACT_LOG")),
            "SeccompPolicy \"read\": one of its rules has an empty name",
        ),
        example(
            "seccomp_no_action",
            rule(syscall(&["read"], "")),
            "SeccompPolicy \"read\": one of its rules has no action",
        ),
        example(
            "seccomp_action",
            rule(syscall(&["read"], "SCMP_ACT_NOP")),
            "SeccompPolicy \"SCMP_ACT_NOP\": there is no such action",
        ),
        example(
            "seccomp_action",
            seccomp(|policy| policy.default_action = "allow".into()),
            "SeccompPolicy \"allow\": there is no such action",
        ),
        example(
            "seccomp_architecture",
            seccomp(|policy| policy.architectures.push("amd64".into())),
            "SeccompPolicy \"amd64\": there is no such architecture",
        ),
        example(
            "seccomp_operator",
            argument(0, "=="),
            "SeccompPolicy \"==\": there is no such operator",
        ),
        example(
            "seccomp_flag",
            seccomp(|policy| policy.flags.push("LOG".into())),
            "SeccompPolicy \"LOG\": there is no such flag",
        ),
        example(
            "seccomp_argument",
            argument(6, "SCMP_CMP_EQ"),
            "SeccompPolicy \"6\": a system call has the arguments 0 to 5",
        ),
        example(
            "seccomp_errno",
            rule(LinuxSyscall {
                errno_ret: Some(OptionalUInt32 { value: 4095 }),
                ..syscall(&["personality"], "SCMP_ACT_ERRNO")
            }),
            "SeccompPolicy \"4095\": an error number is at most 4094",
        ),
        example(
            "seccomp_errno",
            seccomp(|policy| {
                policy.default_action = "SCMP_ACT_ERRNO".into();
                policy.default_errno = Some(OptionalUInt32 { value: 70000 });
            }),
            "SeccompPolicy \"70000\": an error number",
        ),
        example(
            "seccomp_notify",
            rule(syscall(&["mkdir"], "SCMP_ACT_NOTIFY")),
            "SeccompPolicy \"mkdir\": SCMP_ACT_NOTIFY needs a listener path",
        ),
        example(
            "seccomp_notify",
            seccomp(|policy| policy.default_action = "SCMP_ACT_NOTIFY".into()),
            "SeccompPolicy \"SCMP_ACT_NOTIFY\": SCMP_ACT_NOTIFY needs",
        ),
        example(
            "namespace_type",
            namespace("net", ""),
            "Namespace \"net\": there is no such namespace, only pid, network",
        ),
        example(
            "namespace_path",
            namespace("ipc", "proc/1/ns/ipc"),
            "Namespace \"ipc\": the path of a namespace must be absolute, not \"proc/1/ns/ipc\"",
        ),
        example(
            "namespace_needed",
            namespace("-network", ""),
            "Namespace \"network\": it cannot be removed: the parameter net.ipv4.ip_forward needs a network namespace",
        ),
        example(
            "namespace_needed",
            namespace("-uts", ""),
            "Namespace \"uts\": it cannot be removed: hostname needs a uts namespace",
        ),
        example(
            "namespace_needed",
            namespace("-mount", ""),
            "Namespace \"mount\": it cannot be removed: linux.maskedPaths needs a mount namespace",
        ),
        example(
            "user_mappings",
            namespace("user", ""),
            "Namespace \"user\": a new user namespace needs id mappings",
        ),
        example(
            "sysctl_name",
            sysctl("net.ipv4 x", "1"),
            "Sysctl \"net.ipv4 x\": it is no name of a kernel parameter",
        ),
        example(
            "sysctl_name",
            sysctl("net.ipv4\0", "1"),
            "Sysctl \"net.ipv4\\0\": it is no name",
        ),
        example(
            "sysctl_value",
            sysctl("net.ipv4.ip_forward", "0\n1"),
            "Sysctl \"net.ipv4.ip_forward\": the value must be one line without a NUL",
        ),
        example(
            "sysctl_value",
            sysctl("net.ipv4.ip_forward", "0\0"),
            "Sysctl \"net.ipv4.ip_forward\": the value",
        ),
        example(
            "sysctl_of_host",
            sysctl("vm.swappiness", "1"),
            "Sysctl \"vm.swappiness\": it is a parameter of the whole host",
        ),
        example(
            "sysctl_of_host",
            sysctl("kernel.shm_next_id", "1"),
            "Sysctl \"kernel.shm_next_id\": it is a parameter of the whole host",
        ),
        example(
            "sysctl_hostname",
            sysctl("kernel.hostname", "x"),
            "Sysctl \"kernel.hostname\": the name of the host is the member hostname",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0:1", "")]),
            "LinuxNetDevices \"eth0:1\": the name of an interface has 1 to 15 bytes",
        ),
        example(
            "net_device_name",
            net_devices(&[("..", "")]),
            "LinuxNetDevices \"..\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0", "my nic")]),
            "LinuxNetDevices \"eth0\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0", "a\tb")]),
            "LinuxNetDevices \"eth0\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("sixteen-bytes-xx", "")]),
            "LinuxNetDevices \"sixteen-bytes-xx\": the name of an interface",
        ),
        example(
            "net_device_loopback",
            net_devices(&[("eth0", "lo")]),
            "LinuxNetDevices \"eth0\": every network namespace has a loopback of its own",
        ),
        example(
            "net_device_clash",
            net_devices(&[("eth0", "a"), ("eth1", "a")]),
            "LinuxNetDevices \"eth1\": the container would have two devices named \"a\": this one and \"eth0\" of the host",
        ),
        example(
            "net_device_clash",
            net_devices(&[("eth0", ""), ("eth1", "eth0")]),
            "LinuxNetDevices \"eth1\": the container would have two devices",
        ),
        example(
            "device_number",
            device(-1, 3, None),
            "Devices \"/dev/x\": major numbers are 0 to 4095, minor numbers 0 to 1048575, and this is -1:3",
        ),
        example(
            "device_number",
            device(1, -1, None),
            "Devices \"/dev/x\": major numbers are 0 to 4095",
        ),
        example(
            "device_mode",
            device(1, 3, Some(0o200_000)),
            "Devices \"/dev/x\": the file mode must be at most 0o177777, not 0o200000",
        ),
        example(
            "cgroups_path",
            set(Made::set_cgroups_path, "/a\nb"),
            "CgroupsPath \"/a\\nb\": the path of a cgroup must not hold a line break",
        ),
        example(
            "clos_name",
            clos(".."),
            "RdtClosID \"..\": a class of service is a directory of resctrl",
        ),
        example(
            "clos_name",
            clos("."),
            "RdtClosID \".\": a class of service",
        ),
        example(
            "clos_name",
            clos("a/b"),
            "RdtClosID \"a/b\": a class of service",
        ),
        example(
            "clos_reserved",
            clos("mon_groups"),
            "RdtClosID \"mon_groups\": resctrl has this directory for itself",
        ),
        example(
            "rdt_schemata",
            schemata("L3:0=f\nMB:0=10"),
            "RdtSchemata \"L3:0=f\\nMB:0=10\": each of the schemata is one line",
        ),
        example(
            "rdt_schemata",
            schemata("L3"),
            "RdtSchemata \"L3\": each of the schemata",
        ),
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
