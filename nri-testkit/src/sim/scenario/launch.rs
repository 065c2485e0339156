//! The plugins of a scenario: started by the runtime, started beside it, or started by someone
//! else.
//!
//! What a plugin that is started here prints goes into a pipe; see [`output`](super::output).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nri_core::PluginId;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::file::PluginEntry;
use super::identity::plugin_id;
use super::output::Output;
use crate::sim::error::SimError;

/// How long a plugin may take to end when the runtime is gone.
const END_TIME: Duration = Duration::from_secs(2);
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
    /// What those print that are started here.
    outputs: BTreeMap<PluginId, Output>,
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
            outputs: BTreeMap::new(),
            beside: Vec::new(),
            children: Vec::new(),
        };
        let printed = started.home.path().join("output");
        for directory in [&started.plugins(), &started.configs(), &printed] {
            fs::create_dir(directory).map_err(|error| broken(directory, &error))?;
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
            if command.is_some() {
                let directory = printed.join(id.to_string());
                let output =
                    Output::open(&directory).map_err(|error| broken(&directory, &error))?;
                started.outputs.insert(id.clone(), output);
            }
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
        if let Some(output) = self.outputs.get(id) {
            let output = quoted(&output.pipe().to_string_lossy());
            script.push_str(&format!("exec >{output} 2>&1\n"));
        }
        // A shell of its own takes it as it stands, whatever that is; where it is one command, the
        // shell becomes that.
        let command = quoted(command);
        script.push_str(&format!("exec /bin/sh -c {command}\n"));
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

    /// Starts those that connect by themselves.
    pub(super) fn start_beside(&mut self, socket: &Path) -> Result<(), SimError> {
        for (id, command) in std::mem::take(&mut self.beside) {
            let Some(output) = self.outputs.get(&id) else {
                continue;
            };
            let path = output.pipe();
            let output = OpenOptions::new().write(true).open(path);
            let output = output.map_err(|error| broken(path, &error))?;
            let errors = output.try_clone().map_err(|error| broken(path, &error))?;
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
            let group = child.id().and_then(|id| Pid::from_raw(id as i32));
            self.children.push((child, group));
        }
        Ok(())
    }

    /// The end of what a plugin has printed, for an error.
    pub(super) async fn tail(&self, id: &PluginId) -> String {
        let Some(output) = self.outputs.get(id) else {
            return "it is not started here".to_owned();
        };
        match output.tail(SHOWN).await {
            Err(error) => format!("what it printed cannot be read: {error}"),
            // What was cut in the middle of a character is left out.
            Ok(bytes) => match String::from_utf8_lossy(&bytes)
                .trim_matches('\u{fffd}')
                .trim()
            {
                "" => "it printed nothing".to_owned(),
                text => format!("it printed: {text}"),
            },
        }
    }

    /// Waits until a plugin has printed a line with a text in it.
    pub(super) async fn prints(
        &self,
        id: &PluginId,
        text: &str,
        within: Duration,
    ) -> Result<(), String> {
        let Some(output) = self.outputs.get(id) else {
            return Err(format!(
                "plugin {id} is not started by nri-sim, so what it prints is not known: start it with --plugin '{id}=COMMAND'"
            ));
        };
        match tokio::time::timeout(within, output.prints(text)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("plugin {id}: {error}")),
            Err(_) => Err(format!(
                "plugin {id} printed no line with {text:?} in it within {within:?}; {}",
                self.tail(id).await
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

    /// Ends all plugins at once.
    pub(super) fn kill(&mut self) {
        for (_, group) in &mut self.children {
            kill(group.take());
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
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
