//! What the parts of a running hub share, and the hub's status, which is all of it in one value.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nri_adaptation::{Nri, PluginId, PluginInfo, PluginState};
use nri_plugin::State;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::{HubConfig, HubConfigError, HubSettings};
use crate::metrics::{Hubs, Metrics};
use crate::mirror::Mirror;
use crate::records::{Records, now_ms};
use crate::status::{ConfigStatus, PluginStatus, RuntimeStatus, Status};

/// What the parts of a running hub share.
pub(crate) struct Shared {
    /// Who the hub is to the runtime above.
    identity: PluginId,
    pub(crate) nri: Nri,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) records: Arc<Records>,
    pub(crate) above: watch::Receiver<State>,
    /// Whether plugins can connect.
    pub(crate) is_open: watch::Sender<bool>,
    pub(crate) connections: AtomicU64,
    pub(crate) since: Instant,
    pub(crate) file: Option<PathBuf>,
    /// Who wants to take the hub's place.
    pub(crate) successors: mpsc::Sender<UnixStream>,
    metrics: Arc<Metrics>,
    config: Mutex<InForce>,
    aside: Option<Handle>,
}

struct InForce {
    config: HubConfig,
    loaded_at_ms: u64,
    error: Option<String>,
    needs_restart: Vec<String>,
}

impl Shared {
    pub(crate) fn new(
        (config, file): (HubConfig, Option<PathBuf>),
        identity: PluginId,
        nri: Nri,
        (mirror, records, metrics): (Arc<Mirror>, Arc<Records>, Arc<Metrics>),
        above: watch::Receiver<State>,
        successors: mpsc::Sender<UnixStream>,
        aside: Option<Handle>,
    ) -> Self {
        Self {
            identity,
            nri,
            mirror,
            records,
            above,
            is_open: watch::Sender::new(false),
            connections: AtomicU64::new(0),
            since: Instant::now(),
            file,
            successors,
            metrics,
            config: Mutex::new(InForce {
                config,
                loaded_at_ms: now_ms(),
                error: None,
                needs_restart: Vec::new(),
            }),
            aside,
        }
    }

    /// Does something for which no request waits.
    pub(crate) fn aside<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.aside {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        }
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> HubSettings {
        self.in_force().config.hub.clone()
    }

    /// Where plugins connect, if they may.
    pub(crate) fn plugins_socket(&self) -> Option<PathBuf> {
        let nri = &self.in_force().config.nri;
        let is_closed = nri.disable || nri.disable_connections;
        (!is_closed).then(|| nri.socket_path.clone())
    }

    /// Reads the configuration again, and puts it in force. A mistake leaves the one before in
    /// force, and is told in the status.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<(), HubConfigError> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let (shared, path) = (Arc::clone(self), file.clone());
        let reloading = self.aside(async move { shared.put_in_force(&path).await });
        let result = reloading.await.unwrap_or_else(|error| {
            Err(HubConfigError::File {
                path: file.clone(),
                reason: error.to_string(),
            })
        });
        let mut in_force = self.in_force();
        match &result {
            Ok(()) => tracing::info!(file = %file.display(), "the configuration is in force"),
            Err(error) => {
                tracing::error!(%error, "the configuration is not in force: the one before is");
            }
        }
        in_force.error = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn put_in_force(&self, file: &Path) -> Result<(), HubConfigError> {
        let config = HubConfig::read(file)?;
        let reconfigured = self.nri.reconfigure(config.nri.clone());
        reconfigured.await.map_err(|error| HubConfigError::File {
            path: file.to_owned(),
            reason: error.to_string(),
        })?;
        let mut in_force = self.in_force();
        in_force.needs_restart = takes_restart(&in_force.config.hub, &config.hub);
        for key in &in_force.needs_restart {
            tracing::warn!(key, "has changed, which takes a restart of the hub");
        }
        // What takes a restart is what it was.
        in_force.config.nri = config.nri;
        in_force.config.hub.policy_file = config.hub.policy_file;
        in_force.loaded_at_ms = now_ms();
        Ok(())
    }

    /// Why the hub is not ready; empty if it is.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let mut why = Vec::new();
        if !matches!(*self.above.borrow(), State::Ready(_)) {
            why.push("no runtime is connected above".to_owned());
        }
        if !*self.is_open.borrow() {
            why.push("plugins cannot connect yet".to_owned());
        }
        let missing = self.nri.readiness().missing.into_iter();
        why.extend(missing.map(|plugin| format!("the required plugin {plugin} is missing")));
        why
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn metrics_text(&self) -> String {
        let (pods, containers) = self.mirror.counts();
        let (requests, failed) = self.records.counts();
        self.metrics.text(&Hubs {
            is_ready: self.not_ready().is_empty(),
            is_connected: matches!(*self.above.borrow(), State::Ready(_)),
            connections: self.connections.load(Ordering::Relaxed),
            is_config_valid: self.in_force().error.is_none(),
            pods,
            containers,
            requests,
            failed,
        })
    }

