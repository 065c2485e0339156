//! The measured programs: how they are built and started, and how a runtime is told what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nri_dev::process::{self, ChildProcess};
use nri_dev::wait::within;
use nri_dev::workspace;
use serde_json::Value;
use tempfile::TempDir;

use super::rows::{End, Load, Row};

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a plugin takes of which nobody wants to wait.
const SLOW: Duration = Duration::from_millis(100);
/// How many annotations each plugin adds.
const ITEMS: usize = 2;

/// Programs that are built.
pub(super) struct Programs {
    ours: PathBuf,
    go: Option<PathBuf>,
    hub: Option<PathBuf>,
    request: PathBuf,
    directory: TempDir,
}

/// Builds the programs; the reference's and the hub only if they are wanted.
///
/// # Errors
/// One does not build, or Go is missing.
pub(super) fn build(with_go: bool, with_hub: bool) -> Result<Programs, String> {
    let mut programs = build_ours(&["--release", "--package", "nri-testkit"])?;
    let directory = programs.directory.path();
    programs.go = with_go.then(|| build_go(directory)).transpose()?;
    programs.hub = with_hub.then(build_hub).transpose()?;
    Ok(programs)
}

/// Ours alone, as tests have it: most of it has been built for them.
///
/// # Errors
/// It does not build.
pub(super) fn build_for_tests() -> Result<Programs, String> {
    build_ours(&["--workspace", "--all-features"])
}

fn build_ours(how: &[&str]) -> Result<Programs, String> {
    let directory =
        TempDir::with_prefix("nri-pair-").map_err(|e| format!("a temporary directory: {e}"))?;
    let built = process::build(&[how, &["--bench", "pair"]].concat())?;
    Ok(Programs {
        ours: built.get("pair").ok_or("`pair` was not built")?.clone(),
        go: None,
        hub: None,
        request: workspace::root().join("nri-core/testdata/realistic-create-request.b64"),
        directory,
    })
}

fn build_hub() -> Result<PathBuf, String> {
    let hub = ["--package", "nri-hub", "--features", "cli"];
    let built = process::build(&[&["--release", "--bin", "nri-hub"], &hub[..]].concat())?;
    Ok(built
        .get("nri-hub")
        .ok_or("`nri-hub` was not built")?
        .clone())
}

fn build_go(directory: &Path) -> Result<PathBuf, String> {
    let program = directory.join("gopair");
    let mut go = Command::new("go");
    go.current_dir(workspace::root().join("nri-testkit/interop"));
    go.args(["build", "-buildvcs=false", "-tags", "nri_no_wasm", "-o"]);
    process::run(go.arg(&program).arg("./cmd/gopair"))
        .map_err(|e| format!("the reference is built with Go 1.24 or later: {e}"))?;
    Ok(program)
}

