//! The simulated runtime: NRI, its domain, and which command does what.

mod containers;
mod inner;
mod order;
mod pods;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nri_adaptation::{Config, Ctx, Nri, PluginInfo, PluginKind, RuntimeApi};
use nri_core::{Event, NRI_VERSION, PluginId, RegisteredPlugin, api};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::sim::command::Command;
use crate::sim::domain::SimDomain;
use crate::sim::error::SimError;
use crate::sim::reply::{OutcomeReply, PluginReply, PodState, Reply, State, Version};
use crate::sim::watch::{Call, Watch};
use inner::{Done, Inner};
use order::Order;

/// The name under which plugins know the simulated runtime.
pub(super) const NAME: &str = "nri-sim";
/// A container runtime without containers: what it is told happens to pods and containers in its
/// domain, and plugins see it.
///
/// ```
/// use nri_testkit::sim::{Command, Reply, Simulator};
/// use nri_adaptation::Config;
/// use nri_core::api::PodSandbox;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let mut config = Config::default();
/// config.disable_connections = true;
/// let sim = Simulator::new(config)?;
/// sim.start().await?;
/// let pod = PodSandbox { id: "p1".into(), ..Default::default() };
/// sim.execute(Command::RunPod { pod }).await?;
/// let Reply::State(state) = sim.execute(Command::State).await? else { panic!() };
/// assert!(state.pods[0].ready);
/// sim.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
    beside: JoinHandle<()>,
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.beside.abort();
    }
}

impl Simulator {
    /// A runtime with this configuration that is not started yet. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// The configuration has an impossible value.
    pub fn new(config: Config) -> Result<Self, SimError> {
        Self::build(config, false)
    }

    /// The same, whose pods and containers may run again after a stop, as in Docker: `run-pod` of a
    /// pod that is stopped, and `start-container` of a container that has ended.
    ///
    /// # Errors
    /// The configuration has an impossible value.
    pub fn restartable(config: Config) -> Result<Self, SimError> {
        Self::build(config, true)
    }

    pub(in crate::sim) fn build(config: Config, restartable: bool) -> Result<Self, SimError> {
        let (evicted, ended) = mpsc::unbounded_channel();
        let domain = Arc::new(SimDomain::new(evicted, restartable));
        let watch = Arc::new(Watch::new());
        let nri = Nri::builder(config)
            .runtime(NAME, env!("CARGO_PKG_VERSION"))
            .domain(Arc::clone(&domain) as _)
            .observer(Arc::clone(&watch) as _)
            .build()
            .map_err(|error| SimError::Configuration(error.to_string()))?;
        let inner = Arc::new(Inner {
            nri,
            domain,
            watch,
            pending: Mutex::default(),
            order: Order::default(),
        });
        let beside = tokio::spawn(beside(Arc::clone(&inner), ended));
        Ok(Self { inner, beside })
    }

    /// Launches plugins and opens the socket.
    ///
    /// # Errors
    /// Why that is not possible.
    pub async fn start(&self) -> Result<(), SimError> {
        Ok(self.inner.nri.start().await?)
    }

    /// Sends `Shutdown` to the plugins and closes the socket. May be repeated.
    pub async fn stop(&self) {
        self.inner.commit_all();
        self.inner.nri.stop().await;
    }

    /// Where plugins connect; `None` if they cannot.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.inner.socket()
    }

    /// The plugins that are connected, in the order in which they are called.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginReply> {
        self.inner.plugins()
    }

    /// Waits for plugins until they know what exists; returns those that do not in time.
    pub(in crate::sim) async fn missing(
        &self,
        ids: &[PluginId],
        within: Duration,
    ) -> Vec<PluginId> {
        let mut ready = self.inner.watch.ready();
        let is_there = |ready: &BTreeSet<RegisteredPlugin>, id: &PluginId| {
            ready.iter().any(|plugin| plugin.id == *id)
        };
        let all = ready.wait_for(|ready| ids.iter().all(|id| is_there(ready, id)));
        // Whether it is in time shows in who is there.
        let _ = tokio::time::timeout(within, all).await.is_ok();
        let ready = self.inner.watch.ready();
        let there = ready.borrow();
        ids.iter()
            .filter(|id| !is_there(&there, id))
            .cloned()
            .collect()
    }

    /// Does what a command says. Dropping the future is what it is in [`RuntimeApi`].
    ///
    /// # Errors
    /// Why it is not done, or what went wrong with it.
    pub async fn execute(&self, command: Command) -> Result<Reply, SimError> {
        self.inner.execute(command).await
    }
}

