//! From CRI and OCI to what plugins see, on what kubelets and runtimes really write.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

use std::sync::Arc;

use nri_core::api;
use nri_core::model::{Container, PodSandbox};
use nri_domain_cri::cri::{
    ContainerConfig, InvalidConfig, MountPropagation, NamespaceMode, PodSandboxConfig, ProfileType,
};
use nri_domain_cri::{ContainerRecord, CriState, ImageIdentity, PodRecord};
use serde_json::{Value, json};

const POD: &str = include_str!("../../dev/demo/inputs/pod.json");
const CONTAINER: &str = include_str!("../../dev/demo/inputs/container.json");
const SPEC: &str = include_str!("../../dev/demo/inputs/config.json");

fn record() -> ContainerRecord {
    let config = ContainerConfig::from_json(CONTAINER).unwrap();
    let spec: Value = serde_json::from_str(SPEC).unwrap();
    nri_core::oci::shape::check(&spec).unwrap();
    ContainerRecord::new("c1", "p1", Arc::new(config), Arc::new(spec))
}

/// Every name in its other spelling, `snake_case` for `lowerCamel` and back. Keys of maps are left
/// alone.
fn respell(value: &Value, spell: fn(&str) -> String) -> Value {
    const MAPS: [&str; 4] = ["labels", "annotations", "sysctls", "unified"];
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let value = if MAPS.contains(&name.as_str()) {
                    value.clone()
                } else {
                    respell(value, spell)
                };
                (spell(name), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| respell(item, spell)).collect(),
        value => value.clone(),
    }
}

fn lower_camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        camel + &word[..1].to_uppercase() + &word[1..]
    })
}

fn snake(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let underscore = c.is_uppercase().then_some('_');
            underscore.into_iter().chain(c.to_lowercase())
        })
        .collect()
}

#[test]
fn both_spellings_are_one_configuration() {
    let pod = PodSandboxConfig::from_json(POD).unwrap();
    let respelled = respell(&serde_json::from_str(POD).unwrap(), lower_camel);
    let mut other = PodSandboxConfig::from_json(&respelled.to_string()).unwrap();
    assert_eq!(other.rest.len(), pod.rest.len());
    other.rest.clone_from(&pod.rest);
    other.linux.as_mut().unwrap().rest.clear();
    assert_eq!(pod, other);

    let container = ContainerConfig::from_json(CONTAINER).unwrap();
    let respelled = respell(&serde_json::from_str(CONTAINER).unwrap(), snake);
    assert_eq!(
        ContainerConfig::from_json(&respelled.to_string()).unwrap(),
        container
    );
}

#[test]
fn a_configuration_is_written_as_it_was_read() {
    let pod = PodSandboxConfig::from_json(POD).unwrap();
    let text = serde_json::to_string(&pod).unwrap();
    assert_eq!(PodSandboxConfig::from_json(&text).unwrap(), pod);
    // What this crate does not know is kept.
    assert_eq!(pod.rest["dns_config"]["options"], json!(["ndots:5"]));

    let container = ContainerConfig::from_json(CONTAINER).unwrap();
    let text = serde_json::to_string(&container).unwrap();
    assert_eq!(ContainerConfig::from_json(&text).unwrap(), container);
}

