//! CDI devices from files.

use nri_core::api;
use nri_core::oci::{ApplyOptions, apply};
use nri_domain_cri::cdi::{Registry, injector};
use serde_json::json;

const DIRECTORIES: [&str; 2] = ["testdata/cdi-etc", "testdata/cdi-run"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn later_directories_go_before_earlier_ones_and_a_clash_is_no_device() {
    let registry = Registry::load(DIRECTORIES.iter().chain(&["testdata/no-such-directory"]));
    assert_eq!(
        registry.devices().collect::<Vec<_>>(),
        [
            "vendor.example/gpu=0",
            "vendor.example/gpu=all",
            "vendor.example/net=port0",
            "vendor.example/net=twice",
        ]
    );
    let errors: Vec<String> = registry.errors().iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "testdata/cdi-run/broken.json: `cdiVersion` is \"9.0.0\"; versions up to 1.1.x are known",
            "testdata/cdi-run: two files have the device vendor.example/net=clash, so it is none",
        ]
    );
    let mut spec = json!({"process": {"args": ["/app"], "cwd": "/"}});
    registry
        .inject(&mut spec, &names(&["vendor.example/net=twice"]))
        .unwrap();
    assert_eq!(spec["process"]["env"], json!(["FROM=run"]));
}

#[test]
fn a_device_brings_its_edits_and_once_those_of_its_file() {
    let registry = Registry::load(DIRECTORIES);
    let mut spec = json!({
        "process": {"args": ["/app"], "cwd": "/", "user": {"uid": 7, "gid": 0}, "env": ["VENDOR=no"]},
        "mounts": [{"destination": "/usr/lib/vendor", "source": "/old"}, {"destination": "/"}],
        "linux": {
            "devices": [{"path": "/dev/gpu0", "type": "c", "major": 1, "minor": 1}],
            "namespaces": [{"type": "network"}],
        },
    });
    let devices = [
        "vendor.example/gpu=all",
        "vendor.example/gpu=0",
        "vendor.example/gpu=0",
        "vendor.example/net=port0",
    ];
    registry.inject(&mut spec, &names(&devices)).unwrap();
    assert_eq!(spec["process"]["env"], json!(["VENDOR=yes", "GPU=0"]));
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([44]));
    assert_eq!(
        spec["hooks"],
        json!({"createContainer": [
            {"path": "/usr/bin/vendor-hook", "args": ["vendor-hook", "update"], "timeout": 5}
        ]})
    );
    assert_eq!(
        spec["mounts"],
        json!([
            {"destination": "/"},
            {
                "destination": "/usr/lib/vendor", "source": "/usr/lib/vendor",
                "options": ["ro", "nosuid", "rbind"],
            },
        ])
    );
    let linux = &spec["linux"];
    let null = &linux["devices"][0];
    assert_eq!(
        (
            &null["path"],
            &null["type"],
            &null["major"],
            &null["minor"],
            &null["uid"]
        ),
        (
            &json!("/dev/gpu-null"),
            &json!("c"),
            &json!(1),
            &json!(3),
            &json!(7)
        )
    );
    assert_eq!(
        linux["devices"][1],
        json!({
            "path": "/dev/gpu0", "type": "c", "major": 195, "minor": 0, "fileMode": 438, "uid": 7,
        })
    );
    assert_eq!(
        linux["resources"]["devices"],
        json!([
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 195, "minor": 0, "access": "rw"},
        ])
    );
    assert_eq!(linux["netDevices"], json!({"enp1s0": {"name": "net0"}}));
    assert_eq!(
        linux["intelRdt"],
        json!({"closID": "gold", "schemata": ["L3:0=ff"], "enableMonitoring": true})
    );
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_what_could_not_be_read() {
    let mut options = ApplyOptions::default();
    options.cdi_injector = Some(injector(DIRECTORIES));
    let mut adjustment = api::ContainerAdjustment::default();
    for name in ["vendor.example/gpu=0", "vendor.example/net=clash"] {
        adjustment
            .cdi_devices
            .push(api::CdiDevice { name: name.into() });
    }
    let spec = json!({"process": {"args": ["/app"], "cwd": "/"}});
    let error = apply(&spec, &adjustment, &options, None)
        .unwrap_err()
        .to_string();
    for part in [
        "there are no CDI devices vendor.example/net=clash (",
        "9.0.0",
        "two files",
        "): install their specification in ",
        "/cdi-run",
    ] {
        assert!(error.contains(part), "{error}");
    }
    adjustment.cdi_devices.pop();
    let applied = apply(&spec, &adjustment, &options, None).unwrap();
    assert_eq!(applied.spec["linux"]["devices"][0]["path"], "/dev/gpu0");
}

