//! Mounts of a container.

use std::fs;
use std::path::Path;

use nri_core::oci::mounts::{HostMount, Propagation, parse_mountinfo, propagation_of};
use serde_json::{Value, json};

use crate::cri::{self, MountPropagation};
use crate::error::{Error, Result};
use crate::files;
use crate::user_namespace::UserNamespace;

/// Mounts, and how they are to propagate from the container's root.
#[derive(Debug)]
pub(super) struct Mounts {
    pub(super) all: Vec<Value>,
    /// The member `linux.rootfsPropagation` of a spec.
    pub(super) propagation: Option<&'static str>,
}

/// Which of the mounts that every container has are in effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choices<'a> {
    pub(super) privileged: bool,
    /// The host's own namespace of inter-process communication.
    pub(super) host_ipc: bool,
    /// The pod's directory, with the files that its containers share.
    pub(super) pod_dir: &'a Path,
    pub(super) readonly_rootfs: bool,
    /// The pod's user namespace, if it has one of its own.
    pub(super) users: Option<UserNamespace>,
}

/// Files of a pod that its containers share, and where they are in them.
pub(crate) const SHARED: [(&str, &str); 3] = [
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// The mounts of a container: those that every one has, unless it has others in their places, and
/// its own.
///
/// # Errors
/// One that cannot be.
pub(super) fn of(config: &cri::ContainerConfig, choices: Choices<'_>) -> Result<Mounts> {
    let mut own: Vec<&cri::Mount> = config.mounts.iter().collect();
    // Outer ones first, so that none hides another.
    own.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    let taken = |path: &Value| {
        own.iter()
            .any(|mount| mount.container_path.trim_end_matches('/') == path)
    };
    let mut all = standard(choices);
    all.retain(|mount| !taken(&mount["destination"]));
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let table = parse_mountinfo(&String::from_utf8_lossy(&table));
    let mut propagation = None;
    for mount in own {
        let named = |error: Error| error.of(format!("the mount at {:?}", mount.container_path));
        let (mount, needed) = bind(mount, &table, choices.users).map_err(named)?;
        all.push(mount);
        propagation = propagation.max(needed);
    }
    let propagation = propagation.map(|needed| match needed {
        Needed::Slave => "rslave",
        Needed::Shared => "rshared",
    });
    Ok(Mounts { all, propagation })
}

/// How far the container's root has to take part in what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    Slave,
    Shared,
}

fn bind(
    mount: &cri::Mount,
    table: &[HostMount],
    users: Option<UserNamespace>,
) -> Result<(Value, Option<Needed>)> {
    let maps = UserNamespace::maps(users, mount)?;
    let mapped = users.filter(|_| maps);
    if !mount.mount_options.is_empty() {
        return Err(Error::unimplemented("options of mounts are not supported"));
    }
    if mount.selinux_relabel {
        tracing::debug!(
            path = mount.host_path,
            "not relabelled: there is no SELinux here"
        );
    }
    if !Path::new(&mount.container_path).is_absolute() || !Path::new(&mount.host_path).is_absolute()
    {
        return Err(Error::invalid(format!(
            "{:?} and where it goes must be absolute paths",
            mount.host_path
        )));
    }
    let source = Path::new(&mount.host_path);
    if let Err(error) = fs::symlink_metadata(source)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        // As kubelets expect of volumes of kind `hostPath`.
        files::make_dir(source)?;
    }
    let source = fs::canonicalize(source).map_err(|error| Error::file("find", source, error))?;
    let source = source
        .to_str()
        .ok_or_else(|| Error::file("mount", &source, "its name is no UTF-8"))?;
    let is_shared = || propagation_of(table, source);
    let refused = |needed: &str| {
        Error::invalid(format!(
            "{source:?} is not on a {needed} mount, so mounts cannot propagate"
        ))
    };
    let (propagation, needed) = match mount.propagation() {
        MountPropagation::PropagationPrivate => ("rprivate", None),
        MountPropagation::PropagationHostToContainer => match is_shared() {
            Propagation::Private => return Err(refused("shared or slave")),
            Propagation::Slave | Propagation::Shared => ("rslave", Some(Needed::Slave)),
        },
        // The kernel lets nothing out of the mounts of others' users.
        MountPropagation::PropagationBidirectional if users.is_some() => {
            return Err(Error::invalid(
                "PROPAGATION_BIDIRECTIONAL cannot be in a user namespace of the pod's own",
            ));
        }
        MountPropagation::PropagationBidirectional => match is_shared() {
            Propagation::Shared => ("rshared", Some(Needed::Shared)),
            Propagation::Private | Propagation::Slave => return Err(refused("shared")),
        },
    };
    let access = match (mount.readonly, mount.recursive_read_only) {
        (false, false) => "rw",
        (true, false) => "ro",
        (true, true) if needed.is_none() => "rro",
        (true, true) => {
            return Err(Error::invalid(
                "recursive_read_only needs PROPAGATION_PRIVATE",
            ));
        }
        (false, true) => return Err(Error::invalid("recursive_read_only needs readonly")),
    };
    let mut mount = json!({
        "destination": mount.container_path,
        "type": "bind",
        "source": source,
        "options": ["rbind", propagation, access],
    });
    if let (Some(users), Some(members)) = (mapped, mount.as_object_mut()) {
        users.add_to(members);
    }
    Ok((mount, needed))
}

