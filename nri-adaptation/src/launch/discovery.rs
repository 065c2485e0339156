//! Finding pre-installed plugins: which files of a directory are plugins, and what their
//! configurations are. What can be neither, but was meant to be, is told.
//!
//! [`judge`] is the rule, and pure; the rest reads the two directories. Who could have changed what
//! is there: [`way`]; what can be executed: [`program`]. Nothing here waits for anybody, as long as
//! the file systems themselves answer: a directory on a mount whose server is gone is not provided
//! for.
//!
//! [`way`]: crate::way
//! [`program`]: crate::program

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nri_core::PluginId;
use rustix::fs::Dir;

use crate::launch::overlooked::nearest;
use crate::launch::program::Program;
use crate::plugin::config_file::ConfigFile;
use crate::text::printable_path;
use crate::way::{Control, End, Kind, Obstacle, Trust, distrust, follow, trusted};

/// The most bytes of a configuration file; it has to fit into one message.
const LONGEST_CONFIG: u64 = 1 << 20;
/// The most entries of a directory that is looked through.
const MOST_ENTRIES: usize = 4096;

/// A plugin that can be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) plugin: PluginId,
    pub(crate) path: PathBuf,
    pub(crate) config: Option<ConfigFile>,
    /// Tells the file from another one in its place.
    pub(crate) file: FileIdentity,
}

/// A file as it was when it was looked at: device, number, size, and when it was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
}

impl From<&Metadata> for FileIdentity {
    fn from(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            written: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// A file or directory, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadFile {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl BadFile {
    fn new(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the order of their file names.
    pub(crate) plugins: Vec<Installed>,
    /// What should be a plugin and cannot be one, or cannot be looked at.
    pub(crate) bad: Vec<BadFile>,
    /// What is there and nobody uses. It does no harm.
    pub(crate) unused: Vec<BadFile>,
    /// Which of the two directories do not exist.
    pub(crate) absent: Vec<PathBuf>,
}

impl Found {
    /// Takes out the plugins for which there is a reason.
    pub(crate) fn refuse(&mut self, reason: impl Fn(&PluginId) -> Option<String>) {
        let (plugins, bad) = (&mut self.plugins, &mut self.bad);
        plugins.retain(|installed| match reason(&installed.plugin) {
            Some(reason) => {
                let path = installed.path.clone();
                bad.push(BadFile { path, reason });
                false
            }
            None => true,
        });
    }
}

/// Where plugins are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// The directory of plugins.
    pub(crate) plugins: &'a Path,
    /// The directory of their configurations.
    pub(crate) configs: &'a Path,
    /// The most plugins that are launched.
    pub(crate) most: usize,
}

/// What a directory entry is, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    kind: Kind,
    /// Its permission bits.
    mode: u32,
}

impl From<&End> for Entry {
    fn from(end: &End) -> Self {
        Self {
            kind: end.kind(),
            mode: Control::from(&end.stat).mode,
        }
    }
}

/// The rule: what an entry of the plugin directory is. `None`: nothing to do with plugins.
///
/// # Errors
/// It should be a plugin and cannot be one: why.
pub(crate) fn classify(name: &str, entry: Entry) -> Option<Result<PluginId, String>> {
    let executable = entry.mode & 0o111 != 0;
    let no_plugin = |what: &str| Err(format!("it has the name of a plugin, but {what}"));
    Some(match (name.parse(), entry.kind) {
        (Ok(plugin), Kind::File) if executable => Ok(plugin),
        (Err(error), Kind::File) if executable => Err(format!(
            "an executable file here must be a plugin, but: {error}"
        )),
        (Ok(_), Kind::File) => no_plugin(
            "is not executable: `chmod +x` makes it a plugin, another name (such as README) keeps it out",
        ),
        (Ok(_), Kind::Directory) => {
            no_plugin("is a directory; a plugin is an executable file, or a link to one")
        }
        (Ok(_), Kind::Link | Kind::Other) => no_plugin("is not a regular file"),
        (Err(_), _) => return None,
    })
}

