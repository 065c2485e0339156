//! One test per known defect of the Go implementation that merging could have: what happens here
//! instead. The numbers are those of the table in [`differences`](super::differences).

mod of_keys;
mod of_updates;

use nri_proto::api::{
    CdiDevice, Container, ContainerAdjustment, ContainerEviction, CreateContainerResponse, Field,
    HugepageLimit, LinuxContainer, LinuxIoPriority, LinuxNamespace, LinuxRdt, LinuxResources,
    Mount, PosixRlimit,
};

use of_updates::{update, updates};

use super::compare::strip_go;
use super::{
    CreateMerge, CreateOutcome, MergeError, Omission, Owner, UpdateMerge, apply, normal_form, strip,
};
use crate::build::{Adjust, BuildError, Evict, SetResources, Wrapper};
use crate::{PluginId, RegisteredPlugin};

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn plugin(number: usize) -> RegisteredPlugin {
    RegisteredPlugin {
        id: ["10-a", "20-b", "30-c"][number].parse().unwrap(),
        registration: number as u64,
    }
}

fn id(number: usize) -> PluginId {
    plugin(number).id
}

/// An adjustment, made by builders that must not refuse.
fn asks(
    build: impl FnOnce(&mut ContainerAdjustment) -> Result<&mut ContainerAdjustment, BuildError>,
) -> ContainerAdjustment {
    let mut adjustment = ContainerAdjustment::default();
    build(&mut adjustment).unwrap();
    adjustment
}

fn response(adjust: ContainerAdjustment) -> CreateContainerResponse {
    CreateContainerResponse {
        adjust: Some(adjust),
        ..Default::default()
    }
}

/// Merges the adjustments of plugins A, B, C, which must go together.
fn merged<const N: usize>(container: Container, asked: [ContainerAdjustment; N]) -> CreateMerge {
    let mut merge = CreateMerge::new(container);
    for (number, adjust) in asked.into_iter().enumerate() {
        merge.apply(&plugin(number), response(adjust)).unwrap();
    }
    merge
}

fn outcome(merge: &CreateMerge) -> (ContainerAdjustment, CreateOutcome) {
    let outcome = merge.clone().finish();
    (outcome.adjustment.clone().unwrap_or_default(), outcome)
}

fn container(change: impl FnOnce(&mut Container, &mut LinuxContainer)) -> Container {
    let mut container = Container {
        id: "ctr".into(),
        ..Default::default()
    };
    let mut linux = LinuxContainer::default();
    change(&mut container, &mut linux);
    container.linux = Some(linux);
    container
}

fn mount(destination: &str, source: &str) -> Mount {
    Mount {
        destination: destination.into(),
        source: source.into(),
        ..Default::default()
    }
}

fn namespace(kind: &str, path: &str) -> LinuxNamespace {
    LinuxNamespace {
        r#type: kind.into(),
        path: path.into(),
    }
}

#[test]
fn d1_a_removed_map_entry_is_gone() {
    let original = container(|c, _| {
        c.annotations.insert("k".into(), "o".into());
    });
    let remove = || asks(|a| Ok(a.remove_annotation("k")));
    let merge = merged(original.clone(), [remove()]);
    assert!(merge.view().annotations.is_empty());

    let merge = merged(original, [asks(|a| a.add_annotation("k", "a")), remove()]);
    let (reply, outcome) = outcome(&merge);
    assert!(merge.view().annotations.is_empty());
    assert_eq!(reply, remove(), "the marker alone");
    assert_eq!(
        outcome.owners.owner("ctr", Field::Annotations, Some("k")),
        Some(&Owner::Removed(id(B)))
    );
}

#[test]
fn d2_removals_are_applied_before_sets() {
    let original = container(|c, l| {
        c.annotations.insert("k".into(), "o".into());
        l.sysctl.insert("k".into(), "o".into());
    });
    let both = asks(|a| a.replace_annotation("k", "n")?.replace_sysctl("k", "n"));
    let applied = apply(&original, &both);
    assert_eq!(applied.annotations["k"], "n");
    assert_eq!(applied.linux.unwrap().sysctl["k"], "n");
}

#[test]
fn d3_inputs_are_not_changed() {
    let original = container(|c, _| {
        c.annotations.insert("k".into(), "o".into());
    });
    let asked = asks(|a| Ok(a.remove_annotation("k")));
    let first = merged(original.clone(), [asked.clone()]);
    let second = merged(original.clone(), [asked]);
    assert!(second.view().annotations.is_empty());
    assert_eq!(first.original(), original);
}

