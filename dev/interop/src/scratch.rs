//! Where everything happens: one temporary directory, and the processes that are started in it.
//! Neither outlives the command, however it ends.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The directory and the process groups of the peers.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: TempDir,
    groups: Groups,
    cases: AtomicU64,
}

/// The process groups that are to be gone in the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    groups: BTreeSet<i32>,
    /// A signal has come: nothing new begins.
    ending: bool,
}

/// How long what was killed may take to be gone.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

impl Scratch {
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
    pub(super) fn case_dir(&self) -> Result<CaseDir, String> {
        self.groups.wait_if_ending();
        let number = self.cases.fetch_add(1, Ordering::Relaxed);
        let path = self.path().join(number.to_string());
        for path in [&path, &path.join("plugins"), &path.join("conf.d")] {
            std::fs::create_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(CaseDir { path })
    }
}

/// The directory of one case.
#[derive(Debug)]
pub(super) struct CaseDir {
    path: PathBuf,
}

impl CaseDir {
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
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process that leads a group of its own.
    pub(super) fn start(&self, command: &mut Command) -> std::io::Result<Child> {
        command.process_group(0);
        self.wait_if_ending();
        // Under the lock, so that it is known when a signal comes.
        let mut running = self.lock();
        let child = command.spawn()?;
        running.groups.insert(group_of(&child));
        Ok(child)
    }

    /// Kills the group of a process and forgets it.
    pub(super) fn end(&self, child: &Child) {
        let group = group_of(child);
        self.lock().groups.remove(&group);
        kill_group(group);
    }

    fn end_all(&self) {
        let mut running = self.lock();
        running.ending = true;
        running.groups.iter().copied().for_each(kill_group);
    }

    /// Does not return once the command is ending.
    fn wait_if_ending(&self) {
        while self.lock().ending {
            std::thread::park();
        }
    }
}

/// The group that a process leads.
fn group_of(child: &Child) -> i32 {
    // Linux has no larger pids.
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}

fn kill_group(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // It may be gone already.
        let _ = kill_process_group(group, Signal::KILL);
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
        let limit = Instant::now() + TEST_TIMEOUT;
        while let Err(error) = std::fs::remove_dir_all(&directory) {
            if !directory.exists() {
                break;
            }
            if Instant::now() > limit {
                eprintln!("interop: {}: {error}", directory.display());
                break;
            }
            std::thread::yield_now();
        }
        eprintln!("interop: ended by {name}");
        std::process::exit(128 + number);
    });
    Ok(())
}
