//! Mounts whose files belong to others than on their file system, as a user namespace maps them.
//! What may not enter: what is mounted, and where.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use composefs_ioctls::mount::mount_setattr_idmap;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Error, Result};
use crate::user_namespace::UserNamespace;

/// A user namespace that is there, by which owners of files are mapped.
#[derive(Debug)]
pub(crate) struct IdMap {
    namespace: File,
    ids: UserNamespace,
}

impl IdMap {
    /// That of a process, which has these ids.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn of(pid: u32, ids: UserNamespace) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/user");
        let namespace = File::open(&path);
        let namespace = namespace.map_err(|error| Error::file("open", Path::new(&path), error))?;
        Ok(Self { namespace, ids })
    }

    /// Mounts a file or directory at another, with its owners mapped; the mount itself, whatever is
    /// mounted on top of it. With `below`, what is mounted below it comes along, as it is.
    ///
    /// # Errors
    /// The file system cannot be mounted so; the operating system's.
    pub(crate) fn attach(&self, from: &Path, at: &Path, below: bool) -> Result<OwnedFd> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if below {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let failed = |error: &dyn std::fmt::Display| Error::file("mount", from, error);
        let tree = open_tree(CWD, from, flags).map_err(|error| failed(&error))?;
        mount_setattr_idmap(&tree, &self.namespace).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => Error::precondition(format!(
                "the file system of {} cannot be mounted with mapped ids: put it on one that can \
                 (ext4, xfs, btrfs, tmpfs since Linux 6.3), or leave the pod without a user \
                 namespace",
                from.display()
            )),
            _ => failed(&format!("with mapped ids: {error}")),
        })?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, at, flags).map_err(|error| failed(&error))?;
        Ok(tree)
    }

    /// Gives a file or directory to root in the pod.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        give(path, &self.ids)
    }

    /// Gives a file to somebody in the pod.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn give_to(&self, path: &Path, user: u32, group: u32) -> Result<()> {
        chown(path, self.ids.on_host(user, group))
    }
}

/// Gives a file or directory to root in a pod.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn give(path: &Path, ids: &UserNamespace) -> Result<()> {
    chown(path, ids.root())
}

fn chown(path: &Path, (user, group): (u32, u32)) -> Result<()> {
    std::os::unix::fs::chown(path, Some(user), Some(group))
        .map_err(|error| Error::file("change the owner of", path, error))
}
