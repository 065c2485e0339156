//! Pods and containers of CRI.

use std::fmt::Debug;

use nri_domain_cri::cri::{ContainerConfig, InvalidConfig, PodSandboxConfig};
use serde::Serialize;

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
