//! The rule for what others could change on the way to a file. Pure, but for what
//! [`Trust::here`] asks of the system. May not enter: how a way is gone.

use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::text::printable_path;

/// The user that stands for all who are not mapped into a user namespace, unless the system says
/// otherwise.
const OVERFLOW_USER: u32 = 65534;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Link,
    File,
    /// A socket, a pipe or a device.
    Other,
}

impl From<&Stat> for Kind {
    fn from(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            FileType::RegularFile => Self::File,
            _ => Self::Other,
        }
    }
}

/// Who can change what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    /// Who owns it.
    pub(crate) owner: u32,
    /// Its permission bits.
    pub(crate) mode: u32,
}

impl From<&Stat> for Control {
    fn from(stat: &Stat) -> Self {
        Self {
            owner: stat.st_uid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

/// Who is trusted: root and ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) us: u32,
    /// Who owns `/`, where that is the host's root as a user namespace shows it.
    pub(crate) foreign_root: Option<u32>,
}

impl Trust {
    /// The trust of this process. In a user namespace into which the host's root is not mapped, its
    /// files belong to the overflow user there, as all files of users do who are not mapped.
    /// They cannot be told apart, so where `/` itself belongs to that user, it is trusted as
    /// root is.
    pub(crate) fn here() -> Self {
        let us = rustix::process::geteuid().as_raw();
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let everybody = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        let foreign_root = match !everybody && !map.is_empty() {
            true => overflow_user_of_root(),
            false => None,
        };
        Self { us, foreign_root }
    }

    fn owner(self, owner: u32) -> bool {
        owner == 0 || owner == self.us || Some(owner) == self.foreign_root
    }
}

/// The overflow user, if it owns `/`.
fn overflow_user_of_root() -> Option<u32> {
    let told = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let overflow = told
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(OVERFLOW_USER);
    let root = rustix::fs::stat("/").ok()?.st_uid;
    (root == overflow).then_some(overflow)
}

/// The rule for what is at the end of a way, and for a directory that holds a file or a link: why
/// others could put something of their own in its place. `None`: they cannot.
///
/// Who may write is judged by the mode; where there is an access control list, its mask is the
/// group's part of the mode.
pub(crate) fn distrust(path: &Path, control: Control, trust: Trust) -> Option<String> {
    let (Control { owner, mode }, us) = (control, trust.us);
    let path = printable_path(path);
    if !trust.owner(owner) {
        Some(format!(
            "{path} belongs to user {owner}, who could change what user {us} takes from there: `chown {us} {path}`"
        ))
    } else if mode & 0o022 != 0 {
        Some(format!(
            "{path} has mode {mode:04o}, so others could change what user {us} takes from there: `chmod go-w {path}`"
        ))
    } else {
        None
    }
}

/// The rule for a directory on the way, by what is taken from it. In a sticky directory, as `/tmp`
/// is, others can add names, but neither move nor replace what is not theirs; what they add can be
/// a hard link to a file or a link of root's, but never to a directory. So from there only
/// directories are taken.
pub(super) fn distrust_directory(
    path: &Path,
    control: Control,
    entry: Kind,
    trust: Trust,
) -> Option<String> {
    let sticky = control.mode & 0o1000 != 0;
    let owned = Control {
        mode: control.mode & !0o022,
        ..control
    };
    match distrust(path, owned, trust) {
        None if sticky && entry == Kind::Directory => None,
        None if sticky && control.mode & 0o022 != 0 => Some(format!(
            "{} has mode {:04o}, so others could put a link to anything there: what user {} takes has to be in a \
             directory of its own",
            printable_path(path),
            control.mode,
            trust.us
        )),
        None => distrust(path, control, trust),
        reason => reason,
    }
}

/// The rule for a link: its mode says nothing.
pub(super) fn distrust_link(path: &Path, control: Control, trust: Trust) -> Option<String> {
    distrust(path, Control { mode: 0, ..control }, trust)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Trust = Trust {
        us: 7,
        foreign_root: None,
    };

    #[test]
    fn what_others_can_change_is_not_trusted() {
        let path = Path::new("/opt/nri/plugins/10-a");
        let judge = |owner, mode| distrust(path, Control { owner, mode }, US);
        for mode in [0o755, 0o700, 0o555, 0o4755, 0o1755] {
            assert_eq!((judge(7, mode), judge(0, mode)), (None, None), "{mode:o}");
        }
        for mode in [0o775, 0o757, 0o777, 0o1777, 0o720, 0o702] {
            let reason = judge(0, mode).unwrap();
            let says = [
                "/opt/nri/plugins/10-a",
                &format!("{mode:04o}"),
                "chmod go-w",
            ];
            assert!(says.iter().all(|word| reason.contains(word)), "{reason}");
        }
        let reason = judge(8, 0o755).unwrap();
        assert!(
            reason.contains("user 8") && reason.contains("chown 7"),
            "{reason}"
        );
    }

    #[test]
    fn from_sticky_directories_only_directories_are_taken() {
        let judge = |owner, mode, entry| {
            distrust_directory(Path::new("/tmp"), Control { owner, mode }, entry, US)
        };
        for (mode, entry, trusted) in [
            (0o1777, Kind::Directory, true),
            (0o1775, Kind::Directory, true),
            (0o1777, Kind::Link, false),
            (0o1777, Kind::File, false),
            (0o777, Kind::Directory, false),
            (0o775, Kind::Directory, false),
            (0o1755, Kind::Link, true),
            (0o755, Kind::File, true),
        ] {
            let judged = judge(0, mode, entry);
            assert_eq!(judged.is_none(), trusted, "{mode:o} {entry:?} {judged:?}");
        }
        // Whoever owns a directory, sticky or not, can put anything there.
        assert!(judge(8, 0o1777, Kind::Directory).is_some());
        assert!(judge(8, 0o755, Kind::File).unwrap().contains("user 8"));
    }

    #[test]
    fn the_owner_of_a_link_counts_and_its_mode_does_not() {
        let judge = |owner| distrust_link(Path::new("/l"), Control { owner, mode: 0o777 }, US);
        assert_eq!((judge(7), judge(0)), (None, None));
        assert!(judge(8).unwrap().contains("user 8"));
    }

    #[test]
    fn the_hosts_root_is_trusted_in_a_user_namespace_only() {
        let control = Control {
            owner: OVERFLOW_USER,
            mode: 0o755,
        };
        let namespace = Trust {
            foreign_root: Some(OVERFLOW_USER),
            ..US
        };
        assert!(distrust(Path::new("/"), control, US).is_some());
        assert_eq!(distrust(Path::new("/"), control, namespace), None);
    }
}
