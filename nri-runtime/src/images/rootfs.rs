//! The root file system of a container: an image's layers with a writable one on top, by overlayfs;
//! and images that are mounted into one. In a user namespace, layers are mounted with mapped ids
//! first, since overlayfs itself cannot be.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{MountFlags, mount as mount_fs};

use crate::error::{Error, Result};
use crate::files;
use crate::idmap::IdMap;

/// The mount point in a container's directory.
const ROOTFS: &str = "rootfs";
/// The directory of the mount points of images that are mounted into a container.
const VOLUMES: &str = "volumes";
/// The directory of the mount points of layers with mapped ids, while they are put together.
const LAYERS: &str = "layers";
/// What the kernel takes as options of a mount, which is a page.
const MOST: usize = 4095;

/// Mounts layers, the lowest first, for the container whose directory this is, with their ids
/// mapped; where.
///
/// # Errors
/// The kernel cannot; the names of the layers are too long.
pub(crate) fn mount(dir: &Path, layers: &[PathBuf], map: Option<&IdMap>) -> Result<PathBuf> {
    let rootfs = dir.join(ROOTFS);
    for part in [ROOTFS, "upper", "work"] {
        files::make_dir(&dir.join(part))?;
    }
    if let Some(map) = map {
        map.give(&dir.join("upper"))?;
    }
    mapped(dir, layers, map, |layers| {
        overlay(&rootfs, options(dir, layers)?)
    })?;
    Ok(rootfs)
}

/// Mounts layers with mapped ids for as long as it takes to make something of them, which keeps
/// what it needs of them.
fn mapped(
    dir: &Path,
    layers: &[PathBuf],
    map: Option<&IdMap>,
    make: impl FnOnce(&[PathBuf]) -> Result<()>,
) -> Result<()> {
    let Some(map) = map else {
        return make(layers);
    };
    let at = dir.join(LAYERS);
    let attach = |(number, layer): (usize, &PathBuf)| {
        let at = at.join(number.to_string());
        files::make_dir(&at)?;
        map.attach(layer, &at, false)
    };
    let mounts: Result<Vec<_>> = layers.iter().enumerate().map(attach).collect();
    let made = mounts.and_then(|mounts| {
        // Short, since all have to fit in one page.
        let paths = mounts.iter().map(AsRawFd::as_raw_fd);
        let paths = paths.map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")));
        make(&paths.collect::<Vec<_>>())
    });
    made.and(files::unmount_all_in(&at))
}

/// Mounts layers, the lowest first, to be read only, as the `number`th image that is mounted into
/// the container whose directory this is, with their ids mapped; the path of `sub_path` in it,
/// which cannot lead out of it.
///
/// # Errors
/// The kernel cannot; there is no such path.
pub(crate) fn mount_volume(
    dir: &Path,
    number: usize,
    layers: &[PathBuf],
    sub_path: &str,
    map: Option<&IdMap>,
) -> Result<PathBuf> {
    let at = dir.join(VOLUMES).join(number.to_string());
    // The kernel wants two at least.
    let empty = dir.join("empty");
    for path in [&at, &empty] {
        files::make_dir(path)?;
    }
    let layers: Vec<PathBuf> = [empty].into_iter().chain(layers.iter().cloned()).collect();
    mapped(dir, &layers, map, |layers| {
        overlay(&at, format!("lowerdir={}", lower(layers)?))
    })?;
    within(&at, sub_path)
        .map_err(|error| Error::invalid(format!("cannot use {sub_path:?} of the image: {error}")))
}

/// The path of what is at a path within a directory.
fn within(dir: &Path, path: &str) -> std::io::Result<PathBuf> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, dir, directory, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "." } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(&root, path, flags, Mode::empty(), resolve)?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

fn overlay(at: &Path, options: String) -> Result<()> {
    if options.len() > MOST {
        return Err(Error::unimplemented(format!(
            "cannot mount the layers at {}: their paths have more than {MOST} bytes together, \
             a shorter `root` helps",
            at.display()
        )));
    }
    let options = std::ffi::CString::new(options)
        .map_err(|_| Error::internal("the path of a layer has a NUL in it"))?;
    let flags = MountFlags::empty();
    mount_fs(c"overlay", at, "overlay", flags, Some(options.as_c_str()))
        .map_err(|error| Error::file("mount an overlay at", at, error))
}

fn options(dir: &Path, layers: &[PathBuf]) -> Result<String> {
    let lower = lower(layers)?;
    let (upper, work) = (escaped(&dir.join("upper"))?, escaped(&dir.join("work"))?);
    Ok(format!("lowerdir={lower},upperdir={upper},workdir={work}"))
}

/// The topmost layer comes first.
fn lower(layers: &[PathBuf]) -> Result<String> {
    let layers: Vec<String> = layers
        .iter()
        .rev()
        .map(|path| escaped(path))
        .collect::<Result<_>>()?;
    Ok(layers.join(":"))
}

/// A path without what the kernel takes for its end.
fn escaped(path: &Path) -> Result<String> {
    let text = path.to_str();
    let text = text.ok_or_else(|| Error::file("mount", path, "its name is no UTF-8"))?;
    Ok(text
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,"))
}

/// Takes the mounts away again; that there are none is fine.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn unmount(dir: &Path) -> Result<()> {
    for mounts in [VOLUMES, LAYERS] {
        files::unmount_all_in(&dir.join(mounts))?;
    }
    files::unmount_all(&dir.join(ROOTFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_layer_comes_first() {
        let layers = ["/l/1", "/l/2:x"].map(PathBuf::from);
        assert_eq!(
            options(Path::new("/c"), &layers).unwrap(),
            "lowerdir=/l/2\\:x:/l/1,upperdir=/c/upper,workdir=/c/work"
        );
        let error = overlay(Path::new("/c"), "l".repeat(5000)).unwrap_err();
        assert!(error.to_string().contains("a shorter `root`"), "{error}");
    }

    #[test]
    fn a_path_in_an_image_cannot_lead_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        std::os::unix::fs::symlink("/sub", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.join("out")).unwrap();
        assert_eq!(within(&root, "").unwrap(), root);
        assert_eq!(within(&root, "link").unwrap(), root.join("sub"));
        assert_eq!(within(&root, "../../sub").unwrap(), root.join("sub"));
        within(&root, "out").unwrap_err();
        within(&root, "none").unwrap_err();
    }
}
