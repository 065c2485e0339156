//! Of the process, and of what it starts with.

use nri_proto::api::{
    CdiDevice, ContainerAdjustment, LinuxIoPriority, LinuxSyscall, Mount, MpolFlag, MpolMode,
    OptionalUInt32,
};

use super::made::{
    Example, adjustment, args, argument, device_at, env, example, hook, mount, namespace, policy,
    rlimit, rule, scheduler, seccomp, set, syscall,
};
use crate::build::{Adjust, SetResources};

pub(super) fn broken() -> Vec<Example> {
    type Made = ContainerAdjustment;
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
    ]
}