#[test]
fn d4_the_removal_of_a_variable_or_device_is_in_the_reply() {
    let original = container(|c, _| c.env = vec!["K=o".into()]);
    let remove = asks(|a| Ok(a.remove_env("K").remove_device("/dev/x")));
    let (reply, _) = outcome(&merged(original.clone(), [remove.clone()]));
    assert_eq!(reply, remove);
    let merge = merged(original, [asks(|a| a.add_env("K", "a")), remove.clone()]);
    assert_eq!(outcome(&merge).0, remove);
    assert!(merge.view().env.is_empty());
}

#[test]
fn d5_what_was_removed_can_be_set_by_a_third_plugin() {
    let set = |value: &str| {
        asks(|a| {
            a.add_mount(mount("/m", value))?
                .add_env("K", value)?
                .add_device(nri_proto::api::LinuxDevice {
                    path: "/dev/x".into(),
                    ..Default::default()
                })
        })
    };
    let remove = asks(|a| Ok(a.remove_mount("/m").remove_env("K").remove_device("/dev/x")));
    let merge = merged(container(|_, _| {}), [set("a"), remove, set("c")]);
    assert_eq!(merge.view().env, ["K=c"]);
    assert_eq!(outcome(&merge).0, set("c"));
}

#[test]
fn d6_a_key_has_one_entry_in_the_reply_of_a_list() {
    let remove = || asks(|a| Ok(a.remove_mount("/m")));
    let (reply, _) = outcome(&merged(container(|_, _| {}), [remove(), remove()]));
    assert_eq!(reply, remove());
    let replace = asks(|a| a.replace_mount(mount("/m", "c")));
    let (reply, _) = outcome(&merged(container(|_, _| {}), [remove(), remove(), replace]));
    assert_eq!(reply, asks(|a| a.add_mount(mount("/m", "c"))));
}

