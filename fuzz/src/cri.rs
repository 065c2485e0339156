//! Pods and containers of CRI, and the files that say what of the host they may have.

use std::fmt::Debug;

use nri_domain_cri::blockio::Classes;
use nri_domain_cri::cdi::Registry;
use nri_domain_cri::cri::{ContainerConfig, InvalidConfig, PodSandboxConfig};
use serde::Serialize;
use serde_json::json;

/// Reads JSON. What is read is written so that it is read again, and YAML is read alike.
///
/// # Panics
/// A law does not hold.
pub fn json(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let pod = PodSandboxConfig::from_json(text);
    let container = ContainerConfig::from_json(text);
    if let Some(pod) = again(pod, PodSandboxConfig::from_json) {
        assert_eq!(PodSandboxConfig::from_yaml(text).ok(), Some(pod));
    }
    if let Some(container) = again(container, ContainerConfig::from_json) {
        assert_eq!(ContainerConfig::from_yaml(text).ok(), Some(container));
    }
}

/// Reads YAML. What is read is written so that it is read again.
///
/// # Panics
/// A law does not hold.
pub fn yaml(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    again(
        PodSandboxConfig::from_yaml(text),
        PodSandboxConfig::from_json,
    );
    again(ContainerConfig::from_yaml(text), ContainerConfig::from_json);
}

/// Reads bytes of protobuf. What is read is written so that it is read again.
///
/// # Panics
/// A law does not hold.
pub fn wire(input: &[u8]) {
    if let Ok(pod) = PodSandboxConfig::decode(input) {
        let written = pod.encode();
        assert_eq!(PodSandboxConfig::decode(&written).ok(), Some(pod));
    }
    if let Ok(container) = ContainerConfig::decode(input) {
        let written = container.encode();
        assert_eq!(ContainerConfig::decode(&written).ok(), Some(container));
    }
}

/// Reads a CDI specification. All its devices at once are what one after the other is, and what
/// cannot be put in changes nothing.
///
/// # Panics
/// A law does not hold.
pub fn cdi(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let registry = Registry::from_texts([("fuzzed", text)]);
    let names: Vec<String> = registry.devices().map(str::to_owned).collect();
    assert!(names.is_empty() != registry.errors().is_empty());
    let old = json!({
        "process": {"args": ["/app"], "cwd": "/", "env": ["A=1"], "user": {"uid": 1, "gid": 0}},
        "linux": {"devices": [{"path": "/dev/a", "type": "c", "major": 1, "minor": 3}]},
    });
    let mut at_once = old.clone();
    match registry.inject(&mut at_once, &names) {
        Ok(()) => {
            for name in &names {
                let alone = registry.inject(&mut old.clone(), std::slice::from_ref(name));
                assert_eq!(alone, Ok(()), "{name} goes with others, and not alone");
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(at_once, old);
        }
    }
}

/// Reads block I/O classes, and resolves each for a host that has every device.
///
/// # Panics
/// A law does not hold.
pub fn blockio(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Classes::from_yaml(text) {
        Ok(classes) => {
            for class in classes.names() {
                let device = |pattern: &str| Ok(vec![(8, pattern.len() as i64)]);
                assert!(classes.resolve_with(class, device).is_ok());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn again<T: Serialize + PartialEq + Debug>(
    read: Result<T, InvalidConfig>,
    from_json: fn(&str) -> Result<T, InvalidConfig>,
) -> Option<T> {
    match read {
        Ok(read) => {
            let written = serde_json::to_string(&read).expect("what was read can be written");
            assert_eq!(from_json(&written).ok().as_ref(), Some(&read), "{written}");
            Some(read)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}