/// Looks for plugins and their configurations. A directory that does not exist holds none.
pub(crate) fn discover(places: Places<'_>, trust: Trust) -> Found {
    let mut found = Found::default();
    let names = match names_in(places.plugins, trust) {
        Ok(names) => names,
        Err(Obstacle::Absent) => {
            found.absent.push(places.plugins.to_owned());
            return found;
        }
        Err(Obstacle::Refused(reason)) => {
            found.bad.push(BadFile::new(places.plugins, reason));
            return found;
        }
    };
    // All that were meant to be plugins, so that nobody looks for the mistake in their
    // configurations.
    let mut meant: BTreeSet<PluginId> = BTreeSet::new();
    for name in names {
        let path = places.plugins.join(&name);
        let name = name.to_string_lossy();
        meant.extend(name.parse::<PluginId>().ok());
        match inspect(&path, &name, places.configs, trust) {
            None => {}
            Some(Ok(_)) if found.plugins.len() >= places.most => {
                let reason = format!(
                    "there are {} plugins already; raise `max_plugins`",
                    places.most
                );
                found.bad.push(BadFile { path, reason });
            }
            Some(Ok(installed)) => found.plugins.push(installed),
            Some(Err(reason)) => found.bad.push(BadFile { path, reason }),
        }
    }
    match names_in(places.configs, trust) {
        Ok(names) => {
            let unused = unused(&names, &meant).into_iter();
            let unused =
                unused.map(|(name, reason)| BadFile::new(places.configs.join(name), reason));
            found.unused.extend(unused);
        }
        Err(Obstacle::Absent) => found.absent.push(places.configs.to_owned()),
        Err(Obstacle::Refused(reason)) => found.bad.push(BadFile::new(places.configs, reason)),
    }
    found
}

/// The names in a directory that nobody else can change, in their order.
fn names_in(directory: &Path, trust: Trust) -> Result<Vec<OsString>, Obstacle> {
    let end = trusted(directory, trust)?;
    if end.kind() != Kind::Directory {
        return Err(Obstacle::Refused("it is not a directory".to_owned()));
    }
    let read = || -> io::Result<Option<Vec<OsString>>> {
        let mut names = Vec::new();
        for entry in Dir::new(end.open()?)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == MOST_ENTRIES {
                return Ok(None);
            }
            names.push(OsString::from_vec(name));
        }
        names.sort();
        Ok(Some(names))
    };
    match read() {
        Ok(Some(names)) => Ok(names),
        Ok(None) => Err(Obstacle::Refused(format!(
            "it has more than {MOST_ENTRIES} entries: it is hardly the directory that is meant"
        ))),
        Err(error) => Err(Obstacle::Refused(format!("it cannot be read: {error}"))),
    }
}

/// What is at a path, links followed: a plugin, what should be one and why it cannot, or nothing to
/// do with plugins.
fn inspect(
    path: &Path,
    name: &str,
    configs: &Path,
    trust: Trust,
) -> Option<Result<Installed, String>> {
    let end = match follow(path, trust) {
        Ok(end) => end,
        // It was there a moment ago.
        Err(Obstacle::Absent) => return None,
        Err(Obstacle::Refused(reason)) => return Some(Err(reason)),
    };
    let judged = classify(name, Entry::from(&end))?;
    Some(judged.and_then(|plugin| {
        if let Some(reason) = distrust(&end.path, Control::from(&end.stat), trust) {
            return Err(reason);
        }
        Program::of(path, &end, trust)?;
        let meta = end.open().and_then(|file| file.metadata());
        let meta = meta.map_err(|error| format!("it cannot be looked at: {error}"))?;
        let config = read_config(&plugin, configs, trust)?;
        Ok(Installed {
            plugin,
            path: path.to_owned(),
            config,
            file: FileIdentity::from(&meta),
        })
    }))
}

/// The names of the configuration files of a plugin; the first one that is there counts.
fn config_names(plugin: &PluginId) -> [String; 2] {
    [format!("{plugin}.conf"), format!("{}.conf", plugin.name())]
}

/// The configuration of a plugin: `NN-name.conf`, else `name.conf`, else none.
fn read_config(
    plugin: &PluginId,
    configs: &Path,
    trust: Trust,
) -> Result<Option<ConfigFile>, String> {
    for name in config_names(plugin) {
        let path = configs.join(name);
        let failed = |reason: &dyn fmt::Display| {
            format!(
                "its configuration {} cannot be read: {reason}",
                printable_path(&path)
            )
        };
        let end = match trusted(&path, trust) {
            Ok(end) => end,
            Err(Obstacle::Absent) => continue,
            Err(Obstacle::Refused(reason)) => return Err(failed(&reason)),
        };
        let file = end.open().map_err(|error| failed(&error))?;
        if end.kind() != Kind::File {
            return Err(failed(&"it is not a regular file"));
        }
        let mut text = String::new();
        return match file.take(LONGEST_CONFIG + 1).read_to_string(&mut text) {
            Ok(_) if text.len() as u64 > LONGEST_CONFIG => Err(format!(
                "its configuration {} is longer than {LONGEST_CONFIG} bytes",
                printable_path(&path)
            )),
            Ok(_) => Ok(Some(ConfigFile { path, text })),
            Err(error) => Err(failed(&error)),
        };
    }
    Ok(None)
}

