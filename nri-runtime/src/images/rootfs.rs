//! The root file system of a container: an image's layers with a writable one on top, by overlayfs.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount as mount_fs};

use crate::error::{Error, Result};
use crate::files;

/// The mount point in a container's directory.
const ROOTFS: &str = "rootfs";
/// What the kernel takes as options of a mount, which is a page.
const MOST: usize = 4095;

/// Mounts layers, the lowest first, for the container whose directory this is; where.
///
/// # Errors
/// The kernel cannot; the names of the layers are too long.
pub(crate) fn mount(dir: &Path, layers: &[PathBuf]) -> Result<PathBuf> {
    let rootfs = dir.join(ROOTFS);
    for part in [ROOTFS, "upper", "work"] {
        files::make_dir(&dir.join(part))?;
    }
    let options = options(dir, layers)?;
    let source = c"overlay";
    let options = std::ffi::CString::new(options)
        .map_err(|_| Error::internal("the path of a layer has a NUL in it"))?;
    mount_fs(
        source,
        &rootfs,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .map_err(|error| Error::file("mount an overlay at", &rootfs, error))?;
    Ok(rootfs)
}

fn options(dir: &Path, layers: &[PathBuf]) -> Result<String> {
    let escaped = |path: &Path| {
        let text = path
            .to_str()
            .ok_or_else(|| Error::file("mount", path, "its name is no UTF-8"))?;
        // What the kernel takes for the end of a path.
        Ok::<_, Error>(
            text.replace('\\', "\\\\")
                .replace(':', "\\:")
                .replace(',', "\\,"),
        )
    };
    let lower: Vec<String> = layers
        .iter()
        .rev()
        .map(|path| escaped(path))
        .collect::<Result<_>>()?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        escaped(&dir.join("upper"))?,
        escaped(&dir.join("work"))?
    );
    if options.len() > MOST {
        return Err(Error::unimplemented(format!(
            "cannot mount {} layers: their paths have more than {MOST} bytes together, \
             a shorter `root` helps",
            layers.len()
        )));
    }
    Ok(options)
}

/// Takes the mount away again; that there is none is fine.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn unmount(dir: &Path) -> Result<()> {
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
        let many = vec![PathBuf::from("/a/rather/long/path/of/a/layer"); 200];
        let error = options(Path::new("/c"), &many).unwrap_err().to_string();
        assert!(error.contains("200 layers"), "{error}");
    }
}
