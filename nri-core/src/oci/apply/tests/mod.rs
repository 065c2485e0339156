//! The rules of every field, on small specs.

#![expect(
    clippy::field_reassign_with_default,
    reason = "options are set as users of this crate have to: the struct is non-exhaustive"
)]

mod growth;
mod linux;
mod mounts;
mod process;
mod resources;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use nri_proto::api::{
    CdiDevice, CompoundFieldOwners, ContainerAdjustment, Field, FieldOwners, Hook, Hooks, KeyValue,
    LinuxContainerAdjustment, LinuxDevice, LinuxIoPriority, LinuxMemoryPolicy, LinuxNamespace,
    LinuxNetDevice, LinuxPids, LinuxRdt, LinuxResources, LinuxScheduler, LinuxSeccomp,
    LinuxSyscall, Mount, OptionalBool, OptionalFileMode, OptionalInt, OptionalRepeatedString,
    OptionalString, OptionalUInt32, PosixRlimit,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ApplyError, ApplyOptions, DeviceAccess, OnUnsupported, apply};
use crate::keys::KeyKind;
use crate::oci::mounts::{HostMount, HostMounts, parse_mountinfo};
use crate::oci::samples::{any_adjustment, any_spec};
use crate::oci::values::Family;
use crate::oci::{CallbackError, KeyedChanges, OciVersion, read, shape};

fn applied(spec: &Value, adjustment: &ContainerAdjustment) -> Value {
    apply(spec, adjustment, &ApplyOptions::default(), None)
        .unwrap()
        .spec
}

fn refused(spec: &Value, adjustment: &ContainerAdjustment) -> String {
    apply(spec, adjustment, &ApplyOptions::default(), None)
        .unwrap_err()
        .to_string()
}

fn linux(linux: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment {
        linux: Some(linux),
        ..Default::default()
    }
}

fn resources(resources: LinuxResources) -> ContainerAdjustment {
    linux(LinuxContainerAdjustment {
        resources: Some(resources),
        ..Default::default()
    })
}

fn text(value: &str) -> Option<OptionalString> {
    Some(OptionalString {
        value: value.into(),
    })
}

fn device(path: &str, kind: &str, minor: i64, mode: Option<u32>) -> LinuxDevice {
    LinuxDevice {
        path: path.into(),
        r#type: kind.into(),
        major: 10,
        minor,
        file_mode: mode.map(|value| OptionalFileMode { value }),
        ..Default::default()
    }
}

fn annotations(entries: &[(&str, &str)]) -> ContainerAdjustment {
    ContainerAdjustment {
        annotations: entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Default::default()
    }
}

fn env(entries: &[(&str, &str)]) -> ContainerAdjustment {
    ContainerAdjustment {
        env: entries
            .iter()
            .map(|(key, value)| KeyValue {
                key: (*key).into(),
                value: (*value).into(),
            })
            .collect(),
        ..Default::default()
    }
}

#[test]
fn annotations_are_removed_before_they_are_set() {
    let spec = json!({"annotations": {"k": "old", "gone": "1"}});
    let adjustment = annotations(&[("-k", ""), ("k", "v"), ("-gone", ""), ("-absent", "")]);
    assert_eq!(
        applied(&spec, &adjustment),
        json!({"annotations": {"k": "v"}})
    );
    assert!(refused(&spec, &annotations(&[("", "v")])).contains("key is empty"));
}

#[test]
fn a_filter_sees_bare_keys() {
    let seen = Arc::new(Mutex::new(KeyedChanges::default()));
    let mut options = ApplyOptions::default();
    let log = seen.clone();
    options.annotation_filter = Some(Arc::new(move |changes| {
        *log.lock().unwrap() = changes.clone();
        changes.removed.clear();
        Ok(())
    }));
    let spec = json!({"annotations": {"a": "1"}});
    let adjustment = annotations(&[("-a", ""), ("b", "2")]);
    let result = apply(&spec, &adjustment, &options, None).unwrap();
    assert_eq!(result.spec, json!({"annotations": {"a": "1", "b": "2"}}));
    let seen = seen.lock().unwrap();
    assert!(seen.removed.contains("a") && seen.set.contains_key("b"));
}

#[test]
fn errors_name_the_field_the_key_and_the_plugin() {
    let compound = |key: &str, owner: &str| CompoundFieldOwners {
        owners: [(key.to_owned(), owner.to_owned())].into(),
    };
    let owners = FieldOwners {
        simple: [(Field::OomScoreAdj.into(), "20-oom".to_owned())].into(),
        compound: [(Field::Annotations.into(), compound("id", "-10-meddler"))].into(),
    };
    let mut options = ApplyOptions::default();
    options.protected_annotations = vec!["id".into()];
    for key in ["id", "-id"] {
        let error = apply(
            &json!({}),
            &annotations(&[(key, "")]),
            &options,
            Some(&owners),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "cannot apply Annotations \"id\" (of plugin 10-meddler): the runtime keeps this annotation to itself"
        );
    }
    let adjustment = linux(LinuxContainerAdjustment {
        oom_score_adj: Some(OptionalInt { value: 1001 }),
        ..Default::default()
    });
    let error = apply(&json!({}), &adjustment, &options, Some(&owners)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot apply OomScoreAdj \"1001\" (of plugin 20-oom): it must be between -1000 and 1000"
    );
}

