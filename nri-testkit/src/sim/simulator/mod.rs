//! The simulated runtime: NRI, the books, and which command does what.

mod containers;
mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_adaptation::{Api, Config, Creation, Ctx, Nri, PluginInfo, PluginKind};
use nri_core::{Event, NRI_VERSION, PluginId, RegisteredPlugin, Subject, api};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::sim::books::Books;
use crate::sim::command::Command;
use crate::sim::error::SimError;
use crate::sim::reply::{OutcomeReply, PluginReply, PodState, Reply, State, Version};
use crate::sim::watch::Watch;

/// The name under which plugins know the simulated runtime.
pub(super) const NAME: &str = "nri-sim";
/// How many ids an error lists.
const LISTED: usize = 8;

/// A container runtime without containers: what it is told happens to pods and containers in its books, and plugins see it.
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

#[derive(Debug)]
struct Inner {
    nri: Nri,
    books: Arc<Books>,
    watch: Arc<Watch>,
    /// Creations that can still be undone, by container; `None` while plugins are asked.
    pending: Mutex<BTreeMap<String, Option<Creation>>>,
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
        let (evicted, ended) = mpsc::unbounded_channel();
        let books = Arc::new(Books::new(evicted));
        let watch = Arc::new(Watch::new());
        let nri = Nri::builder(config)
            .runtime(NAME, env!("CARGO_PKG_VERSION"))
            .domain(Arc::clone(&books) as _)
            .observer(Arc::clone(&watch) as _)
            .build()
            .map_err(|error| SimError::Configuration(error.to_string()))?;
        let inner = Arc::new(Inner {
            nri,
            books,
            watch,
            pending: Mutex::default(),
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

    /// Says good-bye to the plugins and closes the socket. May be repeated.
    pub async fn stop(&self) {
        self.inner.commit_all();
        self.inner.nri.stop().await;
    }

    /// Where plugins connect; `None` if they cannot.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.inner.socket()
    }

    /// The plugins that take part, in the order in which they are called.
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

    /// Does what a command says. Dropping the future is what it is in [`Api`].
    ///
    /// # Errors
    /// Why it is not done, or what went wrong with it.
    pub async fn execute(&self, command: Command) -> Result<Reply, SimError> {
        self.inner.execute(command).await
    }
}

/// What happens beside the commands: an evicted container ends, as its process would, and a plugin that connects is to see
/// what was created so far.
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

/// What a list of ids comes to in an error.
fn listed(kind: &str, ids: &[String]) -> String {
    match ids {
        [] => format!("there is no {kind} at all"),
        ids if ids.len() > LISTED => format!(
            "there are {} and {} more",
            ids[..LISTED].join(", "),
            ids.len() - LISTED
        ),
        ids => format!("there is {}", ids.join(", ")),
    }
}

type Done = Result<Reply, SimError>;

impl Inner {
    /// Does what a command says, and adds what plugins did about it where the result does not say that itself.
    async fn execute(&self, command: Command) -> Done {
        let about = command.event().zip(command.about().map(str::to_owned));
        let since = self.watch.next_call();
        let result = self.perform(command).await;
        let Some((event, id)) = about else {
            return result;
        };
        let calls = self.outcomes(since, event, &id);
        match result {
            Ok(Reply::Done {}) => Ok(Reply::Told { outcomes: calls }),
            Ok(mut reply) => {
                reply.add_times(&calls);
                Ok(reply)
            }
            Err(error) => Err(error.with_outcomes(calls)),
        }
    }

    async fn perform(&self, command: Command) -> Done {
        match command {
            Command::Version => Ok(self.version()),
            Command::AddPod { pod } => self.add_pod(pod),
            Command::AddContainer { container } => self.add_container(container).await,
            Command::WaitPlugins { count, timeout } => self.wait_plugins(count, timeout).await,
            Command::Plugins => Ok(Reply::Plugins {
                plugins: self.plugins(),
            }),
            Command::RunPod { pod } => self.run_pod(pod).await,
            Command::UpdatePod {
                pod_id,
                overhead,
                resources,
            } => self.update_pod(&pod_id, overhead, resources).await,
            Command::PostUpdatePod { pod_id } => {
                let pod = self.pod(&pod_id).await?;
                self.nri.post_update_pod_sandbox(&Ctx::new(), &pod).await?;
                Ok(Reply::Done {})
            }
            Command::StopPod { pod_id } => self.stop_pod(&pod_id).await,
            Command::RemovePod { pod_id } => self.remove_pod(&pod_id).await,
            Command::CreateContainer { container } => self.create_container(container).await,
            Command::AbortContainer { container_id } => self.abort_container(&container_id).await,
            Command::PostCreateContainer { container_id } => {
                let (pod, container) = self.used(&container_id).await?;
                self.nri
                    .post_create_container(&Ctx::new(), &pod, &container)
                    .await?;
                Ok(Reply::Done {})
            }
            Command::StartContainer {
                container_id,
                start,
            } => self.start_container(&container_id, start).await,
            Command::PostStartContainer { container_id } => {
                let (pod, container) = self.used(&container_id).await?;
                self.nri
                    .post_start_container(&Ctx::new(), &pod, &container)
                    .await?;
                Ok(Reply::Done {})
            }
            Command::UpdateContainer {
                container_id,
                resources,
            } => self.update_container(&container_id, resources).await,
            Command::PostUpdateContainer { container_id } => {
                let (pod, container) = self.used(&container_id).await?;
                self.nri
                    .post_update_container(&Ctx::new(), &pod, &container)
                    .await?;
                Ok(Reply::Done {})
            }
            Command::StopContainer { container_id, end } => {
                self.stop_container(&container_id, end).await
            }
            Command::ContainerExit { container_id, end } => {
                self.container_exit(&container_id, end).await
            }
            Command::RemoveContainer { container_id } => self.remove_container(&container_id).await,
            Command::Fail {
                container_id,
                what,
                reason,
            } => {
                self.container(&container_id).await?;
                self.books.fail_next(&container_id, what, reason);
                Ok(Reply::Done {})
            }
            Command::State => Ok(self.state().await),
            Command::Quit => Err(SimError::NotHere("quit")),
        }
    }

