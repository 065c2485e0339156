//! What applying costs, counted: in proportion to what is asked for and to what is there, whoever
//! made them long.

use nri_proto::api::CreateContainerResponse;

use super::*;
use crate::RegisteredPlugin;
use crate::keys::looks;
use crate::merge::CreateMerge;
use crate::oci::values::Family;

/// Keys that are looked at, and allocations.
fn cost(work: impl Fn()) -> [u64; 2] {
    let looks = looks::during(&work);
    [looks, allocation_counter::measure(work).count_total]
}

/// Four times as much to do costs four times as much, and a little for what grows with the
/// logarithm.
fn assert_linear(what: &str, work: impl Fn(usize) -> Box<dyn Fn()>) {
    let [few, many] = [200, 800].map(|n| cost(work(n)));
    for (few, many) in few.into_iter().zip(many) {
        assert!(many <= 5 * few.max(200), "{what}: {few} and {many}");
    }
}

/// Of limits and page sizes there are not as many as these tests take: which there are is left to
/// the low-level runtime.
fn options() -> ApplyOptions {
    ApplyOptions {
        left_to_runtime: [Family::Rlimits, Family::HugePages].into(),
        ..Default::default()
    }
}

/// A spec with `n` items, and what `n` plugins ask for: some replaced, some removed, some new,
/// spelled in several ways.
type Growing = fn(usize) -> (Value, ContainerAdjustment);

