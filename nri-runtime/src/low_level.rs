//! The OCI runtime that runs containers: runc or crun, by its command line.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::{interval, timeout};

use crate::config::{self, CgroupDriver, Config};
use crate::error::{Error, Result};
use crate::files;
use crate::program::{self, Output};

/// Longer than any of its commands takes, on however busy a machine.
const LIMIT: Duration = Duration::from_secs(120);
/// What the end of a command that was killed may take.
const ENDING: Duration = Duration::from_secs(10);

/// An OCI runtime that is there.
#[derive(Debug, Clone)]
pub(crate) struct LowLevel {
    program: PathBuf,
    /// Where it keeps what it knows of containers.
    root: PathBuf,
    /// The first line of what it says of its version.
    version: String,
    /// Who makes the cgroups.
    driver: CgroupDriver,
    /// What it says that it knows, if it is new enough to say so.
    features: Value,
}

impl LowLevel {
    /// The first of the configured ones that is there and says its version.
    ///
    /// # Errors
    /// None is: why, and how to install one.
    pub(crate) async fn find(config: &Config) -> Result<Self> {
        config.low_level.check_driver()?;
        let root = config.run.join("low-level");
        files::make_dir(&root)?;
        let mut why = Vec::new();
        for program in &config.low_level.programs {
            let version = async {
                let program = config::find(program, "low_level.programs")?;
                let mut command = program::command(&program);
                let said = program::run(command.arg("--version"), None, LIMIT).await?;
                let said = String::from_utf8_lossy(&said);
                let version = said.lines().next().unwrap_or_default().to_owned();
                Ok::<_, Error>((program, version))
            };

            match version.await {
                Ok((program, version)) => {
                    let features = features(&program).await;
                    return Ok(Self {
                        program,
                        root,
                        version,
                        driver: config.low_level.cgroup_driver,
                        features,
                    });
                }
                Err(error) => why.push(error.to_string()),
            }
        }
        let why = why.join("; ");
        Err(Error::internal(format!(
            "no program can run containers: {why}"
        )))
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The options with which it has systemd make the cgroups, if that is to.
    pub(crate) fn driver_options(&self) -> &'static [&'static str] {
        match self.driver {
            CgroupDriver::Cgroupfs => &[],
            CgroupDriver::Systemd => &["--systemd-cgroup"],
        }
    }

    /// Whether it says that it knows an option of mounts.
    pub(crate) fn knows_mount_option(&self, option: &str) -> bool {
        let options = self.features["mountOptions"].as_array();
        options.is_some_and(|options| options.iter().any(|known| known == option))
    }

    /// Whether it knows a kind of namespaces, as far as it says.
    pub(crate) fn knows_namespace(&self, kind: &str) -> bool {
        let kinds = self.features["linux"]["namespaces"].as_array();
        kinds.is_none_or(|kinds| kinds.iter().any(|known| known == kind))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program::command(&self.program);
        command.arg("--root").arg(&self.root);
        command.args(self.driver_options()).args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<()> {
        let done = program::run(&mut self.command(arguments), input, LIMIT).await;
        done.map(drop).map_err(|error| error.of(arguments[0]))
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// What the program says.
    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        self.run(&["start", id], None).await
    }

    /// Whether a container has been started, and not only created.
    ///
    /// # Errors
    /// What the program says.
    pub(crate) async fn is_started(&self, id: &str) -> Result<bool> {
        let said = program::run(&mut self.command(&["state", id]), None, LIMIT).await;
        let said = said.map_err(|error| error.of("state"))?;
        let state: Value = serde_json::from_slice(&said)
            .map_err(|error| Error::internal(format!("the state of {id}: {error}")))?;
        Ok(state["status"] != "created" && state["status"] != "creating")
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// What the program says; also if there is no process any more.
    pub(crate) async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        self.run(&["kill", id, signal], None).await
    }

    /// Kills and removes a container, and its cgroup. One that is not there is removed already.
    ///
    /// # Errors
    /// What the program says.
    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        if !self.root.join(id).exists() {
            return Ok(());
        }
        self.run(&["delete", "--force", id], None).await
    }

    /// Changes the resources of a container: members of `linux.resources`.
    ///
    /// # Errors
    /// What the program says.
    pub(crate) async fn update(&self, id: &str, resources: &Value) -> Result<()> {
        let text = resources.to_string();
        let arguments = ["update", "--resources", "-", id];
        self.run(&arguments, Some(text.as_bytes())).await
    }

    /// A command that runs another in a container. `pid_file` says which process that is, while it
    /// runs.
    pub(crate) fn exec_command(
        &self,
        id: &str,
        command: &[String],
        tty: bool,
        pid_file: &Path,
    ) -> Command {
        let mut exec = self.command(&["exec", "--pid-file"]);
        exec.arg(pid_file);
        if tty {
            exec.args(["--tty", "--env", "TERM=xterm"]);
        }
        exec.arg(id).args(command);
        exec
    }

    /// Runs a command in a container to its end. `pid_file` is for the time of the command; if that
    /// is over, the process and those that it started in its session are killed.
    ///
    /// # Errors
    /// It cannot be run; the time is over.
    pub(crate) async fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: Option<Duration>,
        pid_file: &Path,
    ) -> Result<Output> {
        let mut exec = self.exec_command(id, command, false, pid_file);
        // A year is no limit.
        let limit = limit.unwrap_or(Duration::from_secs(365 * 24 * 3600));
        let mut running = pin!(program::output(&mut exec, None, limit + ENDING));
        let output = match timeout(limit, &mut running).await {
            Ok(output) => output,
            Err(_) => {
                kill_exec(pid_file, running).await;
                let name = command.first().map(String::as_str).unwrap_or_default();
                Err(Error::deadline(format!(
                    "{name} is not done after {limit:?}"
                )))
            }
        };
        files::remove_file(pid_file)?;
        output
    }
}

/// Kills the process of a command that `running` waits for, and waits for that, for a while.
pub(crate) async fn kill_exec(pid_file: &Path, mut running: impl Future + Unpin) {
    // The process first, so that the one who has started it sees its end. If that were killed, the
    // process would be left to whoever is the first of ours, and one that does not reap it would
    // keep the container from ending.
    let mut again = interval(Duration::from_millis(100));
    let ended = async {
        loop {
            again.tick().await;
            kill_process(pid_file);
            if timeout(Duration::from_millis(100), &mut running)
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    let _ = timeout(ENDING, ended).await;
}

/// What an OCI runtime says of itself.
async fn features(program: &Path) -> Value {
    let said = program::run(program::command(program).arg("features"), None, LIMIT).await;
    serde_json::from_slice(&said.unwrap_or_default()).unwrap_or_default()
}

/// Kills the process of a pid file, if there is one.
fn kill_process(pid_file: &Path) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = files::read(pid_file, 32).ok().flatten();
    let pid = pid.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
    if let Some(pid) = pid.and_then(Pid::from_raw)
        && let Err(error) = kill_process(pid, Signal::KILL)
    {
        tracing::debug!(%error, "the process of a command is gone already");
    }
}
