//! containerd, a hub at it, and plugins behind the hub, all of them processes of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use nri_dev::wait::within;
use nri_hub::Status;
use serde_json::{Value, json};

use super::pods::{Life, Pods};
use super::recorder::{Recorder, counted};
use super::{Cgroups, Containerd, Daemon};
use crate::go::Go;
use crate::plugin;
use crate::program::{Program, TEST_TIMEOUT};
use crate::scratch::{CaseDir, Scratch};

/// What the rows need.
#[derive(Clone, Copy)]
pub(crate) struct Needs<'a> {
    pub(crate) scratch: &'a Scratch,
    pub(crate) containerd: &'a Containerd,
    pub(crate) go: &'a Go,
    /// The program nri-hub.
    pub(crate) hub: &'a Path,
}

/// How long containerd waits for the hub, and the hub for plugins: long enough for a busy machine.
pub(super) const LONG: &str = "30s";

/// The plugins: an index, a name, the series of the Go release that it is built with (none: ours),
/// and the adjustment that it asks for.
pub(super) type Asking = (
    &'static str,
    &'static str,
    Option<&'static str>,
    fn(&CaseDir) -> Value,
);

/// Three of Go, of different releases, and one of ours.
pub(super) const PLUGINS: [Asking; 4] = [
    (
        "10",
        "variable",
        Some("v0.12"),
        |_| json!({"env": [{"key": "NRI_VARIABLE", "value": "of-10"}]}),
    ),
    ("20", "mount", Some("v0.9"), |place| {
        json!({"mounts": [{
            "destination": "/of-20", "type": "bind", "source": place.plugins().display().to_string(),
            "options": ["bind", "ro"],
        }]})
    }),
    (
        "30",
        "annotation",
        Some("v0.6"),
        |_| json!({"annotations": {"example.com/of": "30"}}),
    ),
    ("40", "ours", None, |_| {
        json!({
            "env": [{"key": "NRI_OURS", "value": "of-40"}],
            "linux": {"resources": {"memory": {"limit": {"value": "104857600"}}}},
        })
    }),
];

/// All of it, running.
pub(super) struct Stage<'a> {
    needs: Needs<'a>,
    pub(super) plugins: Vec<Recorder>,
    hub: Option<Program>,
    pub(super) pods: Pods,
    pub(super) daemon: Daemon,
    above: CaseDir,
    /// Where plugins connect.
    pub(super) below: CaseDir,
    _cgroups: Cgroups,
}

impl<'a> Stage<'a> {
    /// Starts containerd and a hub with these tables in its configuration, and the plugins that are
    /// `wanted`, and waits until they are shown what exists.
    pub(super) fn new(
        needs: Needs<'a>,
        request_timeout: &str,
        tables: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let (above, below) = (needs.scratch.case_dir()?, needs.scratch.case_dir()?);
        let daemon = needs
            .containerd
            .start(needs.scratch, &above, request_timeout)?;
        let cgroups = Cgroups::new("behind-a-hub");
        let directory = above.file("crictl");
        let driver = needs.containerd.crictl(&above, directory.clone(), &cgroups);
        let mut stage = Self {
            needs,
            plugins: Vec::new(),
            hub: None,
            pods: Pods::new(driver, directory)?,
            daemon,
            above,
            below,
            _cgroups: cgroups,
        };
        stage.configure(tables)?;
        stage.start_hub()?;
        for plugin in PLUGINS.iter().filter(|plugin| wanted(plugin.1)) {
            let plugin = stage.plugin(plugin, &[], true)?;
            stage.plugins.push(plugin);
        }
        stage.wait_for_synchronizations(1)?;
        Ok(stage)
    }

    /// Starts a plugin, with rules that come before what it usually answers.
    pub(super) fn plugin(
        &self,
        (index, name, series, adjustment): &Asking,
        first: &[Value],
        supervised: bool,
    ) -> Result<Recorder, String> {
        let kind = match series {
            Some(series) => {
                let mut releases = self.needs.go.releases.iter();
                let built = releases.find(|built| built.release.series == *series);
                plugin::Kind::Go(built.ok_or_else(|| format!("there is no Go {series}"))?)
            }
            None => plugin::Kind::Ours(self.needs.go.newest()?),
        };
        let usual = json!({
            "on": "CreateContainer", "keep": true, "answer": {"adjust": adjustment(&self.below)},
        });
        let rules: Vec<&Value> = first.iter().chain([&usual]).collect();
        let identity = [*index, *name];
        Recorder::start(
            self.needs.scratch,
            kind,
            &self.below,
            identity,
            &json!(rules),
            supervised,
        )
    }

