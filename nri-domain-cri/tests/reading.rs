//! CRI configurations as people write them for crictl.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use nri_domain_cri::cri::{ContainerConfig, PodSandboxConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

fn container(members: &Value) -> ContainerConfig {
    let mut text = json!({"metadata": {"name": "app"}, "image": {"image": "i"}});
    let all = text.as_object_mut().unwrap();
    all.extend(members.as_object().unwrap().clone());
    ContainerConfig::from_json(&text.to_string()).unwrap()
}

/// Law: a device is seen under every spelling that documents and decoders have for it.
#[test]
fn cdi_devices_in_every_spelling() {
    for name in [
        "CDI_devices",
        "CDI_Devices",
        "cdi_devices",
        "CDIDevices",
        "cdiDevices",
        "CDI_DEVICES",
    ] {
        for inner in ["name", "Name", "NAME"] {
            let container = container(&json!({name: [{inner: "vendor.example/gpu=0"}]}));
            let names: Vec<_> = container
                .cdi_devices
                .iter()
                .map(|device| &device.name)
                .collect();
            assert_eq!(names, ["vendor.example/gpu=0"], "{name}");
            assert!(container.rest.is_empty(), "{name}");
            // It is written under the name that the protocol has.
            let written = serde_json::to_value(&container).unwrap();
            assert_eq!(written["CDI_devices"][0]["name"], "vendor.example/gpu=0");
        }
    }
}

#[test]
fn of_a_field_that_is_there_twice_the_last_counts_as_in_go() {
    let text = r#"{
        "metadata": {"name": "first", "attempt": 3}, "image": {"image": "i"},
        "Metadata": {"Name": "second"},
        "args": ["a", "b"], "Args": ["c"],
        "labels": {"a": "1", "b": "1"}, "LABELS": {"b": "2"},
        "tty": true, "TTY": false,
        "working_dir": "/a", "workingDir": "/b",
        "future": 1, "Future": 2, "future": 3
    }"#;
    let container = ContainerConfig::from_json(text).unwrap();
    let metadata = container.metadata.unwrap();
    // A message gets what is new; lists and values are replaced.
    assert_eq!((&*metadata.name, metadata.attempt), ("second", 3));
    assert_eq!(container.args, ["c"]);
    let labels = [
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ];
    assert_eq!(container.labels, labels.into());
    assert_eq!((container.tty, &*container.working_dir), (false, "/b"));
    // What is not known here is kept as it is written.
    assert_eq!(
        Value::Object(container.rest),
        json!({"future": 3, "Future": 2})
    );
}

/// Law: what is kept is written as it was read, to the last digit of a number.
#[test]
fn numbers_that_are_kept_keep_their_digits() {
    let container = container(&json!({"future": 2.222_222_222_222_222_2e23}));
    let text = serde_json::to_string(&container).unwrap();
    assert_eq!(ContainerConfig::from_json(&text).unwrap(), container);
    assert!(text.contains("2.2222222222222222e+23"), "{text}");
}

#[test]
fn errors_name_the_field() {
    let text = r#"{"metadata": {"name": "n"}, "image": {"image": "i"},
        "Linux": {"Resources": {"cpuPeriod": "much"}}}"#;
    let error = ContainerConfig::from_json(text).unwrap_err().to_string();
    assert!(
        error.contains("`linux`: `resources`: `cpu_period`: invalid value: string \"much\"")
            && error.contains("at line 2"),
        "{error}"
    );
}

/// A value that says something for every field of a container's resources and of its own level.
fn full() -> Value {
    json!({
        "metadata": {"name": "app", "attempt": 1}, "image": {"image": "i", "user_specified_image": "u"},
        "command": ["c"], "working_dir": "/w", "envs": [{"key": "k", "value": "v"}],
        "mounts": [{"container_path": "/c", "host_path": "/h", "readonly": true, "propagation": "PROPAGATION_HOST_TO_CONTAINER"}],
        "devices": [{"container_path": "/c", "permissions": "rw"}], "log_path": "l", "stdin_once": true,
        "linux": {
            "resources": {
                "cpu_period": 1, "cpuset_cpus": "0", "hugepage_limits": [{"page_size": "2MB", "limit": 4}],
                "memory_limit_in_bytes": 5, "oom_score_adj": -7
            },
            "security_context": {
                "run_as_user": {"value": 3}, "namespace_options": {"network": "NODE", "target_id": "t"},
                "masked_paths": ["/m"], "seccomp": {"profile_type": "Unconfined"}, "no_new_privs": true
            }
        },
        "CDI_devices": [{"name": "n"}]
    })
}