/// What happens beside the commands: an evicted container ends, as its process would, and a plugin
/// that connects is to see what was created so far.
async fn beside(inner: Arc<Inner>, mut ended: mpsc::UnboundedReceiver<api::Container>) {
    let mut connected = inner.watch.connected();
    loop {
        tokio::select! {
            container = ended.recv() => {
                let Some(container) = container else { return };
                inner.commit(&container.id);
                let pod = inner.pod_of(&container);
                inner.nri.notify_container_exit(&pod, &container);
            }
            changed = connected.changed() => {
                if changed.is_err() {
                    return;
                }
                inner.commit_all();
            }
        }
    }
}

impl Inner {
    /// Does what a command says, and adds what plugins did about it where the result does not say
    /// that itself.
    async fn execute(&self, command: Command) -> Done {
        let Some((event, id)) = command.event().zip(command.about().map(str::to_owned)) else {
            return self.perform(command, &Ctx::new()).await;
        };
        let recording = self.watch.record();
        let cx = Ctx::new().with_tag(recording.tag());
        let result = self.perform(command, &cx).await;
        let calls = recording.calls();
        match result {
            Ok(Reply::Done {}) => Ok(Reply::Told {
                outcomes: self.outcomes(&calls, event, &id),
            }),
            Ok(mut reply) => {
                if let Some(outcomes) = reply.own_outcomes() {
                    self.complete(outcomes, &calls, event);
                }
                Ok(reply)
            }
            Err(error) => Err(error.with_outcomes(self.outcomes(&calls, event, &id))),
        }
    }

    async fn perform(&self, command: Command, cx: &Ctx) -> Done {
        match command {
            Command::Version => Ok(self.version()),
            Command::AddPod { pod } => self.add_pod(pod).await,
            Command::AddContainer { container } => self.add_container(container).await,
            Command::WaitPlugins { count, timeout } => self.wait_plugins(count, timeout).await,
            Command::Plugins => Ok(Reply::Plugins {
                plugins: self.plugins(),
            }),
            Command::RunPod { pod } => self.run_pod(cx, pod).await,
            Command::UpdatePod {
                pod_id,
                overhead,
                resources,
            } => self.update_pod(cx, &pod_id, overhead, resources).await,
            Command::PostUpdatePod { pod_id } => {
                let _turn = self.order.shared(&pod_id, None).await;
                let pod = self.pod(&pod_id).await?;
                self.nri.post_update_pod_sandbox(cx, &pod).await?;
                Ok(Reply::Done {})
            }
            Command::StopPod { pod_id } => self.stop_pod(cx, &pod_id).await,
            Command::RemovePod { pod_id } => self.remove_pod(cx, &pod_id).await,
            Command::CreateContainer { container } => self.create_container(cx, container).await,
            Command::AbortContainer { container_id } => {
                self.abort_container(cx, &container_id).await
            }
            Command::PostCreateContainer { container_id } => {
                let (_turn, pod, container) = self.used(&container_id).await?;
                self.nri.post_create_container(cx, &pod, &container).await?;
                Ok(Reply::Done {})
            }
            Command::StartContainer {
                container_id,
                start,
            } => self.start_container(cx, &container_id, start).await,
            Command::PostStartContainer { container_id } => {
                let (_turn, pod, container) = self.used(&container_id).await?;
                self.nri.post_start_container(cx, &pod, &container).await?;
                Ok(Reply::Done {})
            }
            Command::UpdateContainer {
                container_id,
                resources,
            } => self.update_container(cx, &container_id, resources).await,
            Command::PostUpdateContainer { container_id } => {
                let (_turn, pod, container) = self.used(&container_id).await?;
                self.nri.post_update_container(cx, &pod, &container).await?;
                Ok(Reply::Done {})
            }
            Command::StopContainer { container_id, end } => {
                self.stop_container(cx, &container_id, end).await
            }
            Command::ContainerExit { container_id, end } => {
                self.container_exit(cx, &container_id, end).await
            }
            Command::RemoveContainer { container_id } => {
                self.remove_container(cx, &container_id).await
            }
            Command::Fail {
                container_id,
                what,
                reason,
            } => {
                self.container(&container_id).await?;
                self.domain.fail_next(&container_id, what, reason);
                Ok(Reply::Done {})
            }
            Command::State => Ok(self.state().await),
            Command::Quit => Err(SimError::NotHere("quit")),
        }
    }

