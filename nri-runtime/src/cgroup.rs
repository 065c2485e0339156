//! A container's cgroup, by its files: what is used, and what the kernel counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::files;

/// Where the kernel shows cgroups.
const ROOT: &str = "/sys/fs/cgroup";
/// The most that such a file has.
const MOST: u64 = 1 << 20;

/// A cgroup. Each of its files is read once, so that what is made of one fits together.
#[derive(Debug)]
pub(crate) struct Cgroup {
    root: PathBuf,
    path: String,
    is_v2: bool,
    read: RefCell<BTreeMap<PathBuf, Rc<str>>>,
}

impl Cgroup {
    /// The cgroup of a path as an OCI spec has it.
    pub(crate) fn new(cgroups_path: &str) -> Self {
        Self::below(Path::new(ROOT), cgroups_path)
    }

    fn below(root: &Path, cgroups_path: &str) -> Self {
        Self {
            root: root.to_owned(),
            path: directory(cgroups_path).unwrap_or_else(|| cgroups_path.to_owned()),
            is_v2: root.join("cgroup.controllers").exists(),
            read: RefCell::default(),
        }
    }

    fn file(&self, place: &str) -> PathBuf {
        let (controller, file) = match self.is_v2 {
            true => ("", place),
            false => place.split_once('/').unwrap_or(("", place)),
        };
        self.root.join(controller).join(&self.path).join(file)
    }

    /// What is in a file: `v1` is the controller and the file with version 1 of cgroups, `v2` the
    /// file with version 2. Empty if there is none.
    pub(crate) fn text(&self, v1: &str, v2: &str) -> Rc<str> {
        let path = self.file(if self.is_v2 { v2 } else { v1 });
        let mut read = self.read.borrow_mut();
        let text = read.entry(path).or_insert_with_key(|path| {
            let text = files::read(path, MOST).ok().flatten().unwrap_or_default();
            String::from_utf8_lossy(&text).into()
        });
        text.clone()
    }

    /// A number: that of a whole file, or of a line behind a name, which is said after a colon, as
    /// in `memory/memory.stat:total_rss`. `None` if the kernel does not say it.
    pub(crate) fn number(&self, v1: &str, v2: &str) -> Option<u64> {
        let place = if self.is_v2 { v2 } else { v1 };
        let (file, name) = place.split_once(':').unwrap_or((place, ""));
        let text = self.text(file, file);
        match name {
            "" => text.trim().parse().ok(),
            name => named(&text, name),
        }
    }

    /// How long processes have waited for something, in microseconds: `what` is `cpu`, `memory` or
    /// `io`, `who` is `some` of them or all of them, `full`. The kernel counts it in the hierarchy
    /// of version 2, which there may be beside the others.
    pub(crate) fn pressure(&self, what: &str, who: &str) -> Option<u64> {
        let text = self.unified(&format!("{what}.pressure"));
        let line = text.lines().find_map(|line| line.strip_prefix(who))?;
        line.split_whitespace()
            .find_map(|word| word.strip_prefix("total=")?.parse().ok())
    }

    /// Whether there is a cgroup in the hierarchy of version 2, and processes in it.
    fn unified(&self, file: &str) -> Rc<str> {
        let of_it = |file: &str| self.text(&format!("unified/{file}"), file);
        match of_it("cgroup.procs").trim() {
            "" => "".into(),
            _ => of_it(file),
        }
    }

    /// The sizes of huge pages that the kernel counts, by their names, as in `2MB`.
    pub(crate) fn huge_page_sizes(&self) -> BTreeSet<String> {
        let dir = self.file(if self.is_v2 { "" } else { "hugetlb/" });
        let names = files::names(&dir).unwrap_or_default();
        let sizes = names.iter().filter_map(|name| {
            let (size, _) = name.strip_prefix("hugetlb.")?.split_once('.')?;
            Some(size.to_owned())
        });
        sizes.collect()
    }

