//! Devices, namespaces, kernel parameters, network devices, memory policy, seccomp.

use super::*;

fn devices(devices: Vec<LinuxDevice>) -> ContainerAdjustment {
    linux(LinuxContainerAdjustment {
        devices,
        ..Default::default()
    })
}

#[test]
fn a_replaced_device_takes_its_rule_along() {
    let rule = |minor: i64, access: &str| json!({"allow": true, "type": "c", "major": 10, "minor": minor, "access": access});
    let wildcard = json!({"allow": true, "type": "c", "major": 10, "access": "r"});
    let deny = json!({"allow": false, "type": "c", "major": 10, "minor": 1, "access": "m"});
    let spec = json!({"linux": {
        "devices": [{"path": "/dev/x", "type": "c", "major": 10, "minor": 1}],
        "resources": {"devices": [rule(1, "rwm"), wildcard, deny]},
    }});
    let result = applied(&spec, &devices(vec![device("/dev/x", "c", 2, Some(0o444))]));
    assert_eq!(
        result["linux"],
        json!({
            "devices": [{"path": "/dev/x", "type": "c", "major": 10, "minor": 2, "fileMode": 0o444}],
            "resources": {"devices": [wildcard, deny, rule(2, "r")]},
        })
    );
    let result = applied(&spec, &devices(vec![device("-/dev/x", "", 0, None)]));
    assert_eq!(
        result["linux"],
        json!({"devices": [], "resources": {"devices": [wildcard, deny]}})
    );
}

#[test]
fn a_device_that_is_there_twice_keeps_its_rule() {
    let rules = json!([{"allow": true, "type": "c", "major": 10, "minor": 1, "access": "rw"}]);
    let node = |path: &str| json!({"path": path, "type": "c", "major": 10, "minor": 1});
    let spec = json!({"linux": {
        "devices": [node("/dev/x"), node("/dev/y")], "resources": {"devices": rules},
    }});
    let result = applied(&spec, &devices(vec![device("-/dev/x", "", 0, None)]));
    assert_eq!(result["linux"]["resources"]["devices"], rules);
}

#[test]
fn access_follows_the_mode() {
    let access = |kind, mode, how| {
        let mut options = ApplyOptions::default();
        options.device_access = how;
        let adjustment = devices(vec![device("/dev/x", kind, 1, mode)]);
        let applied = apply(&json!({}), &adjustment, &options, None).unwrap();
        applied.spec["linux"]["resources"]["devices"][0]["access"].clone()
    };
    use DeviceAccess::{Compat, Derived};
    for (kind, mode, how, expected) in [
        ("c", None, Derived, "rw"),
        ("c", Some(0o111), Derived, "rw"),
        ("c", Some(0o440), Derived, "r"),
        ("u", Some(0o200), Derived, "w"),
        ("b", None, Derived, "rwm"),
        ("b", Some(0o004), Derived, "rm"),
        ("c", Some(0o444), Compat, "rw"),
        ("b", Some(0o444), Compat, "rwm"),
    ] {
        assert_eq!(access(kind, mode, how), expected, "{kind} {mode:?} {how:?}");
    }
    let fifo = applied(&json!({}), &devices(vec![device("/p", "p", 0, None)]));
    assert_eq!(fifo["linux"].get("resources"), None);
    let error = refused(&json!({}), &devices(vec![device("/z", "z", 0, None)]));
    assert!(error.contains("must be b, c, u or p"), "{error}");
}

#[test]
fn a_memory_policy_is_checked() {
    let policy = |mode, nodes: &str, flags: &[i32]| {
        linux(LinuxContainerAdjustment {
            memory_policy: Some(LinuxMemoryPolicy {
                mode,
                nodes: nodes.into(),
                flags: flags.to_vec(),
            }),
            ..Default::default()
        })
    };
    assert_eq!(
        applied(&json!({}), &policy(2, "0-3,7", &[0])),
        json!({"linux": {"memoryPolicy":
            {"mode": "MPOL_BIND", "nodes": "0-3,7", "flags": ["MPOL_F_STATIC_NODES"]}}})
    );
    for bad in [
        policy(9, "0", &[]),
        policy(2, "0", &[3]),
        policy(0, "0", &[]),
        policy(2, "0-", &[]),
    ] {
        assert!(refused(&json!({}), &bad).starts_with("cannot apply MemoryPolicy"));
    }
}

