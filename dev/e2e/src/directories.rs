//! What is in directories, and where cgroups are.

use std::fs;
use std::path::{Path, PathBuf};

/// What is in a directory; nothing if it is not there.
pub(crate) fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Where cgroups of a name are or would be: at the top of each hierarchy.
pub(crate) fn cgroup_directories(name: &str) -> impl Iterator<Item = PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = entries(top).filter(|dir| dir.is_dir() && !dir.is_symlink());
    [top.join(name)]
        .into_iter()
        .chain(hierarchies.map(move |dir| dir.join(name)))
}
