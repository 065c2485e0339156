//! Going a way step by step. May not enter: what is distrusted.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat, fstat, open, openat, readlinkat};
use rustix::io::Errno;

use super::rule::{Control, Kind, Trust, distrust, distrust_directory, distrust_link};
use crate::text::printable_path;

/// As many links as the kernel follows on one way.
const MOST_LINKS: usize = 40;

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
    go(path, trust, |reason| Err(Obstacle::Refused(reason)))
}

/// What others could change on the way to `path` and at its end, as far as it can be gone.
pub(crate) fn weaknesses(path: &Path, trust: Trust) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |reason| {
        // A way with links may lead through a directory more than once.
        if !found.contains(&reason) {
            found.push(reason);
        }
    };
    let end = go(path, trust, |reason| {
        note(reason);
        Ok(())
    });
    if let Some(reason) = end
        .ok()
        .and_then(|end| distrust(&end.path, Control::from(&end.stat), trust))
    {
        note(reason);
    }
    found
}

/// Goes a way; `suspect` is told why something on it is not trusted, and says whether to go on.
fn go(
    path: &Path,
    trust: Trust,
    mut suspect: impl FnMut(String) -> Result<(), Obstacle>,
) -> Result<End, Obstacle> {
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
            suspect(reason)?;
        }
        match kind {
            Kind::Link => {
                if let Some(reason) = distrust_link(&below, Control::from(&stat), trust) {
                    suspect(reason)?;
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

    use rustix::fs::FileType;

    use super::*;

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

    #[test]
    fn every_weakness_of_a_way_is_found_by_whoever_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let trust = Trust::here();
        let found = |path: &str| -> Vec<String> {
            let mut found = weaknesses(&root.join(path), trust);
            found.retain(|reason| reason.contains(root.to_str().unwrap()));
            found
        };
        let [wide, deep, other] = ["wide", "wide/deep", "other"].map(|name| root.join(name));
        for path in [&wide, &deep, &other] {
            directory(path);
        }
        symlink("wide/../wide/deep", root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(found("link"), [] as [String; 0]);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        // In the middle and at the end, by either way, each once.
        mode(&wide, 0o777);
        mode(&deep, 0o770);
        for way in ["wide/deep", "link"] {
            let found = found(way);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].contains("/wide has mode 0777"), "{found:?}");
            assert!(found[1].contains("/wide/deep has mode 0770"), "{found:?}");
        }
        // What is in a sticky directory others cannot move; but they can be there first.
        mode(&wide, 0o1777);
        mode(&deep, 0o755);
        assert_eq!(found("wide/deep"), [] as [String; 0]);
        assert_eq!(found("wide").len(), 1);
        // As far as the way goes.
        mode(&wide, 0o777);
        for way in [
            "wide/deep/nothing",
            "wide/../loop",
            "wide/deep/nothing/at/all",
        ] {
            let found = found(way);
            assert!(found[0].contains("/wide has mode 0777"), "{way}: {found:?}");
        }
        if rustix::process::geteuid().is_root()
            && std::os::unix::fs::lchown(root.join("link"), Some(65534), None).is_ok()
        {
            mode(&wide, 0o755);
            assert!(found("link")[0].contains("/link belongs to user 65534"));
        }
    }
}