#[test]
fn a_seccomp_policy_replaces_the_old_one_wholly() {
    let spec = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "x": 1}}});
    let errno = |value| Some(OptionalUInt32 { value });
    let mut policy = LinuxSeccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno: errno(38),
        syscalls: vec![LinuxSyscall {
            names: vec!["clone".into()],
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: errno(1),
            args: vec![nri_proto::api::LinuxSeccompArg {
                index: 0,
                value: u64::MAX,
                value_two: 0,
                op: "SCMP_CMP_EQ".into(),
            }],
        }],
        ..Default::default()
    };
    let adjust = |policy: &LinuxSeccomp| {
        linux(LinuxContainerAdjustment {
            seccomp_policy: Some(policy.clone()),
            ..Default::default()
        })
    };
    assert_eq!(
        applied(&spec, &adjust(&policy))["linux"]["seccomp"],
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                "args": [{"index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ"}]}],
        })
    );
    policy.syscalls[0].names.clear();
    assert!(refused(&spec, &adjust(&policy)).contains("names no system call"));
    policy.default_action.clear();
    assert!(refused(&spec, &adjust(&policy)).contains("no default action"));
}

#[test]
fn an_error_leaves_nothing_applied_and_namespaces_go_by_type() {
    let namespaces = |namespaces: &[(&str, &str)]| {
        linux(LinuxContainerAdjustment {
            namespaces: namespaces
                .iter()
                .map(|(kind, path)| LinuxNamespace {
                    r#type: (*kind).into(),
                    path: (*path).into(),
                })
                .collect(),
            ..Default::default()
        })
    };
    let spec = json!({"linux": {"namespaces":
        [{"type": "pid", "path": "/p"}, {"type": "network", "path": "/n"}]}});
    let list = |adjustment| applied(&spec, &adjustment)["linux"]["namespaces"].clone();
    assert_eq!(
        list(namespaces(&[
            ("-network", ""),
            ("pid", ""),
            ("time", "/t"),
            ("-uts", "")
        ])),
        json!([{"type": "pid"}, {"type": "time", "path": "/t"}])
    );
    assert_eq!(
        list(namespaces(&[("network", "/x"), ("-network", "")])),
        json!([{"type": "pid", "path": "/p"}, {"type": "network", "path": "/x"}])
    );
    let mut bad = namespaces(&[("-pid", ""), ("foo", "")]);
    bad.annotations = [("a".to_owned(), "1".to_owned())].into();
    let before = spec.clone();
    assert!(refused(&spec, &bad).contains("no such namespace"));
    assert_eq!(spec, before);
}

#[test]
fn kernel_parameters_need_their_namespace() {
    let sysctl = |name: &str| {
        linux(LinuxContainerAdjustment {
            sysctl: [(name.to_owned(), "1".to_owned())].into(),
            ..Default::default()
        })
    };
    let spec = json!({"linux": {"namespaces": [{"type": "ipc"}], "sysctl": {"net.a": "0"}}});
    assert_eq!(
        applied(&spec, &sysctl("kernel.shmmax"))["linux"]["sysctl"]["kernel.shmmax"],
        "1"
    );
    assert_eq!(
        applied(&spec, &sysctl("-net.a"))["linux"]["sysctl"],
        json!({})
    );
    assert!(refused(&spec, &sysctl("vm.swappiness")).contains("of the whole host"));
    let error = refused(&spec, &sysctl("net.a"));
    assert!(error.contains("of the network namespace"), "{error}");
    let mut options = ApplyOptions::default();
    options.check_sysctl_namespaces = false;
    apply(&spec, &sysctl("net.a"), &options, None).unwrap();
    options.left_to_runtime.insert(Family::Sysctl);
    apply(&spec, &sysctl("vm.swappiness"), &options, None).unwrap();
}

