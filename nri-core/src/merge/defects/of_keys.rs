//! Keys that are spelled in several ways and mean the same.

use nri_proto::api::{
    ContainerAdjustment, Field, HugepageLimit, LinuxDevice, LinuxResources, Mount,
};

use super::of_updates::{update, updates};
use super::{
    A, B, Owner, UpdateMerge, asks, container, id, merged, mount, outcome, plugin, response,
};
use crate::build::{Adjust as _, SetResources as _};
use crate::merge::{CreateMerge, MergeError, apply};

fn device(path: &str) -> LinuxDevice {
    LinuxDevice {
        path: path.into(),
        ..Default::default()
    }
}

fn removal(destination: &str) -> ContainerAdjustment {
    asks(|a| Ok(a.remove_mount(destination)))
}

fn marker(destination: &str) -> Mount {
    mount(&format!("-{destination}"), "")
}

/// The conflict of two plugins that ask for these things.
fn conflict(first: ContainerAdjustment, second: ContainerAdjustment) -> String {
    let mut merge = merged(container(|_, _| {}), [first]);
    let error = merge.apply(&plugin(B), response(second)).unwrap_err();
    assert!(matches!(error, MergeError::Conflict { .. }));
    error.to_string()
}

#[test]
fn d45_two_spellings_of_a_mount_or_device_conflict() {
    for spelling in ["/data/", "/data/.", "//data", "/x/../data", "data"] {
        let error = conflict(
            asks(|a| a.add_mount(mount("/data", "a"))),
            asks(|a| a.add_mount(mount(spelling, "b"))),
        );
        let expected = format!(
            "conflict on container \"ctr\": plugin \"20-b\" sets Mounts {spelling:?}, already set by \"10-a\""
        );
        assert_eq!(error, expected);
    }
    let error = conflict(
        asks(|a| a.add_device(device("/dev/fuse"))),
        asks(|a| a.add_device(device("/dev//fuse"))),
    );
    assert!(error.contains("Devices \"/dev//fuse\""));
}

#[test]
fn d45_a_key_that_one_plugin_spells_twice_is_set_twice() {
    let mut twice = asks(|a| a.add_mount(mount("/data", "a")));
    twice.mounts.push(mount("/data/", "b"));
    let mut merge = CreateMerge::new(container(|_, _| {}));
    let error = merge.apply(&plugin(A), response(twice)).unwrap_err();
    assert!(matches!(error, MergeError::DuplicateSet { key: Some(key), .. } if key == "/data/"));
}

#[test]
fn d45_the_later_plugin_takes_over_with_its_spelling() {
    let merge = merged(
        container(|_, _| {}),
        [
            asks(|a| a.add_mount(mount("/data/", "a"))),
            asks(|a| a.replace_mount(mount("/x/../data", "b"))),
        ],
    );
    assert_eq!(merge.view().mounts, [mount("/x/../data", "b")]);
    let (reply, outcome) = outcome(&merge);
    assert_eq!(reply.mounts, [mount("/x/../data", "b")]);
    let owner = outcome.owners.owner("ctr", Field::Mounts, Some("/data"));
    assert_eq!(owner, Some(&Owner::Set(id(B))));
    let message = outcome.owners.to_message();
    let owners = &message.owners["ctr"].compound[&(Field::Mounts as i32)].owners;
    assert!(owners.keys().eq(["/x/../data"]), "as in the adjustment");
}

#[test]
fn d45_the_spelling_of_the_container_goes_with_what_it_names() {
    let original = container(|c, _| {
        c.mounts = vec![
            mount("/data/", "o"),
            mount("dev/shm", "o"),
            mount("/data", "o"),
        ];
    });
    let (reply, _) = outcome(&merged(
        original.clone(),
        [removal("/data"), removal("/dev/shm")],
    ));
    assert_eq!(
        reply.mounts,
        [
            marker("/data"),
            marker("/dev/shm"),
            marker("/data/"),
            marker("dev/shm")
        ]
    );
    let merge = merged(
        original.clone(),
        [
            asks(|a| a.add_mount(mount("/dev/shm", "a"))),
            asks(|a| a.add_mount(mount("//data", "b"))),
        ],
    );
    assert_eq!(
        merge.view().mounts,
        [mount("//data", "b"), mount("/dev/shm", "a")]
    );
    let (reply, _) = outcome(&merge);
    assert_eq!(
        reply.mounts,
        [
            mount("/dev/shm", "a"),
            mount("//data", "b"),
            marker("/data"),
            marker("/data/"),
            marker("dev/shm"),
        ]
    );
    assert_eq!(apply(&original, &reply).mounts, merge.view().mounts);
    assert_eq!(merge.original(), original);
}

