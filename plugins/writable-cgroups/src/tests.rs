//! The plugin as a runtime sees it.

use nri_plugin::api;
use nri_testkit::{Changes, Describe as _, Harness, container, pod};

use crate::plugin;

async fn created(delegates: bool, value: &str, options: &[&str]) -> Result<Changes, String> {
    let pod = pod("web-1").annotated("writable-cgroups.noderesource.dev/pod", value);
    let mut container = container("c0");
    container
        .mounts
        .retain(|mount| mount.destination != "/sys/fs/cgroup");
    if !options.is_empty() {
        container.mounts.push(api::Mount {
            destination: "/sys/fs/cgroup".into(),
            r#type: "cgroup".into(),
            source: "cgroup".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        });
    }
    let created = Harness::new(plugin(delegates))
        .try_create(pod, container)
        .await;
    created.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_mount_is_made_writable_where_it_is_asked_for_and_safe() {
    for (options, wanted) in [
        (&["nosuid", "ro"][..], &["nosuid", "rw"][..]),
        (&["nosuid"], &["nosuid", "rw"]),
        (&["ro", "rw"], &["rw"]),
    ] {
        let changes = created(true, "true", options).await.unwrap();
        let mount = changes.mount("/sys/fs/cgroup").unwrap();
        assert_eq!(
            (mount.options.as_slice(), mount.r#type.as_str()),
            (
                &wanted.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()[..],
                "cgroup"
            )
        );
    }
    for (delegates, value, options) in [
        (false, "true", &["ro"][..]),
        (true, "false", &["ro"]),
        (true, "", &["ro"]),
        (true, "true", &["rw"]),
    ] {
        assert!(created(delegates, value, options).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_mistake_is_named_with_annotation_and_value() {
    let error = created(true, "yes", &["ro"]).await.unwrap_err();
    assert!(error.contains("annotation \"writable-cgroups.noderesource.dev/pod\" (for container \"c0\") is \"yes\": true or false"), "{error}");
    let error = created(true, "true", &[]).await.unwrap_err();
    assert!(
        error.contains("the container has no mount of /sys/fs/cgroup"),
        "{error}"
    );
}