#[test]
fn a_kernel_parameter_is_one_however_it_is_spelled() {
    let sysctl = |entries: &[(&str, &str)]| {
        let entries = entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        linux(LinuxContainerAdjustment {
            sysctl: entries.collect(),
            ..Default::default()
        })
    };
    let spec = json!({"linux": {
        "namespaces": [{"type": "network"}],
        "sysctl": {"net/ipv4/ip_forward": "0", "net.core.somaxconn": "1"},
    }});
    let result = |adjustment| applied(&spec, &adjustment)["linux"]["sysctl"].clone();
    assert_eq!(
        result(sysctl(&[
            ("net.ipv4.ip_forward", "1"),
            ("-net/core/somaxconn", "")
        ])),
        json!({"net.ipv4.ip_forward": "1"})
    );
    // The form that every low-level runtime takes is written, whoever spells it how.
    assert_eq!(
        result(sysctl(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/eno2.100/rp_filter", "2")
        ])),
        json!({"net.core.somaxconn": "1", "net.ipv4.ip_forward": "1", "net.ipv4.conf.eno2/100.rp_filter": "2"})
    );
    // It does not get round the checks and the filter either, and who asks is found.
    let host = json!({"linux": {"namespaces": [{"type": "ipc"}]}});
    for name in [
        "net/ipv4/ip_forward",
        "/net/ipv4/ip_forward",
        "user/max_user_namespaces",
        "user.max_ipc_namespaces",
    ] {
        let owners = CompoundFieldOwners {
            owners: [(name.to_owned(), "10-a".to_owned())].into(),
        };
        let owners = FieldOwners {
            compound: [(Field::Sysctl.into(), owners)].into(),
            ..Default::default()
        };
        let adjustment = sysctl(&[(name, "1")]);
        let error = apply(&host, &adjustment, &ApplyOptions::default(), Some(&owners))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("namespace, and the container uses the host's"),
            "{error}"
        );
        assert!(error.contains("10-a"), "{error}");
    }
    let mut options = ApplyOptions::default();
    options.sysctl_filter = Some(Arc::new(|changes: &mut KeyedChanges| {
        changes.set.retain(|name, _| !name.starts_with("net."));
        Ok(())
    }));
    let applied = apply(
        &json!({}),
        &sysctl(&[("net/ipv4/ip_forward", "1")]),
        &options,
        None,
    );
    assert_eq!(applied.unwrap().spec, json!({}));
}

#[test]
fn a_device_is_one_however_its_path_is_spelled() {
    let node =
        |path: &str, minor: i64| json!({"path": path, "type": "c", "major": 10, "minor": minor});
    let spec = json!({"linux": {"devices": [node("/dev//fuse", 229), node("dev/kvm", 232)]}});
    let result = |path| {
        let result = applied(&spec, &devices(vec![device(path, "c", 1, None)]));
        result["linux"]["devices"].clone()
    };
    assert_eq!(
        result("/dev/fuse"),
        json!([node("dev/kvm", 232), node("/dev/fuse", 1)])
    );
    assert_eq!(result("-/dev/kvm"), json!([node("/dev//fuse", 229)]));
}

#[test]
fn net_devices_are_removed_before_they_are_set() {
    let devices = |entries: &[(&str, &str)]| {
        linux(LinuxContainerAdjustment {
            net_devices: entries
                .iter()
                .map(|(host, name)| {
                    let name = (*name).to_owned();
                    ((*host).to_owned(), LinuxNetDevice { name })
                })
                .collect(),
            ..Default::default()
        })
    };
    let namespaces = json!([{"type": "network"}]);
    let spec = json!({"linux": {"netDevices": {"eth0": {"name": "old"}, "eth1": {}}, "namespaces": namespaces}});
    let result = applied(
        &spec,
        &devices(&[("-eth0", ""), ("eth0", "x"), ("-eth1", ""), ("ib0", "")]),
    );
    assert_eq!(
        result,
        json!({"linux": {"netDevices": {"eth0": {"name": "x"}, "ib0": {}}, "namespaces": namespaces}})
    );
    for bad in [("a/b", ""), ("sixteen-bytes-xx", ""), ("a", "b/c")] {
        assert!(refused(&spec, &devices(&[bad])).contains("name of an interface"));
    }
}
