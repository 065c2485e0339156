//! The directories of hooks, as they are now: a file is read again when it has changed. What may
//! not enter: what is in a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hook::HookFile;

/// As many bytes as a file may have.
const MOST_BYTES: u64 = 1 << 20;

/// As many files as there may be.
const MOST_FILES: usize = 1024;

/// Where hooks are if nobody says otherwise: those of packages, then those of the operator.
const USUAL: [&str; 2] = [
    "/usr/share/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
];

/// Directories, the later ones before the earlier: a file hides one of the same name.
#[derive(Debug)]
pub(crate) struct Directories {
    paths: Vec<PathBuf>,
    /// Somebody has named them, so they must be there.
    are_named: bool,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

/// A file as it was last read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// The last of its contents that were right.
    hook: Option<Arc<HookFile>>,
    /// What is wrong with the newest.
    fault: Option<String>,
}

/// What changes when a file does.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([i64; 6]);

impl Directories {
    /// Those that somebody has named, or the usual ones.
    ///
    /// # Errors
    /// What is named is not there, or is no directory.
    pub(crate) fn new(named: Vec<PathBuf>) -> Result<Self, String> {
        let are_named = !named.is_empty();
        let directories = Self {
            paths: match are_named {
                true => named,
                false => USUAL.map(PathBuf::from).to_vec(),
            },
            are_named,
            known: Mutex::default(),
        };
        for path in &directories.paths {
            let there = directories.list(path, &mut BTreeMap::new());
            there.map_err(|error| format!("the directory of hooks {}: {error}", path.display()))?;
        }
        Ok(directories)
    }

    /// The hooks, in the order of their files' names, whatever the case.
    ///
    /// # Errors
    /// What is wrong with the files, all of it, each with its path.
    pub(crate) fn read(&self) -> Result<Vec<Arc<HookFile>>, String> {
        let mut faults = Vec::new();
        let hooks = self.look(|path, fault| faults.push(format!("{}: {fault}", path.display())));
        match faults.is_empty() {
            true => Ok(hooks),
            false => Err(faults.join("; ")),
        }
    }

    /// The same, where what a file said before counts while it is wrong. What has become wrong
    /// since the last look is logged.
    pub(crate) fn read_what_is_right(&self) -> Vec<Arc<HookFile>> {
        self.look(|path, fault| {
            tracing::error!(file = %path.display(), "the hook is left as it was: {fault}");
        })
    }

    fn look(&self, mut fault: impl FnMut(&Path, &str)) -> Vec<Arc<HookFile>> {
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in &self.paths {
            if let Err(error) = self.list(path, &mut files) {
                fault(path, &error.to_string());
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| files.values().any(|file| file == path));
        let mut hooks: Vec<(String, Arc<HookFile>)> = Vec::new();
        for (name, path) in files {
            let Some(stamp) = Stamp::of(&path) else {
                continue; // gone meanwhile
            };
            let before = known.remove(&path);
            let now = match before {
                Some(before) if before.stamp == stamp && before.fault.is_none() => before,
                before => {
                    let read = read(&path);
                    let is_news = before.as_ref().is_none_or(|before| before.stamp != stamp);
                    match read {
                        Ok(hook) => Known {
                            stamp,
                            hook: Some(Arc::new(hook)),
                            fault: None,
                        },
                        Err(reason) => {
                            if is_news {
                                fault(&path, &reason);
                            }
                            let hook = before.and_then(|before| before.hook);
                            Known {
                                stamp,
                                hook,
                                fault: Some(reason),
                            }
                        }
                    }
                }
            };
            hooks.extend(now.hook.clone().map(|hook| (name.to_lowercase(), hook)));
            known.insert(path, now);
        }
        hooks.sort_by(|(one, _), (other, _)| one.cmp(other));
        hooks.into_iter().map(|(_, hook)| hook).collect()
    }

    /// Adds the files of a directory.
    fn list(&self, directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.are_named => {
                return Ok(());
            }
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if files.len() == MOST_FILES {
                return Err(io::Error::other(format!(
                    "there are more than {MOST_FILES} files"
                )));
            }
            if let Ok(name) = entry.file_name().into_string()
                && name.ends_with(".json")
            {
                files.insert(name, entry.path());
            }
        }
        Ok(())
    }

    /// Forgets what was read, so that all faults are news.
    pub(crate) fn forget(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let it = fs::metadata(path).ok()?;
        let size = i64::try_from(it.size()).unwrap_or(i64::MAX);
        let inode = it.ino().cast_signed();
        Some(Self([
            it.mtime(),
            it.mtime_nsec(),
            it.ctime(),
            it.ctime_nsec(),
            size,
            inode,
        ]))
    }
}

fn read(path: &Path) -> Result<HookFile, String> {
    let text = || -> io::Result<String> {
        // To open a pipe would wait for someone to write into it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut text = String::new();
        File::open(path)?
            .take(MOST_BYTES + 1)
            .read_to_string(&mut text)?;
        match text.len() as u64 > MOST_BYTES {
            true => Err(io::Error::other("it has more than 1 MiB")),
            false => Ok(text),
        }
    };
    let hook = HookFile::read(&text().map_err(|error| error.to_string())?)?;
    if !Path::new(hook.path()).exists() {
        // The program is the host's; a plugin in a container need not see it.
        tracing::warn!(file = %path.display(), "the hook's program {} is not to be found here", hook.path());
    }
    Ok(hook)
}