#[test]
fn numbers_may_be_texts_enums_names_or_numbers_and_null_is_absent() {
    let config = |linux: Value| {
        let text = json!({
            "metadata": {"name": "n", "attempt": null}, "image": {"image": "i"}, "linux": linux,
        });
        ContainerConfig::from_json(&text.to_string())
    };
    let context = |context: Value| {
        let config = config(json!({"security_context": context})).unwrap();
        config.linux.unwrap().security_context.unwrap()
    };
    let profile = |profile_type: Value| {
        let context = context(json!({"seccomp": {"profile_type": profile_type}}));
        context.seccomp.unwrap().profile_type
    };
    assert_eq!(profile(json!(1)), ProfileType::Unconfined);
    assert_eq!(profile(json!("Localhost")), ProfileType::Localhost);
    assert_eq!(profile(Value::Null), ProfileType::RuntimeDefault);
    assert_eq!(profile(json!(77)), ProfileType::Other(77));
    assert_eq!(context(json!({"seccomp": null})).seccomp, None);
    assert_eq!(
        context(json!({"supplementalGroups": [1, "2"]})).supplemental_groups,
        [1, 2]
    );
    let options = context(json!({"namespace_options": {"network": "NODE", "pid": 3}}))
        .namespace_options
        .unwrap();
    assert_eq!(
        (options.network, options.pid, options.ipc),
        (
            NamespaceMode::Node,
            NamespaceMode::Target,
            NamespaceMode::Pod
        )
    );

    for (wrong, part) in [
        (json!({"resources": {"cpu_shares": 1.5}}), "whole number"),
        (json!({"resources": {"cpu_shares": "many"}}), "whole number"),
        (
            json!({"resources": {"hugepage_limits": [{"limit": -1}]}}),
            "whole number",
        ),
        (
            json!({"security_context": {"seccomp": {"profile_type": "None"}}}),
            "RuntimeDefault (0)",
        ),
        (json!({"security_context": []}), "struct"),
    ] {
        let error = config(wrong.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{wrong}: {error}");
    }
}

#[test]
fn what_every_runtime_needs_must_be_there() {
    for (text, missing) in [
        ("{}", "metadata.name"),
        (r#"{"metadata": {"name": "n"}}"#, "metadata.namespace"),
    ] {
        let error = PodSandboxConfig::from_json(text).unwrap_err();
        assert!(matches!(error, InvalidConfig::Missing { field, .. } if field == missing));
    }
    let error = ContainerConfig::from_json(r#"{"metadata": {"name": "n"}}"#).unwrap_err();
    assert_eq!(error.to_string(), "this ContainerConfig has no image.image");
    let error = ContainerConfig::from_json("{\n  \"metadata\": }").unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn a_realistic_pod() {
    let config = PodSandboxConfig::from_json(POD).unwrap();
    let pod = PodRecord::new("p1", Arc::new(config)).to_message();
    assert_eq!(pod.name, "frontend-7d4b9c6f5d-x2v8k");
    assert_eq!(pod.namespace, "shop");
    assert_eq!(pod.labels["io.kubernetes.pod.uid"], pod.uid);
    assert_eq!(pod.annotations["prometheus.io/scrape"], "true");
    let linux = pod.linux.unwrap();
    assert!(linux.cgroup_parent.starts_with("/kubepods.slice/"));
    let memory = linux.pod_resources.unwrap().memory.unwrap();
    assert_eq!(memory.limit.unwrap().value, 402_653_184);
    assert_eq!(linux.pod_overhead, Some(api::LinuxResources::default()));
}

#[test]
fn a_realistic_container() {
    let mut record = record();
    record.labels = [("org.opencontainers.image.version".into(), "2.14.3".into())].into();
    record.image = Some(ImageIdentity {
        name: "registry.example.com/shop/frontend:2.14.3".into(),
        digest: "sha256:1".into(),
        config_digest: "sha256:2".into(),
    });
    let container = record.to_message();

    assert_eq!(container.name, "frontend");
    assert_eq!(container.state(), api::ContainerState::ContainerCreated);
    assert_eq!(container.labels["io.kubernetes.pod.namespace"], "shop");
    assert_eq!(
        container.labels["org.opencontainers.image.version"],
        "2.14.3"
    );
    assert_eq!(
        container.annotations["io.kubernetes.cri.container-name"],
        "frontend"
    );
    assert_eq!(
        container.annotations["io.kubernetes.container.restartCount"],
        "0"
    );
    assert_eq!(container.args[0], "/bin/sh");
    assert!(container.env.contains(&"NODE_NAME=node-3".to_owned()));
    assert_eq!(container.mounts.len(), 15);
    assert_eq!(container.hooks, None);
    assert_eq!(container.rlimits[0].r#type, "RLIMIT_NOFILE");
    let user = container.user.unwrap();
    assert_eq!((user.uid, user.additional_gids), (65532, vec![2000, 65532]));
    assert_eq!(container.image.unwrap().config_digest, "sha256:2");

    let linux = container.linux.unwrap();
    assert_eq!(linux.namespaces.len(), 5);
    assert_eq!(linux.oom_score_adj.unwrap().value, 968);
    assert!(
        linux
            .cgroups_path
            .starts_with("kubepods-burstable-pod6f0c3f9e")
    );
    let resources = linux.resources.unwrap();
    assert_eq!(resources.cpu.unwrap().quota.unwrap().value, 50_000);
    assert_eq!(resources.devices.len(), 10);
    assert_eq!(resources.pids, None);
    let profile = linux.seccomp_profile.unwrap();
    assert_eq!(
        profile.profile_type(),
        api::security_profile::ProfileType::RuntimeDefault
    );
    let policy = linux.seccomp_policy.unwrap();
    assert_eq!(policy.default_action, "SCMP_ACT_ERRNO");
    assert!(policy.syscalls[0].names.len() > 300);
}

/// The three demo files describe one container of one pod.
#[test]
fn the_demo_files_agree() {
    let pod = PodSandboxConfig::from_json(POD).unwrap();
    let container = ContainerConfig::from_json(CONTAINER).unwrap();
    let spec: Value = serde_json::from_str(SPEC).unwrap();
    let metadata = pod.metadata.unwrap();

    let command: Vec<&String> = container.command.iter().chain(&container.args).collect();
    assert_eq!(spec["process"]["args"], json!(command));
    let env = spec["process"]["env"].as_array().unwrap();
    for variable in &container.envs {
        assert!(env.contains(&json!(format!("{}={}", variable.key, variable.value))));
    }
    let mounts = spec["mounts"].as_array().unwrap();
    for mount in &container.mounts {
        let same = |m: &&Value| m["destination"] == json!(mount.container_path);
        let found = mounts.iter().find(same).unwrap();
        assert_eq!(found["source"], json!(mount.host_path));
        let options = found["options"].as_array().unwrap();
        assert!(options.contains(&json!(if mount.readonly { "ro" } else { "rw" })));
        let propagation = match mount.propagation {
            MountPropagation::HostToContainer => "rslave",
            _ => "rprivate",
        };
        assert!(options.contains(&json!(propagation)));
    }
    let annotations = &spec["annotations"];
    for (key, value) in [
        ("container-name", &container.metadata.unwrap().name),
        ("sandbox-name", &metadata.name),
        ("sandbox-namespace", &metadata.namespace),
        ("sandbox-uid", &metadata.uid),
    ] {
        assert_eq!(
            annotations[format!("io.kubernetes.cri.{key}")],
            json!(value)
        );
    }
    for label in [&pod.labels, &container.labels] {
        assert_eq!(label["io.kubernetes.pod.name"], metadata.name);
    }
    let linux = container.linux.unwrap();
    let resources = linux.resources.unwrap();
    let oci = &spec["linux"]["resources"];
    assert_eq!(
        oci["memory"]["limit"],
        json!(resources.memory_limit_in_bytes)
    );
    assert_eq!(oci["cpu"]["shares"], json!(resources.cpu_shares));
    assert_eq!(oci["cpu"]["quota"], json!(resources.cpu_quota));
    assert_eq!(
        spec["process"]["oomScoreAdj"],
        json!(resources.oom_score_adj)
    );
    let context = linux.security_context.unwrap();
    assert_eq!(
        spec["process"]["user"]["uid"],
        json!(context.run_as_user.unwrap().value)
    );
    assert_eq!(spec["root"]["readonly"], json!(context.readonly_rootfs));
    assert_eq!(spec["linux"]["maskedPaths"], json!(context.masked_paths));
    let parent = pod.linux.unwrap().cgroup_parent;
    let slice = parent.rsplit('/').next().unwrap();
    let path = spec["linux"]["cgroupsPath"].as_str().unwrap();
    assert!(path.starts_with(&format!("{slice}:cri-containerd:")));
}

#[test]
fn states_map_by_name_and_reasons_by_what_is_known() {
    let mut record = record();
    let reported = |record: &ContainerRecord| {
        let message = record.to_message();
        (message.state(), message.status_reason)
    };
    use api::ContainerState as State;
    for (state, nri) in [
        (CriState::Created, State::ContainerCreated),
        (CriState::Running, State::ContainerRunning),
        (CriState::Paused, State::ContainerPaused),
        (CriState::Unknown, State::ContainerUnknown),
    ] {
        record.state = state;
        assert_eq!(reported(&record), (nri, String::new()));
    }
    record.state = CriState::Exited;
    assert_eq!(
        reported(&record),
        (State::ContainerStopped, "Completed".into())
    );
    record.exit_code = 137;
    assert_eq!(reported(&record).1, "Error");
    record.reason = "OOMKilled".into();
    assert_eq!(reported(&record).1, "OOMKilled");
}

#[test]
fn a_zero_time_is_not_yet() {
    let mut record = record();
    record.started_at = -6_795_364_578_871_345_152;
    record.created_at = 5;
    let message = record.to_message();
    assert_eq!((message.created_at, message.started_at), (5, 0));
}

#[test]
fn adjusted_annotations_are_what_plugins_see() {
    let mut record = record();
    let key = "io.kubernetes.container.hash";
    assert_eq!(record.annotations()[key], "8c41b7e2");
    record.spec = Arc::new(json!({"annotations": {key: "adjusted"}}));
    assert_eq!(record.annotations()[key], "adjusted");
    record.spec = Arc::new(json!({}));
    record.removed_annotations.insert(key.into());
    assert_eq!(record.annotations().get(key), None);
}

#[test]
fn a_container_without_anything_is_still_one() {
    let record = ContainerRecord::new("c", "p", Arc::default(), Arc::new(Value::Null));
    let message = record.to_message();
    assert_eq!((&*message.id, &*message.pod_sandbox_id), ("c", "p"));
    assert_eq!(message.linux, Some(api::LinuxContainer::default()));
    assert_eq!(message.image, None);
}
