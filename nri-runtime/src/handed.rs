//! The spec as the OCI runtime is handed it, where the pod has a user namespace: what that cannot
//! make there is made here, in the container's directory, for as long as it takes to create the
//! container. Plugins and CRI's clients see the spec as it was before.
//!
//! Mounts with mapped ids are mounted by us, so that any OCI runtime will do. Device nodes cannot
//! be made in a user namespace; OCI runtimes bind those that the host has by the same names, and we
//! all others. They belong to whom they say on the host, so that root in a pod can use what
//! everybody can.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use nri_domain_cri::OciSpec;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::files;
use crate::idmap::IdMap;

/// The directory of the mount points of what is mounted with mapped ids.
const MAPPED: &str = "mapped";
/// The directory of device nodes.
const NODES: &str = "nodes";
/// Devices that OCI runtimes give to every container.
const OF_ALL: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// A mount with mapped ids to make.
#[derive(Debug, PartialEq)]
struct Mapped {
    /// What it is for.
    destination: String,
    source: PathBuf,
    at: PathBuf,
    /// Whether what is mounted below comes along.
    below: bool,
}

/// A device node to make.
#[derive(Debug, PartialEq)]
struct Node {
    at: PathBuf,
    kind: FileType,
    major: u32,
    minor: u32,
    mode: u32,
    owner: (u32, u32),
}

/// The spec to hand over, once what it needs is there. Without a user namespace it is the spec
/// itself.
///
/// # Errors
/// A file system that cannot be mounted with mapped ids; a device that is none; those of the
/// operating system.
pub(crate) fn prepare(dir: &Path, spec: &OciSpec, map: Option<&IdMap>) -> Result<OciSpec> {
    let mut spec = spec.clone();
    let Some(map) = map else {
        return Ok(spec);
    };
    for mount in mounts(dir, &mut spec) {
        let Mapped {
            destination,
            source,
            at,
            below,
        } = mount;
        let named = |error: Error| error.of(format!("the mount at {destination:?}"));
        let found = fs::metadata(&source);
        let found = found.map_err(|error| named(Error::file("find", &source, error)))?;
        match found.is_dir() {
            true => files::make_dir(&at)?,
            false => {
                files::make_dir(&dir.join(MAPPED))?;
                files::write(&at, b"")?;
            }
        }
        map.attach(&source, &at, below).map_err(named)?;
    }
    let nodes = nodes(dir, &mut spec)?;
    if !nodes.is_empty() {
        let at = dir.join(NODES);
        files::make_dir(&at)?;
        // The container's directory may be where devices are none.
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount(c"nodes", &at, "tmpfs", flags, Some(c"mode=755"))
            .map_err(|error| Error::file("mount a tmpfs at", &at, error))?;
    }
    for node in &nodes {
        make(node)?;
    }
    Ok(spec)
}

/// Gives the process of a container, before it is started, the pipes that it reads and writes: the
/// OCI runtime cannot, in the namespace, and they could not be opened by their names.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn give_pipes(pid: u32, spec: &OciSpec, map: Option<&IdMap>) -> Result<()> {
    let user = &spec["process"]["user"];
    let id = |member: &str| user[member].as_u64().and_then(|id| u32::try_from(id).ok());
    let (user, group) = (id("uid").unwrap_or(0), id("gid").unwrap_or(0));
    let Some(map) = map else {
        return Ok(());
    };
    for number in 0..3 {
        let path = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
        let found = fs::metadata(&path).map_err(|error| Error::file("find", &path, error))?;
        if found.file_type().is_fifo() {
            map.give_to(&path, user, group)?;
        }
    }
    Ok(())
}

/// Takes away again what was made for a spec. What a container has of it, it keeps.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn clear(dir: &Path) -> Result<()> {
    let unmounted = files::unmount_all_in(&dir.join(MAPPED));
    let unmounted = unmounted.and(files::unmount_all(&dir.join(NODES)));
    unmounted?;
    files::remove_dir(&dir.join(MAPPED)).and(files::remove_dir(&dir.join(NODES)))
}