#[test]
fn d46_two_spellings_of_a_page_size_are_one() {
    let limit = |page_size: &str, limit| HugepageLimit {
        page_size: page_size.into(),
        limit,
    };
    let requested = LinuxResources {
        hugepage_limits: vec![limit("2MB", 10 << 20), limit("1GB", 1 << 30)],
        ..Default::default()
    };
    for spelling in ["2M", "2048KB", "2097152"] {
        let asked = |bytes| {
            updates([update("ctr", |u| {
                u.add_hugepage_limit(spelling, bytes).unwrap();
            })])
        };
        let mut merge = UpdateMerge::new("ctr".into(), Some(requested.clone()));
        merge.apply(&plugin(A), asked(2 << 20)).unwrap();
        let seen = merge.view().unwrap().hugepage_limits.clone();
        assert_eq!(seen, [limit(spelling, 2 << 20), limit("1GB", 1 << 30)]);
        let other = update("ctr", |u| {
            u.add_hugepage_limit("2MB", 1).unwrap();
        });
        let error = merge.apply(&plugin(B), updates([other])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("sets HugepageLimits \"2MB\", already set by \"10-a\"")
        );
    }
    let error = conflict(
        asks(|a| a.add_hugepage_limit("2MB", 1)),
        asks(|a| a.add_hugepage_limit("2M", 1)),
    );
    assert!(error.contains("HugepageLimits \"2M\""));
}

#[test]
fn d47_two_spellings_of_a_kernel_parameter_are_one() {
    let error = conflict(
        asks(|a| a.add_sysctl("net.ipv4.ip_forward", "0")),
        asks(|a| a.add_sysctl("net/ipv4/ip_forward", "1")),
    );
    assert!(error.contains("Sysctl \"net/ipv4/ip_forward\""));

    let original = container(|_, l| {
        l.sysctl.insert("net/ipv4/ip_forward".into(), "0".into());
        l.sysctl
            .insert("net/ipv4/conf/eno2.100/rp_filter".into(), "0".into());
    });
    let merge = merged(
        original.clone(),
        [
            asks(|a| a.add_sysctl("net.ipv4.ip_forward", "1")),
            asks(|a| Ok(a.remove_sysctl("net.ipv4.conf.eno2/100.rp_filter"))),
        ],
    );
    let seen = &merge.view().linux.as_ref().unwrap().sysctl;
    assert!(seen.keys().eq(["net.ipv4.ip_forward"]));
    let (reply, outcome) = outcome(&merge);
    let asked = reply.linux.unwrap().sysctl;
    assert!(asked.keys().eq([
        "-net.ipv4.conf.eno2/100.rp_filter",
        "-net/ipv4/conf/eno2.100/rp_filter",
        "-net/ipv4/ip_forward",
        "net.ipv4.ip_forward",
    ]));
    let owner = |name| outcome.owners.owner("ctr", Field::Sysctl, Some(name));
    assert_eq!(owner("net/ipv4/ip_forward"), Some(&Owner::Set(id(A))));
    assert_eq!(
        owner("net/ipv4/conf/eno2.100/rp_filter"),
        Some(&Owner::Removed(id(B)))
    );
    assert_eq!(merge.original(), original);

    let mut twice = ContainerAdjustment::default();
    let sysctl = &mut twice.linux.get_or_insert_default().sysctl;
    sysctl.insert("vm.swappiness".into(), "1".into());
    sysctl.insert("vm/swappiness".into(), "2".into());
    let mut merge = CreateMerge::new(original);
    let error = merge.apply(&plugin(A), response(twice)).unwrap_err();
    assert!(matches!(error, MergeError::DuplicateSet { .. }));
}