/// The rule: which files of the directory of configurations no plugin reads, and why.
fn unused(names: &[OsString], plugins: &BTreeSet<PluginId>) -> Vec<(OsString, String)> {
    let there: BTreeSet<&OsString> = names.iter().collect();
    let is_there = |name: &str| there.contains(&OsString::from(name));
    let reads = |plugin: &PluginId, file: &str| {
        let mut names = config_names(plugin).into_iter();
        names
            .find(|name| is_there(name))
            .is_some_and(|name| name == file)
    };
    let known: Vec<String> = plugins
        .iter()
        .flat_map(|plugin| [plugin.to_string(), plugin.name().to_string()])
        .collect();
    let mut unused = Vec::new();
    for name in names {
        let text = name.to_string_lossy();
        let Some((stem, extension)) = text.rsplit_once('.') else {
            continue;
        };
        let meant = known.iter().any(|known| known == stem);
        let reason = match (extension == "conf", meant) {
            (true, true) if plugins.iter().any(|plugin| reads(plugin, &text)) => continue,
            (true, true) => "no plugin reads it: `NN-name.conf` goes before `name.conf`".to_owned(),
            (true, false) => match nearest(stem, known.iter().map(String::as_str)) {
                Some(near) => {
                    format!("no pre-installed plugin reads it; was `{near}.conf` meant?")
                }
                None => "no pre-installed plugin reads it".to_owned(),
            },
            (false, true) => format!("no plugin reads it: its name would be `{stem}.conf`"),
            (false, false) => continue,
        };
        unused.push((name.clone(), reason));
    }
    unused
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn found(plugins: &Path, configs: &Path) -> Found {
        let most = 3;
        let places = Places {
            plugins,
            configs,
            most,
        };
        discover(places, Trust::here())
    }

    fn entry(kind: Kind, mode: u32) -> Entry {
        Entry { kind, mode }
    }

    #[test]
    fn executable_files_are_plugins_and_their_names_say_which() {
        let file = |mode| entry(Kind::File, mode);
        assert_eq!(classify("README", file(0o644)), None);
        assert_eq!(classify("lib", entry(Kind::Directory, 0o755)), None);
        let plugin = "10-a-b".parse::<PluginId>().unwrap();
        for mode in [0o100, 0o010, 0o001, 0o755] {
            assert_eq!(classify("10-a-b", file(mode)), Some(Ok(plugin.clone())));
        }
        for name in ["logger", "1-logger", "10-", "xx-logger", "10-log ger"] {
            assert!(
                matches!(classify(name, file(0o755)), Some(Err(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn what_has_the_name_of_a_plugin_and_cannot_be_one_is_told() {
        for (kind, mode, says) in [
            (Kind::File, 0o644, "chmod +x"),
            (Kind::Directory, 0o755, "is a directory"),
            (Kind::Other, 0o755, "not a regular file"),
        ] {
            let reason = classify("10-logger", entry(kind, mode))
                .unwrap()
                .unwrap_err();
            assert!(reason.contains(says), "{reason}");
        }
    }

    #[test]
    fn files_directories_and_targets_of_links_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, elsewhere) = (dir.path().join("plugins"), dir.path().join("elsewhere"));
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for directory in [&plugins, &elsewhere] {
            fs::create_dir(directory).unwrap();
            mode(directory, 0o755);
            fs::write(directory.join("10-a"), "#!/bin/sh\n").unwrap();
            mode(&directory.join("10-a"), 0o755);
        }
        std::os::unix::fs::symlink(elsewhere.join("10-a"), plugins.join("20-b")).unwrap();
        let look = || {
            let found = found(&plugins, dir.path());
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            let good: Vec<_> = found.plugins.iter().map(|p| name(&p.path)).collect();
            let bad: Vec<_> = found.bad.iter().map(|bad| name(&bad.path)).collect();
            (good.join(" "), bad.join(" "))
        };
        let (all, none) = ("10-a 20-b".to_owned(), String::new());
        assert_eq!(look(), (all.clone(), none.clone()));
        mode(&plugins.join("10-a"), 0o775);
        assert_eq!(look(), ("20-b".to_owned(), "10-a".to_owned()));
        mode(&plugins.join("10-a"), 0o755);
        mode(&elsewhere, 0o777);
        assert_eq!(look(), ("10-a".to_owned(), "20-b".to_owned()));
        mode(&elsewhere, 0o755);
        mode(&plugins, 0o775);
        assert_eq!(look(), (none, "plugins".to_owned()));
    }

    #[test]
    fn a_directory_is_read_in_order_with_configurations() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        let none = found(&plugins, &configs);
        assert_eq!((none.absent, none.bad.len()), (vec![plugins.clone()], 0));
        fs::create_dir_all(plugins.join("30-dir")).unwrap();
        fs::create_dir_all(&configs).unwrap();
        for directory in [&plugins, &configs] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in ["20-b", "10-a", "bad", "40-c"] {
            std::os::unix::fs::symlink("/bin/sh", plugins.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/nonexistent", plugins.join("50-d")).unwrap();
        fs::write(plugins.join("README"), "text").unwrap();
        fs::write(configs.join("10-a.conf"), "by id").unwrap();
        fs::write(configs.join("a.conf"), "by name").unwrap();
        fs::write(configs.join("b.conf"), "by name").unwrap();
        fs::create_dir(configs.join("40-c.conf")).unwrap();

        let found = found(&plugins, &configs);
        let plugins: Vec<_> = found
            .plugins
            .iter()
            .map(|p| {
                (
                    p.plugin.to_string(),
                    p.config.as_ref().unwrap().text.as_str(),
                )
            })
            .collect();
        assert_eq!(
            plugins,
            [("10-a".to_owned(), "by id"), ("20-b".to_owned(), "by name")]
        );
        let bad: Vec<_> = found
            .bad
            .iter()
            .map(|bad| bad.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(bad, ["30-dir", "40-c", "50-d", "bad"]);
    }

    #[test]
    fn files_that_no_plugin_reads_are_told() {
        let plugins = ["10-logger", "20-logger", "30-audit"];
        let plugins = plugins.map(|name| name.parse().unwrap()).into();
        let unused = |names: &[&str]| -> Vec<String> {
            let names: Vec<OsString> = names.iter().map(OsString::from).collect();
            let unused = unused(&names, &plugins).into_iter();
            unused
                .map(|(name, reason)| format!("{}: {reason}", name.to_string_lossy()))
                .collect()
        };
        let none: [String; 0] = [];
        assert_eq!(
            unused(&["10-logger.conf", "logger.conf", "README", "x"]),
            none
        );
        for (names, says) in [
            (&["lgger.conf"][..], "was `logger.conf` meant?"),
            (&["30-logger.conf"], "was `10-logger.conf` meant?"),
            (&["something.conf"], "no pre-installed plugin"),
            (
                &["audit.conf", "30-audit.conf"],
                "audit.conf: no plugin reads it: `NN",
            ),
            (&["10-logger.toml"], "its name would be `10-logger.conf`"),
        ] {
            let told = unused(names);
            assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
        }
    }

    #[test]
    fn odd_files_hold_nobody_up_and_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        let fifo = |path: &Path| {
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o755), 0).unwrap();
        };
        // Directories that are something else.
        fifo(&plugins);
        fs::write(&configs, "").unwrap();
        let found_there = found(&plugins, &configs);
        assert_eq!(
            found_there.bad,
            [BadFile::new(&plugins, "it is not a directory")]
        );
        for path in [&plugins, &configs] {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fifo(&plugins.join("10-fifo"));
        for name in ["20-a", "30-b", "40-huge", "50-gone"] {
            std::os::unix::fs::symlink("/bin/sh", plugins.join(name)).unwrap();
        }
        fifo(&configs.join("20-a.conf"));
        std::os::unix::fs::symlink("/dev/zero", configs.join("b.conf")).unwrap();
        fs::File::create(configs.join("huge.conf"))
            .and_then(|file| file.set_len(1 << 40))
            .unwrap();
        std::os::unix::fs::symlink("nothing", configs.join("gone.conf")).unwrap();
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(configs.join("huge.conf"), mode).unwrap();
        let name = OsString::from_vec(b"60-\xff\n".to_vec());
        std::os::unix::fs::symlink("/bin/sh", plugins.join(name)).unwrap();
        let found = found(&plugins, &configs);
        assert_eq!(found.plugins, []);
        let says = [
            "is not a regular file",
            "20-a.conf cannot be read: it is not a regular file",
            "b.conf cannot be read: ",
            "huge.conf is longer than 1048576 bytes",
            "gone.conf leads to",
            "invalid plugin name",
        ];
        assert_eq!(found.bad.len(), says.len(), "{:?}", found.bad);
        for (bad, says) in found.bad.iter().zip(says) {
            assert!(bad.reason.contains(says), "{bad:?}");
            assert!(!bad.reason.contains('\n'), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_of_thousands_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        for path in [&plugins, &configs] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for number in 0..5 {
            let name = plugins.join(format!("1{number}-a"));
            std::os::unix::fs::symlink("/bin/sh", name).unwrap();
        }
        let some = found(&plugins, &configs);
        assert_eq!((some.plugins.len(), some.bad.len()), (3, 2));
        assert!(some.bad[0].reason.contains("`max_plugins`"), "{some:?}");
        for number in 0..MOST_ENTRIES {
            fs::write(plugins.join(number.to_string()), "").unwrap();
        }
        let many = found(&plugins, &configs);
        assert_eq!((many.plugins.len(), many.bad.len()), (0, 1));
        assert!(many.bad[0].reason.contains("more than 4096 entries"));
    }
}
