//! What builders make, and what they refuse.

use nri_proto::api::{
    ContainerAdjustment, Hooks, LinuxDevice, LinuxIoPriority, LinuxNamespace, LinuxNetDevice,
    LinuxScheduler, LinuxSeccomp, Mount, MpolFlag, MpolMode,
};

use super::{Adjust, BuildError, SetResources};
use crate::merge::{CreateMerge, normal_form};
use crate::{RegisteredPlugin, api};

fn mount(destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        ..Default::default()
    }
}

#[test]
fn what_would_be_taken_for_something_else_is_refused() {
    let mut adjustment = ContainerAdjustment::default();
    assert!(adjustment.add_annotation("-k", "v").is_err());
    assert!(adjustment.add_env("-K", "v").is_err());
    assert!(adjustment.add_env("A=B", "v").is_err());
    assert!(adjustment.add_mount(mount("-/x")).is_err());
    assert!(
        adjustment
            .add_device(LinuxDevice {
                path: "-/dev/x".into(),
                ..Default::default()
            })
            .is_err()
    );
    assert!(
        adjustment
            .add_namespace(LinuxNamespace {
                r#type: "-ipc".into(),
                ..Default::default()
            })
            .is_err()
    );
    assert!(adjustment.add_sysctl("-k", "v").is_err());
    assert!(
        adjustment
            .add_net_device("-k", LinuxNetDevice::default())
            .is_err()
    );
    assert_eq!(
        adjustment.set_args(["", "x"]).err(),
        Some(BuildError::NoProgram)
    );
    assert_eq!(
        adjustment.update_args([""; 0]).err(),
        Some(BuildError::NoProgram)
    );
    assert_eq!(normal_form(adjustment), None, "nothing was changed");
}

#[test]
fn where_a_dash_means_nothing_it_is_allowed() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment.add_rlimit("-x", 2, 1).unwrap();
    adjustment.add_hugepage_limit("-x", 1).unwrap();
    adjustment.add_unified("-x", "1").unwrap();
    adjustment.add_cdi_device("-x").unwrap();
}

#[test]
fn a_key_is_set_once_and_removed_as_often_as_you_like() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment
        .remove_mount("/a")
        .remove_mount("/a")
        .remove_env("K");
    adjustment
        .add_mount(mount("/a"))
        .unwrap()
        .add_env("K", "v")
        .unwrap();
    assert!(adjustment.add_mount(mount("/a")).is_err());
    assert!(adjustment.add_env("K", "w").is_err());
    assert_eq!(adjustment.mounts.len(), 2);
    adjustment.add_hugepage_limit("2MB", 1).unwrap();
    let error = adjustment.add_hugepage_limit("2MB", 2).unwrap_err();
    assert!(error.to_string().contains("HugepageLimits \"2MB\""));
}

#[test]
fn two_spellings_of_a_key_are_one_key() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment.add_mount(mount("/data/")).unwrap();
    let error = adjustment.add_mount(mount("/data")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Mounts \"/data\" is set already")
    );
    adjustment.remove_mount("/a").remove_mount("//a/");
    assert_eq!(adjustment.mounts.len(), 2);
    adjustment.add_mount(mount("/-/a")).unwrap();
    adjustment.add_hugepage_limit("2MB", 1).unwrap();
    assert!(adjustment.add_hugepage_limit("2048KB", 2).is_err());
    adjustment.add_sysctl("net.core.somaxconn", "1").unwrap();
    assert!(adjustment.add_sysctl("net/core/somaxconn", "2").is_err());
    adjustment.replace_sysctl("vm/swappiness", "2").unwrap();
    assert_eq!(adjustment.linux.unwrap().sysctl.len(), 3);
}

