//! Where the cgroups of pods and containers are, as OCI specs say it: a path, or for systemd a
//! slice, a prefix and a name.

use std::path::{Component, Path};

use crate::cgroup;
use crate::config::{CgroupDriver, LowLevel};
use crate::cri;
use crate::error::{Error, Result};

/// What units of ours begin with, as `cri-containerd` is containerd's.
const PREFIX: &str = "nri-runtime";

/// The `cgroupsPath` of a pod's or a container's spec.
///
/// # Errors
/// A parent that the driver cannot have.
pub(super) fn path(config: &cri::PodSandboxConfig, low: &LowLevel, id: &str) -> Result<String> {
    let linux = config.linux.as_ref();
    let parent = linux.map(|linux| linux.cgroup_parent.as_str());
    let parent = parent.filter(|parent| !parent.is_empty());
    let parent = parent.unwrap_or_else(|| low.parent());
    let mut components = Path::new(parent).components();
    if components.any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(format!(
            "the cgroup parent {parent:?} has a \"..\" in it"
        )));
    }
    // Kubelets give the whole path of a slice, the last part of which tells all of it.
    let last = parent.trim_end_matches('/').rsplit('/').next();
    let last = last.unwrap_or_default();
    match (low.cgroup_driver, last.ends_with(".slice")) {
        (CgroupDriver::Cgroupfs, false) => Ok(format!("/{}/{id}", parent.trim_matches('/'))),
        (CgroupDriver::Cgroupfs, true) => Err(Error::invalid(format!(
            "the cgroup parent {parent:?} is a slice of systemd's: set `low_level.cgroup_driver` to \
             \"systemd\" here, or `cgroupDriver` to \"cgroupfs\" for the kubelet"
        ))),
        (CgroupDriver::Systemd, true) => {
            let path = format!("{last}:{PREFIX}:{id}");
            match cgroup::directory(&path) {
                Some(_) => Ok(path),
                None => Err(Error::invalid(format!(
                    "the cgroup parent {parent:?} is not the name of a slice, as in \"a-b.slice\""
                ))),
            }
        }
        (CgroupDriver::Systemd, false) => Err(Error::invalid(format!(
            "the cgroup parent {parent:?} does not end in \".slice\", as it must with the cgroup driver \
             of systemd: set `cgroupDriver` to \"systemd\" for the kubelet, or \
             `low_level.cgroup_driver` to \"cgroupfs\" here"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(driver: CgroupDriver, parent: &str) -> std::result::Result<String, String> {
        let linux = cri::LinuxPodSandboxConfig {
            cgroup_parent: parent.into(),
            ..Default::default()
        };
        let config = cri::PodSandboxConfig {
            linux: Some(linux),
            ..Default::default()
        };
        let low = LowLevel {
            cgroup_driver: driver,
            ..LowLevel::default()
        };
        path(&config, &low, "c1").map_err(|error| error.to_string())
    }

    #[test]
    fn cgroup_parents_are_paths() {
        let path = |parent| at(CgroupDriver::Cgroupfs, parent);
        assert_eq!(path("").unwrap(), "/nri-runtime/c1");
        assert_eq!(path("a/b/").unwrap(), "/a/b/c1");
        assert!(path("/a/../..").unwrap_err().contains("\"..\""));
        let error = path("/kubepods.slice").unwrap_err();
        assert!(error.contains("`low_level.cgroup_driver`"), "{error}");
    }

    #[test]
    fn with_systemd_they_are_slices() {
        let path = |parent| at(CgroupDriver::Systemd, parent);
        assert_eq!(path("").unwrap(), "nri-runtime.slice:nri-runtime:c1");
        assert_eq!(
            path("/kubepods.slice/kubepods-pod1.slice").unwrap(),
            "kubepods-pod1.slice:nri-runtime:c1"
        );
        for (parent, part) in [
            ("/pods", "does not end in \".slice\""),
            ("/a/../b.slice", "\"..\""),
            ("a--b.slice", "not the name of a slice"),
            (".slice", "not the name of a slice"),
        ] {
            let error = path(parent).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