    /// What plugins did in the calls of a command. `event` is what it is about; what it implies is
    /// among the calls.
    fn outcomes(&self, calls: &[Call], event: Event, about: &str) -> Vec<OutcomeReply> {
        let asked = |info: &PluginInfo| {
            let own = |call: &&Call| call.event == event && call.plugin.id == info.plugin.id;
            calls.iter().any(|call| own(&call))
        };
        let others = self.nri.plugins().into_iter();
        let others = others.filter(|info| !asked(info)).filter_map(|info| {
            let reply = OutcomeReply::not_asked(&info, event)?;
            Some((info.plugin, reply))
        });
        let mut outcomes: Vec<_> = others.collect();
        let told = calls.iter().map(|call| {
            let reply = call.reply(event, about);
            (call.plugin.clone(), reply)
        });
        outcomes.extend(told);
        // Those of one plugin stay in their order.
        outcomes.sort_by(|(a, _), (b, _)| a.cmp(b));
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Adds to the outcomes that a result has itself what it does not say: how long each plugin
    /// took, and those that were launched and are not there.
    fn complete(&self, outcomes: &mut Vec<OutcomeReply>, calls: &[Call], event: Event) {
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.ms.is_none()) {
            let of = outcome.event.unwrap_or(event.name());
            let same =
                |call: &&Call| call.plugin.to_string() == outcome.plugin && call.event.name() == of;
            let call = calls.iter().find(same);
            outcome.ms = call.and_then(|call| call.reply(event, "").ms);
        }
        for info in self.nri.plugins() {
            let name = info.plugin.to_string();
            let down =
                OutcomeReply::not_asked(&info, event).filter(|reply| reply.outcome == "down");
            let Some(down) = down else { continue };
            if outcomes.iter().all(|outcome| outcome.plugin != name) {
                let after = |other: &OutcomeReply| other.event.is_some() || other.plugin > name;
                let at = outcomes.iter().position(after).unwrap_or(outcomes.len());
                outcomes.insert(at, down);
            }
        }
    }

    fn socket(&self) -> Option<PathBuf> {
        let config = self.nri.config();
        (!config.disable && !config.disable_connections).then(|| config.socket_path.clone())
    }

    fn version(&self) -> Reply {
        Reply::Version(Version {
            name: NAME,
            version: env!("CARGO_PKG_VERSION"),
            nri_version: NRI_VERSION,
            socket: self.socket().map(|socket| socket.display().to_string()),
            enabled: self.nri.is_enabled(),
        })
    }

    fn plugins(&self) -> Vec<PluginReply> {
        self.nri.plugins().into_iter().map(Into::into).collect()
    }

    async fn wait_plugins(&self, count: usize, after: Duration) -> Done {
        // Whoever waits for plugins does not undo what it has created: they are to be shown that.
        self.commit_all();
        let mut ready = self.watch.ready();
        let came = ready.wait_for(|ready| ready.len() >= count);
        if tokio::time::timeout(after, came).await.is_ok() {
            return Ok(Reply::Plugins {
                plugins: self.plugins(),
            });
        }
        let there = self.watch.ready().borrow().len();
        let infos: Vec<PluginInfo> = self.nri.plugins();
        let list: Vec<String> = infos
            .into_iter()
            .filter(|info| info.kind != PluginKind::BuiltIn)
            .map(PluginReply::from)
            .map(|plugin| format!("{} ({})", plugin.plugin, plugin.state))
            .collect();
        Err(SimError::TooFewPlugins {
            there,
            wanted: count,
            after,
            list: match &list[..] {
                [] => String::new(),
                list => format!(": {}", list.join(", ")),
            },
            socket: self.socket().map_or(
                "nothing, since connections are disabled".to_owned(),
                |socket| socket.display().to_string(),
            ),
            hint: "the log on stderr says what became of those that tried (--log debug says more)",
        })
    }

    async fn state(&self) -> Reply {
        let done = self.watch.done();
        let pods = self.domain.pods().await.into_iter();
        Reply::State(State {
            pods: pods.map(|(pod, ready)| PodState { ready, pod }).collect(),
            containers: self.domain.containers().await,
            updates: done.updates.into(),
            evictions: done.evictions.into(),
            refused: done.refused.into(),
            forgotten: (done.forgotten > 0).then_some(done.forgotten),
        })
    }
}
