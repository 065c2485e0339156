//! What containers use, by the files of their cgroups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files;

/// What a container uses. `None` is what the kernel does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time, in nanoseconds.
    pub(crate) cpu: Option<u64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Bytes that cannot be had back without hurting.
    pub(crate) working_set: Option<u64>,
    /// Bytes that are no file's.
    pub(crate) anonymous: Option<u64>,
    pub(crate) page_faults: Option<u64>,
    pub(crate) major_page_faults: Option<u64>,
}

/// What the container of a cgroup uses.
pub(crate) fn usage(cgroups_path: &str) -> Usage {
    usage_in(Path::new("/sys/fs/cgroup"), cgroups_path)
}

fn usage_in(root: &Path, cgroups_path: &str) -> Usage {
    let path = cgroups_path.trim_start_matches('/');
    let is_v2 = root.join("cgroup.controllers").exists();
    let dir = |controller: &str| -> PathBuf {
        match is_v2 {
            true => root.join(path),
            false => root.join(controller).join(path),
        }
    };
    let (memory, cpu) = (dir("memory"), dir("cpuacct"));
    let (bytes, cached, anonymous) = match is_v2 {
        true => ("memory.current", "inactive_file", "anon"),
        false => ("memory.usage_in_bytes", "total_inactive_file", "total_rss"),
    };
    let prefix = if is_v2 { "" } else { "total_" };
    let stat = table(&memory.join("memory.stat"));
    let memory = number(&memory.join(bytes));
    let cpu = match is_v2 {
        true => table(&cpu.join("cpu.stat"))
            .get("usage_usec")
            .and_then(|us| us.checked_mul(1000)),
        false => number(&cpu.join("cpuacct.usage")),
    };
    Usage {
        cpu,
        memory,
        working_set: memory.map(|all| all.saturating_sub(stat.get(cached).copied().unwrap_or(0))),
        anonymous: stat.get(anonymous).copied(),
        page_faults: stat.get(&*format!("{prefix}pgfault")).copied(),
        major_page_faults: stat.get(&*format!("{prefix}pgmajfault")).copied(),
    }
}

/// The most that such a file has.
const MOST: u64 = 1 << 20;

fn text(path: &Path) -> String {
    let text = files::read(path, MOST).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

fn number(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// A file with a name and a number in each line.
fn table(path: &Path) -> BTreeMap<String, u64> {
    let text = text(path);
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let wanted = Usage {
            cpu: Some(5000),
            memory: Some(100),
            working_set: Some(70),
            anonymous: Some(20),
            page_faults: Some(7),
            major_page_faults: Some(1),
        };
        let v2 = tempfile::tempdir().unwrap();
        let at = |path: &str, text: &str| fs::write(v2.path().join(path), text).unwrap();
        fs::create_dir_all(v2.path().join("pods/c1")).unwrap();
        at("cgroup.controllers", "cpu memory");
        at("pods/c1/memory.current", "100\n");
        at(
            "pods/c1/memory.stat",
            "anon 20\ninactive_file 30\npgfault 7\npgmajfault 1\n",
        );
        at("pods/c1/cpu.stat", "usage_usec 5\nuser_usec 1\n");
        assert_eq!(usage_in(v2.path(), "/pods/c1"), wanted);

        let v1 = tempfile::tempdir().unwrap();
        let at = |path: &str, text: &str| fs::write(v1.path().join(path), text).unwrap();
        for controller in ["memory", "cpuacct"] {
            fs::create_dir_all(v1.path().join(controller).join("pods/c1")).unwrap();
        }
        at("memory/pods/c1/memory.usage_in_bytes", "100\n");
        at(
            "memory/pods/c1/memory.stat",
            "rss 1\ntotal_rss 20\ntotal_inactive_file 30\ntotal_pgfault 7\ntotal_pgmajfault 1\n",
        );
        at("cpuacct/pods/c1/cpuacct.usage", "5000\n");
        assert_eq!(usage_in(v1.path(), "/pods/c1"), wanted);
        assert_eq!(usage_in(v1.path(), "/pods/none"), Usage::default());
    }
}