    /// What plugins did about a pod or container, from a call on. `event` is what a command is about; what it implies may be
    /// among the calls.
    fn outcomes(&self, since: u64, event: Event, id: &str) -> Vec<OutcomeReply> {
        let mut calls = self.watch.calls_since(since);
        calls.retain(|call| match event.subject() {
            Subject::Pod => call.pod == id && call.container.is_empty(),
            Subject::Container => call.container == id,
        });
        let asked: Vec<&RegisteredPlugin> = calls.iter().map(|call| &call.plugin).collect();
        let others = self
            .nri
            .plugins()
            .into_iter()
            .filter(|info| !asked.contains(&&info.plugin) && !info.events.contains(event))
            .map(|info| {
                let reply = OutcomeReply::unsubscribed(info.plugin.to_string());
                (info.plugin, reply)
            });
        let mut outcomes: Vec<_> = others.collect();
        outcomes.extend(
            calls
                .iter()
                .map(|call| (call.plugin.clone(), OutcomeReply::of_call(call, event))),
        );
        // Those of one plugin stay in their order.
        outcomes.sort_by(|(a, _), (b, _)| a.cmp(b));
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
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
        let pods = self.books.pods().await.into_iter();
        Reply::State(State {
            pods: pods.map(|(pod, ready)| PodState { ready, pod }).collect(),
            containers: self.books.containers().await,
            updates: done.updates.into(),
            evictions: done.evictions.into(),
            refused: done.refused.into(),
            forgotten: (done.forgotten > 0).then_some(done.forgotten),
        })
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Option<Creation>>> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A creation that plugins were asked about, if it is still open.
    fn settle(&self, container: &str) -> Option<Creation> {
        let mut pending = self.pending();
        match pending.get(container) {
            Some(Some(_)) => pending.remove(container).flatten(),
            Some(None) | None => None,
        }
    }

    /// Says that a container exists, if that was open.
    fn commit(&self, container: &str) {
        if let Some(creation) = self.settle(container) {
            creation.commit();
        }
    }

    fn commit_all(&self) {
        let ids: Vec<String> = self.pending().keys().cloned().collect();
        ids.iter().for_each(|id| self.commit(id));
    }

    async fn pod(&self, id: &str) -> Result<api::PodSandbox, SimError> {
        if let Some(pod) = self.books.pod(id) {
            return Ok(pod);
        }
        let ids: Vec<String> = self
            .books
            .pods()
            .await
            .into_iter()
            .map(|(pod, _)| pod.id)
            .collect();
        Err(SimError::NotFound {
            kind: "pod",
            id: id.to_owned(),
            there: listed("pod", &ids),
            make: "run-pod or add-pod",
        })
    }

    async fn container(&self, id: &str) -> Result<api::Container, SimError> {
        if let Some(container) = self.books.container(id) {
            return Ok(container);
        }
        let ids: Vec<String> = self
            .books
            .containers()
            .await
            .into_iter()
            .map(|c| c.id)
            .collect();
        Err(SimError::NotFound {
            kind: "container",
            id: id.to_owned(),
            there: listed("container", &ids),
            make: "create-container or add-container",
        })
    }

    /// The pod of a container. Its id at least is known, even if the pod is gone.
    fn pod_of(&self, container: &api::Container) -> api::PodSandbox {
        let id = &container.pod_sandbox_id;
        self.books.pod(id).unwrap_or_else(|| api::PodSandbox {
            id: id.clone(),
            ..Default::default()
        })
    }

    /// A container that is used from now on, so that its creation can no longer be undone, and its pod.
    async fn used(&self, id: &str) -> Result<(api::PodSandbox, api::Container), SimError> {
        let container = self.container(id).await?;
        self.commit(id);
        Ok((self.pod_of(&container), container))
    }
}

/// An error of telling plugins what has happened already.
fn all_the_same(error: nri_core::Error, kind: &'static str, done: &'static str) -> SimError {
    SimError::Nevertheless {
        error: Box::new(error),
        kind,
        done,
        outcomes: Vec::new(),
    }
}

/// What comes of telling plugins what has happened already.
fn nevertheless(told: Result<(), nri_core::Error>, kind: &'static str, done: &'static str) -> Done {
    match told {
        Ok(()) => Ok(Reply::Done {}),
        Err(error) => Err(all_the_same(error, kind, done)),
    }
}