#[test]
fn a_document_that_is_no_spec_is_refused() {
    let error = refused(
        &json!({"process": {"env": "A=1"}}),
        &ContainerAdjustment::default(),
    );
    assert_eq!(
        error,
        "this is no OCI runtime spec: process.env must be a list, and it is a text"
    );
}

/// Keeps the first entry of every key, whether it is a removal or not.
fn one_per_key<T>(list: &mut Vec<T>, key: fn(&T) -> &String) {
    let mut seen = BTreeSet::new();
    list.retain(|entry| {
        let key = key(entry);
        seen.insert(key.strip_prefix('-').unwrap_or(key).to_owned())
    });
}

/// What a plugin sees of an adjusted container, for the fields that both compute alike. The rest
/// differs by design: mounts and huge pages are compared as what they mean, a memory limit implies
/// a swap limit, a class is resolved.
fn common(container: nri_proto::api::Container) -> nri_proto::api::Container {
    let linux = container.linux.unwrap_or_default();
    nri_proto::api::Container {
        annotations: container.annotations,
        args: container.args,
        env: container.env,
        rlimits: container.rlimits,
        hooks: container.hooks.filter(|hooks| *hooks != Hooks::default()),
        linux: Some(nri_proto::api::LinuxContainer {
            namespaces: linux.namespaces,
            cgroups_path: linux.cgroups_path,
            oom_score_adj: linux.oom_score_adj,
            net_devices: linux.net_devices,
            seccomp_policy: linux.seccomp_policy,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What the keys that can be spelled in several ways have, in order of their normal forms.
fn by_key(container: &nri_proto::api::Container) -> Vec<(Field, String, String)> {
    let linux = container.linux.clone().unwrap_or_default();
    let sizes = linux.resources.unwrap_or_default().hugepage_limits;
    let sizes = sizes
        .into_iter()
        .map(|l| (Field::HugepageLimits, l.page_size, l.limit.to_string()));
    let mounts = container.mounts.iter();
    let mounts = mounts.map(|m| (Field::Mounts, m.destination.clone(), m.source.clone()));
    let devices = linux
        .devices
        .into_iter()
        .map(|d| (Field::Devices, d.path, d.r#type));
    let parameters = linux
        .sysctl
        .into_iter()
        .map(|(name, value)| (Field::Sysctl, name, value));
    let all = mounts.chain(devices).chain(parameters).chain(sizes);
    let mut all: Vec<_> = all
        .map(|(field, key, value)| (field, KeyKind::of(field).normal(&key).into_owned(), value))
        .collect();
    all.sort();
    all
}

proptest! {
    /// Law: what plugins see of an adjustment is what the spec gets.
    #[test]
    fn the_spec_agrees_with_the_view(spec in any_spec(), mut adjustment in any_adjustment()) {
        // What a merge never hands on: two entries of one key in a list, a first argument that is a
        // marker.
        one_per_key(&mut adjustment.env, |entry| &entry.key);
        one_per_key(&mut adjustment.mounts, |entry| &entry.destination);
        if let Some(linux) = &mut adjustment.linux {
            one_per_key(&mut linux.namespaces, |entry| &entry.r#type);
            one_per_key(&mut linux.devices, |entry| &entry.path);
        }
        adjustment.args.retain(|arg| !arg.is_empty());
        let mut options = ApplyOptions::default();
        options.without_callback = OnUnsupported::Ignore;
        if let Ok(applied) = apply(&spec, &adjustment, &options, None) {
            let seen = crate::merge::apply(&read::container(&spec), &adjustment);
            let written = read::container(&applied.spec);
            prop_assert_eq!(by_key(&written), by_key(&seen));
            prop_assert_eq!(common(written), common(seen));
        }
    }

    /// Law: an empty adjustment changes nothing.
    #[test]
    fn an_empty_adjustment_is_the_identity(spec in any_spec()) {
        prop_assert_eq!(&applied(&spec, &ContainerAdjustment::default()), &spec);
    }

    /// Law: whatever plugins ask for, the outcome is an error or a spec, the members that are not
    /// adjusted stay, and doing it again gives the same spec.
    #[test]
    fn applying_gives_a_spec_or_an_error(spec in any_spec(), adjustment in any_adjustment()) {
        let mut options = ApplyOptions::default();
        options.without_callback = OnUnsupported::Ignore;
        if let Ok(first) = apply(&spec, &adjustment, &options, None) {
            prop_assert_eq!(shape::check(&first.spec), Ok(()));
            prop_assert_eq!(&first.spec["vendor"], &spec["vendor"]);
            prop_assert_eq!(&first.spec["ociVersion"], &spec["ociVersion"]);
            let again = apply(&spec, &adjustment, &options, None).unwrap();
            prop_assert_eq!(again, first);
        }
    }

    /// Law: applying a second time changes nothing more, but for what is appended (hooks, device
    /// rules).
    #[test]
    fn applying_is_idempotent(spec in any_spec(), mut adjustment in any_adjustment()) {
        adjustment.hooks = None;
        if let Some(linux) = &mut adjustment.linux {
            linux.devices.clear();
        }
        let mut options = ApplyOptions::default();
        options.without_callback = OnUnsupported::Ignore;
        if let Ok(once) = apply(&spec, &adjustment, &options, None) {
            let twice = apply(&once.spec, &adjustment, &options, None).unwrap();
            prop_assert_eq!(twice.spec, once.spec);
        }
    }
}