    pub(crate) fn status(&self) -> Status {
        let (pods, containers) = self.mirror.counts();
        let (requests, failed) = self.records.counts();
        let plugins = self.nri.plugins();
        let in_force = self.in_force();
        let settings = &in_force.config.hub;
        let file = self.file.as_ref();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            identity: self.identity.to_string(),
            uptime_s: self.since.elapsed().as_secs(),
            not_ready: self.not_ready(),
            runtime: self.runtime(&settings.runtime_socket),
            config: ConfigStatus {
                file: file.map_or_else(String::new, |file| file.display().to_string()),
                loaded_at_ms: in_force.loaded_at_ms,
                error: in_force.error.clone(),
                needs_restart: in_force.needs_restart.clone(),
            },
            socket: in_force.config.nri.socket_path.display().to_string(),
            pods,
            containers,
            requests,
            failed,
            plugins: plugins.iter().map(|info| self.plugin(info)).collect(),
            last_requests: self.records.requests(),
            audit: self.records.audit(),
        }
    }

    fn runtime(&self, socket: &Path) -> RuntimeStatus {
        let mut status = RuntimeStatus {
            socket: socket.display().to_string(),
            connections: self.connections.load(Ordering::Relaxed),
            ..RuntimeStatus::default()
        };
        let above = self.above.borrow().clone();
        let (state, registration) = match above {
            State::Idle | State::Connecting => ("connecting", None),
            State::Configured(registration) => ("configured", Some(registration)),
            State::Ready(registration) => ("ready", Some(registration)),
            State::Waiting { reason, .. } => {
                status.reason = reason;
                ("waiting", None)
            }
            _ => ("ended", None),
        };
        status.state = state.to_owned();
        if let Some(registration) = registration {
            let runtime = registration.runtime;
            status.name = runtime.name;
            status.version = runtime.version;
            status.nri_version = runtime.nri_version;
            status.request_timeout_ms = millis(registration.request_timeout);
            let events = registration.events.iter();
            status.events = events.map(|event| event.name().to_owned()).collect();
        }
        status
    }

    fn plugin(&self, info: &PluginInfo) -> PluginStatus {
        let plugin = info.id().to_string();
        let calls = &info.calls;
        PluginStatus {
            kind: info.kind.to_string(),
            state: state(info.state).to_owned(),
            pid: info.pid,
            uid: info.uid,
            nri_version: info.nri_version.clone(),
            events: info
                .events
                .iter()
                .map(|event| event.name().to_owned())
                .collect(),
            in_flight: calls.in_flight,
            calls: calls.calls,
            failures: calls.failures,
            timeouts: calls.timeouts,
            strikes: calls.timeouts_in_a_row,
            skipped: calls.skipped,
            observes: info.observes,
            queued: info.queued,
            missed: calls.missed,
            restarts: info.restarts,
            latency: self.records.percentiles(info.id()),
            max_us: u64::try_from(calls.latency.max.as_micros()).unwrap_or(u64::MAX),
            last_error: info.last_error.clone(),
            plugin,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Synchronizing => "synchronizing",
        PluginState::Ready => "ready",
        PluginState::Late => "late",
        PluginState::Closed => "closed",
        PluginState::Starting => "starting",
        PluginState::Restarting => "restarting",
        PluginState::Failed => "failed",
        _ => "unknown",
    }
}

/// What of the hub's settings has changed. All of it is used at the start.
fn takes_restart(now: &HubSettings, new: &HubSettings) -> Vec<String> {
    let changed = [
        ("hub.identity", now.identity != new.identity),
        (
            "hub.runtime_socket",
            now.runtime_socket != new.runtime_socket,
        ),
        ("hub.events", now.events != new.events),
        ("hub.narrow", now.narrow != new.narrow),
        ("hub.fail_request", now.fail_request != new.fail_request),
        ("hub.margin", now.margin != new.margin),
        ("hub.busy_poll", now.busy_poll != new.busy_poll),
        (
            "hub.control_socket",
            now.control_socket != new.control_socket,
        ),
        ("hub.http", now.http != new.http),
        ("hub.http_public", now.http_public != new.http_public),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key.to_owned()).collect()
}
