//! Finding pre-installed plugins: which files of a directory are plugins, and what their configurations are.
//!
//! [`judge`] and [`distrust`] are the rules, and pure; the rest reads the two directories.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nri_core::PluginId;

/// The most bytes of a configuration file; it has to fit into one message.
const LONGEST_CONFIG: u64 = 1 << 20;

/// What the files of WebAssembly modules begin with.
const WASM: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// A plugin that can be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) plugin: PluginId,
    pub(crate) path: PathBuf,
    /// The content of its configuration file; empty if there is none.
    pub(crate) config: String,
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

/// A file or directory that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadFile {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the order of their file names.
    pub(crate) plugins: Vec<Installed>,
    pub(crate) bad: Vec<BadFile>,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A directory, or anything else that is no regular file.
    Directory,
    /// A regular file.
    File {
        /// Its permission bits.
        mode: u32,
        /// Its first bytes, as many as there are of eight.
        start: &'a [u8],
    },
}

/// The rule: what an entry of the plugin directory is. `None`: nothing to do with plugins.
///
/// # Errors
/// It should be a plugin and cannot be one: why.
pub(crate) fn judge(name: &str, entry: Entry<'_>) -> Option<Result<PluginId, String>> {
    match entry {
        Entry::File { mode, start } if mode & 0o111 != 0 => Some(match name.parse() {
            Ok(_) if start == WASM => {
                Err("it is a WebAssembly plugin, and this build runs none".to_owned())
            }
            Ok(plugin) => Ok(plugin),
            Err(error) => Err(format!(
                "an executable file here must be a plugin, but: {error}"
            )),
        }),
        _ => None,
    }
}

/// Who can change what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    /// Who owns it.
    pub(crate) owner: u32,
    /// Its permission bits.
    pub(crate) mode: u32,
}

impl From<&Metadata> for Control {
    fn from(meta: &Metadata) -> Self {
        Self {
            owner: meta.uid(),
            mode: meta.permissions().mode() & 0o7777,
        }
    }
}

/// The rule: why a plugin, or a directory that it is in, is not launched from by user `us`: others could put a program of
/// their own in its place. `None`: they cannot.
pub(crate) fn distrust(path: &Path, control: Control, us: u32) -> Option<String> {
    let Control { owner, mode } = control;
    let path = path.display();
    if owner != us && owner != 0 {
        Some(format!(
            "{path} belongs to user {owner}, who could have anything launched as user {us}: `chown {us} {path}`"
        ))
    } else if mode & 0o022 != 0 {
        Some(format!(
            "{path} has mode {mode:04o}, so others could have anything launched as user {us}: `chmod go-w {path}`"
        ))
    } else {
        None
    }
}

/// Looks for plugins. A directory that does not exist holds none.
pub(crate) fn discover(directory: &Path, configs: &Path) -> Found {
    let mut found = Found::default();
    let names = match names_in(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return found,
        Err(error) => {
            let reason = format!("the plugin directory cannot be read: {error}");
            found.bad.push(BadFile {
                path: directory.to_owned(),
                reason,
            });
            return found;
        }
    };
    let us = rustix::process::geteuid().as_raw();
    if let Some(reason) = distrusted(directory, us) {
        found.bad.push(BadFile {
            path: directory.to_owned(),
            reason,
        });
        return found;
    }
    for name in names {
        let path = directory.join(&name);
        match look_at(&path, &name.to_string_lossy(), configs) {
            None => {}
            Some(Ok(installed)) => found.plugins.push(installed),
            Some(Err(reason)) => found.bad.push(BadFile { path, reason }),
        }
    }
    found
}

/// Why a directory is not launched from.
fn distrusted(directory: &Path, us: u32) -> Option<String> {
    match fs::metadata(directory) {
        Ok(meta) => distrust(directory, Control::from(&meta), us),
        Err(error) => Some(format!(
            "{} cannot be looked at: {error}",
            directory.display()
        )),
    }
}

/// Why a file is not launched: the file itself, or where a link leads to.
fn distrusted_file(path: &Path, meta: &Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) => return Some(format!("it cannot be looked at: {error}")),
    };
    let directory = || real.parent().and_then(|parent| distrusted(parent, us));
    distrust(&real, Control::from(meta), us).or_else(directory)
}

