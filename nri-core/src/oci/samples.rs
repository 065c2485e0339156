//! Documents and adjustments for property tests: from a small vocabulary, so that they meet often.

use nri_proto::api;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Any JSON, with members of a spec among its names.
pub(crate) fn any_document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[a-z=/]{0,4}".prop_map(Value::from),
    ];
    let names = select(vec![
        "process",
        "linux",
        "mounts",
        "hooks",
        "annotations",
        "resources",
        "memory",
        "cpu",
        "limit",
        "pids",
        "devices",
        "type",
        "path",
        "env",
        "args",
        "seccomp",
        "syscalls",
        "names",
        "user",
        "uid",
        "rlimits",
        "scheduler",
        "flags",
        "intelRdt",
        "schemata",
        "netDevices",
        "sysctl",
        "hugepageLimits",
        "pageSize",
        "prestart",
        "namespaces",
    ]);
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names.clone(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// A spec with any of its parts missing, `null` or there.
pub(crate) fn any_spec() -> impl Strategy<Value = Value> {
    let whole = [
        ("/annotations", json!({"a": "1", "b": "2"})),
        ("/process/env", json!(["A=1", "B", "A=2", "=", "C=3"])),
        ("/process/args", json!(["/bin/sh"])),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "hard": 2, "soft": 1}]),
        ),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER"})),
        (
            "/mounts",
            json!([{"destination": "/a/", "source": "y"}, {"destination": "a/b"}, {"destination": "c"}, {}]),
        ),
        ("/hooks/prestart", json!([{"path": "/h"}])),
        (
            "/linux/devices",
            json!([{"path": "/dev//a", "type": "c", "major": 1, "minor": 3}]),
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]),
        ),
        (
            "/linux/resources/memory",
            json!({"limit": 10, "swap": 20, "checkBeforeUpdate": true}),
        ),
        (
            "/linux/resources/hugepageLimits",
            json!([{"pageSize": "2MB", "limit": 1}, {"pageSize": "1024MB", "limit": 1}]),
        ),
        (
            "/linux/namespaces",
            json!([{"type": "pid"}, {"type": "network", "path": "/n"}]),
        ),
        ("/linux/sysctl", json!({"net/a": "1", "vm.b": "1"})),
        ("/linux/netDevices", json!({"eth1": {}})),
        (
            "/linux/intelRdt",
            json!({"closID": "a", "l3CacheSchema": "x", "vendor": 1}),
        ),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})),
        ("/vendor", json!({"deep": [1, {"x": null}]})),
    ];
    prop::collection::vec(0..3u8, whole.len()).prop_map(move |presence| {
        let mut spec = json!({"ociVersion": "1.2.0"});
        for ((pointer, value), presence) in whole.iter().zip(presence) {
            let member = pointer[1..]
                .split('/')
                .fold(&mut spec, |parent, name| &mut parent[name]);
            if presence > 0 {
                *member = if presence == 1 {
                    Value::Null
                } else {
                    value.clone()
                };
            }
        }
        spec
    })
}

/// One of the good values, and rarely the bad one, so that most adjustments make sense.
fn mostly<T: Clone + std::fmt::Debug>(good: &'static [T], bad: T) -> impl Strategy<Value = T> {
    prop_oneof![40 => select(good), 1 => Just(bad)]
}

fn any_key(good: &'static [&'static str], bad: &'static str) -> impl Strategy<Value = String> {
    (any::<bool>(), mostly(good, bad))
        .prop_map(|(removed, name)| format!("{}{name}", if removed { "-" } else { "" }))
}

fn number(good: &'static [i32], bad: i32) -> impl Strategy<Value = Option<i32>> {
    prop::option::of(mostly(good, bad))
}

