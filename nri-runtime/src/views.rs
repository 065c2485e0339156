//! Pods, containers and images as CRI's clients see them.

use std::collections::BTreeMap;

use nri_domain_cri::resources;
use prost::Message as _;

use crate::cgroup::Cgroup;
use crate::cri;
use crate::images::Image;
use crate::record::{Container, Pod, State, now};

/// Whether labels are among others.
fn selected(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

pub(crate) fn pod_state(pod: &Pod) -> cri::PodSandboxState {
    match pod.ready {
        true => cri::PodSandboxState::SandboxReady,
        false => cri::PodSandboxState::SandboxNotready,
    }
}

pub(crate) fn container_state(container: &Container) -> cri::ContainerState {
    match container.state {
        State::Created => cri::ContainerState::ContainerCreated,
        State::Running => cri::ContainerState::ContainerRunning,
        State::Exited => cri::ContainerState::ContainerExited,
    }
}

/// Whether a pod is one of those that are asked for.
pub(crate) fn pod_matches(pod: &Pod, filter: &cri::PodSandboxFilter) -> bool {
    let state = filter
        .state
        .as_ref()
        .is_none_or(|state| state.state() == pod_state(pod));
    pod.id.starts_with(&filter.id) && state && selected(&pod.config.labels, &filter.label_selector)
}

/// Whether a container is one of those that are asked for.
pub(crate) fn container_matches(container: &Container, filter: &cri::ContainerFilter) -> bool {
    let state = filter.state.as_ref();
    container.id.starts_with(&filter.id)
        && container.pod_id.starts_with(&filter.pod_sandbox_id)
        && state.is_none_or(|state| state.state() == container_state(container))
        && selected(&container.config.labels, &filter.label_selector)
}

pub(crate) fn pod(pod: &Pod) -> cri::PodSandbox {
    cri::PodSandbox {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: pod_state(pod).into(),
        created_at: pod.created_at,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.runtime_handler.clone(),
    }
}

pub(crate) fn pod_status(pod: &Pod) -> cri::PodSandboxStatus {
    let mut ips = pod.ips.iter().cloned();
    cri::PodSandboxStatus {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        state: pod_state(pod).into(),
        created_at: pod.created_at,
        network: Some(cri::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| cri::PodIp { ip }).collect(),
        }),
        linux: Some(cri::LinuxPodSandboxStatus {
            namespaces: Some(cri::Namespace {
                options: Some(pod.options()),
            }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.runtime_handler.clone(),
    }
}

pub(crate) fn container(container: &Container) -> cri::Container {
    cri::Container {
        id: container.id.clone(),
        pod_sandbox_id: container.pod_id.clone(),
        metadata: container.config.metadata.clone(),
        image: container.config.image.clone(),
        image_ref: container.image.id.clone(),
        image_id: container.image.id.clone(),
        state: container_state(container).into(),
        created_at: container.created_at,
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
    }
}

pub(crate) fn container_status(container: &Container) -> cri::ContainerStatus {
    let in_effect = resources::from_oci(&container.spec["linux"]["resources"]);
    let mut linux = cri::LinuxContainerResources::decode(&*in_effect.encode()).unwrap_or_default();
    linux.oom_score_adj = container.spec["process"]["oomScoreAdj"]
        .as_i64()
        .unwrap_or(0);
    let user = &container.spec["process"]["user"];
    let groups = user["additionalGids"].as_array().into_iter().flatten();
    cri::ContainerStatus {
        id: container.id.clone(),
        metadata: container.config.metadata.clone(),
        state: container_state(container).into(),
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: match container.state {
            State::Exited => container.finished_at,
            State::Created | State::Running => 0,
        },
        exit_code: container.exit_code,
        image: container.config.image.clone(),
        image_ref: container.image.id.clone(),
        image_id: container.image.id.clone(),
        reason: container.reason().to_owned(),
        message: container.message.clone(),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container.config.mounts.clone(),
        log_path: container.log.clone(),
        resources: Some(cri::ContainerResources {
            linux: Some(linux),
            ..Default::default()
        }),
        user: Some(cri::ContainerUser {
            linux: Some(cri::LinuxContainerUser {
                uid: user["uid"].as_i64().unwrap_or(0),
                gid: user["gid"].as_i64().unwrap_or(0),
                supplemental_groups: groups.filter_map(|group| group.as_i64()).collect(),
            }),
        }),
        stop_signal: container.config.stop_signal,
    }
}

/// What a container uses; `writable` is what its own layer takes.
pub(crate) fn container_stats(
    container: &Container,
    writable: cri::FilesystemUsage,
) -> cri::ContainerStats {
    let cgroup = Cgroup::new(container.cgroups_path());
    let number = |value: Option<u64>| value.map(|value| cri::UInt64Value { value });
    let count = |v1: &str, v2: &str| number(cgroup.number(v1, v2));
    cri::ContainerStats {
        attributes: Some(cri::ContainerAttributes {
            id: container.id.clone(),
            metadata: container.config.metadata.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        }),
        cpu: Some(cri::CpuUsage {
            timestamp: now(),
            usage_core_nano_seconds: number(cgroup.cpu()),
            ..Default::default()
        }),
        memory: Some(cri::MemoryUsage {
            timestamp: now(),
            working_set_bytes: number(cgroup.working_set()),
            usage_bytes: count("memory/memory.usage_in_bytes", "memory.current"),
            rss_bytes: count("memory/memory.stat:total_rss", "memory.stat:anon"),
            page_faults: count("memory/memory.stat:total_pgfault", "memory.stat:pgfault"),
            major_page_faults: count(
                "memory/memory.stat:total_pgmajfault",
                "memory.stat:pgmajfault",
            ),
            ..Default::default()
        }),
        writable_layer: Some(writable),
        ..Default::default()
    }
}

pub(crate) fn image(image: &Image) -> cri::Image {
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = match user {
        "" => Some(0),
        user => user.parse::<i64>().ok(),
    };
    cri::Image {
        id: image.id.clone(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size,
        uid: uid.map(|value| cri::Int64Value { value }),
        username: match uid {
            Some(_) => String::new(),
            None => user.to_owned(),
        },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests;
    use serde_json::json;

    #[test]
    fn a_filter_selects_by_everything_that_it_says() {
        let mut container = tests::container("abc");
        container.config.labels = [("app".to_owned(), "web".to_owned())].into();
        let matches = |filter: serde_json::Value| {
            container_matches(&container, &serde_json::from_value(filter).unwrap())
        };
        assert!(matches(json!({})) && matches(json!({"id": "ab"})) && !matches(json!({"id": "b"})));
        assert!(matches(
            json!({"label_selector": {"app": "web"}, "state": {"state": 1}})
        ));
        assert!(!matches(json!({"label_selector": {"app": "db"}})));
        assert!(!matches(json!({"state": {"state": 2}})));
        assert!(!matches(json!({"pod_sandbox_id": "p2"})));
    }

    #[test]
    fn a_status_has_what_is_in_effect() {
        let mut container = tests::container("abc");
        container.spec = json!({
            "process": {"oomScoreAdj": 7, "user": {"uid": 1, "gid": 2, "additionalGids": [3]}},
            "linux": {"resources": {"memory": {"limit": 4096}, "cpu": {"shares": 5}}},
        });
        let status = container_status(&container);
        let linux = status.resources.unwrap().linux.unwrap();
        assert_eq!(
            (
                linux.memory_limit_in_bytes,
                linux.cpu_shares,
                linux.oom_score_adj
            ),
            (4096, 5, 7)
        );
        let user = status.user.unwrap().linux.unwrap();
        assert_eq!(
            (user.uid, user.gid, user.supplemental_groups),
            (1, 2, vec![3])
        );
        // One that runs has not ended.
        assert_eq!(status.finished_at, 0);
    }
}