#[test]
fn what_is_no_specification_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let whole = r#"{"cdiVersion": "1.0.0", "kind": "v.example/c", "containerEdits": {"env": ["A=1"]}, "devices": [{"name": "d"}]}"#;
    for (from, to, part) in [
        ("1.0.0", "one", "must be like 1.0.0"),
        ("v.example/c", "v.example", "must be like vendor.com/class"),
        (r#"[{"name": "d"}]"#, "[]", "no `devices`"),
        (r#""d""#, r#""d/e""#, r#"a device is named "d/e""#),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"newEdit": 1}}"#,
            "unknown field `newEdit`",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"env": ["A"]}}"#,
            r#""A" in `env` is not like NAME=value"#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"env": ["-PATH=x"]}}"#,
            r#""-PATH=x" in `env` is not like NAME=value"#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"mounts": [{"containerPath": "/x"}]}}"#,
            "the mount of /x has no `hostPath`",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"mounts": [{"containerPath": "-/x"}]}}"#,
            r#"the `containerPath` of a mount is "-/x""#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"hooks": [{"hookName": "prestop", "path": "/x"}]}}"#,
            r#"there are no hooks "prestop""#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"hooks": [{"hookName": "poststop", "path": "x"}]}}"#,
            r#"the path of a poststop hook is "x", and must be absolute"#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"hooks": [{"hookName": "poststop", "path": "/x", "timeout": 0}]}}"#,
            "the `timeout` of the hook /x must be above 0 seconds",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"deviceNodes": [{"path": "/dev/d", "permissions": "no"}]}}"#,
            r#"/dev/d has the permission 'n': some of r, w and m are wanted, or "none""#,
        ),
        (
            r#"{"env": ["A=1"]}"#,
            "{}",
            "the device v.example/c=d would change nothing: neither it nor the file has `containerEdits`",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"deviceNodes": [{"path": "/dev/d", "type": "c", "major": -1, "minor": -1}]}}"#,
            "/dev/d has the numbers -1:-1; a major number is 0 to 4095",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "containerEdits": {"deviceNodes": [{"path": "/dev/d", "fileMode": 65536}]}}"#,
            "/dev/d has the file mode 200000, which has more than 16 bits",
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d", "name": "e"}"#,
            "duplicate field `name`",
        ),
        // As YAML.
        (
            r#"{"cdiVersion": "1.0.0","#,
            r#"{cdiVersion: 0.5.0, cdiVersion: 1.0.0,"#,
            r#"the key "cdiVersion" is there twice"#,
        ),
        (
            r#"{"name": "d"}"#,
            r#"{"name": "d"}, {"name": "d"}"#,
            "the device v.example/c=d twice",
        ),
    ] {
        std::fs::write(&path, whole.replace(from, to)).unwrap();
        let registry = Registry::load([directory.path()]);
        assert_eq!(registry.devices().count(), 0, "{part}");
        let error = registry.errors()[0].to_string();
        assert!(error.contains(part), "{error}");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(Registry::load([directory.path()]).errors(), []);
}

/// Permissions that are left out are all of them; `none` is none, and so there is no rule.
#[test]
fn a_node_without_permissions_is_there_and_is_not_allowed() {
    let text = "cdiVersion: 1.1.0
kind: v.example/c
devices:
- name: d
  containerEdits:
    deviceNodes: [{path: /dev/d, type: c, major: 1, minor: 3, permissions: none}]
";
    let registry = Registry::from_texts([("v.yaml", text)]);
    assert_eq!(registry.errors(), []);
    let mut spec = json!({"process": {"args": ["/app"], "cwd": "/"}});
    registry
        .inject(&mut spec, &names(&["v.example/c=d"]))
        .unwrap();
    assert_eq!(
        spec["linux"],
        json!({"devices": [{"path": "/dev/d", "type": "c", "major": 1, "minor": 3}]})
    );
}

