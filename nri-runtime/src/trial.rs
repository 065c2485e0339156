//! Whether pods can have user namespaces of their own on this machine: tried, since what it takes
//! is in the kernel, in its settings, in the file system and in the OCI runtime.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::io::AsyncReadExt as _;

use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::low_level::LowLevel;
use crate::user_namespace::{Ids, UserNamespace};
use crate::{files, images, program};

/// The directory in which it is tried.
const TRIED: &str = "probe";

/// Tries whether pods can have user namespaces of their own, with what is in a directory as their
/// root file systems.
///
/// # Errors
/// What this machine lacks, and what to do about it.
pub(crate) async fn user_namespaces(root: &Path, low: &LowLevel) -> Result<()> {
    if !low.knows_namespace("user") {
        let name = low.program().display();
        return Err(Error::internal(format!(
            "{name} says that it knows no user namespaces: install another one, and set \
             `low_level.programs`"
        )));
    }
    let private = |dir: &&Path| {
        let passable = fs::metadata(dir).map(|found| found.permissions().mode() & 1 != 0);
        !passable.unwrap_or(true)
    };
    if let Some(dir) = root.ancestors().find(private) {
        let dir = dir.display();
        return Err(Error::internal(format!(
            "the users of a pod cannot pass through {dir}: `chmod o+x {dir}`, or set `root`"
        )));
    }
    let ids = Ids {
        host: 65536,
        size: 65536,
    };
    let ids = UserNamespace {
        uids: ids,
        gids: ids,
    };
    // Somebody has to be in it, so that it is there.
    let mut inhabitant = program::command(Path::new("unshare"));
    inhabitant.args(["--user", "sh", "-c", "echo; exec cat"]);
    inhabitant.stdin(std::process::Stdio::piped());
    let failed = |why: &dyn std::fmt::Display| {
        Error::internal(format!("no user namespace can be made: {why}"))
    };
    let no_program = |error| failed(&format!("unshare, of util-linux: {error}"));
    let mut inhabitant = inhabitant.spawn().map_err(no_program)?;
    let mut said = [0];
    let is_in = match &mut inhabitant.stdout {
        Some(stdout) => stdout.read_exact(&mut said).await.is_ok(),
        None => false,
    };
    let Some(pid) = inhabitant.id().filter(|_| is_in) else {
        let said = inhabitant.wait_with_output().await;
        let why = said.map(|said| program::last_words(&said.stderr));
        return Err(failed(&why.unwrap_or_default()));
    };
    for (file, ids) in [("uid_map", ids.uids), ("gid_map", ids.gids)] {
        let map = format!("0 {} {}\n", ids.host, ids.size);
        fs::write(format!("/proc/{pid}/{file}"), map).map_err(|error| failed(&error))?;
    }
    let dir = root.join(TRIED);
    let clear = || images::unmount(&dir).and_then(|()| files::remove_dir(&dir));
    // One that did not come to its end.
    clear()?;
    let tried = IdMap::of(pid, ids).and_then(|map| layered(&dir, &map, ids));
    tried.and(clear())
}

/// Mounts a root file system of which all is in a pod.
fn layered(dir: &Path, map: &IdMap, ids: UserNamespace) -> Result<()> {
    let layer = dir.join("layer");
    files::make_dir(&layer.join("in"))?;
    let rootfs = images::mount(dir, &[layer], Some(map))?;
    for path in [rootfs.join("in"), rootfs] {
        let found = fs::metadata(&path).map_err(|error| Error::file("look at", &path, error))?;
        if (found.uid(), found.gid()) != ids.root() {
            return Err(Error::internal(
                "the kernel does not map the ids of overlayfs's layers: use Linux 5.19 or later",
            ));
        }
    }
    Ok(())
}