/// Puts mounts of ours in the places of those with mapped ids.
fn mounts(dir: &Path, spec: &mut OciSpec) -> Vec<Mapped> {
    let mut all = Vec::new();
    let mounts = spec["mounts"].as_array_mut().into_iter().flatten();
    for (number, mount) in mounts.enumerate() {
        let Some(members) = mount.as_object_mut() else {
            continue;
        };
        let mappings = ["uidMappings", "gidMappings"].map(|name| members.remove(name));
        if mappings.iter().all(Option::is_none) {
            continue;
        }
        let text = |member: &str| {
            let text = members.get(member).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let options = members.get("options").and_then(Value::as_array);
        let at = dir.join(MAPPED).join(number.to_string());
        all.push(Mapped {
            destination: text("destination"),
            source: text("source").into(),
            below: options.is_some_and(|options| options.iter().any(|one| one == "rbind")),
            at: at.clone(),
        });
        members.insert("source".to_owned(), json!(at));
    }
    all
}

/// Puts mounts of nodes of ours in the places of devices.
fn nodes(dir: &Path, spec: &mut OciSpec) -> Result<Vec<Node>> {
    let mut all = Vec::new();
    let devices = spec["linux"]["devices"].take();
    let devices = devices.as_array().cloned().unwrap_or_default();
    let path = |device: &Value| device["path"].as_str().unwrap_or_default().to_owned();
    let (kept, ours): (Vec<Value>, Vec<Value>) = devices
        .into_iter()
        .partition(|device| OF_ALL.contains(&&*path(device)));
    for device in ours {
        let at = dir.join(NODES).join(all.len().to_string());
        all.push(node(at.clone(), &device)?);
        let mount = json!({
            "destination": path(&device),
            "type": "bind",
            "source": at,
            "options": ["bind", "rprivate", "rw"],
        });
        if let Some(mounts) = spec["mounts"].as_array_mut() {
            mounts.push(mount);
        }
    }
    spec["linux"]["devices"] = json!(kept);
    Ok(all)
}

fn node(at: PathBuf, device: &Value) -> Result<Node> {
    let refused = |member: &str| {
        Error::invalid(format!(
            "the device {}: its {member} is {}, which no device has",
            device["path"], device[member]
        ))
    };
    let number = |member: &str| {
        let number = match &device[member] {
            Value::Null => Some(0),
            given => given.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        number.ok_or_else(|| refused(member))
    };
    let kind = match device["type"].as_str() {
        Some("c" | "u") => FileType::CharacterDevice,
        Some("b") => FileType::BlockDevice,
        Some("p") => FileType::Fifo,
        _ => return Err(refused("type")),
    };
    let mode = match device["fileMode"] {
        Value::Null => 0o666,
        _ => number("fileMode")?,
    };
    Ok(Node {
        at,
        kind,
        major: number("major")?,
        minor: number("minor")?,
        mode,
        owner: (number("uid")?, number("gid")?),
    })
}

fn make(node: &Node) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let Node { at, kind, mode, .. } = node;
    let failed = |error: &dyn std::fmt::Display| Error::file("make the device", at, error);
    let number = makedev(node.major, node.minor);
    mknodat(CWD, at, *kind, Mode::RUSR, number).map_err(|error| failed(&error))?;
    let (user, group) = node.owner;
    std::os::unix::fs::chown(at, Some(user), Some(group)).map_err(|error| failed(&error))?;
    // Whatever our own mask is.
    fs::set_permissions(at, fs::Permissions::from_mode(mode & 0o7777))
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_mapped_ids_are_ours() {
        let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        let mut spec = json!({"mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/v", "source": "/volume", "options": ["rbind", "ro"],
             "uidMappings": mapping, "gidMappings": mapping},
        ]});
        let all = mounts(Path::new("/c"), &mut spec);
        let wanted = Mapped {
            destination: "/v".into(),
            source: "/volume".into(),
            at: "/c/mapped/1".into(),
            below: true,
        };
        assert_eq!(all, [wanted]);
        let handed = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/v", "source": "/c/mapped/1", "options": ["rbind", "ro"]},
        ]);
        assert_eq!(spec["mounts"], handed);
    }

    #[test]
    fn devices_are_mounts_of_nodes_besides_those_that_all_have() {
        let tty = json!({"path": "/dev/tty", "type": "c", "major": 5, "minor": 0});
        let mine = json!({"path": "/dev/mine", "type": "b", "major": 1, "minor": 2,
                          "fileMode": 0o600, "uid": 3, "gid": 4});
        let mut spec = json!({"mounts": [], "linux": {"devices": [tty, mine]}});
        let nodes = nodes(Path::new("/c"), &mut spec).unwrap();
        let wanted = Node {
            at: "/c/nodes/0".into(),
            kind: FileType::BlockDevice,
            major: 1,
            minor: 2,
            mode: 0o600,
            owner: (3, 4),
        };
        assert_eq!(nodes, [wanted]);
        assert_eq!(spec["linux"]["devices"], json!([tty]));
        assert_eq!(spec["mounts"][0]["destination"], "/dev/mine");
        assert_eq!(spec["mounts"][0]["source"], "/c/nodes/0");
    }

    #[test]
    fn what_is_no_device_is_named() {
        for (member, value) in [
            ("type", json!("x")),
            ("major", json!(-1)),
            ("fileMode", json!("rw")),
        ] {
            let mut device = json!({"path": "/dev/mine", "type": "c"});
            device[member] = value;
            let mut spec = json!({"mounts": [], "linux": {"devices": [device]}});
            let error = nodes(Path::new("/c"), &mut spec).unwrap_err().to_string();
            assert!(
                error.contains("\"/dev/mine\"") && error.contains(member),
                "{error}"
            );
        }
    }

    #[test]
    fn without_a_user_namespace_the_spec_is_handed_over_as_it_is() {
        let spec = json!({"linux": {"devices": [{"path": "/dev/mine"}]}});
        assert_eq!(prepare(Path::new("/c"), &spec, None).unwrap(), spec);
    }
}
