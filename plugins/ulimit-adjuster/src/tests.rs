//! The plugin as a runtime sees it.

use nri_testkit::{Changes, Describe as _, Harness, container, pod};

use crate::plugin;

async fn created(key: &str, value: &str) -> Result<Changes, String> {
    let pod = pod("web-1").annotated(key, value);
    let created = Harness::new(plugin())
        .try_create(pod, container("c0"))
        .await;
    created.map_err(|error| error.to_string())
}

#[tokio::test]
async fn limits_are_set_however_they_are_spelled() {
    let value = "- type: RLIMIT_NOFILE\n  soft: 1024\n  hard: 4096\n- {type: rlimit_memlock, hard: 1}\n- {type: nproc}";
    for key in [
        "ulimits.noderesource.dev/container.c0",
        "ulimits.nri.containerd.io/container.c0",
    ] {
        let changes = created(key, value).await.unwrap();
        let limits = changes.adjustment.unwrap().rlimits;
        let limits = limits
            .iter()
            .map(|limit| (limit.r#type.as_str(), limit.soft, limit.hard));
        assert!(limits.eq([
            ("RLIMIT_NOFILE", 1024, 4096),
            ("RLIMIT_MEMLOCK", 0, 1),
            ("RLIMIT_NPROC", 0, 0),
        ]));
    }
}

#[tokio::test]
async fn limits_are_of_one_container() {
    for key in [
        "ulimits.noderesource.dev/container.c1",
        "ulimits.noderesource.dev/pod",
        "ulimits.noderesource.dev",
    ] {
        assert!(created(key, "nonsense").await.unwrap().is_empty(), "{key}");
    }
}

#[tokio::test]
async fn a_mistake_is_named_with_annotation_line_and_what_is_allowed() {
    for (value, says) in [
        (
            "- type: nofile\n- type: nofiles",
            "line 2: [1]: Rlimits: there is no limit \"nofiles\"; there is as, core",
        ),
        (
            "- {type: nofile, soft: 2, hard: 1}",
            "line 1: [0]: Rlimits \"RLIMIT_NOFILE\": the soft limit 2 is above the hard limit 1",
        ),
        (
            "- {type: nofile, soft: -1}",
            "line 1: [0].soft: invalid value",
        ),
        (
            "- {type: nofile, sofd: 1}",
            "unknown field `sofd`, expected one of `type`, `soft`, `hard`",
        ),
        ("- type: nofile\n- type: RLIMIT_NOFILE", "RLIMIT_NOFILE"),
        ("nofile=1", "line 1"),
    ] {
        let error = created("ulimits.noderesource.dev/container.c0", value)
            .await
            .unwrap_err();
        assert!(error.contains(says), "{value:?}: {error}");
    }
}