/// The same with every name of a field in another case.
fn respelled(value: &Value, flips: &mut impl Iterator<Item = bool>) -> Value {
    let flip = |name: &str, flips: &mut dyn Iterator<Item = bool>| -> String {
        let cased = |c: char| match flips.next() {
            Some(true) => c.to_ascii_uppercase(),
            _ => c.to_ascii_lowercase(),
        };
        name.chars().map(cased).collect()
    };
    match value {
        Value::Object(members) => {
            let mut all = serde_json::Map::new();
            for (name, value) in members {
                let name = flip(name, flips);
                let value = respelled(value, flips);
                all.insert(name, value);
            }
            Value::Object(all)
        }
        Value::Array(items) => items.iter().map(|item| respelled(item, flips)).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law: the case of names makes no difference anywhere.
    #[test]
    fn names_have_no_case(flips in proptest::collection::vec(any::<bool>(), 900)) {
        let text = respelled(&full(), &mut flips.into_iter()).to_string();
        let read = ContainerConfig::from_json(&text).unwrap();
        prop_assert_eq!(serde_json::to_value(&read).unwrap(), full());
        #[cfg(feature = "yaml")]
        prop_assert_eq!(ContainerConfig::from_yaml(&text).unwrap(), read);
    }
}

#[test]
fn a_pod_without_case() {
    let pod = PodSandboxConfig::from_json(
        r#"{"Metadata": {"NAME": "n", "Namespace": "ns", "UID": "u"}, "LogDirectory": "/l",
            "linux": {"CgroupParent": "/p", "Sysctls": {"net.ipv4.ip_forward": "1"}}, "portMappings": []}"#,
    )
    .unwrap();
    assert_eq!(pod.log_directory, "/l");
    let linux = pod.linux.unwrap();
    assert_eq!(linux.cgroup_parent, "/p");
    assert_eq!(linux.sysctls.len(), 1);
    assert_eq!(Value::Object(pod.rest), json!({"portMappings": []}));
}

#[cfg(feature = "yaml")]
mod yaml {
    use super::*;

    const HEAD: &str = "metadata: {name: app, attempt: 1}\nimage:\n  image: i\n";

    fn read(more: &str) -> Result<ContainerConfig, String> {
        ContainerConfig::from_yaml(&format!("{HEAD}{more}")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_crictl_reads() {
        let container = read(
            r#"
# A comment.
command: [sh, -c, "echo # no comment",]   # a comma too many
envs:
- key: PORT
  value: "8080"
- {key: EMPTY, value: ~,}
labels: {a: b, c: 'd',}
tty: true
log_path: >-
  a
  b
linux:
  resources: {memory_limit_in_bytes: 268_435_456}
"#,
        );
        // An underscore in a number is YAML 1.1 only: a text, and so no number.
        assert!(container.unwrap_err().contains("memory_limit_in_bytes"));
        let container = read(
            "command: [sh, -c, \"echo # no comment\",]\nlog_path: >-\n  a\n  b\nargs: [yes, null-ish, '1']\nlinux:\n  \
             resources: {memory_limit_in_bytes: 0x10000000, cpu_quota: -1, cpu_shares: !!int 5}\nstdin: True\n",
        )
        .unwrap();
        assert_eq!(container.command, ["sh", "-c", "echo # no comment"]);
        assert_eq!(container.args, ["yes", "null-ish", "1"]);
        assert_eq!(container.log_path, "a b");
        let resources = container.linux.unwrap().resources.unwrap();
        assert_eq!(
            (
                resources.memory_limit_in_bytes,
                resources.cpu_quota,
                resources.cpu_shares
            ),
            (1 << 28, -1, 5)
        );
        assert!(container.stdin);
    }

    #[test]
    fn json_with_comments_and_trailing_commas() {
        let text = "{\n\t\"metadata\": {\"name\": \"app\",}, # who\n\t\"image\": {\"image\": \"i\"},\n\t\"args\": [\"a\",],\n}";
        assert_eq!(ContainerConfig::from_yaml(text).unwrap().args, ["a"]);
        let pod = "metadata: {name: n, namespace: ns}\nlinux: {sysctls: {a: \"1\"}}";
        assert_eq!(
            PodSandboxConfig::from_yaml(pod)
                .unwrap()
                .linux
                .unwrap()
                .sysctls["a"],
            "1"
        );
        // What is JSON has JSON's errors.
        let error = ContainerConfig::from_yaml("{\"metadata\": 5}")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("in JSON") && error.contains("`metadata`"),
            "{error}"
        );
    }

    /// Law: what could grow, hang or be swallowed is refused, with its place.
    #[test]
    fn what_is_refused() {
        let bomb = "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: [*b,*b]";
        for (text, part) in [
            (bomb, "references to anchors"),
            ("<<: {tty: true}", "merge keys"),
            ("tty: !custom true", "tags are not read"),
            ("args: !set [a]", "tags are not read"),
            ("---\ntty: true", "second document"),
            ("[a]: b", "a key must be a text"),
            ("args: [a", "line"),
            ("tty: yes", "tty"),
            ("linux: {resources: {cpu_shares: 0123}}", "octal"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        for deep in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
        ] {
            assert!(ContainerConfig::from_yaml(&deep).is_err());
        }
        assert!(
            ContainerConfig::from_yaml("")
                .unwrap_err()
                .to_string()
                .contains("in YAML")
        );
    }
}
