//! System calls that a container may not make.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::cri::{self, security_profile::ProfileType};
use crate::error::{Error, Result};
use crate::files;

/// The most that a profile of the host's may have.
const MOST: u64 = 4 << 20;

/// System calls that the default profile denies to who does not hold the capability.
///
/// It is a list of what is denied, of what changes the machine or opens parts of the kernel that
/// containers have no business with; the kernel checks the capabilities of most of them too.
const DENIED: [(&str, &[&str]); 12] = [
    (
        "SYS_ADMIN",
        &[
            "bpf",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "unshare",
            "pivot_root",
            "nfsservctl",
        ],
    ),
    ("DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("SYS_BOOT", &["reboot", "kexec_load", "kexec_file_load"]),
    ("SYS_CHROOT", &["chroot"]),
    (
        "SYS_MODULE",
        &[
            "create_module",
            "delete_module",
            "init_module",
            "finit_module",
            "query_module",
            "get_kernel_syms",
        ],
    ),
    ("SYS_PACCT", &["acct"]),
    (
        "SYS_PTRACE",
        &[
            "kcmp",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "userfaultfd",
        ],
    ),
    ("SYS_RAWIO", &["iopl", "ioperm"]),
    (
        "SYS_TIME",
        &[
            "settimeofday",
            "stime",
            "clock_settime",
            "clock_settime64",
            "adjtimex",
            "clock_adjtime",
            "clock_adjtime64",
        ],
    ),
    ("SYS_TTY_CONFIG", &["vhangup"]),
    (
        "SYS_NICE",
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "move_pages",
            "migrate_pages",
        ],
    ),
    ("SYSLOG", &["syslog"]),
];

/// Denied to everybody: keys of the kernel's, which are not of a namespace, and io_uring, which
/// goes past filters.
const NEVER: [&str; 9] = [
    "add_key",
    "keyctl",
    "request_key",
    "uselib",
    "sysfs",
    "_sysctl",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
];

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET`.
const NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// The member `linux.seccomp` of a container's spec, if it is to have one.
///
/// # Errors
/// A profile of the host's that cannot be read.
pub(super) fn of(
    security: &cri::LinuxContainerSecurityContext,
    held: &BTreeSet<&str>,
) -> Result<Option<Value>> {
    // Unconfined is what no profile means to a kubelet.
    let Some(profile) = security.seccomp.as_ref().filter(|_| !security.privileged) else {
        return Ok(None);
    };
    match profile.profile_type() {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(default(held))),
        ProfileType::Localhost => localhost(&profile.localhost_ref).map(Some),
    }
}

fn default(held: &BTreeSet<&str>) -> Value {
    const EPERM: u32 = 1;
    const ENOSYS: u32 = 38;
    let refused = |names: &[&str], errno: u32| json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
    let mut rules = vec![refused(&NEVER, EPERM)];
    let denied = DENIED
        .iter()
        .filter(|(capability, _)| !held.contains(capability));
    rules.extend(denied.map(|(_, names)| refused(names, EPERM)));
    if !held.contains("SYS_ADMIN") {
        // The flags of `clone3` are in memory, where no filter sees them; without it, `clone` is
        // used.
        rules.push(refused(&["clone3"], ENOSYS));
        for flag in NEW_NAMESPACES {
            let mut rule = refused(&["clone"], EPERM);
            let set =
                json!({"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"});
            rule["args"] = json!([set]);
            rules.push(rule);
        }
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures(),
        "syscalls": rules,
    })
}

/// The kernel's own, and those that it can run besides.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

fn localhost(path: &str) -> Result<Value> {
    let path = Path::new(path);
    let failed =
        |error: String| Error::invalid(format!("the seccomp profile {}: {error}", path.display()));
    if !path.is_absolute() {
        return Err(failed("its path must be absolute".to_owned()));
    }
    let text = files::read(path, MOST)?.ok_or_else(|| failed("it is not there".to_owned()))?;
    let profile: Value =
        serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    if !profile["defaultAction"].is_string() {
        return Err(failed("it has no \"defaultAction\"".to_owned()));
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(kind: ProfileType, path: &str) -> cri::LinuxContainerSecurityContext {
        cri::LinuxContainerSecurityContext {
            seccomp: Some(cri::SecurityProfile {
                profile_type: kind.into(),
                localhost_ref: path.into(),
            }),
            ..Default::default()
        }
    }

    fn denies(profile: &Value, name: &str) -> bool {
        let rules = profile["syscalls"].as_array().unwrap().iter();
        rules
            .flat_map(|rule| rule["names"].as_array().unwrap())
            .any(|denied| denied == name)
    }

    #[test]
    fn the_default_denies_what_takes_a_capability_that_is_not_held() {
        let security = security(ProfileType::RuntimeDefault, "");
        let plain = of(&security, &BTreeSet::new()).unwrap().unwrap();
        assert!(denies(&plain, "mount") && denies(&plain, "clone") && denies(&plain, "add_key"));
        let admin = of(&security, &["SYS_ADMIN"].into()).unwrap().unwrap();
        assert!(!denies(&admin, "mount") && !denies(&admin, "clone") && denies(&admin, "reboot"));
    }

    #[test]
    fn unconfined_and_privileged_have_none() {
        let held = BTreeSet::new();
        assert_eq!(
            of(&security(ProfileType::Unconfined, ""), &held).unwrap(),
            None
        );
        let mut privileged = security(ProfileType::RuntimeDefault, "");
        privileged.privileged = true;
        assert_eq!(of(&privileged, &held).unwrap(), None);
        assert_eq!(of(&Default::default(), &held).unwrap(), None);
    }

    #[test]
    fn a_profile_of_the_host_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.json");
        let text = path.to_str().unwrap();
        let read = || of(&security(ProfileType::Localhost, text), &BTreeSet::new());
        assert!(read().unwrap_err().to_string().contains("it is not there"));
        std::fs::write(&path, "{}").unwrap();
        assert!(read().unwrap_err().to_string().contains("defaultAction"));
        std::fs::write(&path, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        assert_eq!(read().unwrap().unwrap()["defaultAction"], "SCMP_ACT_ALLOW");
        let relative = of(&security(ProfileType::Localhost, "x"), &BTreeSet::new());
        assert!(relative.unwrap_err().to_string().contains("absolute"));
    }
}
