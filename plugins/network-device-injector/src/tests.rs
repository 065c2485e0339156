//! The plugin as a runtime sees it, as far as nothing is moved. That it really moves devices is
//! tried by `cargo xtask low-level`, which needs root.

use nri_plugin::Request;
use nri_plugin::api;
use nri_testkit::{Describe as _, Harness, pod};

use crate::plugin;
use crate::requested::read;

async fn run(config: &str, key: &str, value: &str) -> Result<(), String> {
    let mut pod = pod("web-1").annotated(key, value);
    // That of the host, which this test has.
    for namespace in &mut pod.linux.as_mut().unwrap().namespaces {
        namespace.path = "/proc/self/ns/net".to_owned();
    }
    let harness = Harness::new(plugin()).configured(config);
    harness.try_configure().await?;
    let request = Request::RunPodSandbox(api::RunPodSandboxRequest { pod: Some(pod) });
    harness
        .notify(request)
        .await
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_not_said_is_filled_in() {
    let of = |value: &str| {
        read(
            &pod("p")
                .annotated("netdevices.noderesource.dev/pod", value)
                .annotations,
        )
    };
    let devices = of("- name: enp2s2f0\n  new_name: eth1\n  address: 192.168.2.2\n  prefix: 24\n  mtu: 1500\n- name: b\n  address: fd00::1").unwrap();
    assert_eq!(
        (devices[0].new_name.as_str(), devices[0].mtu),
        ("eth1", Some(1500))
    );
    assert_eq!(
        devices[0].address,
        Some(("192.168.2.2".parse().unwrap(), 24))
    );
    assert_eq!((devices[1].new_name.as_str(), devices[1].mtu), ("b", None));
    assert_eq!(devices[1].address, Some(("fd00::1".parse().unwrap(), 128)));
}

#[tokio::test]
async fn a_mistake_is_named_with_annotation_line_and_what_is_allowed() {
    const KEY: &str = "netdevice.noderesource.dev";
    assert_eq!(run("", KEY, "").await, Ok(()));
    for (value, says) in [
        (
            "- name: a/b",
            "line 1: [0].name: \"a/b\" is no name of a network interface",
        ),
        ("- name: lo", "lo cannot be moved"),
        ("- name: a\n- name: b\n  new_name: a", "a is there twice"),
        (
            "- name: a\n- name: b\n  adress: 1.2.3.4",
            "line 3: [1]: unknown field `adress`",
        ),
        ("- {name: a, address: 1.2.3}", "line 1: [0].address"),
        (
            "- {name: a, address: 1.2.3.4, prefix: 33}",
            "prefix 33 is above 32",
        ),
        (
            "- {name: a, prefix: 3}",
            "prefix is of no use without address",
        ),
        ("- {name: a, mtu: 9}", "68 to 65536"),
    ] {
        let error = run("", KEY, value).await.unwrap_err();
        assert!(error.contains(says), "{value:?}: {error}");
        assert!(
            error.contains("annotation \"netdevice.noderesource.dev\" is"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_network_of_the_host_gets_nothing() {
    let error = run("", "netdevices.nri.containerd.io/pod", "- name: eth9")
        .await
        .unwrap_err();
    assert!(
        error.contains("the pod has the network of the host"),
        "{error}"
    );
}

#[tokio::test]
async fn an_operator_says_who_may_have_what() {
    let config = "allow:\n- devices: [ens2.*]\n- {namespaces: [other], devices: ['*']}";
    let key = "netdevice.noderesource.dev";
    let error = run(config, key, "- name: eth0").await.unwrap_err();
    assert!(
        error.contains("may not have the network device eth0"),
        "{error}"
    );
    let error = run(config, key, "- name: ens2.1").await.unwrap_err();
    assert!(error.contains("the network of the host"), "{error}");
    let error = run("allow:\n- device: []", key, "").await.unwrap_err();
    assert!(
        error.contains("line 2: allow[0]: unknown field `device`"),
        "{error}"
    );
}