/// Who runs a program: it itself, or another program that looks on.
pub(super) type Under<'a> = &'a [&'a str];

impl Programs {
    /// A program of ours or of the reference's at a socket, perhaps below another one.
    fn command(
        &self,
        end: End,
        role: &str,
        socket: &Path,
        under: Under<'_>,
    ) -> Result<Command, String> {
        let program = match end {
            End::Go => self.go.as_ref().ok_or("the reference is not built")?,
            End::Ours | End::OursCurrent | End::OursUndecoded | End::Bare => &self.ours,
        };
        let role = match end {
            End::Bare => format!("bare-{role}"),
            _ => role.to_owned(),
        };
        let mut command = match under {
            [] => Command::new(program),
            [first, more @ ..] => {
                let mut command = Command::new(first);
                command.args(more).arg(program);
                command
            }
        };
        command.arg(role).arg("--socket").arg(socket);
        // The reference logs what it does.
        command.stderr(Stdio::null());
        Ok(command)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("nri.sock")
    }

    /// A file in the directory of all that is measured.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Median and 99th percentile of the floor, in nanoseconds.
    pub(super) fn floor(&self, calls: usize) -> Result<[f64; 2], String> {
        self.clear()?;
        let mut ask = self.command(End::Ours, "floor", &self.socket(), &[])?;
        let ask = ChildProcess::start(ask.arg("--calls").arg(calls.to_string()))?;
        answer(&ask)?;
        let _answers =
            ChildProcess::start(&mut self.command(End::Ours, "floor", &self.socket(), &[])?)?;
        let times = answer(&ask)?;
        Ok(["p50", "p99"].map(|name| number(&times, name)))
    }

    /// A runtime with its plugins, all of them synchronised.
    pub(super) fn start(&self, row: &Row, under: [Under<'_>; 2]) -> Result<Pair, String> {
        self.clear()?;
        let mut runtime = self.command(row.ends.runtime, "runtime", &self.socket(), under[0])?;
        runtime.arg("--request").arg(&self.request);
        let plugins = match row.load {
            Load::Calls { plugins, in_flight } => {
                if in_flight != 1 {
                    runtime.arg("--in-flight").arg(in_flight.to_string());
                }
                plugins
            }
            Load::AtOnce { .. } => 1,
            Load::Synchronise { containers } => {
                runtime.arg("--containers").arg(containers.to_string());
                1
            }
        };
        if row.ends.runtime == End::OursCurrent {
            runtime.arg("--current-thread");
        }
        let runtime = ChildProcess::start(&mut runtime)?;
        answer(&runtime)?;
        let mut pair = Pair {
            runtime,
            hub: None,
            plugins: Vec::new(),
            synchronised: Vec::new(),
        };
        let mut socket = self.socket();
        if row.ends.hub {
            pair.hub = Some(self.start_hub(row)?);
            pair.ask(r#"{"cmd":"wait","plugins":1}"#)?;
            socket = self.file(HUB_SOCKET);
            until_there(&socket)?;
        }
        for number in 0..plugins {
            let mut plugin = self.command(row.ends.plugin, "plugin", &socket, under[1])?;
            if let Load::AtOnce { .. } = row.load {
                plugin.arg("--delay").arg(SLOW.as_millis().to_string());
            }
            if row.ends.plugin == End::OursUndecoded {
                plugin.arg("--undecoded");
            }
            plugin.arg("--index").arg(format!("{}", 10 + number));
            plugin.arg("--items").arg(ITEMS.to_string());
            pair.plugins.push(ChildProcess::start(&mut plugin)?);
        }
        if pair.hub.is_none() {
            pair.ask(&format!(r#"{{"cmd":"wait","plugins":{plugins}}}"#))?;
        }
        for plugin in &pair.plugins {
            pair.synchronised.push(number(&answer(plugin)?, "ns"));
        }
        Ok(pair)
    }

    /// A hub at the runtime.
    fn start_hub(&self, row: &Row) -> Result<ChildProcess, String> {
        let program = self.hub.as_ref().ok_or("the hub is not built")?;
        let observe = matches!(row.load, Load::AtOnce { .. });
        let config = format!(
            "socket_path = {:?}\nplugin_path = ''\nplugin_request_timeout = '20s'\n\
             [plugins.pair]\nobserve = {observe}\n\
             [hub]\nruntime_socket = {:?}\ncontrol_socket = {:?}\n\
             events = ['RunPodSandbox', 'StopPodSandbox', 'RemovePodSandbox', 'CreateContainer', 'StopContainer', 'RemoveContainer']\n",
            self.file(HUB_SOCKET),
            self.socket(),
            self.file("control.sock"),
        );
        let file = self.file("hub.toml");
        std::fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut hub = Command::new(program);
        hub.arg("--config")
            .arg(&file)
            .arg("--log-level")
            .arg("error");
        ChildProcess::start(hub.stderr(Stdio::null()))
    }

    /// The sockets of those that are gone.
    fn clear(&self) -> Result<(), String> {
        for socket in [self.socket(), self.file(HUB_SOCKET)] {
            match std::fs::remove_file(socket) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.to_string()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where plugins of a hub connect.
const HUB_SOCKET: &str = "hub.sock";

/// Waits until a socket is there.
fn until_there(socket: &Path) -> Result<(), String> {
    let what = format!("{} comes to be", socket.display());
    within(PATIENCE, &what, || Ok(socket.exists()))
}

/// A runtime with its plugins.
pub(super) struct Pair {
    runtime: ChildProcess,
    hub: Option<ChildProcess>,
    plugins: Vec<ChildProcess>,
    /// How long each plugin's synchronisation took, in nanoseconds.
    pub(super) synchronised: Vec<f64>,
}

impl Pair {
    fn ask(&mut self, command: &str) -> Result<Value, String> {
        self.runtime.say(command)?;
        answer(&self.runtime)
    }

    /// Has the runtime make calls, and returns what it says of them.
    pub(super) fn calls(
        &mut self,
        what: &str,
        callers: usize,
        calls: usize,
    ) -> Result<Value, String> {
        self.ask(&format!(
            r#"{{"cmd":"measure","what":"{what}","callers":{callers},"calls":{calls}}}"#
        ))
    }

    /// The most memory that was resident, in MiB: the runtime's, and the largest of the plugins'.
    pub(super) fn peaks(&self) -> Result<[f64; 2], String> {
        let runtime = peak(self.runtime.pid())?;
        let mut plugins = 0.0_f64;
        for plugin in &self.plugins {
            plugins = plugins.max(peak(plugin.pid())?);
        }
        Ok([runtime, plugins])
    }

    /// Ends the runtime, and waits until all have ended.
    pub(super) fn finish(mut self) -> Result<(), String> {
        self.runtime.end_input();
        // It would wait for another runtime.
        drop(self.hub.take());
        for process in self.plugins.into_iter().chain([self.runtime]) {
            process.finish(PATIENCE)?;
        }
        Ok(())
    }
}

fn peak(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0)
        .ok_or_else(|| format!("{path} does not say VmHWM"))
}

fn answer(process: &ChildProcess) -> Result<Value, String> {
    let line = process.line(PATIENCE)?;
    let line = line.ok_or("a measured program has ended")?;
    serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}"))
}

pub(super) fn number(answer: &Value, name: &str) -> f64 {
    answer[name].as_f64().unwrap_or(f64::NAN)
}
