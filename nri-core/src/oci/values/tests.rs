//! The table: every rule has examples that it refuses, its bounds hold, and what is not the
//! plugin's doing is not judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use nri_proto::api::{ContainerAdjustment, LinuxResources, Mount};
use serde_json::{Value, json};

use super::rule::shortened;
use super::{Family, RULES, Rule, examples};
use crate::build::{Adjust, SetResources};
use crate::oci::{ApplyOptions, OnUnsupported, apply, apply_resources};

fn rule(name: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.name == name).unwrap()
}

/// Options that leave these families to the low-level runtime.
fn leaving(families: impl IntoIterator<Item = Family>) -> ApplyOptions {
    ApplyOptions {
        left_to_runtime: families.into_iter().collect(),
        check_sysctl_namespaces: false,
        without_callback: OnUnsupported::Ignore,
        ..Default::default()
    }
}

/// What breaks a rule that needs more than an adjustment of the example's spec.
fn special(name: &str) -> bool {
    [
        "swap_without_limit",
        "blockio_weight",
        "net_device_namespace",
    ]
    .contains(&name)
}

pub(super) fn refuses_what_breaks_it(name: &str) {
    let family = rule(name).family;
    let mut examples = examples::broken();
    examples.retain(|example| example.rule == name);
    assert!(!examples.is_empty() || special(name), "no example");
    for example in examples {
        let adjusted = |options| apply(&examples::spec(), &example.adjustment, &options, None);
        let error = adjusted(ApplyOptions::default()).unwrap_err().to_string();
        let said = error.strip_prefix("cannot apply ").unwrap_or(&error);
        assert!(said.starts_with(example.says), "{error}");
        let others = RULES.iter().map(|rule| rule.family);
        let others: BTreeSet<Family> = others.filter(|other| *other != family).collect();
        adjusted(leaving(others.clone())).expect_err("it is refused by a rule of its own family");
        adjusted(leaving(others.into_iter().chain([family]))).expect("it is left to the runtime");
    }
}

#[test]
fn every_rule_has_a_name_of_its_own_and_every_example_a_rule() {
    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
    for example in examples::broken() {
        assert!(names.contains(example.rule), "{}", example.rule);
    }
}

#[test]
fn what_is_just_within_the_rules_passes() {
    let mut options = leaving([]);
    options.check_sysctl_namespaces = true;
    for adjustment in examples::at_the_bounds() {
        apply(&examples::spec(), &adjustment, &options, None)
            .unwrap_or_else(|error| panic!("{error}: {adjustment:?}"));
    }
}

fn refused(spec: &Value, adjustment: &ContainerAdjustment) -> String {
    let applied = apply(spec, adjustment, &ApplyOptions::default(), None);
    applied.unwrap_err().to_string()
}

#[test]
fn a_limit_of_swap_needs_one_of_memory_on_a_whole_spec() {
    let mut resources = LinuxResources::default();
    resources.set_memory_swap(1 << 30);
    let mut adjustment = ContainerAdjustment::default();
    adjustment.set_memory_swap(1 << 30);
    let error = refused(&json!({}), &adjustment);
    assert!(error.ends_with("and memory has none"), "{error}");
    // An update leaves the limit as it is.
    apply_resources(&resources, &mut json!({}), true).unwrap();
}

#[test]
fn a_network_device_needs_a_network_namespace() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment
        .add_net_device("eth7", Default::default())
        .unwrap();
    for spec in [
        json!({}),
        json!({"linux": {"namespaces": [{"type": "pid"}]}}),
    ] {
        assert_eq!(
            refused(&spec, &adjustment),
            "cannot apply LinuxNetDevices \"eth7\": it needs a network namespace of the container's own"
        );
    }
    apply(
        &examples::spec(),
        &adjustment,
        &ApplyOptions::default(),
        None,
    )
    .unwrap();
}

#[test]
fn a_resolved_class_is_judged_by_what_it_stands_for() {
    let options = ApplyOptions {
        blockio_resolver: Some(Arc::new(|_| Ok(Some(json!({"weight": 5000}))))),
        rdt_resolver: Some(Arc::new(|class| Ok(Some(json!({"closID": class}))))),
        ..Default::default()
    };
    let mut heavy = ContainerAdjustment::default();
    heavy.set_blockio_class("heavy");
    let error = apply(&json!({}), &heavy, &options, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot apply BlockioClass \"heavy\": a weight of block I/O must be between 10 and 1000, and that of this class is 5000"
    );
    let mut outside = ContainerAdjustment::default();
    outside.set_rdt_class("../../etc");
    let error = apply(&json!({}), &outside, &options, None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot apply RdtClass \"../../etc\""),
        "{error}"
    );
}