prop_compose! {
    fn any_linux()(
        devices in prop::collection::vec(
            (any_key(&["/dev/a", "/dev/./a", "/dev/b"], "dev"), mostly(&["c", "b", "p", "u"], "z"), 0..4i64),
            0..3,
        ),
        namespaces in prop::collection::vec(
            (any_key(&["pid", "network", "ipc"], "foo"), select(vec!["", "/x"])), 0..3,
        ),
        sysctl in prop::collection::btree_map(any_key(&["net.a", "net/a", "net.b"], "kernel.sem"), "[0-9]", 0..3),
        net_devices in prop::collection::btree_map(any_key(&["eth1", "ib0"], "a/b"), "[a-z]{0,3}", 0..2),
        limit in number(&[-1, 0, 1, 2], -2), pids in number(&[-1, 0, 3], -2),
        score in number(&[-1000, 0, 1000], 1001), io in number(&[0, 1, 2, 3], 4),
        policy in number(&[0, 1, 2, 3, 4, 6], 8), mode in number(&[1, 2, 3, 5, 6], 4),
        page_size in mostly(&["2MB", "2M", "1GB", "1G"], "x"),
        flags in prop::collection::vec(mostly(&[0, 1, 2], 9), 0..3),
        class in prop::option::of(select(vec!["", "gold"])),
        unified in prop::collection::btree_map("a[.][ab]", "[0-9]", 0..2),
    ) -> api::LinuxContainerAdjustment {
        let int64 = i64::from;
        let class = class.map(|value| api::OptionalString { value: value.into() });
        api::LinuxContainerAdjustment {
            devices: devices
                .into_iter()
                .map(|(path, r#type, major)| api::LinuxDevice {
                    path, r#type: r#type.into(), major, minor: 3,
                    file_mode: Some(api::OptionalFileMode { value: 0o400 << (major as u32) }),
                    ..Default::default()
                })
                .collect(),
            resources: limit.map(|value| api::LinuxResources {
                memory: Some(api::LinuxMemory {
                    limit: Some(api::OptionalInt64 { value: int64(value) }), ..Default::default()
                }),
                hugepage_limits: vec![api::HugepageLimit { page_size: page_size.into(), limit: 7 }],
                pids: pids.map(|limit| api::LinuxPids { limit: int64(limit) }),
                blockio_class: class.clone(),
                rdt_class: class.clone(),
                unified,
                ..Default::default()
            }),
            cgroups_path: if pids.is_some() { "/x".into() } else { String::new() },
            oom_score_adj: score.map(|score| api::OptionalInt { value: int64(score) }),
            io_priority: io.map(|io| api::LinuxIoPriority { class: io, priority: io }),
            seccomp_policy: mode.map(|mode| api::LinuxSeccomp {
                default_action: "SCMP_ACT_ALLOW".into(),
                syscalls: vec![api::LinuxSyscall {
                    names: vec!["read".into(); usize::from(mode != 4)],
                    action: "SCMP_ACT_LOG".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            namespaces: namespaces
                .into_iter()
                .map(|(r#type, path)| api::LinuxNamespace { r#type, path: path.into() })
                .collect(),
            sysctl,
            net_devices: net_devices
                .into_iter()
                .map(|(host, name)| (host, api::LinuxNetDevice { name }))
                .collect(),
            scheduler: policy.map(|policy| api::LinuxScheduler {
                policy, priority: i32::from([2, 3].contains(&policy)), flags: flags.clone(), ..Default::default()
            }),
            rdt: class.map(|clos_id| api::LinuxRdt {
                clos_id: Some(clos_id), remove: limit.is_some(), ..Default::default()
            }),
            memory_policy: mode.map(|mode| api::LinuxMemoryPolicy {
                mode, nodes: "0-1".into(), flags: flags.into_iter().take(1).filter(|flag| *flag != 2).collect(),
            }),
        }
    }
}

prop_compose! {
    /// An adjustment, which may or may not make sense.
    pub(crate) fn any_adjustment()(
        annotations in prop::collection::btree_map(any_key(&["a", "b", "c"], ""), "[a-z]{0,2}", 0..4),
        env in prop::collection::vec((any_key(&["A", "B", "C"], "X=Y"), "[a-z=]{0,2}"), 0..4),
        args in prop::collection::vec("[a-z]{0,2}", 0..3),
        mounts in prop::collection::vec(
            (
                any_key(&["/a", "/a/", "/", "/a/b", "/c/../a"], "rel"),
                prop::collection::vec(select(vec!["rshared", "rslave", "relabel", "bind"]), 0..3),
            ),
            0..4,
        ),
        hooks in prop::collection::vec((mostly(&["/h", "/i"], "h"), number(&[1, 2], 0)), 0..2),
        rlimits in prop::collection::vec((mostly(&["RLIMIT_NOFILE", "RLIMIT_X"], "x"), mostly(&[0u64, 1], 2)), 0..2),
        cdi in prop::collection::vec(mostly(&["v.com/c=d"], "bad"), 0..2),
        linux in prop::option::of(any_linux()),
    ) -> api::ContainerAdjustment {
        api::ContainerAdjustment {
            annotations,
            env: env.into_iter().map(|(key, value)| api::KeyValue { key, value }).collect(),
            args,
            mounts: mounts
                .into_iter()
                .map(|(destination, options)| api::Mount {
                    destination,
                    source: "x".into(),
                    options: options.into_iter().map(str::to_owned).collect(),
                    ..Default::default()
                })
                .collect(),
            hooks: (!hooks.is_empty()).then(|| api::Hooks {
                poststop: hooks
                    .into_iter()
                    .map(|(path, timeout)| api::Hook {
                        path: path.into(),
                        timeout: timeout.map(|value| api::OptionalInt { value: i64::from(value) }),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }),
            rlimits: rlimits
                .into_iter()
                .map(|(r#type, soft)| api::PosixRlimit { r#type: r#type.into(), hard: 1, soft })
                .collect(),
            cdi_devices: cdi
                .into_iter()
                .map(|name| api::CdiDevice { name: name.into() })
                .collect(),
            linux,
        }
    }
}
