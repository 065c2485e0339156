//! Layers from their archives to directories, as overlayfs wants them.
//!
//! An archive is anybody's. Every path in it is looked up by the kernel with the layer's directory
//! as root (`openat2` with `RESOLVE_IN_ROOT`), so that neither `..` nor a symbolic link leads out
//! of it; how much it may hold is limited.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    self, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::compression::plain;
use crate::error::{Error, Result};

/// How much a layer may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// In an archive, a file of this name with another behind it says that the other one of the layers
/// below is not there.
const WHITEOUT: &[u8] = b".wh.";
/// And this one that nothing of the directory's in the layers below is.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks a layer, compressed or not, into a directory that is there and empty. What it is before
/// compression must have the digest `diff_id`.
///
/// # Errors
/// An archive that cannot be read, holds too much, or has another digest; the operating system's.
/// The directory has something in it then.
pub(crate) fn unpack(archive: File, into: &Path, limits: Limits, diff_id: &str) -> Result<()> {
    let failed = |error: io::Error| Error::internal(format!("cannot unpack a layer: {error}"));
    let mut hashed = Hashed {
        from: plain(io::BufReader::new(archive)).map_err(failed)?,
        hash: Sha256::new(),
        left: limits.bytes,
    };
    let root = fs::openat(
        CWD,
        into,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let root = root.map_err(|error| Error::file("open", into, error))?;
    let layer = Layer { root };
    let mut unpacked = Archive::new(&mut hashed);
    let mut directories = Vec::new();
    for (count, entry) in (1..).zip(unpacked.entries().map_err(failed)?) {
        if count > limits.files {
            return Err(Error::invalid(format!(
                "a layer has more than {} files",
                limits.files
            )));
        }
        let mut entry = entry.map_err(failed)?;
        let name = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let done = layer.add(&mut entry, &name, &mut directories);
        done.map_err(|error| failed(error).of(name.display()))?;
    }
    // Making what is in a directory changes its time, so these come last.
    for (path, modified) in directories.iter().rev() {
        if let Ok(dir) = layer.open(path, OFlags::DIRECTORY) {
            fs::futimens(dir, &times(*modified)).map_err(|error| failed(error.into()))?;
        }
    }
    // What is behind the end of the archive belongs to its digest.
    io::copy(&mut hashed, &mut io::sink()).map_err(failed)?;
    let digest = hashed.hash.finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if format!("sha256:{digest}") != diff_id {
        return Err(Error::invalid(format!(
            "a layer is sha256:{digest}, and should be {diff_id}"
        )));
    }
    Ok(())
}

/// Counts and hashes what is read.
struct Hashed<R> {
    from: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("it is larger than `images.max_layer_bytes` allows"))?;
        Ok(read)
    }
}

struct Layer {
    root: OwnedFd,
}

impl Layer {
    /// Opens what is at a path, which is looked up with the layer as root.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if path.as_os_str().is_empty() {
            return self.root.try_clone();
        }
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(fs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            resolve,
        )?)
    }

    /// Opens a directory, which is made with those above it if it is not there.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(error);
                };
                let parent = self.directory(parent)?;
                match fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => self.open(path, OFlags::DIRECTORY),
                    Err(error) => Err(error.into()),
                }
            }
            opened => opened,
        }
    }

    fn add(
        &self,
        entry: &mut Entry<'_, impl Read>,
        name: &Path,
        directories: &mut Vec<(PathBuf, i64)>,
    ) -> io::Result<()> {
        let Some(path) = within(name) else {
            return Err(io::Error::other("its path has a \"..\" in it"));
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            // The root itself.
            return own(&self.root, OsStr::new("."), entry, true);
        };
        let parent_dir = self.directory(parent)?;
        if name.as_bytes() == OPAQUE {
            return Ok(fs::fsetxattr(
                &parent_dir,
                "trusted.overlay.opaque",
                b"y",
                XattrFlags::empty(),
            )?);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            let hidden = OsStr::from_bytes(hidden);
            clear(&parent_dir, hidden)?;
            return Ok(fs::mknodat(
                &parent_dir,
                hidden,
                FileType::CharacterDevice,
                Mode::empty(),
                0,
            )?);
        }
        let kind = entry.header().entry_type();
        if kind != EntryType::Directory {
            clear(&parent_dir, name)?;
        }
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
        let device = |entry: &Entry<'_, _>| -> io::Result<u64> {
            let header = entry.header();
            let major = header.device_major()?.unwrap_or_default();
            Ok(fs::makedev(
                major,
                header.device_minor()?.unwrap_or_default(),
            ))
        };
        match kind {
            EntryType::Directory => {
                match fs::mkdirat(&parent_dir, name, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => {
                        let there = fs::statat(&parent_dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                        if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                            clear(&parent_dir, name)?;
                            fs::mkdirat(&parent_dir, name, Mode::from_raw_mode(0o700))?;
                        }
                    }
                    made => made?,
                }
                let modified = i64::try_from(entry.header().mtime()?).unwrap_or(i64::MAX);
                directories.push((path.clone(), modified));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = fs::openat(&parent_dir, name, flags, Mode::from_raw_mode(0o600))?;
                io::copy(entry, &mut File::from(file))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                fs::symlinkat(OsStr::from_bytes(&target), &parent_dir, name)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = within(Path::new(OsStr::from_bytes(&target)));
                let target =
                    target.ok_or_else(|| io::Error::other("its target has a \"..\" in it"))?;
                let (Some(from), Some(target)) = (target.parent(), target.file_name()) else {
                    return Err(io::Error::other("it is a link to the root"));
                };
                let from = self.open(from, OFlags::DIRECTORY)?;
                // Owner and mode are those of what it is a link to.
                return Ok(fs::linkat(
                    from,
                    target,
                    &parent_dir,
                    name,
                    AtFlags::empty(),
                )?);
            }
            EntryType::Char => {
                let device = device(entry)?;
                fs::mknodat(&parent_dir, name, FileType::CharacterDevice, mode, device)?;
            }
            EntryType::Block => {
                let device = device(entry)?;
                fs::mknodat(&parent_dir, name, FileType::BlockDevice, mode, device)?;
            }
            EntryType::Fifo => fs::mknodat(&parent_dir, name, FileType::Fifo, mode, 0)?,
            // Headers that say something of others.
            _ => return Ok(()),
        }
        own(&parent_dir, name, entry, kind != EntryType::Symlink)
    }
}

