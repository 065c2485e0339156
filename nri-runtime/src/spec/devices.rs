//! Devices of a container.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::cri;
use crate::error::{Error, Result};

/// More than there are on any machine: a directory with links in a circle ends there.
const MOST: usize = 10_000;

/// Devices, and who may do what with which.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// The member `linux.devices` of a spec.
    pub(super) nodes: Vec<Value>,
    /// The member `linux.resources.devices`.
    pub(super) rules: Vec<Value>,
}

impl Devices {
    /// The devices of a container: those of its configuration, or all of the host's if it is
    /// privileged.
    ///
    /// # Errors
    /// One that is not there; permissions that are none.
    pub(super) fn of(config: &cri::ContainerConfig, privileged: bool) -> Result<Self> {
        let mut devices = Self::default();
        devices
            .rules
            .push(json!({"allow": privileged, "access": "rwm"}));
        if privileged {
            devices.add_all(Path::new("/dev"), Path::new("/dev"), "rwm")?;
        }
        for device in &config.devices {
            let permissions = match device.permissions.as_str() {
                "" => "rwm",
                given if given.chars().all(|c| "rwm".contains(c)) => given,
                other => {
                    return Err(Error::invalid(format!(
                        "the device {:?} has the permissions {other:?}, and may have \"r\", \"w\" and \"m\"",
                        device.host_path
                    )));
                }
            };
            let host = Path::new(&device.host_path);
            let failed = |error| Error::file("find the device", host, error);
            let host = fs::canonicalize(host).map_err(failed)?;
            let metadata = fs::metadata(&host).map_err(failed)?;
            let to = Path::new(&device.container_path);
            if metadata.is_dir() {
                devices.add_all(&host, to, permissions)?;
            } else if !devices.add(&metadata, to, permissions) {
                return Err(Error::invalid(format!(
                    "{:?} is no device",
                    device.host_path
                )));
            }
        }
        Ok(devices)
    }

    /// Adds all devices of a directory of the host's.
    fn add_all(&mut self, from: &Path, to: &Path, permissions: &str) -> Result<()> {
        // Those that every container has of its own.
        const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", "ptmx"];
        let failed = |error| Error::file("list the devices of", from, error);
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // One may vanish meanwhile.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if OWN.iter().any(|own| name == **own) || self.nodes.len() >= MOST {
                continue;
            }
            if metadata.is_dir() {
                self.add_all(&entry.path(), &to.join(&name), permissions)?;
            } else {
                self.add(&metadata, &to.join(&name), permissions);
            }
        }
        Ok(())
    }

    /// Adds a device; whether it is one.
    fn add(&mut self, metadata: &Metadata, to: &Path, permissions: &str) -> bool {
        let kind = match metadata.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return false,
        };
        let number = metadata.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        self.nodes.push(json!({
            "path": to, "type": kind, "major": major, "minor": minor,
            "fileMode": metadata.mode() & 0o7777, "uid": metadata.uid(), "gid": metadata.gid(),
        }));
        self.rules.push(json!({
            "allow": true, "type": kind, "major": major, "minor": minor, "access": permissions,
        }));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(host: &str, permissions: &str) -> Result<Devices> {
        let device = cri::Device {
            host_path: host.into(),
            container_path: "/dev/mine".into(),
            permissions: permissions.into(),
        };
        let config = cri::ContainerConfig {
            devices: vec![device],
            ..Default::default()
        };
        Devices::of(&config, false)
    }

    #[test]
    fn a_device_is_there_and_may_be_used() {
        let devices = devices("/dev/null", "rw").unwrap();
        let node = &devices.nodes[0];
        assert_eq!(
            (&node["path"], &node["major"], &node["minor"]),
            (&json!("/dev/mine"), &json!(1), &json!(3))
        );
        assert_eq!(devices.rules[0], json!({"allow": false, "access": "rwm"}));
        assert_eq!(devices.rules[1]["access"], "rw");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for (host, permissions, part) in [
            ("/dev/no-such", "", "find the device"),
            ("/proc/self/status", "", "is no device"),
            ("/dev/null", "x", "the permissions \"x\""),
        ] {
            let error = devices(host, permissions).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
