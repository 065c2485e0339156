//! Bytes of protobuf: another implementation reads and writes the same.

use std::collections::{BTreeMap, HashMap};

use nri_domain_cri::cri::{
    self, ContainerConfig, LinuxContainerResources, MountPropagation, NamespaceMode,
    PodSandboxConfig, ProfileType,
};
use proptest::prelude::*;
use prost::Message;

/// A runtime's own types of CRI, with fields of a newer CRI and of its own.
mod theirs {
    use super::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Pod {
        #[prost(message, optional, tag = "1")]
        pub(crate) metadata: Option<PodMetadata>,
        #[prost(string, tag = "3")]
        pub(crate) log_directory: String,
        #[prost(message, optional, tag = "4")]
        pub(crate) dns: Option<Text>,
        #[prost(map = "string, string", tag = "6")]
        pub(crate) labels: HashMap<String, String>,
        #[prost(message, optional, tag = "8")]
        pub(crate) linux: Option<PodLinux>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct PodMetadata {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "3")]
        pub(crate) namespace: String,
        #[prost(uint32, tag = "4")]
        pub(crate) attempt: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct PodLinux {
        #[prost(string, tag = "1")]
        pub(crate) cgroup_parent: String,
        #[prost(message, optional, tag = "4")]
        pub(crate) overhead: Option<Resources>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Text {
        #[prost(string, tag = "1")]
        pub(crate) text: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Container {
        #[prost(string, repeated, tag = "3")]
        pub(crate) command: Vec<String>,
        #[prost(message, repeated, tag = "7")]
        pub(crate) mounts: Vec<Mount>,
        #[prost(bool, tag = "14")]
        pub(crate) tty: bool,
        #[prost(message, optional, tag = "15")]
        pub(crate) linux: Option<Linux>,
        #[prost(message, repeated, tag = "17")]
        pub(crate) cdi_devices: Vec<Text>,
        #[prost(int32, tag = "18")]
        pub(crate) stop_signal: i32,
        #[prost(fixed64, tag = "1000")]
        pub(crate) own: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Mount {
        #[prost(string, tag = "1")]
        pub(crate) container_path: String,
        #[prost(int32, tag = "5")]
        pub(crate) propagation: i32,
        #[prost(bool, tag = "8")]
        pub(crate) recursive_read_only: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Linux {
        #[prost(message, optional, tag = "1")]
        pub(crate) resources: Option<Resources>,
        #[prost(message, optional, tag = "2")]
        pub(crate) security: Option<Security>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Security {
        #[prost(message, optional, tag = "3")]
        pub(crate) namespaces: Option<Namespaces>,
        #[prost(message, optional, tag = "5")]
        pub(crate) run_as_user: Option<Number>,
        #[prost(int64, repeated, tag = "8")]
        pub(crate) groups: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub(crate) seccomp: Option<Profile>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Namespaces {
        #[prost(int32, tag = "2")]
        pub(crate) pid: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Number {
        #[prost(int64, tag = "1")]
        pub(crate) value: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Profile {
        #[prost(int32, tag = "1")]
        pub(crate) profile_type: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Resources {
        #[prost(int64, tag = "1")]
        pub(crate) cpu_period: i64,
        #[prost(int64, tag = "2")]
        pub(crate) cpu_quota: i64,
        #[prost(int64, tag = "3")]
        pub(crate) cpu_shares: i64,
        #[prost(int64, tag = "4")]
        pub(crate) memory_limit_in_bytes: i64,
        #[prost(int64, tag = "5")]
        pub(crate) oom_score_adj: i64,
        #[prost(string, tag = "6")]
        pub(crate) cpuset_cpus: String,
        #[prost(string, tag = "7")]
        pub(crate) cpuset_mems: String,
        #[prost(message, repeated, tag = "8")]
        pub(crate) hugepage_limits: Vec<HugepageLimit>,
        #[prost(map = "string, string", tag = "9")]
        pub(crate) unified: HashMap<String, String>,
        #[prost(int64, tag = "10")]
        pub(crate) memory_swap_limit_in_bytes: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct HugepageLimit {
        #[prost(string, tag = "1")]
        pub(crate) page_size: String,
        #[prost(uint64, tag = "2")]
        pub(crate) limit: u64,
    }
}

#[test]
fn a_runtimes_own_pod_becomes_ours_and_is_back_with_all_it_had() {
    let theirs = theirs::Pod {
        metadata: Some(theirs::PodMetadata {
            name: "web".into(),
            namespace: "shop".into(),
            attempt: 3,
        }),
        log_directory: "/var/log/pods/web".into(),
        dns: Some(theirs::Text {
            text: "10.0.0.1".into(),
        }),
        labels: [("a", "1"), ("b", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        linux: Some(theirs::PodLinux {
            cgroup_parent: "/pods".into(),
            overhead: Some(theirs::Resources {
                memory_limit_in_bytes: 100,
                ..Default::default()
            }),
        }),
    };
    let pod = PodSandboxConfig::decode(&theirs.encode_to_vec()).unwrap();
    let metadata = pod.metadata.clone().unwrap();
    assert_eq!(
        (&*metadata.name, &*metadata.namespace, metadata.attempt),
        ("web", "shop", 3)
    );
    assert_eq!(pod.log_directory, "/var/log/pods/web");
    assert_eq!(pod.labels["b"], "");
    let linux = pod.linux.clone().unwrap();
    assert_eq!(linux.cgroup_parent, "/pods");
    assert_eq!(linux.overhead.unwrap().memory_limit_in_bytes, 100);
    assert_eq!(theirs::Pod::decode(&*pod.encode()).unwrap(), theirs);
}

#[test]
fn a_runtimes_own_container_becomes_ours_and_is_back_with_all_it_had() {
    let theirs = theirs::Container {
        command: vec!["/app".into(), String::new()],
        mounts: vec![theirs::Mount {
            container_path: "/data".into(),
            propagation: 2,
            recursive_read_only: true,
        }],
        tty: true,
        linux: Some(theirs::Linux {
            resources: Some(theirs::Resources {
                cpu_quota: -1,
                oom_score_adj: -998,
                ..Default::default()
            }),
            security: Some(theirs::Security {
                namespaces: Some(theirs::Namespaces { pid: 9 }),
                run_as_user: Some(theirs::Number { value: 0 }),
                groups: vec![1, -1, 300],
                seccomp: Some(theirs::Profile { profile_type: -1 }),
            }),
        }),
        cdi_devices: vec![theirs::Text {
            text: "vendor.example/gpu=0".into(),
        }],
        stop_signal: 15,
        own: 7,
    };
    let mut container = ContainerConfig::decode(&theirs.encode_to_vec()).unwrap();
    assert_eq!(container.command, ["/app", ""]);
    assert_eq!(
        container.mounts[0].propagation,
        MountPropagation::Bidirectional
    );
    assert!(container.tty);
    assert_eq!(container.cdi_devices[0].name, "vendor.example/gpu=0");
    let linux = container.linux.clone().unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!((resources.cpu_quota, resources.oom_score_adj), (-1, -998));
    let security = linux.security_context.unwrap();
    assert_eq!(
        security.namespace_options.unwrap().pid,
        NamespaceMode::Other(9)
    );
    assert_eq!(security.run_as_user.unwrap().value, 0);
    assert_eq!(security.supplemental_groups, [1, -1, 300]);
    assert_eq!(
        security.seccomp.unwrap().profile_type,
        ProfileType::Other(-1)
    );
    assert_eq!(
        theirs::Container::decode(&*container.encode()).unwrap(),
        theirs
    );

    // What is changed in between is changed, and nothing else.
    container.args = vec!["--fast".into()];
    container.command.clear();
    let back = theirs::Container::decode(&*container.encode()).unwrap();
    assert_eq!(
        back,
        theirs::Container {
            command: Vec::new(),
            ..theirs
        }
    );
}

#[test]
fn a_message_that_comes_in_two_parts_is_one() {
    let part = |limit, shares| theirs::Linux {
        resources: Some(theirs::Resources {
            memory_limit_in_bytes: limit,
            cpu_shares: shares,
            ..Default::default()
        }),
        security: None,
    };
    let mut bytes = part(5, 0).encode_to_vec();
    bytes.extend(part(0, 7).encode_to_vec());
    let linux = cri::LinuxContainerConfig::decode(&bytes).unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!(
        (resources.memory_limit_in_bytes, resources.cpu_shares),
        (5, 7)
    );
}

#[test]
fn bytes_that_are_no_message_are_refused_with_the_field() {
    for (bytes, reason) in [
        (&[0x3c, 0x01][..], "field 7 has the unknown wire type 4"),
        (&[0x0a], "it ends in the middle of a field"),
        (&[0x0a, 0x05, 0x0a], "it ends in the middle of a field"),
        (&[0x08, 0x01], "`metadata`: it is a number"),
        (
            &[0x0a, 0x03, 0x0a, 0x01, 0xff],
            "`metadata`: `name`: it is no UTF-8",
        ),
        (
            &[0x0a, 0x02, 0x20, 0x80],
            "`metadata`: it ends in the middle of a field",
        ),
        (&[0x00], "there is no field of such a number"),
        (&[0xff; 11], "a number has more than 64 bits"),
        (
            &[0x0a, 0x03, 0x25, 1, 2],
            "`metadata`: it ends in the middle of a field",
        ),
        (
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            "it ends in the middle of a field",
        ),
    ] {
        let error = PodSandboxConfig::decode(bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("this is no PodSandboxConfig: {reason}")
        );
    }
}

prop_compose! {
    fn their_resources()(
        numbers in any::<[i64; 6]>(), cpuset_cpus in ".{0,4}", cpuset_mems in "[0-9,-]{0,4}",
        sizes in prop::collection::vec((".{0,3}", any::<u64>()), 0..3),
        unified in prop::collection::btree_map(".{0,4}", ".{0,3}", 0..3),
    ) -> theirs::Resources {
        let [cpu_period, cpu_quota, cpu_shares, limit, oom_score_adj, swap] = numbers;
        theirs::Resources {
            cpu_period, cpu_quota, cpu_shares, oom_score_adj, cpuset_cpus, cpuset_mems,
            memory_limit_in_bytes: limit,
            memory_swap_limit_in_bytes: swap,
            hugepage_limits: sizes
                .into_iter()
                .map(|(page_size, limit)| theirs::HugepageLimit { page_size, limit })
                .collect(),
            unified: unified.into_iter().collect(),
        }
    }
}

proptest! {
    /// Law: resources are the same for both implementations, both ways.
    #[test]
    fn resources_are_the_same_for_another_implementation(theirs in their_resources()) {
        let ours = LinuxContainerResources::decode(&theirs.encode_to_vec()).unwrap();
        prop_assert_eq!(ours.cpu_shares, theirs.cpu_shares);
        prop_assert_eq!(&ours.unified, &theirs.unified.clone().into_iter().collect::<BTreeMap<_, _>>());
        prop_assert!(ours.wire_rest.is_empty());
        prop_assert_eq!(LinuxContainerResources::decode(&ours.encode()).unwrap(), ours.clone());
        prop_assert_eq!(theirs::Resources::decode(&*ours.encode()).unwrap(), theirs);
    }

    /// Law: any bytes are read or refused, and what was read is written so that it is read again.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(read) = ContainerConfig::decode(&bytes) {
            prop_assert_eq!(ContainerConfig::decode(&read.encode()).unwrap(), read);
        }
    }
}
