//! What directories take of a file system.

use std::path::Path;

use crate::cri;
use crate::record::now;

/// What a directory takes. A container's root, mounted on another file system, is not counted
/// twice.
pub(super) fn usage(dir: &Path) -> cri::FilesystemUsage {
    use std::os::unix::fs::MetadataExt as _;
    let (mut bytes, mut inodes) = (0u64, 0u64);
    let device = std::fs::metadata(dir)
        .map(|metadata| metadata.dev())
        .unwrap_or(0);
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        // What vanishes meanwhile takes nothing.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.dev() != device {
                continue;
            }
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            inodes += 1;
            if metadata.is_dir() {
                left.push(entry.path());
            }
        }
    }
    cri::FilesystemUsage {
        timestamp: now(),
        fs_id: Some(cri::FilesystemIdentifier {
            mountpoint: dir.display().to_string(),
        }),
        used_bytes: Some(cri::UInt64Value { value: bytes }),
        inodes_used: Some(cri::UInt64Value { value: inodes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_directory_takes_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), [0; 5000]).unwrap();
        let usage = usage(dir.path());
        assert_eq!(usage.inodes_used.unwrap().value, 2);
        assert!(usage.used_bytes.unwrap().value >= 5000);
    }
}
