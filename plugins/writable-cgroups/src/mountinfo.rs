//! Whether a host delegates its cgroups at namespaces, by its table of mounts (`proc(5)`). What may
//! not enter: what follows from it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

/// As much of the table as is read; a busy node has some thousand lines.
const MOST_BYTES: u64 = 64 << 20;

/// Whether the cgroup2 of the host has the option `nsdelegate`.
pub(crate) fn delegates(file: &Path) -> io::Result<bool> {
    let lines = BufReader::new(File::open(file)?.take(MOST_BYTES)).lines();
    for line in lines {
        if let Some(options) = cgroup2(&line?) {
            return Ok(options.split(',').any(|option| option == "nsdelegate"));
        }
    }
    Ok(false)
}

/// The options of the file system, if the line is one of the host's cgroup2: `ID PARENT DEVICE ROOT
/// POINT OPTIONS [TAG ...] - TYPE SOURCE FS-OPTIONS`.
fn cgroup2(line: &str) -> Option<&str> {
    let (mount, system) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    if !matches!(point, "/sys/fs/cgroup" | "/sys/fs/cgroup/unified") {
        return None;
    }
    let mut system = system.split(' ');
    let kind = system.next()?;
    (kind == "cgroup2").then(|| system.nth(1)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_systems_own_options_of_cgroup2_count() {
        for (line, options) in [
            (
                "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate",
                Some("rw,nsdelegate"),
            ),
            (
                "30 23 0:26 / /sys/fs/cgroup rw,nsdelegate - cgroup2 cgroup2 rw",
                Some("rw"),
            ),
            (
                "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 none rw",
                Some("rw"),
            ),
            (
                "30 23 0:26 / /other rw - cgroup2 cgroup2 rw,nsdelegate",
                None,
            ),
            (
                "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,nsdelegate",
                None,
            ),
            ("30 23", None),
            ("", None),
            (" - cgroup2", None),
        ] {
            assert_eq!(cgroup2(line), options, "{line}");
        }
    }
}
