//! Names that the OCI runtime spec gives to what the protocol numbers, and the names that it
//! reserves.
//!
//! Scheduler policies and flags, I/O classes and memory policies are spelled alike in both, so the
//! protocol's enums are the tables; what stands here is what they do not say.

use crate::keys::{self, KeyKind};

pub use crate::build::RLIMITS;

/// The names of namespace types.
pub const NAMESPACES: [&str; 8] = [
    "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time",
];

/// The namespace that a kernel parameter belongs to, however the parameter is spelled; `None` if
/// containers do not have it to themselves.
///
/// ```
/// use nri_core::oci::names::sysctl_namespace;
/// assert_eq!(sysctl_namespace("net.core.somaxconn"), Some("network"));
/// assert_eq!(sysctl_namespace("net/core/somaxconn"), Some("network"));
/// assert_eq!(sysctl_namespace("vm.swappiness"), None);
/// ```
pub fn sysctl_namespace(name: &str) -> Option<&'static str> {
    const PREFIXES: [(&str, &str); 5] = [
        ("net.", "network"),
        ("kernel.shm", "ipc"),
        ("kernel.msg", "ipc"),
        ("fs.mqueue.", "ipc"),
        ("user.", "user"),
    ];
    const NAMES: [(&str, &str); 4] = [
        ("kernel.sem", "ipc"),
        ("kernel.sem_next_id", "ipc"),
        ("kernel.hostname", "uts"),
        ("kernel.domainname", "uts"),
    ];
    let name = KeyKind::KernelParameter.normal(name);
    PREFIXES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .or_else(|| NAMES.iter().find(|(known, _)| name == *known))
        .map(|(_, namespace)| *namespace)
}

/// Whether a text is the name of a CDI device: `vendor/class=name`.
///
/// ```
/// use nri_core::oci::names::is_cdi_device;
/// assert!(is_cdi_device("vendor.com/gpu=0"));
/// assert!(!is_cdi_device("vendor.com/gpu"));
/// ```
pub fn is_cdi_device(name: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
    let made_of = |text: &str, first: fn(u8) -> bool, middle: &[u8]| {
        let bytes = text.as_bytes();
        bytes.first().is_some_and(|b| first(*b))
            && bytes.last().is_some_and(|b| alphanumeric(*b))
            && bytes.iter().all(|b| alphanumeric(*b) || middle.contains(b))
    };
    let letter: fn(u8) -> bool = |b| b.is_ascii_alphabetic();
    let letter_or_digit: fn(u8) -> bool = |b| b.is_ascii_alphanumeric();
    name.split_once('/')
        .and_then(|(vendor, rest)| Some((vendor, rest.split_once('=')?)))
        .is_some_and(|(vendor, (class, device))| {
            made_of(vendor, letter, b"_-.")
                && made_of(class, letter, b"_-.")
                && made_of(device, letter_or_digit, b"_-.:")
        })
}

/// A huge page size in bytes: digits and one of `K`, `M`, `G`, `T` with or without `B`.
///
/// ```
/// use nri_core::oci::names::page_size_bytes;
/// assert_eq!(page_size_bytes("2MB"), page_size_bytes("2048KB"));
/// assert_eq!(page_size_bytes("big"), None);
/// ```
pub fn page_size_bytes(text: &str) -> Option<u64> {
    keys::page_size_bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cdi_names_have_three_parts() {
        for good in ["v.com/gpu=0", "a/b=c", "vendor.com/net-class.x=eth0:1"] {
            assert!(is_cdi_device(good), "{good}");
        }
        for bad in [
            "", "a/b", "a=b", "/b=c", "a/=c", "a/b=", "1/b=c", "a/b=c d", "a./b=c",
        ] {
            assert!(!is_cdi_device(bad), "{bad}");
        }
    }
}
