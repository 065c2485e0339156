//! The way to a file, judged from `/` on: who could have changed what is at its end. May not enter:
//! what the file is for.
//!
//! Every name on the way is opened below the directory that was judged before it, links are read
//! and their own way is gone step by step, and whoever needs the file gets the descriptor that was
//! judged. [`distrust`] is the rule, and pure.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat};
use rustix::io::Errno;

use crate::text::printable_path;

/// As many links as the kernel follows on one way.
const MOST_LINKS: usize = 40;
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
            "{path} belongs to user {owner}, who could change what runs as user {us}: `chown {us} {path}`"
        ))
    } else if mode & 0o022 != 0 {
        Some(format!(
            "{path} has mode {mode:04o}, so others could change what runs as user {us}: `chmod go-w {path}`"
        ))
    } else {
        None
    }
}

/// The rule for a directory on the way, by what is taken from it. In a sticky directory, as `/tmp`
/// is, others can add names, but neither move nor replace what is not theirs; what they add can be
/// a hard link to a file or a link of root's, but never to a directory. So from there only
/// directories are taken.
fn distrust_directory(path: &Path, control: Control, entry: Kind, trust: Trust) -> Option<String> {
    let sticky = control.mode & 0o1000 != 0;
    let owned = Control {
        mode: control.mode & !0o022,
        ..control
    };
    match distrust(path, owned, trust) {
        None if sticky && entry == Kind::Directory => None,
        None if sticky && control.mode & 0o022 != 0 => Some(format!(
            "{} has mode {:04o}, so others could put a link to anything there: what runs as user {} has to be in a \
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
fn distrust_link(path: &Path, control: Control, trust: Trust) -> Option<String> {
    distrust(path, Control { mode: 0, ..control }, trust)
}

/// Why a way does not lead to a file that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// There is nothing at the path, and no link either.
    Absent,
    /// There is something in the way, or others could have changed what is at the end.
    Refused(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it does not exist"),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

/// What is at the end of a way that only root and ourselves can change.
#[derive(Debug)]
pub(crate) struct End {
    /// What was judged; it can be looked at and executed, but not read.
    pub(crate) file: OwnedFd,
    pub(crate) stat: Stat,
    /// Where it is, links followed.
    pub(crate) path: PathBuf,
    /// The directory that holds it, and its name there.
    holder: Option<(OwnedFd, OsString)>,
}

impl End {
    pub(crate) fn kind(&self) -> Kind {
        Kind::from(&self.stat)
    }

    /// Opens it for reading, without waiting for anybody.
    ///
    /// # Errors
    /// It is no regular file or directory, it may not be read, or is another one by now.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let opened = match (self.kind(), &self.holder) {
            (Kind::Directory, _) => openat(&self.file, ".", flags, Mode::empty())?,
            (Kind::File, Some((holder, name))) => openat(holder, name, flags, Mode::empty())?,
            _ => return Err(io::Error::other("it is not a regular file")),
        };
        let stat = fstat(&opened)?;
        if (stat.st_dev, stat.st_ino) != (self.stat.st_dev, self.stat.st_ino) {
            return Err(io::Error::other("it was just replaced by another one"));
        }
        Ok(File::from(opened))
    }
}

/// A directory that was reached.
struct Here {
    fd: OwnedFd,
    stat: Stat,
    path: PathBuf,
}

impl Here {
    fn root() -> Result<Self, Errno> {
        Self::at(open("/", looking(), Mode::empty())?, PathBuf::from("/"))
    }

    fn at(fd: OwnedFd, path: PathBuf) -> Result<Self, Errno> {
        let stat = fstat(&fd)?;
        Ok(Self { fd, stat, path })
    }
}

/// Flags that open what is there itself: nothing is followed, waited for, or read.
fn looking() -> OFlags {
    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens what has this name in a directory. One that should be a directory is asked for as one
/// first: that has file systems mounted which are mounted on demand.
fn look(here: &Here, name: &OsStr, goes_on: bool) -> Result<OwnedFd, Errno> {
    if goes_on {
        let directory = openat(&here.fd, name, looking() | OFlags::DIRECTORY, Mode::empty());
        if !matches!(directory, Err(Errno::NOTDIR | Errno::LOOP)) {
            return directory;
        }
    }
    openat(&here.fd, name, looking(), Mode::empty())
}

/// The names of a path in their order; `None` for its root.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = Option<OsString>> + '_ {
    path.components().filter_map(|component| match component {
        Component::CurDir => None,
        Component::RootDir | Component::Prefix(_) => Some(None),
        Component::ParentDir => Some(Some(OsString::from(".."))),
        Component::Normal(name) => Some(Some(name.to_owned())),
    })
}

/// Goes the way to `path`, which is below the working directory if it does not begin at `/`.
///
/// # Errors
/// There is nothing at its end, or others could have changed something on it. What they could have
/// put at the end is not asked: see [`distrust`].
pub(crate) fn follow(path: &Path, trust: Trust) -> Result<End, Obstacle> {
    let failed = |path: &Path, error: &dyn fmt::Display| {
        Obstacle::Refused(format!(
            "{} cannot be looked at: {error}",
            printable_path(path)
        ))
    };
    let path = &std::path::absolute(path).map_err(|error| failed(path, &error))?;
    let mut ahead: VecDeque<Option<OsString>> = names(path).collect();
    let mut here = Here::root().map_err(|error| failed(Path::new("/"), &error))?;
    // The links so far, each with the number of names that come behind where it leads.
    let mut links: Vec<(PathBuf, usize)> = Vec::new();
    while let Some(name) = ahead.pop_front() {
        let Some(name) = name else {
            here = Here::root().map_err(|error| failed(Path::new("/"), &error))?;
            continue;
        };
        let below = match name == ".." {
            true => here.path.parent().unwrap_or(&here.path).to_owned(),
            false => here.path.join(&name),
        };
        let entry = match look(&here, &name, !ahead.is_empty()) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => {
                let dangling = links.iter().rfind(|(_, behind)| ahead.len() >= *behind);
                return Err(match dangling {
                    None => Obstacle::Absent,
                    Some((link, _)) => Obstacle::Refused(format!(
                        "the link {} leads to {}, which does not exist",
                        printable_path(link),
                        printable_path(&below)
                    )),
                });
            }
            Err(error) => return Err(failed(&below, &error)),
        };
        let stat = fstat(&entry).map_err(|error| failed(&below, &error))?;
        let kind = Kind::from(&stat);
        let control = Control::from(&here.stat);
        if let Some(reason) = distrust_directory(&here.path, control, kind, trust) {
            return Err(Obstacle::Refused(reason));
        }
        match kind {
            Kind::Link => {
                if let Some(reason) = distrust_link(&below, Control::from(&stat), trust) {
                    return Err(Obstacle::Refused(reason));
                }
                if links.len() == MOST_LINKS {
                    return Err(failed(path, &Errno::LOOP));
                }
                let target = readlinkat(&entry, "", Vec::new())
                    .map_err(|error| failed(&below, &error))?
                    .into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                links.push((below, ahead.len()));
                for name in names(&target).rev() {
                    ahead.push_front(name);
                }
            }
            Kind::Directory if !ahead.is_empty() => {
                here = Here {
                    fd: entry,
                    stat,
                    path: below,
                };
            }
            _ if ahead.iter().any(Option::is_some) => {
                return Err(failed(&below, &Errno::NOTDIR));
            }
            _ => {
                return Ok(End {
                    file: entry,
                    stat,
                    path: below,
                    holder: Some((here.fd, name)),
                });
            }
        }
    }
    Ok(End {
        file: here.fd,
        stat: here.stat,
        path: here.path,
        holder: None,
    })
}

/// Goes the way to `path`, and judges what is at its end as well.
///
/// # Errors
/// As [`follow`], or others could change what is at the end.
pub(crate) fn trusted(path: &Path, trust: Trust) -> Result<End, Obstacle> {
    let end = follow(path, trust)?;
    match distrust(&end.path, Control::from(&end.stat), trust) {
        Some(reason) => Err(Obstacle::Refused(reason)),
        None => Ok(end),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

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

    /// A directory that only we can change, whatever the umask.
    fn directory(path: &Path) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_way_is_gone_as_the_kernel_goes_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["a", "a/b", "c"] {
            directory(&root.join(name));
        }
        fs::write(root.join("a/b/file"), "content").unwrap();
        symlink("../a/b", root.join("c/relative")).unwrap();
        symlink(root.join("c/relative/file"), root.join("c/absolute")).unwrap();
        let trust = Trust::here();
        for way in [
            "a/b/file",
            "a/./b//file",
            "c/../a/b/file",
            "c/relative/file",
            "c/absolute",
            "c/relative/../b/file",
        ] {
            let end = follow(&root.join(way), trust).unwrap();
            assert_eq!(end.path, root.join("a/b/file"), "{way}");
            let text = io::read_to_string(end.open().unwrap()).unwrap();
            assert_eq!((end.kind(), text.as_str()), (Kind::File, "content"));
        }
        for way in ["c/relative", "c/relative/.", "a/b", "c/relative/../b/"] {
            let end = follow(&root.join(way), trust).unwrap();
            assert_eq!(end.kind(), Kind::Directory, "{way}");
            assert!(end.open().unwrap().metadata().unwrap().is_dir());
        }
        for top in ["/", "/..", "/../."] {
            let end = follow(Path::new(top), trust).unwrap();
            assert_eq!((end.kind(), end.path), (Kind::Directory, "/".into()));
        }
    }

    #[test]
    fn what_is_not_there_is_told_from_what_cannot_be_reached() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::write(root.join("file"), "").unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let trust = Trust::here();
        symlink(".", root.join("here")).unwrap();
        for absent in ["nothing", "no/thing", "here/nothing", "here/here/no/thing"] {
            assert_eq!(
                follow(&root.join(absent), trust).unwrap_err(),
                Obstacle::Absent
            );
        }
        for (way, says) in [
            ("dangling", "which does not exist"),
            ("circle", "cannot be looked at"),
            ("file/below", "cannot be looked at"),
        ] {
            let reason = follow(&root.join(way), trust).unwrap_err().to_string();
            assert!(reason.contains(says) && reason.contains(way.split('/').next().unwrap()));
        }
    }

    #[test]
    fn every_directory_of_the_way_is_judged_hops_of_links_included() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["plugins", "hop", "end"] {
            directory(&root.join(name));
        }
        fs::write(root.join("end/file"), "").unwrap();
        symlink(root.join("end/file"), root.join("hop/link")).unwrap();
        symlink("../hop/link", root.join("plugins/10-x")).unwrap();
        let trust = Trust::here();
        let way = || follow(&root.join("plugins/10-x"), trust).map(|end| end.path);
        assert_eq!(way(), Ok(root.join("end/file")));
        for open in ["plugins", "hop", "end", "."] {
            let open = root.join(open);
            fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
            let reason = way().unwrap_err().to_string();
            let open_path = open.components().collect::<PathBuf>();
            assert!(
                reason.contains(&format!("{} has mode 0777", open_path.display())),
                "{reason}"
            );
            fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let end = follow(&fifo, Trust::here()).unwrap();
        assert_eq!(end.kind(), Kind::Other);
        let error = end.open().unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
