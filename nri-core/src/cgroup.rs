//! Where a container's control group is: the path of a container as its runtime was given it, made
//! into a path below the cgroup file system's root. Pure: nothing is looked up.

/// Where the runtime's systemd puts what names no slice.
const DEFAULT_SLICE: &str = "system.slice";

/// The longest name of a unit, and of a directory.
const LONGEST_NAME: usize = 255;

/// Why a cgroup path makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cgroup path {path:?}: {reason}")]
#[non_exhaustive]
pub struct InvalidCgroupPath {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A container's `linux.cgroups_path`, by who manages its control group.
///
/// ```
/// use nri_core::CgroupPath;
///
/// let systemd: CgroupPath = "kubepods-burstable-pod1.slice:cri-containerd:c1".parse()?;
/// assert_eq!(
///     systemd.directory(),
///     "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-c1.scope"
/// );
/// let cgroupfs: CgroupPath = "/kubepods/burstable/pod1/c1".parse()?;
/// assert_eq!(cgroupfs.directory(), "kubepods/burstable/pod1/c1");
/// # Ok::<(), nri_core::InvalidCgroupPath>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CgroupPath {
    /// systemd does: the path has the form `SLICE:PREFIX:NAME`.
    Systemd {
        /// The slice, without those that it is in.
        slice: String,
        /// The unit, a scope or a slice.
        unit: String,
    },
    /// The runtime does, in the file system: the path is one. Relative to the cgroup root, without
    /// a leading `/`.
    Cgroupfs(String),
}

impl CgroupPath {
    /// The directory below the root of the cgroup file system (on cgroup v1: of each controller's),
    /// without a leading `/`.
    ///
    /// A runtime that is in a control group of its own may put a path without a leading `/` below
    /// that; this is not known here.
    pub fn directory(&self) -> String {
        match self {
            CgroupPath::Systemd { slice, unit } => {
                // `a-b.slice` is in `a.slice`.
                let name = slice.strip_suffix(".slice").unwrap_or(slice);
                let ends = name.match_indices('-').map(|(at, _)| at);
                let slices = ends.chain([name.len()]).filter(|end| *end > 0);
                let mut directory = String::new();
                for slice in slices.map(|end| &name[..end]) {
                    directory.push_str(slice);
                    directory.push_str(".slice/");
                }
                directory + unit
            }
            CgroupPath::Cgroupfs(path) => path.clone(),
        }
    }
}

impl std::str::FromStr for CgroupPath {
    type Err = InvalidCgroupPath;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidCgroupPath {
            path: path.to_owned(),
            reason,
        };
        let parts: Vec<&str> = path.split(':').collect();
        match parts[..] {
            // No path of a file system that a runtime makes has two colons and no slash.
            [slice, prefix, name] if !path.contains('/') => {
                let slice = if slice.is_empty() {
                    DEFAULT_SLICE
                } else {
                    slice
                };
                let bare = slice.strip_suffix(".slice");
                let bare = bare.ok_or_else(|| invalid("the slice does not end with \".slice\""))?;
                // `-.slice` is the root.
                let is_legal = bare == "-" || !bare.split('-').any(str::is_empty);
                if !is_legal {
                    return Err(invalid("the slice has an empty part"));
                }
                if name.is_empty() {
                    return Err(invalid("the name is empty"));
                }
                let unit = match (name.ends_with(".slice"), prefix) {
                    (true, _) => name.to_owned(),
                    (false, "") => format!("{name}.scope"),
                    (false, prefix) => format!("{prefix}-{name}.scope"),
                };
                // systemd refuses them, and a slice's directory has a part for each of its dashes.
                if slice.len().max(unit.len()) > LONGEST_NAME {
                    return Err(invalid("the name of a unit has at most 255 bytes"));
                }
                let slice = if bare == "-" { "" } else { slice };
                Ok(CgroupPath::Systemd {
                    slice: slice.to_owned(),
                    unit,
                })
            }
            _ => {
                let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
                let parts: Vec<&str> = parts.collect();
                if parts.contains(&"..") {
                    return Err(invalid("it leads upwards"));
                }
                if parts.is_empty() {
                    return Err(invalid("it names no control group"));
                }
                if parts.iter().any(|part| part.len() > LONGEST_NAME) {
                    return Err(invalid("the name of a control group has at most 255 bytes"));
                }
                Ok(CgroupPath::Cgroupfs(parts.join("/")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_nests_slices_by_their_names() {
        for (path, expected) in [
            ("system.slice:crio:c1", "system.slice/crio-c1.scope"),
            (":cri-containerd:c1", "system.slice/cri-containerd-c1.scope"),
            ("a-b-c.slice::c1", "a.slice/a-b.slice/a-b-c.slice/c1.scope"),
            ("-.slice:x:c1", "x-c1.scope"),
            ("a.slice:x:a-c1.slice", "a.slice/a-c1.slice"),
            (
                "kubepods-pod1_2.slice:cri-containerd:c1",
                "kubepods.slice/kubepods-pod1_2.slice/cri-containerd-c1.scope",
            ),
        ] {
            let parsed: CgroupPath = path.parse().unwrap();
            assert!(matches!(parsed, CgroupPath::Systemd { .. }), "{path}");
            assert_eq!(parsed.directory(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_the_file_system_stays_one() {
        for (path, expected) in [
            ("/kubepods/pod1/c1", "kubepods/pod1/c1"),
            ("kubepods/./pod1//c1/", "kubepods/pod1/c1"),
            ("/a:b:c/d", "a:b:c/d"),
            ("/kubepods.slice/x", "kubepods.slice/x"),
            ("c1", "c1"),
        ] {
            let parsed: CgroupPath = path.parse().unwrap();
            assert_eq!(parsed, CgroupPath::Cgroupfs(expected.to_owned()));
            assert_eq!(parsed.directory(), expected);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for path in [
            "",
            "/",
            "/a/../b",
            "a:x:c1",
            "a--b.slice:x:c1",
            "-a.slice:x:c1",
            ".slice:x:c1",
            "a.slice:x:",
        ] {
            let error = path.parse::<CgroupPath>().unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn names_are_as_long_as_systemd_and_file_systems_let_them_be() {
        let slice = |dashes: usize| format!("{}a.slice:x:c1", "a-".repeat(dashes));
        let longest: CgroupPath = slice(124).parse().unwrap();
        let CgroupPath::Systemd { slice: name, .. } = &longest else {
            panic!("it is a slice");
        };
        assert_eq!(name.len(), LONGEST_NAME);
        assert_eq!(longest.directory().split('/').count(), 126);
        let name = |length: usize| "n".repeat(length);
        for (bad, good) in [
            (slice(16_000), slice(100)),
            (format!(":x:{}", name(248)), format!(":x:{}", name(247))),
            (
                format!(":x:{}.slice", name(250)),
                format!(":x:{}.slice", name(249)),
            ),
            (format!("/a/{}/b", name(256)), format!("/a/{}/b", name(255))),
        ] {
            assert!(good.parse::<CgroupPath>().is_ok());
            let error = bad.parse::<CgroupPath>().unwrap_err();
            assert!(error.reason.ends_with("has at most 255 bytes"), "{error}");
        }
    }
}
