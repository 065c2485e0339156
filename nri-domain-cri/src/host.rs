//! What adjustments need to know of the host that we run on. Beside the modules of devices and
//! classes the one place of this crate that reads files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nri_core::oci::mounts::{HostMount, HostMounts, parse_mountinfo};
use nri_core::oci::{ApplyOptions, CallbackError, ResourceChecker};

use crate::OciSpec;

/// Where the cgroup file systems are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

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
    let root = Path::new(CGROUPS);
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

/// Whether the kernel can limit huge pages: the controller is there.
pub fn hugetlb_supported() -> bool {
    let root = Path::new(CGROUPS);
    match fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(controllers) => controllers.split_whitespace().any(|name| name == "hugetlb"),
        Err(_) => root.join("hugetlb").is_dir(),
    }
}

/// The least memory that a container is started with by CRI-O: 12 MiB. Below it low-level runtimes
/// fail in ways that nobody understands.
pub const MINIMUM_MEMORY: i64 = 12 << 20;

/// A check of adjusted resources: a limit of memory is at least `minimum_memory` bytes, and limits
/// of huge pages are left out where the host cannot have them.
///
/// ```
/// use nri_domain_cri::host;
/// use serde_json::json;
///
/// let check = host::resource_checker(host::MINIMUM_MEMORY, false);
/// let mut resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
/// check(Some(&mut resources))?;
/// assert_eq!(resources, json!({}));
/// resources = json!({"memory": {"limit": 4096}});
/// assert_eq!(
///     check(Some(&mut resources)).unwrap_err().to_string(),
///     "the memory limit is 4096 bytes, and must be at least 12582912"
/// );
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn resource_checker(minimum_memory: i64, hugetlb_supported: bool) -> ResourceChecker {
    Arc::new(move |resources| {
        let Some(resources) = resources else {
            return Ok(());
        };
        let limit = resources.pointer("/memory/limit");
        match limit.and_then(OciSpec::as_i64) {
            Some(limit @ 1..) if limit < minimum_memory => {
                return Err(format!(
                    "the memory limit is {limit} bytes, and must be at least {minimum_memory}"
                )
                .into());
            }
            _ => {}
        }
        match resources.as_object_mut() {
            Some(members) if !hugetlb_supported => {
                members.remove("hugepageLimits");
            }
            _ => {}
        }
        Ok(())
    })
}

/// The text of a file that an administrator has written: none that has no end, and no pipe that
/// nobody writes to.
#[cfg(any(feature = "cdi", feature = "blockio"))]
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    const MOST_BYTES: u64 = 4 << 20;
    let words = |error: std::io::Error| error.to_string();
    if !path.metadata().map_err(words)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(words)?;
    let length = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    if length.map_err(words)? as u64 > MOST_BYTES {
        return Err(format!("it is larger than {MOST_BYTES} bytes"));
    }
    Ok(text)
}

/// Major and minor number of a device, as `stat` gives them.
#[cfg(any(feature = "cdi", feature = "blockio"))]
pub(crate) fn device_numbers(device: u64) -> (i64, i64) {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    // Both have 32 bits.
    (major as i64, minor as i64)
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