#[test]
fn what_is_added_conflicts_and_what_replaces_does_not() {
    let plugin = |registration| RegisteredPlugin {
        id: "10-p".parse().unwrap(),
        registration,
    };
    let merged = |replaces: bool| {
        let mut added = ContainerAdjustment::default();
        added.add_annotation("k", "a").unwrap();
        added
            .add_mount(mount("/m"))
            .unwrap()
            .add_env("K", "a")
            .unwrap();
        added
            .add_device(LinuxDevice {
                path: "/d".into(),
                ..Default::default()
            })
            .unwrap();
        added.add_sysctl("s", "a").unwrap();
        added
            .add_namespace(LinuxNamespace {
                r#type: "ipc".into(),
                ..Default::default()
            })
            .unwrap();
        added
            .add_net_device("eth0", LinuxNetDevice::default())
            .unwrap();
        added.set_args(["a"]).unwrap().set_rdt_clos_id("a");
        let mut second = added.clone();
        if replaces {
            second = ContainerAdjustment::default();
            second.replace_annotation("k", "b").unwrap();
            second
                .replace_mount(mount("/m"))
                .unwrap()
                .replace_env("K", "b")
                .unwrap();
            second
                .replace_device(LinuxDevice {
                    path: "/d".into(),
                    ..Default::default()
                })
                .unwrap();
            second.replace_sysctl("s", "b").unwrap();
            second
                .replace_namespace(LinuxNamespace {
                    r#type: "ipc".into(),
                    ..Default::default()
                })
                .unwrap();
            second
                .replace_net_device("eth0", LinuxNetDevice::default())
                .unwrap();
            second
                .update_args(["b"])
                .unwrap()
                .set_rdt_clos_id("b")
                .remove_rdt();
        }
        let mut merge = CreateMerge::new(api::Container::default());
        let response = |adjust| api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        };
        merge.apply(&plugin(1), response(added)).unwrap();
        merge
            .apply(&plugin(2), response(second))
            .map(|()| merge.view().clone())
    };
    assert!(merged(false).is_err());
    let view = merged(true).unwrap();
    assert_eq!(
        (view.env, view.args),
        (vec!["K=b".to_owned()], vec!["b".to_owned()])
    );
}

#[test]
fn every_setter_asks_for_its_field() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment
        .set_memory_limit(0)
        .set_memory_reservation(0)
        .set_memory_swap(0)
        .set_memory_kernel(0)
        .set_memory_kernel_tcp(0)
        .set_memory_swappiness(0)
        .set_memory_disable_oom_killer(false)
        .set_memory_use_hierarchy(false)
        .set_cpu_shares(0)
        .set_cpu_quota(0)
        .set_cpu_period(0)
        .set_cpu_realtime_runtime(0)
        .set_cpu_realtime_period(0)
        .set_cpuset_cpus("0")
        .set_cpuset_mems("0")
        .set_pids_limit(0)
        .set_blockio_class("")
        .set_rdt_class("")
        .set_cgroups_path("/c")
        .set_oom_score_adj(Some(0))
        .set_io_priority(LinuxIoPriority::default())
        .set_seccomp_policy(LinuxSeccomp::default())
        .set_scheduler(LinuxScheduler::default())
        .set_memory_policy(MpolMode::MpolBind, "0", [MpolFlag::MpolFStaticNodes])
        .set_rdt_clos_id("")
        .set_rdt_schemata([""; 0])
        .set_rdt_enable_monitoring(false)
        .add_hooks(Hooks {
            poststop: vec![Default::default()],
            ..Default::default()
        })
        .remove_annotation("k")
        .remove_mount("k")
        .remove_env("k")
        .remove_device("k")
        .remove_namespace("k")
        .remove_sysctl("k")
        .remove_net_device("k")
        .remove_args();
    adjustment
        .add_rlimit("k", 1, 1)
        .unwrap()
        .add_cdi_device("k")
        .unwrap();
    adjustment
        .add_hugepage_limit("k", 1)
        .unwrap()
        .add_unified("k", "v")
        .unwrap();
    let asked = crate::merge::SupportedFields::NONE.unsupported(&adjustment);
    assert_eq!(asked.len(), 40, "every field of the protocol");
}

#[test]
fn a_soft_limit_above_the_hard_one_is_refused() {
    let mut adjustment = ContainerAdjustment::default();
    let error = adjustment.add_rlimit("RLIMIT_CORE", 1, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Rlimits \"RLIMIT_CORE\": the soft limit 2 is above the hard limit 1"
    );
    assert_eq!(adjustment, ContainerAdjustment::default());
    adjustment.add_rlimit("RLIMIT_CORE", 2, 2).unwrap();
}
