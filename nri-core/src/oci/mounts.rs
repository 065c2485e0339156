//! The host's mounts and how they propagate: what decides whether a bind mount may be `rshared` or
//! `rslave`.
//!
//! Reading the mount table is the caller's part; parsing it and looking a path up in it are pure.

use std::collections::HashMap;

use super::callbacks::CallbackError;
use crate::keys::KeyKind;

/// How mounts below a mount point propagate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// One mount of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMount {
    /// Where it is mounted.
    pub mount_point: String,
    /// How it propagates.
    pub propagation: Propagation,
}

/// The host's mounts, as the runtime sees them.
pub trait HostMounts: Send + Sync {
    /// The path that `source` is after all symbolic links; absolute.
    ///
    /// # Errors
    /// Why it cannot be found out, for example that it does not exist.
    fn resolve(&self, source: &str) -> Result<String, CallbackError>;

    /// The mount table of the runtime's own mount namespace, in its order: later mounts cover
    /// earlier ones.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn mounts(&self) -> Result<Vec<HostMount>, CallbackError>;
}

/// The mounts of the text of `/proc/self/mountinfo`. Lines that are no entries are left out.
///
/// ```
/// use nri_core::oci::mounts::{Propagation, parse_mountinfo, propagation_of};
///
/// let mounts = parse_mountinfo(
///     "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
///      23 22 8:2 / /mnt/my\\040disk rw shared:7 - ext4 /dev/sdb1 rw\n",
/// );
/// assert_eq!(propagation_of(&mounts, "/mnt/my disk/data"), Propagation::Shared);
/// assert_eq!(propagation_of(&mounts, "/mnt"), Propagation::Private);
/// ```
pub fn parse_mountinfo(text: &str) -> Vec<HostMount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<HostMount> {
    // ID, parent, device, root, mount point, options, any number of optional fields, a dash, the
    // rest.
    let mut fields = line.split_ascii_whitespace();
    let mount_point = unescape(fields.nth(4)?);
    fields.next()?;
    let mut propagation = Propagation::Private;
    for field in fields {
        if field == "-" {
            return Some(HostMount {
                mount_point,
                propagation,
            });
        }
        if field.starts_with("shared:") {
            propagation = Propagation::Shared;
        } else if field.starts_with("master:") && propagation == Propagation::Private {
            propagation = Propagation::Slave;
        }
    }
    None
}

/// Replaces the octal escapes of the mount table, such as `\040`.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// How the mount that `path` is on propagates: the longest mount point above it counts, and of
/// equal ones the topmost. For many paths, make a [`MountTable`].
pub fn propagation_of(mounts: &[HostMount], path: &str) -> Propagation {
    MountTable::new(mounts).propagation_of(path)
}

/// The host's mounts, made ready for looking up many paths: what that costs does not depend on how
/// many mounts there are.
///
/// ```
/// use nri_core::oci::mounts::{MountTable, Propagation, parse_mountinfo};
///
/// let table = MountTable::new(&parse_mountinfo("1 0 0:1 / / rw - x x rw\n2 1 0:1 / /mnt rw shared:1 - x x rw\n"));
/// assert_eq!(table.propagation_of("/mnt/a"), Propagation::Shared);
/// assert_eq!(table.propagation_of("/mntb"), Propagation::Private);
/// ```
#[derive(Debug, Clone, Default)]
pub struct MountTable {
    /// By mount point, in normal form.
    by_point: HashMap<String, Propagation>,
    /// Length of the longest mount point: no longer path needs to be looked up.
    longest: usize,
}

impl MountTable {
    /// The table of these mounts; of several at one mount point, the last one is the topmost.
    pub fn new(mounts: &[HostMount]) -> Self {
        let mut table = Self::default();
        for mount in mounts {
            let point = KeyKind::Path.normal(&mount.mount_point).into_owned();
            table.longest = table.longest.max(point.len());
            table.by_point.insert(point, mount.propagation);
        }
        table
    }

    /// How the mount that `path` is on propagates; [`Private`](Propagation::Private) if there is
    /// none.
    pub fn propagation_of(&self, path: &str) -> Propagation {
        let path = KeyKind::Path.normal(path);
        // The path itself, then everything above it that can be a mount point, then the root.
        let whole = std::iter::once(path.len());
        let above = path.rmatch_indices('/').map(|(at, _)| at);
        whole
            .chain(above)
            .skip_while(|end| *end > self.longest)
            .map(|end| if end == 0 { "/" } else { &path[..end] })
            .find_map(|point| self.by_point.get(point).copied())
            .unwrap_or(Propagation::Private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_parsed() {
        let text = "\
            36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            37 35 98:0 / /both rw shared:5 master:1 - ext3 /dev/root rw\n\
            garbage\n\
            38 35 0:1 / /tab\\011bed\\134 rw propagate_from:2 - tmpfs tmpfs rw\n";
        let mount = |mount_point: &str, propagation| HostMount {
            mount_point: mount_point.into(),
            propagation,
        };
        assert_eq!(
            parse_mountinfo(text),
            [
                mount("/mnt2", Propagation::Slave),
                mount("/both", Propagation::Shared),
                mount("/tab\tbed\\", Propagation::Private),
            ]
        );
    }

    #[test]
    fn the_topmost_mount_of_the_longest_matching_point_counts() {
        let mounts = parse_mountinfo(
            "1 0 0:1 / / rw - x x rw\n\
             2 1 0:1 / /mnt/a rw shared:1 - x x rw\n\
             3 1 0:1 / /over rw shared:2 - x x rw\n\
             4 3 0:1 / /over rw - x x rw\n",
        );
        assert_eq!(propagation_of(&mounts, "/mnt/a/b"), Propagation::Shared);
        assert_eq!(propagation_of(&mounts, "/mnt/ab"), Propagation::Private);
        assert_eq!(propagation_of(&mounts, "/over/x"), Propagation::Private);
        assert_eq!(propagation_of(&[], "/x"), Propagation::Private);
    }
}
