//! A resource limit of a process, by the name that people write.

use nri_proto::api::PosixRlimit;

use super::BuildError;

/// The POSIX resource limits of Linux, as OCI names them.
pub const RLIMITS: [&str; 16] = [
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

/// A limit that Linux has: the ceiling first, then the value in force; [`u64::MAX`] is no limit.
/// The name may lack `RLIMIT_`, and be in small letters.
///
/// ```
/// use nri_core::build::posix_rlimit;
/// assert_eq!(posix_rlimit("nofile", 4096, 1024)?.r#type, "RLIMIT_NOFILE");
/// assert!(posix_rlimit("files", 1, 1).is_err());
/// # Ok::<(), nri_core::build::BuildError>(())
/// ```
///
/// # Errors
/// There is no such limit, or the value in force is above the ceiling.
pub fn posix_rlimit(name: &str, hard: u64, soft: u64) -> Result<PosixRlimit, BuildError> {
    let capitals = name.to_ascii_uppercase();
    let known = RLIMITS
        .iter()
        .find(|known| without_prefix(known) == without_prefix(&capitals));
    let known = known.ok_or_else(|| BuildError::UnknownRlimit(name.to_owned()))?;
    ordered((*known).to_owned(), hard, soft)
}

/// A limit whose value in force is not above its ceiling.
pub(super) fn ordered(resource: String, hard: u64, soft: u64) -> Result<PosixRlimit, BuildError> {
    match soft > hard {
        true => Err(BuildError::SoftAboveHard {
            resource,
            hard,
            soft,
        }),
        false => Ok(PosixRlimit {
            r#type: resource,
            hard,
            soft,
        }),
    }
}

/// The limits that there are, as people write them.
pub(super) fn short_names() -> String {
    RLIMITS
        .map(|name| without_prefix(name).to_ascii_lowercase())
        .join(", ")
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix("RLIMIT_").unwrap_or(name)
}