    fn config(&self) -> PathBuf {
        self.below.file("hub.toml")
    }

    /// Writes the hub's configuration.
    pub(super) fn configure(&self, tables: &str) -> Result<(), String> {
        let (above, below) = (&self.above, &self.below);
        let text = format!(
            "socket_path = {:?}\nplugin_path = {:?}\nplugin_config_path = {:?}\nplugin_request_timeout = '{LONG}'\n\
             [hub]\nruntime_socket = {:?}\ncontrol_socket = {:?}\n{tables}\n",
            below.socket(),
            below.plugins(),
            below.plugin_configs(),
            above.socket(),
            self.control(),
        );
        let config = self.config();
        // At once: the hub may be reading it.
        let new = self.below.file("hub.toml.new");
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &config))
            .map_err(|e| format!("{}: {e}", config.display()))
    }

    fn control(&self) -> PathBuf {
        self.below.file("control.sock")
    }

    fn hub(&self, arguments: &[&str]) -> Result<Program, String> {
        let mut command = Command::new(self.needs.hub);
        command.arg("run").args(arguments);
        command.arg("--config").arg(self.config());
        Program::start(self.needs.scratch, "nri-hub", &mut command)
    }

    /// Starts the hub.
    pub(super) fn start_hub(&mut self) -> Result<(), String> {
        self.hub = Some(self.hub(&[])?);
        Ok(())
    }

    /// Kills the hub by SIGKILL.
    pub(super) fn kill_hub(&mut self) -> Result<(), String> {
        self.hub.take().ok_or("there is no hub")?.kill()
    }

    /// Starts another hub, which takes the place of this one, and waits until this one has ended.
    pub(super) fn replace_hub(&mut self) -> Result<(), String> {
        let next = self.hub(&["--take-over"])?;
        let old = self.hub.replace(next).ok_or("there is no hub")?;
        let (_, status) = old.finish()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the hub that was replaced ended with {status}")),
        }
    }

    /// Waits until the hub says something of itself.
    pub(super) fn wait_for_status(
        &mut self,
        what: &str,
        is_it: impl Fn(&Status) -> bool,
    ) -> Result<Status, String> {
        let mut said = Err("nothing".to_owned());
        within(TEST_TIMEOUT, what, || {
            let asked = self.pods.wait(nri_hub::ask_status(&self.control()));
            said = asked.map_err(|error| error.to_string());
            if let Some(hub) = &mut self.hub {
                hub.is_running()?;
            }
            Ok(said.as_ref().is_ok_and(&is_it))
        })
        .map_err(|error| format!("{error}; the hub says {said:?}"))?;
        said
    }

    /// Has the hub read its configuration again, and waits until that is in force.
    pub(super) fn reload(&mut self, tables: &str) -> Result<(), String> {
        let before = self.wait_for_status("an answer", |_| true)?;
        self.configure(tables)?;
        self.hub
            .as_ref()
            .ok_or("there is no hub")?
            .signal(rustix::process::Signal::HUP)?;
        let loaded = |status: &Status| status.config.loaded_at_ms > before.config.loaded_at_ms;
        self.wait_for_status("a reload", loaded).map(drop)
    }

    /// Starts containerd again, and waits until it serves.
    pub(super) fn start_containerd(&mut self) -> Result<(), String> {
        self.daemon.start()?;
        self.needs
            .containerd
            .wait_for(&mut self.daemon, &self.above)
    }

    /// Waits until each plugin was shown what exists so many times.
    pub(super) fn wait_for_synchronizations(&mut self, times: usize) -> Result<(), String> {
        let mut plugins = self.plugins.iter_mut();
        plugins.try_for_each(|plugin| plugin.wait_for_synchronization(times))
    }

    /// Waits until each plugin has heard of the end of a life, which is the last one: then they
    /// have heard of everything. Checks what they heard; how many events that were.
    pub(super) fn counted(&mut self, lives: &[Life]) -> Result<usize, String> {
        let last = lives.last().ok_or("there was no pod")?;
        let mut events = 0;
        for plugin in &mut self.plugins {
            plugin.wait_for_event("RemovePodSandbox", &last.pod)?;
            events += counted(&plugin.id, &plugin.heard, lives)?;
        }
        Ok(events)
    }
}