/// Law: what a container has at a path is replaced, however the path is spelled.
#[test]
fn a_path_that_is_spelled_otherwise_is_the_same_path() {
    let text = "cdiVersion: 1.0.0
kind: v.example/c
devices:
- name: one
  containerEdits:
    deviceNodes: [{path: /dev/gpu0, type: c, major: 1, minor: 3}]
    mounts: [{hostPath: /a, containerPath: /lib/v, options: [bind]}]
- name: other
  containerEdits:
    deviceNodes: [{path: /dev//gpu0, type: c, major: 1, minor: 5}]
    mounts: [{hostPath: /b, containerPath: /lib/v/, options: [bind]}]
";
    let mut spec = json!({"process": {"args": ["/app"], "cwd": "/"}, "linux": {"devices": [
        {"path": "/dev/./gpu0", "type": "c", "major": 9, "minor": 9},
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
    ]}});
    let registry = Registry::from_texts([("v.yaml", text)]);
    assert_eq!(registry.errors(), []);
    let devices = names(&["v.example/c=one", "v.example/c=other"]);
    registry.inject(&mut spec, &devices).unwrap();
    assert_eq!(
        spec["linux"]["devices"],
        json!([
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
            {"path": "/dev//gpu0", "type": "c", "major": 1, "minor": 5},
        ])
    );
    let mounts = spec["mounts"].as_array().unwrap();
    let sources: Vec<_> = mounts.iter().map(|mount| &mount["source"]).collect();
    assert_eq!(sources, ["/b"]);
}

/// One after the other, each in a spec of its own, they would be copied four hundred million times.
#[test]
fn thousands_of_devices_are_put_in_as_one_change() {
    const MANY: usize = 20_000;
    let device = |n: usize| {
        json!({"name": format!("d{n}"), "containerEdits": {
            "env": [format!("D{n}=1")],
            "deviceNodes": [{"path": format!("/dev/d{n}"), "type": "c", "major": 1, "minor": n + 1}],
            "additionalGids": [n + 1],
        }})
    };
    let devices: Vec<_> = (0..MANY).map(device).collect();
    let file = json!({"cdiVersion": "1.0.0", "kind": "vendor.example/many", "devices": devices});
    let registry = Registry::from_texts([("many.json", &*file.to_string())]);
    assert_eq!(registry.errors(), []);
    let names: Vec<String> = registry.devices().map(str::to_owned).collect();
    let mut spec = json!({"process": {"args": ["/app"], "cwd": "/"}});
    registry.inject(&mut spec, &names).unwrap();
    for member in [
        "/process/env",
        "/linux/devices",
        "/linux/resources/devices",
        "/process/user/additionalGids",
    ] {
        let list = spec.pointer(member).and_then(|list| list.as_array());
        assert_eq!(list.map(Vec::len), Some(MANY), "{member}");
    }
}

#[test]
fn of_many_devices_the_one_that_cannot_be_put_in_is_named() {
    let device = |n: usize| {
        let major = if n == 70 { 0 } else { 1 };
        let path = format!("/dev/no-such-node-{n}");
        json!({"name": format!("d{n}"), "containerEdits": {
            "deviceNodes": [{"path": path, "type": "c", "major": major, "minor": major}],
        }})
    };
    let devices: Vec<_> = (0..100).map(device).collect();
    let file = json!({"cdiVersion": "1.0.0", "kind": "vendor.example/many", "devices": devices});
    let registry = Registry::from_texts([("many.json", &*file.to_string())]);
    let names: Vec<String> = registry.devices().map(str::to_owned).collect();
    let old = json!({"process": {"args": ["/app"], "cwd": "/"}});
    let mut spec = old.clone();
    let error = registry.inject(&mut spec, &names).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("CDI device vendor.example/many=d70:"),
        "{error}"
    );
    assert_eq!(spec, old);
}
