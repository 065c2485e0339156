//! Random adjustments: most of them keep the rules, and every rule is broken now and then.

use nri_core::api::{
    ContainerAdjustment, Hook, KeyValue, LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxIoPriority,
    LinuxMemory, LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice, LinuxScheduler, LinuxSeccomp,
    LinuxSeccompArg, LinuxSyscall, Mount, OptionalFileMode, OptionalInt, OptionalInt64,
    OptionalUInt32, OptionalUInt64, PosixRlimit,
};
use nri_core::build::{Adjust as _, SetResources as _};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

/// One of these values, or rarely one of those.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    good: impl Strategy<Value = T> + 'static,
    bad: &'static [T],
) -> BoxedStrategy<T> {
    prop_oneof![12 => good, 1 => select(bad)].boxed()
}

fn text(good: &'static str, bad: &'static [&'static str]) -> BoxedStrategy<String> {
    let bad = select(bad).prop_map(str::to_owned);
    prop_oneof![12 => good, 1 => bad].boxed()
}

fn word(good: &'static [&'static str], bad: &'static [&'static str]) -> BoxedStrategy<String> {
    mostly(select(good), bad).prop_map(str::to_owned).boxed()
}

/// An adjustment with a few changes of any kind.
pub(crate) fn any_adjustment(least_oom_score: i64) -> impl Strategy<Value = ContainerAdjustment> {
    let change = prop_oneof![
        process(),
        limits(),
        oom_score(least_oom_score),
        hooks(),
        scheduling(),
        memory_policy(),
        seccomp(),
        namespaces(),
        parameters(),
        net_devices(),
        devices(),
        device_rules(),
        memory(),
        processors(),
        pids(),
        mounts(),
        classes(),
    ];
    // The wire joins messages by joining their bytes.
    vec(change, 1..5).prop_map(|changes| {
        let bytes: Vec<u8> = changes.iter().flat_map(|c| c.encode_to_vec()).collect();
        ContainerAdjustment::decode(bytes.as_slice()).unwrap_or_default()
    })
}

type Change = BoxedStrategy<ContainerAdjustment>;

/// The change that `make` makes of a value.
fn change<T: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
    make: fn(&mut ContainerAdjustment, T),
) -> Change {
    value
        .prop_map(move |value| {
            let mut adjustment = ContainerAdjustment::default();
            make(&mut adjustment, value);
            adjustment
        })
        .boxed()
}

fn process() -> Change {
    let env = (
        text("-?[A-Z_ ]{1,4}|PATH", &["", "A=B", "A\0"]),
        text("\\PC{0,8}|\n", &["\0"]),
    );
    let args = vec(text("\\PC{0,8}|\n", &["\0"]), 0..3);
    prop_oneof![
        change(env, |a, (key, value)| a.env.push(KeyValue { key, value })),
        change((args, any::<bool>()), |a, (args, marked)| {
            a.args.extend(marked.then(String::new));
            a.args.push("/bin/true".into());
            a.args.extend(args);
        }),
        change(("-?[a-z.]{1,6}", "\\PC{0,8}"), |a, (key, value)| {
            a.annotations.insert(key, value);
        }),
    ]
    .boxed()
}

fn limits() -> Change {
    let kind = word(
        &["RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_FSIZE"],
        &["RLIMIT_X", "core"],
    );
    // Whoever is limited may not give more than it has; nobody is limited in these three, as a
    // rule.
    change((kind, 1u64.., 1u64..), |a, (kind, one, other)| {
        let (hard, soft) = if one % 13 == 0 {
            (one, other)
        } else {
            (one.max(other), one.min(other))
        };
        a.rlimits.push(PosixRlimit {
            r#type: kind,
            hard,
            soft,
        });
    })
}

fn oom_score(least: i64) -> Change {
    change(mostly(least..=1000, &[1001, i64::MAX]), |a, score| {
        a.set_oom_score_adj(Some(score));
    })
}

fn hooks() -> Change {
    // Long enough for a busy machine.
    let timeout = prop::option::of(mostly(60i64..=9_223_372_036, &[0, -1, i64::MAX]));
    let path = word(&["/bin/true"], &["bin/true", ""]);
    change(
        (path, timeout, text("\\PC{0,4}", &["\0"]), 0..5),
        |a, (path, timeout, arg, list)| {
            let hook = Hook {
                path,
                args: vec!["true".into(), arg],
                timeout: timeout.map(|value| OptionalInt { value }),
                ..Default::default()
            };
            let hooks = a.hooks.get_or_insert_default();
            match list {
                0 => hooks.prestart.push(hook),
                1 => hooks.create_runtime.push(hook),
                2 => hooks.create_container.push(hook),
                3 => hooks.start_container.push(hook),
                _ => hooks.poststop.push(hook),
            }
        },
    )
}

