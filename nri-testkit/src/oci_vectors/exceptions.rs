//! The vectors for which the reference is not followed, each with the rule that is followed
//! instead.

use serde_json::{Value, json};

use super::{Exception, Ours};

/// Where the reference is not followed, and why.
pub fn exceptions() -> Vec<Exception> {
    use Ours::{Differs, Fails, Refused};

    let exception = |name, rule, ours| Exception { name, rule, ours };
    let memory = |name, members| {
        let rule = "all members of memory are applied, not just the limit";
        exception(name, rule, Differs(members))
    };
    let created = |name| {
        let rule = "a process is created with what is set in it, without the zeroes of Go's struct";
        let absent = vec![
            ("/process/cwd", Value::Null),
            ("/process/user", Value::Null),
        ];
        exception(name, rule, Differs(absent))
    };
    let priority = |name, members| {
        let rule = "only the policies FIFO and RR have a priority: runc's rule";
        exception(name, rule, Refused("only SCHED_FIFO and SCHED_RR", members))
    };
    let flags = |name| {
        let rule =
            "nodes are static or relative, and balanced in some modes only: the kernel's rule";
        exception(
            name,
            rule,
            Refused("these flags do not go together", vec![]),
        )
    };
    let both = |name, pointer, value| {
        let rule = "a key that is both removed and set is set";
        exception(name, rule, Differs(vec![(pointer, value)]))
    };
    const KERNEL: &str = "/linux/resources/memory/kernel";
    const KERNEL_TCP: &str = "/linux/resources/memory/kernelTCP";
    const RESERVATION: &str = "/linux/resources/memory/reservation";
    const SWAPPINESS: &str = "/linux/resources/memory/swappiness";
    const OOM_KILLER: &str = "/linux/resources/memory/disableOOMKiller";
    const RULES: &str = "/linux/resources/devices";
    let no_rule = json!({"access": "rwm", "allow": false});
    let sorted_mounts = |second: Vec<Value>| {
        let mut mounts = second;
        mounts.extend([
            json!({"destination": "/proc", "type": "proc", "source": "proc",
                "options": ["nosuid", "noexec", "nodev"]}),
            json!({"destination": "/dev/shm", "type": "bind", "source": "/run/shm/x",
                "options": ["rbind", "ro"]}),
            json!({"destination": "/etc/hosts", "type": "bind",
                "source": "/var/lib/kubelet/hosts", "options": ["rbind", "rprivate", "rw"]}),
        ]);
        Value::from(mounts)
    };
    let dev = json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]});
    vec![
        both(
            "oci/env/set-then-remove-existing",
            "/process/env",
            json!(["PATH=/usr/bin:/bin", "HOME=/root", "FOO=x", "LANG=C"]),
        ),
        exception(
            "oci/env/spec-entry-without-equals",
            "an entry without = is kept",
            Differs(vec![("/process/env", json!(["A=1", "NOEQ", "B=2", "C=3"]))]),
        ),
        exception(
            "oci/env/spec-duplicates-remove",
            "removing a variable removes every occurrence",
            Differs(vec![("/process/env", json!(["B=2"]))]),
        ),
        exception(
            "oci/env/spec-duplicates-untouched",
            "variables that are not mentioned are kept as they are",
            Differs(vec![("/process/env", json!(["A=1", "B=2", "A=3", "C=9"]))]),
        ),
        both(
            "oci/annotations/marker-and-value",
            "/annotations/old",
            json!("z"),
        ),
        both(
            "oci/annotations/marker-and-value-new-key",
            "/annotations/fresh",
            json!("z"),
        ),
        both(
            "oci/sysctl/marker-and-value",
            "/linux/sysctl/net.core.somaxconn",
            json!("9"),
        ),
        both(
            "oci/netdevices/marker-and-value",
            "/linux/netDevices/eth1",
            json!({"name": "again"}),
        ),
        both(
            "oci/mounts/add-then-remove",
            "/mounts",
            sorted_mounts(vec![
                json!({"destination": "/data", "type": "bind", "source": "/host/data",
                    "options": ["rbind", "rw"]}),
                dev.clone(),
                json!({"destination": "/n", "type": "bind", "source": "/n"}),
            ]),
        ),
        exception(
            "oci/args/leading-empty-string",
            "an empty first argument is what is left of a marker",
            Differs(vec![("/process/args", json!(["x"]))]),
        ),
        exception(
            "oci/hooks/minimal-hook",
            "a path that is not absolute is refused, and so is a timeout of no time",
            Fails("the path of a hook must be absolute"),
        ),
        exception(
            "oci/devices/add-fifo",
            "no cgroup controls a FIFO",
            Differs(vec![(RULES, json!([no_rule]))]),
        ),
        exception(
            "oci/devices/remove-keeps-rule",
            "the rule of a removed device goes with it",
            Differs(vec![(RULES, json!([no_rule]))]),
        ),
        exception(
            "oci/devices/read-only-mode",
            "access follows the mode of the device",
            Differs(vec![(
                RULES,
                json!([no_rule,
                    {"access": "r", "allow": true, "major": 1, "minor": 5, "type": "c"}]),
            )]),
        ),
        created("oci/process/oom-zero-bare"),
        created("oci/cdi/bare-spec"),
        exception(
            "oci/process/rlimit-existing-type",
            "there is one entry per type",
            Differs(vec![(
                "/process/rlimits",
                json!([{"hard": 10, "soft": 5, "type": "RLIMIT_NOFILE"}]),
            )]),
        ),
        exception(
            "oci/process/rlimit-bare",
            "absent parents are created",
            Differs(vec![(
                "/process/rlimits",
                json!([{"hard": 10, "soft": 5, "type": "RLIMIT_NPROC"}]),
            )]),
        ),
        exception(
            "oci/seccomp/bare-spec",
            "absent parents are created",
            Differs(vec![(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            )]),
        ),
        exception(
            "oci/memory-policy/mode-4",
            "the local policy takes no nodes",
            Fails("takes no nodes"),
        ),
        memory(
            "oci/resources/mem-kernel",
            vec![(KERNEL, json!(134_217_729))],
        ),
        memory(
            "oci/resources/mem-kernel-tcp",
            vec![(KERNEL_TCP, json!(67_108_865))],
        ),
        memory(
            "oci/resources/mem-swappiness",
            vec![(SWAPPINESS, json!(11))],
        ),
        memory(
            "oci/resources/mem-limit-and-swap",
            vec![("/linux/resources/memory/swap", json!(5000))],
        ),
        exception(
            "oci/resources/pids--1",
            "-1 lifts the limit",
            Differs(vec![("/linux/resources/pids/limit", json!(-1))]),
        ),
        exception(
            "oci/resources/pids--1-no-limit-before",
            "-1 is written, so that it holds whatever the low-level runtime's default is",
            Differs(vec![("/linux/resources/pids/limit", json!(-1))]),
        ),
        exception(
            "oci/resources/pids--5-no-limit-before",
            "a limit below -1 is refused",
            Fails("PidsLimit"),
        ),
        exception(
            "oci/classes/blockio-empty-no-resolver",
            "clearing a class needs no resolver",
            Differs(vec![("/linux/resources/blockIO", Value::Null)]),
        ),
        exception(
            "oci/mounts/sort-root-and-slashes",
            "a relative destination is refused",
            Fails("absolute path"),
        ),
        exception(
            "oci/mounts/duplicates-in-spec-replace",
            "every mount of the destination is replaced",
            Differs(vec![(
                "/mounts",
                json!([{"destination": "/d", "type": "bind", "source": "/new"},
                    {"destination": "/e"}]),
            )]),
        ),
        exception(
            "oci/mounts/duplicates-in-spec-remove",
            "every mount of the destination is removed",
            Differs(vec![("/mounts", json!([{"destination": "/e"}]))]),
        ),
        exception(
            "oci/mounts/trailing-slash-is-another",
            "destinations are compared as cleaned paths",
            Differs(vec![(
                "/mounts",
                sorted_mounts(vec![
                    json!({"destination": "/data/", "type": "bind", "source": "/n"}),
                    dev,
                ]),
            )]),
        ),
        exception(
            "oci/mounts/prefix-is-not-parent",
            "a mount point is above a path only by whole components",
            Fails("is not shared"),
        ),
        exception(
            "oci/mounts/rslave-bare",
            "absent parents are created",
            Differs(vec![
                ("/linux/rootfsPropagation", json!("rslave")),
                (
                    "/mounts",
                    json!([{"destination": "/n", "type": "bind", "options": ["rslave"],
                        "source": "/mnt/nrivectors/shared/dir"}]),
                ),
            ]),
        ),
        exception(
            "oci/whole/everything",
            "all of the above that concern it; a priority that the policy does not have is refused",
            Refused(
                "only SCHED_FIFO and SCHED_RR",
                vec![
                    (
                        "/process/rlimits",
                        json!([{"hard": 4097, "soft": 1025, "type": "RLIMIT_NOFILE"}]),
                    ),
                    (KERNEL, json!(134_217_729)),
                    (KERNEL_TCP, json!(67_108_865)),
                    (RESERVATION, json!(536_870_913)),
                    (SWAPPINESS, json!(11)),
                    (OOM_KILLER, json!(true)),
                    ("/linux/resources/memory/useHierarchy", json!(true)),
                    ("/linux/seccomp/defaultErrnoRet", json!(39)),
                ],
            ),
        ),
        memory("oci/random/02", vec![(RESERVATION, json!(536_870_919))]),
        memory("oci/random/04", vec![(KERNEL_TCP, json!(67_108_871))]),
        memory("oci/random/06", vec![(OOM_KILLER, json!(false))]),
        priority("oci/random/17", vec![(KERNEL_TCP, json!(67_108_870))]),
        priority("oci/random/27", vec![]),
        priority("oci/process/scheduler-1", vec![]),
        exception(
            "oci/process/scheduler-5",
            "the policy's number is reserved in Linux",
            Refused("Linux has no such policy", vec![]),
        ),
        flags("oci/memory-policy/mode-1"),
        flags("oci/memory-policy/mode-2"),
        flags("oci/memory-policy/mode-5"),
        exception(
            "oci/namespaces/remove",
            "a namespace stays that a parameter needs",
            Refused("it cannot be removed", vec![]),
        ),
        exception(
            "oci/sysctl/bare-spec",
            "a parameter of the whole host is refused",
            Refused("a parameter of the whole host", vec![]),
        ),
        exception(
            "oci/whole/marker-namespace-error-before-sysctl",
            "what cannot work is refused before anything is done for it",
            Fails("there is no such namespace"),
        ),
        exception(
            "oci/resources/checker-reject",
            "a limit that Linux does not have is refused: runc's rule",
            Refused("there is no such limit", vec![]),
        ),
        memory("oci/random/31", vec![(SWAPPINESS, json!(12))]),
        memory("oci/random/35", vec![(OOM_KILLER, json!(false))]),
        memory("oci/random/37", vec![(KERNEL, json!(134_217_729))]),
        memory("oci/random/38", vec![(RESERVATION, json!(536_870_918))]),
        memory(
            "oci/random/39",
            vec![(RESERVATION, json!(536_870_916)), (SWAPPINESS, json!(18))],
        ),
    ]
}