const KINDS: [(&str, Growing); 10] = [
    ("mounts", |n| {
        let base: Vec<_> = (0..n)
            .map(|at| json!({"destination": format!("/m//{at}")}))
            .collect();
        let mount = |at: usize| Mount {
            destination: match at % 3 {
                0 => format!("-/m/{at}"),
                1 => format!("/m/{at}/"),
                _ => format!("/m/{}", at + n),
            },
            r#type: "tmpfs".into(),
            options: vec!["relabel".into()],
            ..Default::default()
        };
        let adjustment = ContainerAdjustment {
            mounts: (0..n).map(mount).collect(),
            ..Default::default()
        };
        (json!({"mounts": base}), adjustment)
    }),
    ("devices", |n| {
        let node =
            |at| json!({"path": format!("/dev//{at}"), "type": "c", "major": 1, "minor": at});
        let rule = |at| json!({"allow": true, "type": "c", "major": 1, "minor": at});
        let base: Vec<_> = (0..n).map(node).collect();
        let rules: Vec<_> = (0..n).map(rule).collect();
        let path = |at: usize| match at % 3 {
            0 => format!("-/dev/{at}"),
            1 => format!("/dev/{at}"),
            _ => format!("/dev/{}", at + n),
        };
        let devices = (0..n)
            .map(|at| device(&path(at), "c", at as i64, None))
            .collect();
        let adjustment = linux(LinuxContainerAdjustment {
            devices,
            ..Default::default()
        });
        (
            json!({"linux": {"devices": base, "resources": {"devices": rules}}}),
            adjustment,
        )
    }),
    ("kernel parameters", |n| {
        let base: serde_json::Map<_, _> = (0..n)
            .map(|at| (format!("net/a/{at}"), json!("0")))
            .collect();
        let name = |at: usize| match at % 3 {
            0 => format!("-net.a.{at}"),
            1 => format!("net.a.{at}"),
            _ => format!("net/a/{}", at + n),
        };
        let adjustment = linux(LinuxContainerAdjustment {
            sysctl: (0..n).map(|at| (name(at), "1".to_owned())).collect(),
            ..Default::default()
        });
        let mut namespaces = vec![json!({"type": "pid"}); n];
        namespaces.push(json!({"type": "network"}));
        (
            json!({"linux": {"sysctl": base, "namespaces": namespaces}}),
            adjustment,
        )
    }),
    ("namespaces", |n| {
        let asked = ["-pid", "ipc", "uts", "user"].map(|kind| LinuxNamespace {
            r#type: kind.into(),
            path: "/n".into(),
        });
        let adjustment = linux(LinuxContainerAdjustment {
            namespaces: asked.iter().cycle().take(n).cloned().collect(),
            ..Default::default()
        });
        (
            json!({"linux": {"namespaces": vec![json!({"type": "mount"}); n]}}),
            adjustment,
        )
    }),
    ("process limits", |n| {
        let base: Vec<_> = (0..n)
            .map(|at| json!({"type": format!("RLIMIT_{at}"), "hard": 1, "soft": 1}))
            .collect();
        let limit = |at| nri_proto::api::PosixRlimit {
            r#type: format!("RLIMIT_{}", at + n / 2),
            hard: 2,
            soft: 1,
        };
        let adjustment = ContainerAdjustment {
            rlimits: (0..n).map(limit).collect(),
            ..Default::default()
        };
        (json!({"process": {"rlimits": base}}), adjustment)
    }),
    ("huge page limits", |n| {
        let base: Vec<_> = (0..n)
            .map(|at| json!({"pageSize": format!("{}K", at + 1), "limit": 1}))
            .collect();
        let limit = |at| nri_proto::api::HugepageLimit {
            page_size: format!("{}KB", at + n / 2),
            limit: 2,
        };
        let resources = nri_proto::api::LinuxResources {
            hugepage_limits: (1..=n).map(limit).collect(),
            ..Default::default()
        };
        let adjustment = linux(LinuxContainerAdjustment {
            resources: Some(resources),
            ..Default::default()
        });
        (
            json!({"linux": {"resources": {"hugepageLimits": base}}}),
            adjustment,
        )
    }),
    ("variables", |n| {
        let base: Vec<_> = (0..n).map(|at| format!("V{at}=0")).collect();
        let variable = |at: usize| KeyValue {
            key: format!("{}V{}", if at % 2 == 0 { "-" } else { "" }, at + n / 2),
            value: String::new(),
        };
        let adjustment = ContainerAdjustment {
            env: (0..n).map(variable).collect(),
            ..Default::default()
        };
        (json!({"process": {"env": base}}), adjustment)
    }),
    ("annotations", |n| {
        let base: serde_json::Map<_, _> = (0..n).map(|at| (format!("a{at}"), json!("0"))).collect();
        let key = |at: usize| format!("{}a{}", if at % 2 == 0 { "-" } else { "" }, at + n / 2);
        let adjustment = ContainerAdjustment {
            annotations: (0..n).map(|at| (key(at), String::new())).collect(),
            ..Default::default()
        };
        (json!({"annotations": base}), adjustment)
    }),
    ("network devices", |n| {
        let base: serde_json::Map<_, _> = (0..n).map(|at| (format!("e{at}"), json!({}))).collect();
        let key = |at: usize| format!("{}e{}", if at % 2 == 0 { "-" } else { "" }, at + n / 2);
        let adjustment = linux(LinuxContainerAdjustment {
            net_devices: (0..n)
                .map(|at| (key(at), LinuxNetDevice::default()))
                .collect(),
            ..Default::default()
        });
        (
            json!({"linux": {"netDevices": base, "namespaces": [{"type": "network"}]}}),
            adjustment,
        )
    }),
    ("hooks and system calls", |n| {
        let hook = Hook {
            path: "/h".into(),
            ..Default::default()
        };
        let rule = LinuxSyscall {
            names: vec!["read".into()],
            action: "SCMP_ACT_ALLOW".into(),
            ..Default::default()
        };
        let policy = LinuxSeccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            syscalls: vec![rule; n],
            ..Default::default()
        };
        let mut adjustment = linux(LinuxContainerAdjustment {
            seccomp_policy: Some(policy),
            ..Default::default()
        });
        adjustment.hooks = Some(Hooks {
            poststop: vec![hook; n],
            ..Default::default()
        });
        (
            json!({"hooks": {"poststop": vec![json!({"path": "/b"}); n]}}),
            adjustment,
        )
    }),
];

