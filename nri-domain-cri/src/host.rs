//! What adjustments need to know of the host that we run on. The one place of this crate that reads
//! files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nri_core::oci::mounts::{HostMount, HostMounts, parse_mountinfo};
use nri_core::oci::{ApplyOptions, CallbackError};

/// The mounts of our own mount namespace.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalMounts;

impl HostMounts for LocalMounts {
    fn resolve(&self, source: &str) -> Result<String, CallbackError> {
        let path = fs::canonicalize(source)
            .map_err(|error| format!("cannot find the source {source:?}: {error}"))?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn mounts(&self) -> Result<Vec<HostMount>, CallbackError> {
        const TABLE: &str = "/proc/self/mountinfo";
        let table = fs::read(TABLE).map_err(|error| format!("cannot read {TABLE}: {error}"))?;
        Ok(parse_mountinfo(&String::from_utf8_lossy(&table)))
    }
}

/// Whether the kernel can limit swap: the file of the limit is there for some cgroup.
pub fn swap_supported() -> bool {
    const ROOT: &str = "/sys/fs/cgroup";
    let root = Path::new(ROOT);
    if !root.join("cgroup.controllers").exists() {
        return root.join("memory/memory.memsw.limit_in_bytes").exists();
    }
    // The root cgroup has no limits, so a child is asked: any will do, since controllers are
    // enabled level by level.
    fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join("memory.swap.max").exists())
}

/// The options for applying adjustments on this host: its mounts are checked, and swap is limited
/// if it can be.
pub fn apply_options() -> ApplyOptions {
    let mut options = ApplyOptions::default();
    if cfg!(target_os = "linux") {
        options.host_mounts = Some(Arc::new(LocalMounts));
        options.swap_supported = swap_supported();
    }
    options
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use nri_core::oci::mounts::propagation_of;

    #[test]
    fn the_own_mount_table_has_a_root() {
        let mounts = LocalMounts.mounts().unwrap();
        assert!(mounts.iter().any(|mount| mount.mount_point == "/"));
        let _ = propagation_of(&mounts, &LocalMounts.resolve("/proc/self").unwrap());
        assert!(LocalMounts.resolve("/no/such/path").is_err());
    }
}
