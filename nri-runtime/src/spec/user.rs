//! Users and groups of a container's process, by the files of its image.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::cri;
use crate::error::{Error, Result};

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// All its groups.
    pub(super) groups: BTreeSet<u32>,
}

/// The most of a file of users or groups that is read.
const MOST: u64 = 4 << 20;

/// Finds out who the process of a container runs as.
///
/// # Errors
/// A user or group that is not there; a group without a user.
pub(super) fn resolve(
    rootfs: &Path,
    security: &cri::LinuxContainerSecurityContext,
    image_user: &str,
) -> Result<User> {
    let passwd = lines(rootfs, "etc/passwd")?;
    let group = lines(rootfs, "etc/group")?;
    let configured = match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => Some(uid.value.to_string()),
        (None, "") => None,
        (None, name) => Some(name.to_owned()),
    };
    if configured.is_none() && security.run_as_group.is_some() {
        return Err(Error::invalid(
            "security_context.run_as_group is set and run_as_user is not: set both",
        ));
    }
    let (user, image_group) = match &configured {
        Some(user) => (user.as_str(), None),
        None => match image_user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (image_user, None),
        },
    };
    let known = passwd
        .iter()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| {
            let name_or_number = [fields.first(), fields.get(2)];
            name_or_number.contains(&Some(&user))
        });
    let number =
        |fields: &[&str], at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let uid = match (user, &known) {
        ("", _) => 0,
        (_, Some(fields)) => number(fields, 2).ok_or_else(|| unreadable("etc/passwd", user))?,
        (user, None) => user.parse().map_err(|_| {
            Error::invalid(format!(
                "there is no user {user:?} in the image's /etc/passwd"
            ))
        })?,
    };
    let gid = match (&security.run_as_group, image_group) {
        (Some(gid), _) => id("run_as_group", gid.value)?,
        (None, Some(name)) if !name.is_empty() => group_number(&group, name)?,
        _ => known
            .as_ref()
            .and_then(|fields| number(fields, 3))
            .unwrap_or(0),
    };
    // Its own too, so that a process which changes that does not lose what is denied to the group.
    let mut groups = BTreeSet::from([gid]);
    if security.supplemental_groups_policy() == cri::SupplementalGroupsPolicy::Merge {
        let name = known.as_ref().and_then(|fields| fields.first().copied());
        for line in &group {
            let fields: Vec<&str> = line.split(':').collect();
            let members = fields.get(3).copied().unwrap_or_default();
            if name.is_some_and(|name| members.split(',').any(|member| member == name)) {
                groups.extend(number(&fields, 2));
            }
        }
    }
    for group in &security.supplemental_groups {
        groups.insert(id("supplemental_groups", *group)?);
    }
    Ok(User { uid, gid, groups })
}

fn id(field: &str, value: i64) -> Result<u32> {
    value.try_into().map_err(|_| {
        Error::invalid(format!(
            "security_context.{field} is {value}, and must be from 0 to {}",
            u32::MAX
        ))
    })
}

fn group_number(group: &[String], name: &str) -> Result<u32> {
    let fields = group.iter().map(|line| line.split(':').collect::<Vec<_>>());
    let known = fields
        .into_iter()
        .find(|fields| fields.first() == Some(&name));
    match known {
        Some(fields) => fields
            .get(2)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| unreadable("etc/group", name)),
        None => name.parse().map_err(|_| {
            Error::invalid(format!(
                "there is no group {name:?} in the image's /etc/group"
            ))
        }),
    }
}

fn unreadable(file: &str, name: &str) -> Error {
    Error::invalid(format!(
        "the line of {name:?} in the image's /{file} has no number"
    ))
}

/// The lines of a file of the image, which may be anything: a link that leads out of the image is
/// looked up within it.
fn lines(rootfs: &Path, path: &str) -> Result<Vec<String>> {
    let failed = |error: rustix::io::Errno| Error::file("open", rootfs, error);
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, rootfs, directory, Mode::empty()).map_err(failed)?;
    // Not to wait for whoever writes into a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(file) = openat2(&root, path, flags, Mode::empty(), resolve) else {
        return Ok(Vec::new());
    };
    let mut text = Vec::new();
    let read = File::from(file).take(MOST).read_to_end(&mut text);
    if read.is_err() {
        return Ok(Vec::new());
    }
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/false\n";
        let group = "root:x:0:\nwww:x:34:\nlog:x:50:www,other\n";
        std::fs::write(etc.join("passwd"), passwd).unwrap();
        std::fs::write(etc.join("group"), group).unwrap();
        dir
    }

    fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
        User {
            uid,
            gid,
            groups: groups.iter().copied().chain([gid]).collect(),
        }
    }

    #[test]
    fn the_image_says_who_it_is_if_nobody_else_does() {
        let image = image();
        let security = cri::LinuxContainerSecurityContext::default();
        let resolve = |text: &str| resolve(image.path(), &security, text);
        assert_eq!(resolve("").unwrap(), user(0, 0, &[]));
        assert_eq!(resolve("www").unwrap(), user(33, 34, &[50]));
        assert_eq!(resolve("33").unwrap(), user(33, 34, &[50]));
        assert_eq!(resolve("www:root").unwrap(), user(33, 0, &[50]));
        assert_eq!(resolve("1000:7").unwrap(), user(1000, 7, &[]));
        assert!(
            resolve("nobody")
                .unwrap_err()
                .to_string()
                .contains("no user \"nobody\"")
        );
        assert!(
            resolve("www:no")
                .unwrap_err()
                .to_string()
                .contains("no group \"no\"")
        );
    }

    #[test]
    fn what_is_configured_counts() {
        let image = image();
        let mut security = cri::LinuxContainerSecurityContext {
            run_as_username: "www".into(),
            supplemental_groups: vec![7],
            ..Default::default()
        };
        assert_eq!(
            resolve(image.path(), &security, "1:2").unwrap(),
            user(33, 34, &[7, 50])
        );
        security.set_supplemental_groups_policy(cri::SupplementalGroupsPolicy::Strict);
        assert_eq!(
            resolve(image.path(), &security, "").unwrap(),
            user(33, 34, &[7])
        );
        security.run_as_user = Some(cri::Int64Value { value: 5 });
        security.run_as_group = Some(cri::Int64Value { value: 6 });
        assert_eq!(
            resolve(image.path(), &security, "").unwrap(),
            user(5, 6, &[7])
        );
        security.run_as_group = Some(cri::Int64Value { value: -1 });
        assert!(
            resolve(image.path(), &security, "")
                .unwrap_err()
                .to_string()
                .contains("is -1")
        );
        security.run_as_user = None;
        security.run_as_username.clear();
        assert!(
            resolve(image.path(), &security, "")
                .unwrap_err()
                .to_string()
                .contains("set both")
        );
    }

    #[test]
    fn an_image_without_the_files_has_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let security = cri::LinuxContainerSecurityContext::default();
        assert_eq!(
            resolve(dir.path(), &security, "5:6").unwrap(),
            user(5, 6, &[])
        );
        // A link out of the image leads to nothing.
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        assert!(resolve(dir.path(), &security, "root").is_err());
    }
}
