//! The plugin as a runtime sees it.

use nri_plugin::api::Field;
use nri_testkit::{Changes, Describe as _, Harness, container, pod};

use crate::plugin;

async fn created(annotations: &[(&str, &str)]) -> Result<Changes, String> {
    configured("", annotations).await
}

async fn configured(text: &str, annotations: &[(&str, &str)]) -> Result<Changes, String> {
    let pod = annotations.iter().fold(pod("web-1"), |pod, (key, value)| {
        pod.annotated(*key, *value)
    });
    let harness = Harness::new(plugin()).configured(text);
    harness.try_configure().await?;
    let created = harness.try_create(pod, container("c0")).await;
    created.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_is_annotated_is_given_and_the_most_specific_annotation_counts() {
    let created = created(&[
        ("devices.nri.io/container.c0", "- {path: /dev/nri-null, type: c, major: 1, minor: 3, file_mode: 0666, uid: 7}"),
        ("devices.noderesource.dev/pod", "- {path: /dev/other, type: c, major: 1, minor: 5}"),
        ("mounts.noderesource.dev", "- source: /home\n  destination: /host-home\n  type: bind\n  options:\n  - bind\n  - ro\n"),
        ("cdi-devices.noderesource.dev/container.c0", "- vendor0.com/device=null"),
        ("cdi-devices.noderesource.dev/container.c1", "- vendor0.com/device=zero"),
        ("network-devices.noderesource.dev/container.c0", "- hostIf: ens2.100\n  Name: netdev0"),
        ("sysctl.noderesource.dev/container.c0", "net.core.somaxconn: \"256\""),
        ("io-priority.noderesource.dev", "class: IOPRIO_CLASS_RT\npriority: 4"),
        ("scheduling-policy.nri.io", "policy: SCHED_FIFO\npriority: 9\nflags: [SCHED_FLAG_RESET_ON_FORK]"),
        ("memory-policy.noderesource.dev", "mode: MPOL_INTERLEAVE\nnodes: \"2,3\"\nflags: [MPOL_F_STATIC_NODES]"),
    ])
    .await
    .unwrap();
    let adjust = created.adjustment.as_ref().unwrap();
    let linux = adjust.linux.as_ref().unwrap();
    let device = &linux.devices[0];
    assert_eq!(linux.devices.len(), 1);
    assert_eq!(
        (device.path.as_str(), device.major, device.minor),
        ("/dev/nri-null", 1, 3)
    );
    assert_eq!(device.file_mode.as_ref().unwrap().value, 0o666);
    assert_eq!(
        (device.uid.as_ref().unwrap().value, &device.gid),
        (7, &None)
    );
    assert_eq!(created.mount("/host-home").unwrap().options, ["bind", "ro"]);
    assert_eq!(adjust.cdi_devices[0].name, "vendor0.com/device=null");
    assert_eq!(adjust.cdi_devices.len(), 1);
    assert_eq!(linux.net_devices["ens2.100"].name, "netdev0");
    assert_eq!(linux.sysctl["net.core.somaxconn"], "256");
    assert_eq!(linux.io_priority.as_ref().unwrap().priority, 4);
    assert_eq!(linux.scheduler.as_ref().unwrap().flags.len(), 1);
    assert_eq!(linux.memory_policy.as_ref().unwrap().nodes, "2,3");
    assert!(
        created
            .owner(Field::Devices, Some("/dev/nri-null"))
            .is_some()
    );
}

#[tokio::test]
async fn a_pod_that_asks_for_nothing_gets_nothing() {
    assert!(created(&[]).await.unwrap().is_empty());
    assert!(
        created(&[("devices.noderesource.dev", ""), ("mounts.nri.io", "[]")])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_mistake_is_named_with_annotation_line_value_and_what_is_allowed() {
    let long = "- /x\n".repeat(300);
    for (key, value, says) in [
        (
            "devices.nri.io/pod",
            "- path: /dev/a\n  typ: c",
            "line 2: [0]: unknown field `typ`, expected one of `path`, `type`",
        ),
        (
            "devices.nri.io/pod",
            "- path: /dev/a\n  type: p\n  major: 1\n  minor: 1",
            "line 2: [0].type: unknown variant `p`, expected `c` or `b`",
        ),
        (
            "devices.nri.io",
            "- path: dev/a\n  type: c",
            "line 1: [0].path: the path \"dev/a\" must be absolute",
        ),
        (
            "devices.nri.io",
            "- {path: /dev/a, type: c, major: -1, minor: 0}",
            "[0].major: invalid value: integer `-1`",
        ),
        (
            "devices.nri.io",
            "- {path: /dev/a, type: c, major: 1, minor: 0, file_mode: rw}",
            "\"rw\" is no file mode",
        ),
        (
            "devices.nri.io",
            "- {path: /a, type: c, major: 1, minor: 0}\n- {path: /a, type: c, major: 1, minor: 0}",
            "\"/a\"",
        ),
        (
            "mounts.nri.io",
            "- source: ../etc\n  destination: /e\n  type: bind",
            "line 1: [0]: source: the path \"../etc\" must be absolute",
        ),
        (
            "mounts.nri.io",
            "- source: /a/../etc\n  destination: /e",
            "must not have `.` or `..`",
        ),
        (
            "mounts.nri.io",
            "- source: tmpfs\n  destination: /a/../e",
            "must not have `.` or `..`",
        ),
        (
            "cdi-devices.nri.io",
            "- null",
            "VENDOR/CLASS=NAME is wanted",
        ),
        (
            "cdi-devices.nri.io",
            long.as_str(),
            "\"/x\" is no CDI device",
        ),
        (
            "network-devices.nri.io",
            "- hostIf: eth/0\n  name: a",
            "no name of a network interface",
        ),
        (
            "sysctl.noderesource.dev",
            "../a: 1",
            "\"../a\" is no name of a sysctl",
        ),
        (
            "io-priority.nri.io",
            "class: fast",
            "\"fast\" is no class of I/O priority; there is IOPRIO_CLASS_NONE",
        ),
        (
            "scheduling-policy.nri.io",
            "policy: SCHED_FAST",
            "there is SCHED_OTHER",
        ),
        (
            "memory-policy.nri.io",
            "mode: MPOL_BIND\nflags: [A]",
            "line 2: flags",
        ),
        ("memory-policy.nri.io", "mode: &a [*a]", "anchors"),
    ] {
        let error = created(&[(key, value)]).await.unwrap_err();
        assert!(error.contains(says), "{value:?}: {error}");
        if says != "\"/a\"" {
            assert!(
                error.contains(&format!("annotation {key:?} (for container \"c0\")")),
                "{error}"
            );
        }
        assert!(error.len() < 1500, "{} bytes", error.len());
    }
}

#[tokio::test]
async fn an_operator_says_what_pods_may_ask_for() {
    const GRANTS: &str = "
allow:
- devices: ['c 1:*']
  mounts: [/home/**]
- namespaces: [default]
  cdi_devices: [vendor0.com/*]
- namespaces: [other]
  devices: ['*']
";
    let device = |numbers: &str| format!("- {{path: /dev/x, type: c, {numbers}}}");
    for (key, value, granted) in [
        ("devices.nri.io", device("major: 1, minor: 3"), true),
        ("devices.nri.io", device("major: 8, minor: 0"), false),
        (
            "mounts.nri.io",
            "[{source: //home//a, destination: /h}]".to_owned(),
            true,
        ),
        (
            "mounts.nri.io",
            "[{source: //etc, destination: /h}]".to_owned(),
            false,
        ),
        (
            "mounts.nri.io",
            "[{source: tmpfs, destination: /h, type: tmpfs}]".to_owned(),
            false,
        ),
        (
            "cdi-devices.nri.io",
            "[vendor0.com/device=null]".to_owned(),
            true,
        ),
        (
            "cdi-devices.nri.io",
            "[vendor1.com/device=null]".to_owned(),
            false,
        ),
        (
            "io-priority.nri.io",
            "class: IOPRIO_CLASS_RT".to_owned(),
            false,
        ),
        (
            "sysctl.noderesource.dev",
            "net.core.somaxconn: 1".to_owned(),
            false,
        ),
        (
            "network-devices.nri.io",
            "[{hostIf: eth0, name: eth1}]".to_owned(),
            false,
        ),
    ] {
        let created = configured(GRANTS, &[(key, &value)]).await;
        assert_eq!(created.is_ok(), granted, "{value}: {created:?}");
        if let Err(error) = created {
            assert!(error.contains("may not ask for"), "{error}");
        }
    }
    let error = configured("allow:\n- device: []", &[]).await.unwrap_err();
    assert!(
        error.contains("line 2: allow[0]: unknown field `device`"),
        "{error}"
    );
    let error = configured("allow:\n- mounts: ['[a]']", &[])
        .await
        .unwrap_err();
    assert!(error.contains("line 2: allow[0].mounts[0]"), "{error}");
}