/// The mounts that every container has.
fn standard(choices: Choices<'_>) -> Vec<Value> {
    let Choices {
        privileged,
        host_ipc,
        pod_dir,
        readonly_rootfs,
        users: _,
    } = choices;
    let access = if privileged { "rw" } else { "ro" };
    let kernel = |path: &str, kind: &str, options: &[&str]| json!({"destination": path, "type": kind, "source": kind, "options": options});
    let bound = |path: &str, source: &Path, options: &[&str]| json!({"destination": path, "type": "bind", "source": source, "options": options});
    let mut mounts = vec![
        kernel("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        kernel(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        kernel(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        match host_ipc {
            true => bound(
                "/dev/mqueue",
                Path::new("/dev/mqueue"),
                &["rbind", "nosuid", "noexec", "nodev"],
            ),
            false => kernel("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        },
        kernel("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        kernel(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        ),
    ];
    let shm = match host_ipc {
        true => Path::new("/dev/shm").to_owned(),
        false => pod_dir.join("shm"),
    };
    mounts.push(bound("/dev/shm", &shm, &["rbind", "rprivate", "rw"]));
    for (file, path) in SHARED {
        let access = if readonly_rootfs { "ro" } else { "rw" };
        mounts.push(bound(
            path,
            &pod_dir.join(file),
            &["bind", "rprivate", access],
        ));
    }
    if host_ipc && !Path::new("/dev/mqueue").exists() {
        mounts.retain(|mount| mount["destination"] != "/dev/mqueue");
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(own: Vec<cri::Mount>) -> Result<Mounts> {
        let config = cri::ContainerConfig {
            mounts: own,
            ..Default::default()
        };
        let choices = Choices {
            privileged: false,
            host_ipc: false,
            pod_dir: Path::new("/pod"),
            readonly_rootfs: false,
            users: None,
        };
        of(&config, choices)
    }

    fn mount(at: &str, from: &Path) -> cri::Mount {
        cri::Mount {
            container_path: at.into(),
            host_path: from.to_str().unwrap().into(),
            ..Default::default()
        }
    }

    #[test]
    fn own_mounts_take_the_places_of_standard_ones_outer_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        let own = vec![
            mount("/a/b", &path),
            mount("/a", &path),
            mount("/dev/shm/", &path.join("new")),
        ];
        let mounts = mounts(own).unwrap();
        let at = |path: &str| {
            let places: Vec<&Value> = mounts
                .all
                .iter()
                .map(|mount| &mount["destination"])
                .collect();
            places.iter().filter(|place| **place == path).count()
        };
        assert_eq!((at("/dev/shm"), at("/dev/shm/"), at("/proc")), (0, 1, 1));
        let place = |path: &str| {
            mounts
                .all
                .iter()
                .position(|mount| mount["destination"] == path)
        };
        assert!(place("/a") < place("/a/b"));
        assert_eq!(
            mounts.all.last().unwrap()["options"],
            json!(["rbind", "rprivate", "rw"])
        );
        assert!(path.join("new").is_dir());
        assert_eq!(mounts.propagation, None);
    }

    #[test]
    fn access_and_propagation() {
        let table = |propagation| {
            vec![HostMount {
                mount_point: "/".into(),
                propagation,
            }]
        };
        let bind = |mount: &cri::Mount, propagation| super::bind(mount, &table(propagation), None);
        let mut tmp = mount("/m", Path::new("/"));
        tmp.readonly = true;
        tmp.recursive_read_only = true;
        let (oci, _) = bind(&tmp, Propagation::Private).unwrap();
        assert_eq!(oci["options"][2], "rro");
        tmp.set_propagation(MountPropagation::PropagationBidirectional);
        let error = bind(&tmp, Propagation::Shared).unwrap_err().to_string();
        assert!(error.contains("needs PROPAGATION_PRIVATE"), "{error}");
        tmp.recursive_read_only = false;
        let (oci, needed) = bind(&tmp, Propagation::Shared).unwrap();
        assert_eq!(
            (oci["options"][1].as_str(), needed),
            (Some("rshared"), Some(Needed::Shared))
        );
        assert!(
            bind(&tmp, Propagation::Slave)
                .unwrap_err()
                .to_string()
                .contains("shared mount")
        );
        tmp.set_propagation(MountPropagation::PropagationHostToContainer);
        assert_eq!(
            bind(&tmp, Propagation::Slave).unwrap().1,
            Some(Needed::Slave)
        );
        assert!(bind(&tmp, Propagation::Private).is_err());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = mounts(vec![mount("rel", Path::new("/"))])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the mount at \"rel\"") && error.contains("absolute"),
            "{error}"
        );
        let mut mapped = mount("/i", Path::new("/"));
        mapped.uid_mappings = vec![cri::IdMapping::default()];
        let error = mounts(vec![mapped]).unwrap_err().to_string();
        assert!(
            error.contains("the mount at \"/i\": uidMappings has"),
            "{error}"
        );
    }
}