#[test]
fn what_the_spec_had_before_is_not_judged() {
    let spec = json!({"linux": {
        "namespaces": [],
        "sysctl": {"vm.swappiness": "1", "net.ipv4.ip_forward": "1"},
        "netDevices": {"eth0": {"name": "x:y"}},
        "maskedPaths": ["/proc/kcore"],
        "intelRdt": {"closID": "..", "schemata": ["x"]},
        "resources": {"memory": {"limit": 3, "swap": 2}, "blockIO": {"weight": 1}, "cpu": {"realtimeRuntime": 1u64 << 40}},
    }, "hostname": "h"});
    let mut adjustment = ContainerAdjustment::default();
    adjustment
        .set_cpu_shares(2)
        .remove_namespace("uts")
        .remove_namespace("network");
    adjustment.set_rdt_enable_monitoring(true);
    let options = ApplyOptions::default();
    apply(&spec, &adjustment, &options, None).unwrap();
}

#[test]
fn namespaces_stay_that_are_needed_and_go_with_what_needed_them() {
    let spec = |kind: &str, member: Value| {
        let mut spec = json!({"linux": {"namespaces": [{"type": kind}]}});
        for (name, value) in member.as_object().unwrap() {
            match name.as_str() {
                "domainname" => spec[name] = value.clone(),
                _ => spec["linux"][name] = value.clone(),
            }
        }
        spec
    };
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    for (kind, member) in [
        ("network", json!({"sysctl": {"net.core.somaxconn": "1"}})),
        ("network", json!({"netDevices": {"eth0": {}}})),
        ("ipc", json!({"sysctl": {"kernel.shmmax": "1"}})),
        ("ipc", json!({"sysctl": {"kernel.msgmax": "1"}})),
        ("ipc", json!({"sysctl": {"kernel.sem": "1"}})),
        ("ipc", json!({"sysctl": {"fs.mqueue.msg_max": "1"}})),
        ("uts", json!({"domainname": "x"})),
        ("uts", json!({"sysctl": {"kernel.domainname": "x"}})),
        ("mount", json!({"readonlyPaths": ["/proc/bus"]})),
        ("user", json!({"uidMappings": mapping})),
        ("user", json!({"gidMappings": mapping})),
        ("time", json!({"timeOffsets": {"monotonic": {"secs": 1}}})),
    ] {
        let mut adjustment = ContainerAdjustment::default();
        adjustment.remove_namespace(kind);
        let error = refused(&spec(kind, member.clone()), &adjustment);
        let start = format!("cannot apply Namespace {kind:?}: it cannot be removed: ");
        assert!(error.starts_with(&start), "{error}");
        // Without what needs it, it can be removed, and another one can take its place at any time.
        apply(
            &spec(kind, json!({})),
            &adjustment,
            &ApplyOptions::default(),
            None,
        )
        .unwrap();
        adjustment
            .linux()
            .namespaces
            .push(nri_proto::api::LinuxNamespace {
                r#type: kind.into(),
                path: "/run/ns".into(),
            });
        apply(
            &spec(kind, member),
            &adjustment,
            &ApplyOptions::default(),
            None,
        )
        .unwrap();
    }
    let mut both = ContainerAdjustment::default();
    both.remove_namespace("network")
        .remove_sysctl("net.core.somaxconn");
    let spec = spec("network", json!({"sysctl": {"net.core.somaxconn": "1"}}));
    apply(&spec, &both, &ApplyOptions::default(), None).unwrap();
}

#[test]
fn a_removal_is_not_judged_by_its_values() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment
        .remove_mount("/a\0")
        .remove_device("/dev/\0")
        .remove_net_device("a/b")
        .remove_sysctl("vm.swappiness")
        .remove_namespace("user");
    apply(&json!({}), &adjustment, &ApplyOptions::default(), None).unwrap();
}

#[test]
fn an_error_shows_so_much_of_a_value() {
    let mut adjustment = ContainerAdjustment::default();
    adjustment.mounts.push(Mount {
        destination: format!("/{}\0", "é".repeat(1 << 20)),
        ..Default::default()
    });
    assert!(refused(&json!({}), &adjustment).len() < 1024);
    assert_eq!(shortened("short"), "short");
}
