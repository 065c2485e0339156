//! The defects that concern updates.

use nri_proto::api::{
    ContainerUpdate, CreateContainerResponse, Field, LinuxPids, LinuxResources,
    StopContainerResponse, UpdateContainerResponse,
};

use super::{A, B, C, container, id, plugin};
use crate::build::{SetResources, Update};
use crate::merge::{CreateMerge, MergeError, Omission, StopMerge, UpdateMerge};

pub(super) fn stops(update: impl Into<Vec<ContainerUpdate>>) -> StopContainerResponse {
    StopContainerResponse {
        update: update.into(),
    }
}

pub(super) fn updates(update: impl Into<Vec<ContainerUpdate>>) -> UpdateContainerResponse {
    UpdateContainerResponse {
        update: update.into(),
        evict: Vec::new(),
    }
}

pub(super) fn update(container: &str, build: impl FnOnce(&mut ContainerUpdate)) -> ContainerUpdate {
    let mut update = ContainerUpdate::of_container(container).unwrap();
    build(&mut update);
    update
}

#[test]
fn d16_the_process_limit_of_an_update_is_read_from_the_update() {
    let mut merge = UpdateMerge::new(
        "ctr".into(),
        Some(LinuxResources {
            pids: Some(LinuxPids { limit: 100 }),
            ..Default::default()
        }),
    );
    let cpu = update("ctr", |u| {
        u.set_cpu_shares(1);
    });
    let memory = update("ctr", |u| {
        u.set_memory_limit(1);
    });
    let pids = update("ctr", |u| {
        u.set_pids_limit(5);
    });
    merge.apply(&plugin(A), updates([cpu])).unwrap();
    merge.apply(&plugin(B), updates([memory])).unwrap();
    merge.apply(&plugin(C), updates([pids.clone()])).unwrap();
    assert_eq!(merge.view().unwrap().pids, Some(LinuxPids { limit: 5 }));
    let again = merge.apply(&plugin(A), updates([pids]));
    assert!(matches!(
        again,
        Err(MergeError::Conflict {
            field: Field::PidsLimit,
            ..
        })
    ));
}

#[test]
fn d17_an_ignored_update_claims_nothing() {
    let mut merge = StopMerge::new();
    let shares = update("x", |u| {
        u.set_cpu_shares(3);
    });
    let conflicting = update("x", |u| {
        u.set_memory_limit(6)
            .set_cpu_shares(4)
            .set_ignore_failure(true);
    });
    let memory = update("x", |u| {
        u.set_memory_limit(8);
    });
    merge.apply(&plugin(A), stops([shares])).unwrap();
    merge.apply(&plugin(B), stops([conflicting])).unwrap();
    merge.apply(&plugin(C), stops([memory])).unwrap();
    let outcome = merge.finish();
    let [merged] = &outcome.updates[..] else {
        panic!("one container");
    };
    assert_eq!(merged.plugins, [id(A), id(C)]);
    assert!(!merged.update.ignore_failure);
    assert!(matches!(&outcome.omissions[..], [Omission::Update(_)]));
}

#[test]
fn d18_an_update_that_sets_nothing_leaves_the_request_alone() {
    let request = LinuxResources {
        pids: Some(LinuxPids { limit: 7 }),
        ..Default::default()
    };
    let mut merge = UpdateMerge::new("ctr".into(), Some(request.clone()));
    let nothing = update("ctr", |_| {});
    let empty = update("ctr", |u| {
        u.resources_mut();
    });
    merge.apply(&plugin(A), updates([nothing, empty])).unwrap();
    assert_eq!(merge.view(), Some(&request));
    assert_eq!(merge.finish().requested, None);
}

#[test]
fn d19_that_nobody_changed_the_request_is_said_in_type_and_on_the_wire() {
    let mut merge = UpdateMerge::new("ctr".into(), None);
    let other = update("x", |u| {
        u.set_cpu_shares(1);
    });
    merge.apply(&plugin(A), updates([other])).unwrap();
    let outcome = merge.finish();
    assert_eq!(outcome.requested, None);
    let wire = outcome.to_response().update;
    assert_eq!(
        (wire.len(), wire.last()),
        (2, Some(&ContainerUpdate::default()))
    );
}

#[test]
fn updating_the_container_that_is_created_is_an_error_whatever_its_failure_means() {
    for ignore in [true, false] {
        let own = update("ctr", |u| {
            u.set_ignore_failure(ignore);
        });
        let mut merge = CreateMerge::new(container(|_, _| {}));
        let response = CreateContainerResponse {
            update: vec![own],
            ..Default::default()
        };
        let error = merge.apply(&plugin(A), response).unwrap_err();
        assert!(matches!(error, MergeError::SelfUpdate { .. }));
    }
}

#[test]
fn device_rules_in_an_update_are_left_out_and_reported() {
    let rules = update("x", |u| u.resources_mut().devices.push(Default::default()));
    let mut merge = StopMerge::new();
    merge.apply(&plugin(A), stops([rules])).unwrap();
    let outcome = merge.finish();
    assert!(outcome.updates.is_empty());
    assert!(matches!(
        &outcome.omissions[..],
        [Omission::DeviceRules { .. }]
    ));
}