    /// What block devices did: a device as `major:minor`, what it did in the kernel's words of
    /// version 1, and how much.
    pub(crate) fn block_io(
        &self,
        v1: &str,
        of_v2: [(&str, &str); 2],
    ) -> Vec<(String, String, u64)> {
        let text = self.text(v1, "io.stat");
        let mut all = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            // There is a line with a total, which has no device.
            let Some(device) = words.next().filter(|word| word.contains(':')) else {
                continue;
            };
            let mut add = |what: &str, number: &str| {
                if let Ok(number) = number.parse() {
                    all.push((device.to_owned(), what.to_owned(), number));
                }
            };
            if self.is_v2 {
                for (key, number) in words.filter_map(|word| word.split_once('=')) {
                    if let Some((_, what)) = of_v2.iter().find(|(known, _)| *known == key) {
                        add(what, number);
                    }
                }
            } else if let (Some(what), Some(number)) = (words.next(), words.next()) {
                add(what, number);
            }
        }
        all
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let text = self.text("memory/cgroup.procs", "cgroup.procs");
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// What its processes use of memory that cannot be had back without hurting, in bytes.
    pub(crate) fn working_set(&self) -> Option<u64> {
        let all = self.number("memory/memory.usage_in_bytes", "memory.current")?;
        let cached = self.number(
            "memory/memory.stat:total_inactive_file",
            "memory.stat:inactive_file",
        );
        Some(all.saturating_sub(cached.unwrap_or(0)))
    }

    /// CPU time of everything, in nanoseconds.
    pub(crate) fn cpu(&self) -> Option<u64> {
        self.nanoseconds("cpuacct/cpuacct.usage", "cpu.stat:usage_usec")
    }

    /// A time, in nanoseconds: version 1 has it so, and version 2 in microseconds.
    pub(crate) fn nanoseconds(&self, v1: &str, v2: &str) -> Option<u64> {
        let time = self.number(v1, v2)?;
        match self.is_v2 {
            true => time.checked_mul(1000),
            false => Some(time),
        }
    }
}

/// The directory below a hierarchy's root of a cgroup as an OCI spec has it: a path, or
/// `SLICE:PREFIX:NAME` for systemd, whose slices are in one another as their names say. `None` if
/// the slice is none.
pub(crate) fn directory(cgroups_path: &str) -> Option<String> {
    let mut parts = cgroups_path.splitn(3, ':');
    let (Some(slice), Some(prefix), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Some(cgroups_path.trim_start_matches('/').to_owned());
    };
    let unit = match (prefix, name.ends_with(".slice")) {
        (_, true) => name.to_owned(),
        ("", false) => format!("{name}.scope"),
        (prefix, false) => format!("{prefix}-{name}.scope"),
    };
    let mut path = String::new();
    // This one is the root.
    if slice != "-.slice" {
        let words = slice.strip_suffix(".slice")?;
        // Longer than the names of systemd's units are.
        if slice.len() > 255 {
            return None;
        }
        let mut above = String::new();
        for word in words.split('-') {
            if word.is_empty() || word.contains('/') {
                return None;
            }
            above.push_str(word);
            path.push_str(&format!("{above}.slice/"));
            above.push('-');
        }
    }
    Some(path + &unit)
}

