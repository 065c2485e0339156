//! The plugins of a scenario: started by the runtime, started beside it, or started by someone
//! else.
//!
//! What a plugin that is started here prints goes into a file, where it can be looked at.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nri_core::PluginId;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::file::{PluginEntry, plugin_id};
use crate::sim::error::SimError;

/// How long a plugin may take to end when the runtime is gone.
const END_TIME: Duration = Duration::from_secs(2);
/// How often a plugin's output is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How much of a plugin's output an error shows, in bytes.
const SHOWN: usize = 2000;

/// A plugin and how it is started: `NN-name=COMMAND`.
///
/// ```
/// use nri_testkit::sim::PluginCommand;
///
/// let plugin: PluginCommand = "10-mine=./mine --verbose".parse()?;
/// assert_eq!((plugin.id.to_string().as_str(), plugin.command.as_str()), ("10-mine", "./mine --verbose"));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginCommand {
    /// Who it is.
    pub id: PluginId,
    /// How it is started, for a shell.
    pub command: String,
}

impl FromStr for PluginCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, command) = text.split_once('=').ok_or_else(|| {
            format!(
                "{text:?} has no `=`: write NN-name=COMMAND, such as '10-mine=./mine --verbose'"
            )
        })?;
        Ok(Self {
            id: plugin_id(id)?,
            command: command.to_owned(),
        })
    }
}

/// The plugins of a scenario that are started here.
#[derive(Debug)]
pub(super) struct Started {
    home: TempDir,
    /// Those that are given the socket's path.
    beside: Vec<(PluginId, String)>,
    /// Those that run beside the runtime, each with its process group.
    children: Vec<(Child, Option<Pid>)>,
}

/// What in a command stands for the socket's path.
const SOCKET: &str = "{socket}";

impl Started {
    /// Gets everything ready for the runtime to launch what it is to launch.
    pub(super) fn prepare(plugins: &[PluginEntry]) -> Result<Self, SimError> {
        let home = TempDir::with_prefix("nri-sim-")
            .map_err(|error| broken(&std::env::temp_dir(), &error))?;
        let started = Self {
            home,
            beside: Vec::new(),
            children: Vec::new(),
        };
        for directory in [started.plugins(), started.configs(), started.outputs()] {
            fs::create_dir(&directory).map_err(|error| broken(&directory, &error))?;
        }
        let mut started = started;
        for PluginEntry {
            id,
            command,
            config,
        } in plugins
        {
            let file = started.configs().join(format!("{id}.conf"));
            fs::write(&file, config).map_err(|error| broken(&file, &error))?;
            match command {
                None => {}
                Some(command) if command.contains(SOCKET) => {
                    started.beside.push((id.clone(), command.clone()));
                }
                Some(command) => started.install(id, command)?,
            }
        }
        Ok(started)
    }

    /// Writes the program that the runtime launches: it has our environment and directory, and
    /// becomes a shell for the command.
    fn install(&self, id: &PluginId, command: &str) -> Result<(), SimError> {
        let file = self.plugins().join(id.to_string());
        let directory = std::env::current_dir().map_err(|error| broken(Path::new("."), &error))?;
        let mut script = format!(
            "#!/bin/sh\ncd {} || exit 127\n",
            quoted(&directory.to_string_lossy())
        );
        for name in ["PATH", "HOME", "TMPDIR", "RUST_LOG"] {
            if let Ok(value) = std::env::var(name) {
                script.push_str(&format!("export {name}={}\n", quoted(&value)));
            }
        }
        let output = quoted(&self.output(id).to_string_lossy());
        // A shell of its own takes it as it stands, whatever that is; where it is one command, the
        // shell becomes that.
        let command = quoted(command);
        script.push_str(&format!("exec >{output} 2>&1\nexec /bin/sh -c {command}\n"));
        fs::write(&file, script).map_err(|error| broken(&file, &error))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700))
            .map_err(|error| broken(&file, &error))
    }

    pub(super) fn plugins(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    pub(super) fn configs(&self) -> PathBuf {
        self.home.path().join("conf.d")
    }

    fn outputs(&self) -> PathBuf {
        self.home.path().join("output")
    }

    fn output(&self, id: &PluginId) -> PathBuf {
        self.outputs().join(id.to_string())
    }

    /// Starts those that connect by themselves.
    pub(super) fn start_beside(&mut self, socket: &Path) -> Result<(), SimError> {
        for (id, command) in std::mem::take(&mut self.beside) {
            let path = self.output(&id);
            let output = File::create(&path).map_err(|error| broken(&path, &error))?;
            let errors = output.try_clone().map_err(|error| broken(&path, &error))?;
            let command = command.replace(SOCKET, &quoted(&socket.to_string_lossy()));
            let mut shell = std::process::Command::new("/bin/sh");
            // With whatever else it starts it is ended as one.
            shell.arg("-c").arg(command).process_group(0);
            let child = Command::from(shell)
                .stdin(std::process::Stdio::null())
                .stdout(output)
                .stderr(errors)
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| broken(Path::new("/bin/sh"), &error))?;
            let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            self.children.push((child, group));
        }
        Ok(())
    }

    /// What a plugin that was started here has printed so far; `None` if it was not.
    pub(super) fn printed(&self, id: &PluginId) -> Option<String> {
        let bytes = fs::read(self.output(id)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of what a plugin has printed, for an error.
    pub(super) fn tail(&self, id: &PluginId) -> String {
        match self.printed(id) {
            None => "it is not started here".to_owned(),
            Some(text) if text.trim().is_empty() => "it printed nothing".to_owned(),
            Some(text) => {
                let start = text.len().saturating_sub(SHOWN);
                let start = (start..text.len())
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0);
                format!("it printed: {}", text[start..].trim())
            }
        }
    }

    /// Waits until a plugin has printed a line with a text in it.
    pub(super) async fn prints(
        &self,
        id: &PluginId,
        text: &str,
        within: Duration,
    ) -> Result<(), String> {
        let looking = async {
            loop {
                match self.printed(id) {
                    Some(printed) if printed.lines().any(|line| line.contains(text)) => {
                        return Ok(());
                    }
                    Some(_) => tokio::time::sleep(LOOK).await,
                    None => {
                        return Err(format!(
                            "plugin {id} is not started by nri-sim, so what it prints is not known: start it with --plugin '{id}=COMMAND'"
                        ));
                    }
                }
            }
        };
        match tokio::time::timeout(within, looking).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "plugin {id} printed no line with {text:?} in it within {within:?}; {}",
                self.tail(id)
            )),
        }
    }

    /// Waits for the end of those that connected by themselves; kills what does not end.
    pub(super) async fn finish(&mut self) {
        for (child, group) in &mut self.children {
            // Whether it has ended in time or not, none of its group is to stay.
            let ended = tokio::time::timeout(END_TIME, child.wait()).await.is_ok();
            kill(group.take());
            if !ended {
                // It fails if the process has just ended.
                let _ = child.kill().await;
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for (_, group) in &mut self.children {
            kill(group.take());
        }
    }
}

/// Ends all processes of a group.
fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It fails if there is none left, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn broken(path: &Path, error: &std::io::Error) -> SimError {
    SimError::Setup {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