#[test]
fn applying_is_linear_in_everything_that_can_be_long() {
    for (what, growing) in KINDS {
        assert_linear(what, |n| {
            let (spec, adjustment) = growing(n);
            // Owners too: the warnings about what cannot be relabelled name plugins.
            let owners = (0..n).map(|at| (format!("/m/{at}"), "10-a".to_owned()));
            let owners = CompoundFieldOwners {
                owners: owners.collect(),
            };
            let owners = FieldOwners {
                compound: [(Field::Mounts.into(), owners)].into(),
                ..Default::default()
            };
            Box::new(move || {
                apply(&spec, &adjustment, &options(), Some(&owners)).unwrap();
            })
        });
        assert_linear(what, |n| {
            let (spec, adjustment) = growing(n);
            Box::new(move || {
                drop(crate::merge::apply(&read::container(&spec), &adjustment));
            })
        });
    }
}

#[test]
fn merging_keys_in_several_spellings_is_linear() {
    for (what, growing) in KINDS {
        assert_linear(what, |n| {
            let (spec, mut first) = growing(n);
            // What a plugin sets twice is refused at once, which would cost nothing.
            if let Some(linux) = &mut first.linux {
                linux.namespaces.clear();
            }
            let mut second = first.clone();
            for mount in &mut second.mounts {
                mount.destination = format!("-{}", mount.destination.trim_start_matches('-'));
            }
            second.rlimits.clear();
            second.env.clear();
            second.annotations.clear();
            if let Some(linux) = &mut second.linux {
                linux.resources = None;
                linux.seccomp_policy = None;
                linux.net_devices.clear();
                for device in &mut linux.devices {
                    device.path = format!("-{}", device.path.trim_start_matches('-'));
                }
                let names = std::mem::take(&mut linux.sysctl).into_keys();
                let marked = names.map(|name| format!("-{}", name.trim_start_matches('-')));
                linux.sysctl = marked.map(|name| (name, String::new())).collect();
            }
            let container = read::container(&spec);
            Box::new(move || {
                let mut merge = CreateMerge::new(container.clone());
                for (number, adjust) in [&first, &second].into_iter().enumerate() {
                    let plugin = RegisteredPlugin {
                        id: format!("{number}0-p").parse().unwrap(),
                        registration: number as u64,
                    };
                    let response = CreateContainerResponse {
                        adjust: Some(adjust.clone()),
                        ..Default::default()
                    };
                    merge.apply(&plugin, response).unwrap();
                }
                drop(merge.finish());
            })
        });
    }
}

/// How often the table of a host was read.
struct Counted(Vec<HostMount>, Mutex<usize>);

impl HostMounts for Counted {
    fn resolve(&self, source: &str) -> Result<String, CallbackError> {
        Ok(source.to_owned())
    }
    fn mounts(&self) -> Result<Vec<HostMount>, CallbackError> {
        *self.1.lock().unwrap() += 1;
        Ok(self.0.clone())
    }
}

#[test]
fn the_mount_table_is_read_once_and_each_source_is_looked_up_in_it() {
    let options = |n| {
        let mount = |at| HostMount {
            mount_point: format!("/h/{at}"),
            propagation: crate::oci::mounts::Propagation::Shared,
        };
        let host = Arc::new(Counted((0..n).map(mount).collect(), Mutex::new(0)));
        let mut options = ApplyOptions::default();
        options.host_mounts = Some(host.clone());
        (options, host)
    };
    let slaves = |n| {
        let mount = |at| Mount {
            destination: format!("/m/{at}"),
            r#type: "bind".into(),
            source: format!("/h/{at}/below"),
            options: vec!["rbind".into(), "rslave".into()],
        };
        ContainerAdjustment {
            mounts: (0..n).map(mount).collect(),
            ..Default::default()
        }
    };
    let (with, host) = options(9);
    apply(&json!({}), &slaves(9), &with, None).unwrap();
    assert_eq!(*host.1.lock().unwrap(), 1);
    assert_linear("shared and slave mounts", |n| {
        let (adjustment, (options, _)) = (slaves(n), options(n));
        Box::new(move || {
            apply(&json!({}), &adjustment, &options, None).unwrap();
        })
    });
}