/// The number of a line `NAME NUMBER`.
fn named(text: &str, name: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = pairs.find(|(key, _)| *key == name)?;
    number.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A cgroup `pods/c1` with these files.
    pub(crate) fn cgroup(root: &Path, files: &[(&str, &str)]) -> Cgroup {
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Cgroup::below(root, "/pods/c1")
    }

    pub(crate) const V1: [(&str, &str); 6] = [
        ("memory/pods/c1/memory.usage_in_bytes", "100\n"),
        (
            "memory/pods/c1/memory.stat",
            "rss 1\ntotal_rss 20\ntotal_inactive_file 30\ntotal_pgfault 7\ntotal_pgmajfault 1\n",
        ),
        ("memory/pods/c1/cgroup.procs", "1\n2\n"),
        ("cpuacct/pods/c1/cpuacct.usage", "5000\n"),
        (
            "blkio/pods/c1/blkio.throttle.io_serviced_recursive",
            "8:0 Read 3\n8:0 Write 4\n8:0 Total 7\nTotal 7\n",
        ),
        ("cpu/pods/c1/cpu.stat", "nr_periods 9\n"),
    ];

    pub(crate) const V2: [(&str, &str); 6] = [
        ("cgroup.controllers", "cpu memory"),
        ("pods/c1/memory.current", "100\n"),
        (
            "pods/c1/memory.stat",
            "anon 20\ninactive_file 30\npgfault 7\npgmajfault 1\n",
        ),
        (
            "pods/c1/cpu.stat",
            "usage_usec 5\nuser_usec 1\nnr_periods 9\n",
        ),
        ("pods/c1/cgroup.procs", "1\n2\n"),
        (
            "pods/c1/io.stat",
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n",
        ),
    ];

    #[test]
    fn both_versions_of_cgroups_are_read() {
        for files in [V1, V2] {
            let dir = tempfile::tempdir().unwrap();
            let cgroup = cgroup(dir.path(), &files);
            assert_eq!(cgroup.cpu(), Some(5000));
            assert_eq!(cgroup.working_set(), Some(70));
            assert_eq!(
                cgroup.number("memory/memory.stat:total_rss", "memory.stat:anon"),
                Some(20)
            );
            assert_eq!(
                cgroup.number("cpu/cpu.stat:nr_periods", "cpu.stat:nr_periods"),
                Some(9)
            );
            assert_eq!(cgroup.number("cpu/cpu.shares", "cpu.weight"), None);
            assert_eq!(cgroup.processes(), [1, 2]);
            let io = cgroup.block_io(
                "blkio/blkio.throttle.io_serviced_recursive",
                [("rios", "Read"), ("wios", "Write")],
            );
            let read = ("8:0".to_owned(), "Read".to_owned(), 3);
            assert!(io.contains(&read), "{io:?}");
            let none = Cgroup::below(dir.path(), "/pods/none");
            assert_eq!((none.cpu(), none.working_set()), (None, None));
        }
    }

    #[test]
    fn a_cgroup_of_systemds_is_where_the_names_of_slices_say() {
        let of = |path: &str| directory(path).unwrap();
        assert_eq!(of("/pods/c1"), "pods/c1");
        assert_eq!(of("a.slice:nri:c1"), "a.slice/nri-c1.scope");
        assert_eq!(
            of("kubepods-besteffort-pod1_2.slice:cri:c1"),
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-c1.scope"
        );
        assert_eq!(of("-.slice:cri:c1"), "cri-c1.scope");
        assert_eq!(of("a.slice::c1"), "a.slice/c1.scope");
        assert_eq!(of("a.slice:x:b.slice"), "a.slice/b.slice");
        for path in [
            "a:x:c1",
            ".slice:x:c1",
            "a--b.slice:x:c1",
            "-a.slice:x:c1",
            "a/b.slice:x:c1",
        ] {
            assert_eq!(directory(path), None, "{path}");
        }
    }

    #[test]
    fn pressure_is_that_of_the_unified_hierarchy_if_processes_are_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let pressure = "some avg10=1.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 total=5\n";
        let file = ("unified/pods/c1/cpu.pressure", pressure);
        assert_eq!(cgroup(dir.path(), &[file]).pressure("cpu", "some"), None);
        let procs = ("unified/pods/c1/cgroup.procs", "1\n");
        let hybrid = cgroup(dir.path(), &[file, procs]);
        assert_eq!(hybrid.pressure("cpu", "some"), Some(12));
        assert_eq!(hybrid.pressure("cpu", "full"), Some(5));
        assert_eq!(hybrid.pressure("io", "full"), None);
    }
}
