//! Capabilities of a container's process.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cri;
use crate::error::{Error, Result};

/// All capabilities, by their numbers in the kernel.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Those of a container that says nothing, as with every CRI runtime.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The capabilities that this process may hand on.
pub(crate) fn own() -> BTreeSet<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    named(bits.unwrap_or(0))
}

fn named(bits: u64) -> BTreeSet<&'static str> {
    let numbered = ALL.iter().enumerate();
    numbered
        .filter(|(number, _)| bits >> number & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

/// The capabilities of a container, and those of them that are ambient.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) held: BTreeSet<&'static str>,
    ambient: BTreeSet<&'static str>,
}

impl Capabilities {
    /// Those that a container is to have. A privileged one gets all that there are of `own`.
    ///
    /// # Errors
    /// A name that is none.
    pub(super) fn new(
        security: &cri::LinuxContainerSecurityContext,
        own: &BTreeSet<&'static str>,
    ) -> Result<Self> {
        let asked = security.capabilities.clone().unwrap_or_default();
        if security.privileged {
            return Ok(Self {
                held: own.clone(),
                ambient: BTreeSet::new(),
            });
        }
        let mut held: BTreeSet<&'static str> = DEFAULT.into();
        // "ALL" first, so that single ones can be taken from it or added to nothing.
        let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
        if all(&asked.add_capabilities) {
            held = own.clone();
        }
        if all(&asked.drop_capabilities) {
            held.clear();
        }
        held.extend(known(&asked.add_capabilities)?);
        for name in known(&asked.drop_capabilities)? {
            held.remove(name);
        }
        let ambient: BTreeSet<&'static str> = known(&asked.add_ambient_capabilities)?.collect();
        held.extend(&ambient);
        Ok(Self { held, ambient })
    }

    /// The member `process.capabilities` of a spec.
    pub(super) fn to_oci(&self) -> Value {
        let prefixed = |names: &BTreeSet<&str>| -> Vec<String> {
            names.iter().map(|name| format!("CAP_{name}")).collect()
        };
        let held = prefixed(&self.held);
        let mut oci = json!({"bounding": held, "effective": held, "permitted": held});
        if !self.ambient.is_empty() {
            let ambient = prefixed(&self.ambient);
            oci["inheritable"] = json!(ambient);
            oci["ambient"] = json!(ambient);
        }
        oci
    }
}

fn known(names: &[String]) -> Result<impl Iterator<Item = &'static str>> {
    let mut found = Vec::new();
    for name in names
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("ALL"))
    {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let known = ALL.iter().find(|known| **known == bare);
        found.push(
            *known.ok_or_else(|| Error::invalid(format!("there is no capability {name:?}")))?,
        );
    }
    Ok(found.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(add: &[&str], drop: &[&str], ambient: &[&str]) -> Result<Capabilities> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security = cri::LinuxContainerSecurityContext {
            capabilities: Some(cri::Capability {
                add_capabilities: list(add),
                drop_capabilities: list(drop),
                add_ambient_capabilities: list(ambient),
            }),
            ..Default::default()
        };
        Capabilities::new(&security, &["CHOWN", "SYS_TIME"].into())
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let held = |add: &[&str], drop: &[&str]| capabilities(add, drop, &[]).unwrap().held;
        assert_eq!(held(&[], &[]).len(), 14);
        assert!(held(&["sys_admin"], &["CAP_KILL"]).contains("SYS_ADMIN"));
        assert!(!held(&[], &["CAP_KILL"]).contains("KILL"));
        assert_eq!(held(&["NET_RAW"], &["ALL"]), ["NET_RAW"].into());
        assert_eq!(held(&["ALL"], &["CHOWN"]), ["SYS_TIME"].into());
        let error = capabilities(&["FLY"], &[], &[]).unwrap_err();
        assert_eq!(error.to_string(), "there is no capability \"FLY\"");
    }

    #[test]
    fn ambient_ones_are_inherited() {
        let oci = capabilities(&[], &["ALL"], &["CHOWN"]).unwrap().to_oci();
        assert_eq!(oci["ambient"], json!(["CAP_CHOWN"]));
        assert_eq!(oci["inheritable"], oci["bounding"]);
    }

    #[test]
    fn a_privileged_container_gets_what_we_have() {
        let security = cri::LinuxContainerSecurityContext {
            privileged: true,
            ..Default::default()
        };
        let own = named(0b11 | 1 << 40);
        assert_eq!(own, ["CHOWN", "DAC_OVERRIDE", "CHECKPOINT_RESTORE"].into());
        assert_eq!(Capabilities::new(&security, &own).unwrap().held, own);
    }
}