fn scheduling() -> Change {
    let scheduler = (0..8, -21..21, 0..101, vec(0u64..4096, 3));
    prop_oneof![
        change(scheduler, |a, (policy, nice, priority, times)| {
            a.set_scheduler(LinuxScheduler {
                policy,
                nice,
                priority: if matches!(policy, 2 | 3) {
                    priority
                } else {
                    priority / 100
                },
                runtime: if policy == 7 { times[0] } else { 0 },
                deadline: if policy == 7 { times[1] } else { 0 },
                period: if policy == 7 { times[2] } else { 0 },
                ..Default::default()
            });
        }),
        change((0..4, 0..9), |a, (class, priority)| {
            a.set_io_priority(LinuxIoPriority { class, priority });
        }),
    ]
    .boxed()
}

fn memory_policy() -> Change {
    let nodes = word(&["", "0", "0-3,7"], &["3-1", "x"]);
    change((0..7, nodes, vec(0..3, 0..2)), |a, (mode, nodes, flags)| {
        a.linux().memory_policy = Some(LinuxMemoryPolicy { mode, nodes, flags });
    })
}

fn seccomp() -> Change {
    let rule = (
        vec(word(&["personality", "acct", "no_such_call"], &[""]), 1..3),
        word(
            &[
                "SCMP_ACT_ERRNO",
                "SCMP_ACT_LOG",
                "SCMP_ACT_ALLOW",
                "SCMP_ACT_TRAP",
            ],
            &["", "ERRNO"],
        ),
        prop::option::of(mostly(0u32..=4094, &[4095, 70_000, u32::MAX])),
        vec(
            (
                mostly(0u32..6, &[6]),
                any::<u64>(),
                word(
                    &["SCMP_CMP_EQ", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"],
                    &["="],
                ),
            ),
            0..3,
        ),
    );
    let policy = (
        word(
            &["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"],
            &["", "ALLOW", "SCMP_ACT_NOTIFY"],
        ),
        vec(
            word(
                &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"],
                &["amd64"],
            ),
            0..3,
        ),
        vec(rule, 0..3),
    );
    change(policy, |a, (default_action, architectures, rules)| {
        let rules = rules
            .into_iter()
            .map(|(names, action, errno, args)| LinuxSyscall {
                names,
                action,
                errno_ret: errno.map(|value| OptionalUInt32 { value }),
                args: args
                    .into_iter()
                    .map(|(index, value, op)| LinuxSeccompArg {
                        index,
                        value,
                        value_two: value,
                        op,
                    })
                    .collect(),
            });
        a.set_seccomp_policy(LinuxSeccomp {
            default_action,
            architectures,
            syscalls: rules.collect(),
            ..Default::default()
        });
    })
}

fn namespaces() -> Change {
    // Without time: runc 1.1 does not know it.
    let kind = word(
        &[
            "-pid", "-ipc", "-network", "-uts", "-mount", "-user", "pid", "ipc", "network", "uts",
            "mount", "cgroup",
        ],
        &["user", "net"],
    );
    change((kind, word(&[""], &["rel/path"])), |a, (r#type, path)| {
        a.linux().namespaces.push(LinuxNamespace { r#type, path });
    })
}

fn parameters() -> Change {
    let name = word(
        &[
            "net.ipv4.ip_forward",
            "net/ipv4/ip_forward",
            "-net.ipv4.ip_forward",
            "kernel.shmmni",
            "kernel.msgmnb",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ],
        &[
            "vm.swappiness",
            "kernel.hostname",
            "user.max_user_namespaces",
            "kernel.shm_next_id",
            "net.ipv4 x",
            "",
            "net.ipv4.ip_forward ",
        ],
    );
    change(
        (name, text("[1-9]\n?", &["1\n2", "\0"])),
        |a, (name, value)| {
            a.linux().sysctl.insert(name, value);
        },
    )
}

fn net_devices() -> Change {
    let names = (
        text("-?[a-z]{1,4}[0-9]", &["lo", "a b", "."]),
        text("([a-z]{1,4}[0-9])?", &["lo", "a:b"]),
    );
    change(names, |a, (host, name)| {
        a.linux().net_devices.insert(host, LinuxNetDevice { name });
    })
}

fn devices() -> Change {
    let device = (
        text("-?/dev/[x-z][0-9]?", &["dev/x", "/dev/\0"]),
        word(&["c", "b", "u", "p"], &["", "z"]),
        mostly(0i64..4096, &[-1, 4096]),
        mostly(0i64..1 << 20, &[-1, 1 << 20]),
        prop::option::of(mostly(0u32..=0o177_777, &[u32::MAX])),
        prop::option::of(0u32..70_000),
    );
    change(device, |a, (path, r#type, major, minor, mode, uid)| {
        a.linux().devices.push(LinuxDevice {
            path,
            r#type,
            major,
            minor,
            file_mode: mode.map(|value| OptionalFileMode { value }),
            uid: uid.map(|value| OptionalUInt32 { value }),
            gid: None,
        });
    })
}

fn device_rules() -> Change {
    let number = || prop::option::of(mostly(-1..i64::from(u32::MAX), &[-2, i64::MAX]));
    let rule = (
        any::<bool>(),
        word(&["", "a", "b", "c"], &["u", "p"]),
        number(),
        number(),
        text("[rwm]{1,3}", &["", "x"]),
    );
    change(rule, |a, (allow, r#type, major, minor, access)| {
        let int64 = |number: Option<i64>| number.map(|value| OptionalInt64 { value });
        a.add_cgroup_device_rule(LinuxDeviceCgroup {
            allow,
            r#type,
            major: int64(major),
            minor: int64(minor),
            access,
        });
    })
}

fn memory() -> Change {
    // More than runc itself needs.
    let size = || {
        prop::option::of(
            prop_oneof![4 => (1i64 << 25)..(1 << 40), 1 => Just(-1), 1 => Just(0), 1 => Just(-5)],
        )
    };
    let swappiness = prop::option::of(mostly(0u64..=100, &[101, u64::MAX]));
    change(
        (size(), size(), size(), size(), swappiness),
        |a, (limit, swap, reservation, kernel, swappiness)| {
            let int64 = |number: Option<i64>| number.map(|value| OptionalInt64 { value });
            a.resources_mut().memory = Some(LinuxMemory {
                limit: int64(limit),
                swap: int64(swap),
                reservation: int64(reservation),
                kernel: int64(kernel),
                swappiness: swappiness.map(|value| OptionalUInt64 { value }),
                ..Default::default()
            });
        },
    )
}

fn processors() -> Change {
    let cpu = (
        prop::option::of(mostly(2u64..=262_144, &[0, 1, 262_145])),
        prop::option::of(mostly(1000i64..1 << 44, &[-2, -1, 0, 999, 1 << 44])),
        prop::option::of(mostly(1000u64..=1_000_000, &[0, 999, 1_000_001])),
        word(&["", "0", "0,", " 0", "0-0", "all"], &["x", "1-0"]),
        word(&["", "0"], &["x", "0;1"]),
    );
    change(cpu, |a, (shares, quota, period, cpus, mems)| {
        let uint64 = |number: Option<u64>| number.map(|value| OptionalUInt64 { value });
        a.resources_mut().cpu = Some(LinuxCpu {
            shares: uint64(shares),
            quota: quota.map(|value| OptionalInt64 { value }),
            period: uint64(period),
            cpus,
            mems,
            ..Default::default()
        });
    })
}

fn pids() -> Change {
    let limit = mostly(-1i64..=1 << 22, &[-2, (1 << 22) + 1, i64::MAX]);
    change(limit, |a, limit| {
        a.set_pids_limit(limit);
    })
}

fn mounts() -> Change {
    let mount = (
        text("-?/mnt/[ab]", &["mnt", "/mnt/\0"]),
        select(&["", "none", "tmpfs"][..]),
        any::<bool>(),
        select(&["ro", "rw", "noexec", ""][..]),
    );
    change(mount, |a, (destination, kind, bind, option)| {
        let (source, first) = match bind {
            true => ("/usr", "rbind"),
            false => ("tmpfs", "nosuid"),
        };
        a.mounts.push(Mount {
            destination,
            r#type: kind.into(),
            source: source.into(),
            options: vec![first.into(), option.into()],
        });
    })
}

fn classes() -> Change {
    prop_oneof![
        change(
            text("[a-z]{1,4}", &["..", "a/b", "a\nb", "info"]),
            |a, class| {
                a.set_rdt_clos_id(class);
            }
        ),
        change(
            text("(L3|MB):[01]=[0-9a-f]{1,3}", &["L3", "L3:0=f\nMB:0=10"]),
            |a, line| {
                a.set_rdt_schemata([line]);
            }
        ),
        change(
            text("/nri-low-level-[a-z]{1,3}", &["/a\nb", "/a\0"]),
            |a, path| {
                a.set_cgroups_path(path);
            }
        ),
    ]
    .boxed()
}