fn names_in(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// What is at a path, links followed: a plugin, what should be one and why it cannot, or nothing to do with plugins.
fn look_at(path: &Path, name: &str, configs: &Path) -> Option<Result<Installed, String>> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return Some(Err(format!("it cannot be looked at: {error}"))),
    };
    let mut start = Vec::new();
    let entry = match meta.is_file() {
        true => {
            // One that cannot be read can perhaps be executed; that will be seen.
            if let Ok(file) = fs::File::open(path) {
                let _ = file.take(WASM.len() as u64).read_to_end(&mut start);
            }
            Entry::File {
                mode: meta.permissions().mode(),
                start: &start,
            }
        }
        false => Entry::Directory,
    };
    let judged = judge(name, entry)?;
    Some(judged.and_then(|plugin| {
        if let Some(reason) = distrusted_file(path, &meta) {
            return Err(reason);
        }
        let config = read_config(&plugin, configs)?;
        Ok(Installed {
            plugin,
            path: path.to_owned(),
            config,
            file: FileIdentity::from(&meta),
        })
    }))
}

/// The configuration of a plugin: `NN-name.conf`, else `name.conf`, else empty.
fn read_config(plugin: &PluginId, configs: &Path) -> Result<String, String> {
    for name in [format!("{plugin}.conf"), format!("{}.conf", plugin.name())] {
        let path = configs.join(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(format!(
                    "its configuration {} cannot be read: {error}",
                    path.display()
                ));
            }
        };
        let mut config = String::new();
        return match file.take(LONGEST_CONFIG + 1).read_to_string(&mut config) {
            Ok(_) if config.len() as u64 > LONGEST_CONFIG => Err(format!(
                "its configuration {} is longer than {LONGEST_CONFIG} bytes",
                path.display()
            )),
            Ok(_) => Ok(config),
            Err(error) => Err(format!(
                "its configuration {} cannot be read: {error}",
                path.display()
            )),
        };
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> Entry<'static> {
        Entry::File {
            mode,
            start: b"\x7fELF",
        }
    }

    #[test]
    fn executable_files_are_plugins_and_their_names_say_which() {
        assert_eq!(judge("10-logger", Entry::Directory), None);
        assert_eq!(judge("10-logger", file(0o644)), None);
        assert_eq!(judge("README", file(0o644)), None);
        let plugin = "10-a-b".parse::<PluginId>().unwrap();
        for mode in [0o100, 0o010, 0o001, 0o755] {
            assert_eq!(judge("10-a-b", file(mode)), Some(Ok(plugin.clone())));
        }
        for name in ["logger", "1-logger", "10-", "xx-logger", "10-log ger"] {
            assert!(matches!(judge(name, file(0o755)), Some(Err(_))), "{name}");
        }
        let wasm = Entry::File {
            mode: 0o755,
            start: &WASM,
        };
        assert!(
            judge("10-wasm", wasm)
                .unwrap()
                .unwrap_err()
                .contains("WebAssembly")
        );
    }

    #[test]
    fn what_others_can_change_is_not_launched() {
        let path = Path::new("/opt/nri/plugins/10-a");
        let judge = |owner, mode| distrust(path, Control { owner, mode }, 7);
        for mode in [0o755, 0o700, 0o555, 0o4755, 0o1755] {
            assert_eq!((judge(7, mode), judge(0, mode)), (None, None), "{mode:o}");
        }
        for mode in [0o775, 0o757, 0o777, 0o1777, 0o720, 0o702] {
            let reason = judge(0, mode).unwrap();
            let says = [
                "/opt/nri/plugins/10-a",
                &format!("{mode:04o}"),
                "chmod go-w",
            ];
            assert!(says.iter().all(|word| reason.contains(word)), "{reason}");
        }
        let reason = judge(8, 0o755).unwrap();
        assert!(
            reason.contains("user 8") && reason.contains("chown 7"),
            "{reason}"
        );
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
            fs::write(directory.join("10-a"), "").unwrap();
            mode(&directory.join("10-a"), 0o755);
        }
        std::os::unix::fs::symlink(elsewhere.join("10-a"), plugins.join("20-b")).unwrap();
        let look = || {
            let found = discover(&plugins, dir.path());
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
        assert_eq!(discover(&plugins, &configs), Found::default());
        fs::create_dir_all(plugins.join("30-dir")).unwrap();
        fs::create_dir_all(&configs).unwrap();
        for name in ["20-b", "10-a", "bad", "40-c"] {
            std::os::unix::fs::symlink("/bin/sh", plugins.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/nonexistent", plugins.join("50-d")).unwrap();
        fs::write(plugins.join("README"), "text").unwrap();
        fs::write(configs.join("10-a.conf"), "by id").unwrap();
        fs::write(configs.join("a.conf"), "by name").unwrap();
        fs::write(configs.join("b.conf"), "by name").unwrap();
        fs::create_dir(configs.join("40-c.conf")).unwrap();

        let found = discover(&plugins, &configs);
        let plugins: Vec<_> = found
            .plugins
            .iter()
            .map(|p| (p.plugin.to_string(), p.config.as_str()))
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
        assert_eq!(bad, ["40-c", "50-d", "bad"]);
    }
}
