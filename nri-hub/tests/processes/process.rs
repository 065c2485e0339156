//! A hub that is a process of its own.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use nri_hub::Status;
use nri_testkit::TEST_TIMEOUT;

/// A place for a hub's files.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    runtime: PathBuf,
}

impl Place {
    pub(crate) fn new(runtime: &Path) -> Self {
        let builder = &mut tempfile::Builder::new();
        Self {
            directory: builder.prefix("nri-hub-").tempdir().unwrap(),
            runtime: runtime.to_owned(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration: what is needed, with more keys for plugins and for the hub.
    pub(crate) fn configure(&self, plugins: &str, hub: &str) {
        let text = format!(
            "socket_path = {:?}\nplugin_path = {:?}\nplugin_config_path = {:?}\n{plugins}\n\
             [hub]\nruntime_socket = {:?}\ncontrol_socket = {:?}\n{hub}\n",
            self.file("nri.sock"),
            self.file("plugins"),
            self.file("conf.d"),
            self.runtime,
            self.file("control.sock"),
        );
        // Whole or not at all, as an editor does it.
        let new = self.file("config.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file("config.toml")).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nri-hub"));
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command.arg("--config").arg(self.file("config.toml"));
        command
    }

    /// Starts a hub.
    pub(crate) fn start(&self) -> Process {
        let mut command = self.command();
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs one that is to end by itself, in time.
    pub(crate) fn fail(&self) -> (Option<i32>, String) {
        let mut process = Process(self.command().stderr(Stdio::piped()).spawn().unwrap());
        let mut pipe = process.0.stderr.take().unwrap();
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut error = String::new();
            let _ = end.send(pipe.read_to_string(&mut error).map(|_| error));
        });
        let error = ended.recv_timeout(TEST_TIMEOUT).unwrap().unwrap();
        (process.0.wait().unwrap().code(), error)
    }

    /// What `nri-hub status` says.
    pub(crate) fn ask(&self, more: &[&str]) -> Output {
        let mut command = self.command();
        command.args(["status", "--socket"]);
        command.arg(self.file("control.sock")).args(more);
        command.output().unwrap()
    }

    /// The status, if there is a hub.
    pub(crate) fn status(&self) -> Option<Status> {
        let said = self.ask(&["--json"]);
        serde_json::from_slice(&said.stdout).ok()
    }

    /// Asks for the status until it is so. Blocks the thread, as the program does.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status = self.status();
            match status {
                Some(status) if holds(&status) => return status,
                _ => assert!(begun.elapsed() < TEST_TIMEOUT, "{what} never: {status:?}"),
            }
        }
    }
}

/// A hub that runs; it is killed at the end.
pub(crate) struct Process(Child);

impl Process {
    /// Kills it, as hard as can be.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.0.id());
        let status = std::fs::read_to_string(file).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
