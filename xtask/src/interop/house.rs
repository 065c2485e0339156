//! Where everything happens: one temporary directory, and the processes that are started in it. Neither outlives the command,
//! however it ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The directory and the process groups of the peers.
#[derive(Debug)]
pub(super) struct House {
    directory: TempDir,
    groups: Groups,
    cases: AtomicU64,
}

/// The process groups that are to be gone in the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups(Arc<Mutex<BTreeSet<i32>>>);

impl House {
    /// A new one. From now on a signal that ends the command ends everything in it too.
    pub(super) fn new() -> Result<Self, String> {
        let directory = TempDir::with_prefix("nri-interop-")
            .map_err(|e| format!("a temporary directory: {e}"))?;
        let groups = Groups::default();
        clean_up_on_signals(directory.path().to_owned(), groups.clone())?;
        Ok(Self {
            directory,
            groups,
            cases: AtomicU64::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// A directory of its own for one case.
    pub(super) fn room(&self) -> Result<Room, String> {
        let number = self.cases.fetch_add(1, Ordering::Relaxed);
        let path = self.path().join(number.to_string());
        for path in [&path, &path.join("plugins"), &path.join("conf.d")] {
            std::fs::create_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(Room { path })
    }
}

/// The directory of one case.
#[derive(Debug)]
pub(super) struct Room {
    path: PathBuf,
}

impl Room {
    /// The runtime's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("nri.sock")
    }

    /// The plugins that the runtime launches.
    pub(super) fn plugins(&self) -> PathBuf {
        self.path.join("plugins")
    }

    /// Their configurations.
    pub(super) fn plugin_configs(&self) -> PathBuf {
        self.path.join("conf.d")
    }

    /// A file of this name.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, group: i32) {
        self.lock().insert(group);
    }

    /// Kills a group and forgets it.
    pub(super) fn end(&self, group: i32) {
        self.lock().remove(&group);
        if let Some(group) = Pid::from_raw(group) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn end_all(&self) {
        let all: Vec<i32> = self.lock().iter().copied().collect();
        all.into_iter().for_each(|group| self.end(group));
    }
}

fn clean_up_on_signals(directory: PathBuf, groups: Groups) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let mut signals = {
        let _entered = runtime.enter();
        let each = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal);
        let [Ok(interrupt), Ok(terminate), Ok(hangup)] = each else {
            return Err("signals cannot be waited for".to_owned());
        };
        (interrupt, terminate, hangup)
    };
    std::thread::spawn(move || {
        let (number, name) = runtime.block_on(async {
            tokio::select! {
                _ = signals.0.recv() => (2, "SIGINT"),
                _ = signals.1.recv() => (15, "SIGTERM"),
                _ = signals.2.recv() => (1, "SIGHUP"),
            }
        });
        groups.end_all();
        // What has just been killed may still be writing; what cannot be removed is named.
        if let Err(error) = std::fs::remove_dir_all(&directory) {
            eprintln!("xtask: {}: {error}", directory.display());
        }
        eprintln!("xtask: ended by {name}");
        std::process::exit(128 + number);
    });
    Ok(())
}