#[test]
fn d7_namespaces_stay_in_their_order() {
    let kinds = ["uts", "ipc", "pid", "network"];
    let original = container(|_, l| {
        l.namespaces = kinds.iter().map(|kind| namespace(kind, "")).collect();
    });
    let merge = merged(
        original,
        [asks(|a| {
            a.add_namespace(namespace("time", ""))?
                .add_namespace(namespace("ipc", "/p"))
        })],
    );
    let seen = &merge.view().linux.as_ref().unwrap().namespaces;
    let seen: Vec<&str> = seen.iter().map(|n| n.r#type.as_str()).collect();
    assert_eq!(seen, ["uts", "ipc", "pid", "network", "time"]);
}

#[test]
fn d8_a_namespace_can_be_replaced_and_taken_over() {
    let set = |path: &str| asks(|a| a.add_namespace(namespace("ipc", path)));
    let replace = |path: &str| asks(|a| a.replace_namespace(namespace("ipc", path)));
    let remove = || asks(|a| Ok(a.remove_namespace("ipc")));
    for asked in [
        [replace("/x"), remove(), set("/c")],
        [set("/a"), replace("/b"), replace("/c")],
    ] {
        let merge = merged(container(|_, _| {}), asked);
        assert_eq!(outcome(&merge).0, set("/c"));
    }
}

#[test]
fn d9_later_plugins_see_rdt() {
    let merge = merged(
        container(|_, _| {}),
        [asks(|a| Ok(a.set_rdt_clos_id("gold")))],
    );
    let rdt = merge.view().linux.clone().unwrap().rdt.unwrap();
    assert_eq!(rdt.clos_id, Some(Wrapper::wrap("gold".to_owned())));
}

#[test]
fn d10_removing_rdt_and_setting_a_part_of_it_leaves_nothing_of_the_original() {
    let original = container(|_, l| {
        l.rdt = Some(LinuxRdt {
            clos_id: Some(Wrapper::wrap("o".to_owned())),
            schemata: Some(Wrapper::wrap(vec!["s".to_owned()])),
            ..Default::default()
        });
    });
    let replace = asks(|a| Ok(a.remove_rdt().set_rdt_clos_id("b")));
    let merge = merged(original.clone(), [replace.clone()]);
    let (reply, outcome) = outcome(&merge);
    assert_eq!(reply, replace, "the removal is still asked for");
    let expected = LinuxRdt {
        clos_id: Some(Wrapper::wrap("b".to_owned())),
        ..Default::default()
    };
    assert_eq!(merge.view().linux.clone().unwrap().rdt, Some(expected));
    assert_eq!(
        outcome.owners.owner("ctr", Field::RdtSchemata, None),
        Some(&Owner::Removed(id(A)))
    );
    let gone = apply(&original, &asks(|a| Ok(a.remove_rdt())));
    assert_eq!(gone.linux.unwrap().rdt, None);

    let all = asks(|a| {
        Ok(a.remove_rdt()
            .set_rdt_clos_id("b")
            .set_rdt_schemata(["t"])
            .set_rdt_enable_monitoring(true))
    });
    let (reply, _) = self::outcome(&merged(original, [all]));
    assert!(
        !reply.linux.unwrap().rdt.unwrap().remove,
        "nothing is left to remove"
    );
}

#[test]
fn d11_taking_args_over_with_nothing_brings_the_original_back() {
    let original = container(|c, _| c.args = vec!["original".into()]);
    let merge = merged(
        original,
        [asks(|a| a.set_args(["a"])), asks(|a| Ok(a.remove_args()))],
    );
    assert_eq!(merge.view().args, ["original"]);
    let (reply, outcome) = outcome(&merge);
    assert!(reply.args.is_empty());
    assert_eq!(
        outcome.owners.owner("ctr", Field::Args, None),
        Some(&Owner::Removed(id(B)))
    );
}

#[test]
fn d12_a_page_size_is_there_once() {
    let limit = |limit| HugepageLimit {
        page_size: "2MB".into(),
        limit,
    };
    let original = container(|_, l| {
        l.resources = Some(LinuxResources {
            hugepage_limits: vec![limit(1)],
            ..Default::default()
        });
    });
    let merge = merged(original.clone(), [asks(|a| a.add_hugepage_limit("2MB", 2))]);
    let seen = merge.view().linux.clone().unwrap().resources.unwrap();
    assert_eq!(seen.hugepage_limits, [limit(2)]);

    let mut merge = UpdateMerge::new("ctr".into(), original.linux.unwrap().resources);
    let set = update("ctr", |u| {
        u.add_hugepage_limit("2MB", 2).unwrap();
    });
    merge.apply(&plugin(A), updates([set])).unwrap();
    assert_eq!(merge.view().unwrap().hugepage_limits, [limit(2)]);
}

#[test]
fn d13_a_process_limit_is_there_once() {
    let limit = |soft| PosixRlimit {
        r#type: "RLIMIT_NOFILE".into(),
        hard: 9,
        soft,
    };
    let original = container(|c, _| c.rlimits = vec![limit(1)]);
    let asked = asks(|a| a.add_rlimit("RLIMIT_NOFILE", 9, 2));
    assert_eq!(apply(&original, &asked).rlimits, [limit(2)]);
    assert_eq!(merged(original, [asked]).view().rlimits, [limit(2)]);
}

#[test]
fn d14_cdi_devices_are_seen_once() {
    let device = |name: &str| CdiDevice { name: name.into() };
    let original = container(|c, _| c.cdi_devices = vec![device("v/c=a")]);
    let merge = merged(
        original,
        [asks(|a| a.add_cdi_device("v/c=a")?.add_cdi_device("v/c=b"))],
    );
    assert_eq!(merge.view().cdi_devices, [device("v/c=a"), device("v/c=b")]);
}

#[test]
fn d15_what_nobody_asked_for_is_not_in_the_reply() {
    let asked = asks(|a| Ok(a.set_cgroups_path("/c")));
    let (reply, _) = outcome(&merged(container(|_, _| {}), [asked.clone()]));
    assert_eq!(reply, asked, "no empty RDT, no empty resources");
}

#[test]
fn d20_evictions_are_passed_on_with_everyone_who_asks() {
    let evict = |container: &str, reason: &str| CreateContainerResponse {
        evict: vec![ContainerEviction::of_container(container, reason).unwrap()],
        ..Default::default()
    };
    let mut merge = CreateMerge::new(container(|_, _| {}));
    merge.apply(&plugin(A), evict("x", "first")).unwrap();
    merge.apply(&plugin(B), evict("x", "second")).unwrap();
    merge.apply(&plugin(C), evict("ctr", "never")).unwrap();
    let outcome = merge.finish();
    let [eviction] = &outcome.evictions[..] else {
        panic!("one container");
    };
    assert_eq!(eviction.reason(), "first");
    assert_eq!(
        eviction.reasons,
        [(id(A), "first".to_owned()), (id(B), "second".to_owned())]
    );
    assert!(matches!(
        &outcome.omissions[..],
        [Omission::Eviction { .. }]
    ));
}

#[test]
fn d22_who_removed_is_no_plugin_of_another_name() {
    let merge = merged(container(|_, _| {}), [asks(|a| Ok(a.remove_env("K")))]);
    let owners = merge.finish().owners;
    let owner = owners.owner("ctr", Field::Env, Some("K")).unwrap();
    assert_eq!(owner.plugins(), [id(A)]);
    assert_eq!(owner.to_string(), "-10-a");
}

#[test]
fn d23_a_command_line_without_a_program_is_refused_when_it_is_built() {
    let mut adjustment = ContainerAdjustment::default();
    assert_eq!(
        adjustment.set_args(["", "y"]).err(),
        Some(BuildError::NoProgram)
    );
}

#[test]
fn d24_present_and_zero_is_not_absent() {
    let zero = asks(|a| {
        Ok(a.set_pids_limit(0)
            .set_io_priority(LinuxIoPriority::default())
            .set_scheduler(Default::default())
            .set_seccomp_policy(Default::default())
            .set_memory_policy(Default::default(), "", []))
    });
    assert_eq!(strip(zero.clone()), Some(zero.clone()));
    assert_eq!(strip_go(zero.clone()), None, "as the reference has it");
    assert_eq!(normal_form(zero.clone()), Some(zero.clone()));
    assert_eq!(
        outcome(&merged(container(|_, _| {}), [zero.clone()])).0,
        zero
    );
}

#[test]
fn d28_texts_of_conflicts_are_clean() {
    let conflict = |asked: fn() -> ContainerAdjustment| {
        let mut merge = merged(container(|_, _| {}), [asked()]);
        merge
            .apply(&plugin(B), response(asked()))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        conflict(|| asks(|a| Ok(a.set_cpu_shares(1)))),
        r#"conflict on container "ctr": plugin "20-b" sets CPUShares, already set by "10-a""#
    );
    assert_eq!(
        conflict(|| asks(|a| a.add_env("K", "v"))),
        r#"conflict on container "ctr": plugin "20-b" sets Env "K", already set by "10-a""#
    );
}

#[test]
fn d29_of_several_conflicts_the_first_in_order_is_reported() {
    let both = || {
        asks(|a| {
            a.add_annotation("b", "1")?
                .add_annotation("a", "1")?
                .add_env("z", "1")?
                .add_env("y", "1")
        })
    };
    let mut merge = merged(container(|_, _| {}), [both()]);
    let error = merge.apply(&plugin(B), response(both())).unwrap_err();
    assert!(matches!(
        &error,
        MergeError::Conflict { field: Field::Annotations, key: Some(key), .. } if key == "a"
    ));
    let mut later = both();
    later.annotations.clear();
    let error = merge.apply(&plugin(B), response(later)).unwrap_err();
    assert!(matches!(error, MergeError::Conflict { key: Some(key), .. } if key == "z"));
}

#[test]
fn d32_two_instances_of_one_identity_are_two_plugins() {
    let again = RegisteredPlugin {
        registration: 99,
        ..plugin(A)
    };
    assert!(plugin(A) < again, "called in order of their registration");
    let asked = || asks(|a| a.add_env("K", "v"));
    let mut merge = merged(container(|_, _| {}), [asked()]);
    let error = merge.apply(&again, response(asked())).unwrap_err();
    assert!(matches!(error, MergeError::Conflict { .. }));
}

#[test]
fn d35_outputs_are_values_of_their_own() {
    let asked = asks(|a| Ok(a.set_pids_limit(5)));
    let merge = merged(container(|_, _| {}), [asked.clone()]);
    let mut view = merge.view().clone();
    view.linux = None;
    assert_eq!(outcome(&merge).0, asked);
    assert!(merge.view().linux.is_some());
}

#[test]
fn d36_a_removed_kernel_parameter_is_marked_among_kernel_parameters() {
    let remove = asks(|a| Ok(a.remove_sysctl("k")));
    let (reply, _) = outcome(&merged(container(|_, _| {}), [remove.clone()]));
    assert_eq!(reply, remove);
    assert!(reply.annotations.is_empty());
}

#[test]
fn d37_copies_are_whole_and_comparisons_look_at_everything() {
    let rdt = LinuxRdt {
        remove: true,
        ..Default::default()
    };
    assert_eq!(rdt.clone(), rdt);
    let mut with_option = mount("/m", "/s");
    with_option.options.push("ro".into());
    assert_ne!(with_option, mount("/m", "/s"));
}

#[test]
fn d38_a_variable_is_replaced_once_and_the_rest_stays() {
    let original = container(|c, _| {
        c.env = ["NO_VALUE", "K=1", "X=1", "K=2", "K"]
            .map(str::to_owned)
            .to_vec();
    });
    let applied = apply(&original, &asks(|a| a.add_env("K", "n")));
    assert_eq!(applied.env, ["NO_VALUE", "K=n", "X=1"]);
    let removed = apply(&original, &asks(|a| Ok(a.remove_env("K"))));
    assert_eq!(removed.env, ["NO_VALUE", "X=1"]);
}

#[test]
fn d39_empty_elements_are_data() {
    let mut asked = ContainerAdjustment::default();
    asked.mounts.push(Mount::default());
    asked.rlimits.push(PosixRlimit::default());
    asked.env.push(Default::default());
    let merge = merged(container(|_, _| {}), [asked.clone()]);
    assert_eq!(outcome(&merge).0, asked);
    assert_eq!(merge.view().env, ["="]);
}