/// Owner, mode, extended attributes and time, in the order in which none undoes another.
fn own(
    dir: &OwnedFd,
    name: &OsStr,
    entry: &mut Entry<'_, impl Read>,
    has_mode: bool,
) -> io::Result<()> {
    let header = entry.header();
    let id = |id: u64| {
        u32::try_from(id).map_err(|_| io::Error::other("its owner has too large a number"))
    };
    let (user, group) = (
        Uid::from_raw(id(header.uid()?)?),
        Gid::from_raw(id(header.gid()?)?),
    );
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    let modified = i64::try_from(header.mtime()?).unwrap_or(i64::MAX);
    let kind = header.entry_type();
    fs::chownat(
        dir,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if has_mode {
        // Nothing but what we have just made can be here, and it is no link.
        fs::chmodat(dir, name, mode, AtFlags::empty())?;
    }
    if matches!(kind, EntryType::Regular | EntryType::Directory)
        && let Some(extensions) = entry.pax_extensions()?
    {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(dir, name, flags, Mode::empty())?;
        for extension in extensions {
            let extension = extension?;
            let key = extension.key_bytes().strip_prefix(b"SCHILY.xattr.");
            // Those of the kernel's own and of our layers' are not an archive's to set.
            if let Some(key) =
                key.filter(|key| key.starts_with(b"user.") || *key == b"security.capability")
            {
                let value = extension.value_bytes();
                fs::fsetxattr(&file, OsStr::from_bytes(key), value, XattrFlags::empty())?;
            }
        }
    }
    let times = times(modified);
    Ok(fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: modified,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// A path below the root; `None` if it would go up.
fn within(path: &Path) -> Option<PathBuf> {
    let mut within = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => within.push(name),
            Component::ParentDir => return None,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(within)
}

/// Takes away what a former entry of the same archive put there.
fn clear(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = fs::openat(dir, name, flags, Mode::empty())?;
            let mut names = Vec::new();
            for entry in fs::Dir::read_from(inner.as_fd())? {
                let name = entry?.file_name().to_bytes().to_owned();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            for name in names {
                clear(&inner, OsStr::from_bytes(&name))?;
            }
            Ok(fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::{Seek as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use tar::{Builder, Header};

    const LIMITS: Limits = Limits {
        bytes: 1 << 20,
        files: 100,
    };

    enum Thing<'a> {
        File(&'a str),
        Directory,
        Symlink(&'a str),
        Link(&'a str),
    }
    use Thing::{Directory, File as Regular, Link, Symlink};

    /// An archive, written without the checks that a well-meaning writer does.
    fn archive(things: &[(&str, Thing<'_>)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, thing) in things {
            let mut header = Header::new_ustar();
            let (kind, link, text) = match thing {
                Regular(text) => (EntryType::Regular, "", *text),
                Directory => (EntryType::Directory, "", ""),
                Symlink(to) => (EntryType::Symlink, *to, ""),
                Link(to) => (EntryType::Link, *to, ""),
            };
            header.set_entry_type(kind);
            header.set_mode(if kind == EntryType::Directory {
                0o755
            } else {
                0o640
            });
            header.set_uid(rustix::process::getuid().as_raw().into());
            header.set_gid(rustix::process::getgid().as_raw().into());
            header.set_mtime(1_000_000);
            header.set_size(text.len() as u64);
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            old.linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn digest(bytes: &[u8]) -> String {
        let digest = Sha256::digest(bytes);
        format!(
            "sha256:{}",
            digest
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        )
    }

    fn unpacked(bytes: &[u8], diff_id: &str, limits: Limits) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let result = unpack(file, &dir.path().join("layer"), limits, diff_id);
        (dir, result)
    }

    fn layer(things: &[(&str, Thing<'_>)]) -> (tempfile::TempDir, Result<()>) {
        let bytes = archive(things);
        unpacked(&bytes, &digest(&bytes), LIMITS)
    }

    #[test]
    fn files_directories_and_links_are_there() {
        let (dir, result) = layer(&[
            ("./bin/", Directory),
            ("bin/sh", Regular("#!")),
            ("bin/ash", Link("bin/sh")),
            ("bin/link", Symlink("/bin/sh")),
            ("no/dir/before/file", Regular("x")),
            ("bin/sh2", Regular("old")),
            ("bin/sh2", Regular("new")),
        ]);
        result.unwrap();
        let at = |path: &str| dir.path().join("layer").join(path);
        assert_eq!(std::fs::read_to_string(at("bin/ash")).unwrap(), "#!");
        assert_eq!(std::fs::read_to_string(at("bin/sh2")).unwrap(), "new");
        let (file, link) = (
            at("bin/sh").metadata().unwrap(),
            at("bin/ash").metadata().unwrap(),
        );
        assert_eq!(
            (file.ino(), file.mode() & 0o7777, file.mtime()),
            (link.ino(), 0o640, 1_000_000)
        );
        assert_eq!(at("bin").metadata().unwrap().mtime(), 1_000_000);
        assert_eq!(
            std::fs::read_link(at("bin/link")).unwrap(),
            Path::new("/bin/sh")
        );
        assert_eq!(
            std::fs::read_to_string(at("no/dir/before/file")).unwrap(),
            "x"
        );
    }

    #[test]
    fn no_path_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        // A link to elsewhere is a link within the layer.
        let (dir, result) = layer(&[("a", Symlink(out)), ("a/evil", Regular("x"))]);
        assert!(
            result.is_err()
                || dir
                    .path()
                    .join("layer")
                    .join(&out[1..])
                    .join("evil")
                    .exists()
        );
        assert!(!outside.path().join("evil").exists());
        let up = "../../../../../../../../../..";
        let up = format!("{up}{out}");
        for things in [
            &[("../evil", Regular("x"))][..],
            &[("a/../../evil", Regular("x"))],
            &[("a", Symlink(&up)), ("a/evil", Regular("x"))],
            &[("a", Symlink("..")), ("a/evil", Regular("x"))],
            &[("evil", Link("../../secret"))],
            &[("a", Symlink(&up)), ("stolen", Link("a/secret"))],
        ] {
            let (dir, _) = layer(things);
            assert!(!outside.path().join("evil").exists());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
            assert!(!dir.path().join("layer/stolen").exists());
        }
        // What takes a link's place does not follow it.
        let secret = format!("{out}/secret");
        let (_dir, result) = layer(&[("a", Symlink(&secret)), ("a", Regular("x"))]);
        result.unwrap();
        assert_eq!(
            std::fs::read_to_string(outside.path().join("secret")).unwrap(),
            "s"
        );
    }

    #[test]
    fn too_much_is_refused() {
        let bytes = archive(&[("a", Regular("1234")), ("b", Regular("5678"))]);
        let few = Limits { files: 1, ..LIMITS };
        let error = unpacked(&bytes, &digest(&bytes), few)
            .1
            .unwrap_err()
            .to_string();
        assert!(error.contains("more than 1 files"), "{error}");
        let small = Limits {
            bytes: 600,
            ..LIMITS
        };
        let mut zipped = GzEncoder::new(Vec::new(), flate2::Compression::best());
        zipped.write_all(&bytes).unwrap();
        let zipped = zipped.finish().unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(&bytes[..], level);
        for compressed in [zipped, zstd] {
            let error = unpacked(&compressed, &digest(&bytes), small)
                .1
                .unwrap_err()
                .to_string();
            assert!(error.contains("max_layer_bytes"), "{error}");
            unpacked(&compressed, &digest(&bytes), LIMITS).1.unwrap();
        }
    }

    #[test]
    fn what_is_not_what_it_should_be_is_refused() {
        let bytes = archive(&[("a", Regular("1234"))]);
        let error = unpacked(&bytes, "sha256:00", LIMITS)
            .1
            .unwrap_err()
            .to_string();
        assert!(error.contains("should be sha256:00"), "{error}");
        let error = unpacked(&bytes[..700], &digest(&bytes), LIMITS).1;
        error.unwrap_err();
    }

    /// Where we may make device nodes and trusted attributes.
    #[test]
    fn whiteouts_are_those_of_overlayfs() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (dir, result) = layer(&[("d/.wh.gone", Regular("")), ("e/.wh..wh..opq", Regular(""))]);
        if result.is_err() {
            return; // root of a user namespace
        }
        let gone = dir.path().join("layer/d/gone").metadata().unwrap();
        assert_eq!((gone.mode() & 0o170_000, gone.rdev()), (0o020_000, 0));
        let mut value = [0; 1];
        fs::getxattr(
            dir.path().join("layer/e"),
            "trusted.overlay.opaque",
            &mut value,
        )
        .unwrap();
        assert_eq!(&value, b"y");
    }
}
