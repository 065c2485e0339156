//! What there is, and what can be done to a container without asking NRI: the part of the runtime
//! that plugins' own wishes are carried out on. No lock is held in here while anything waits for a
//! plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nri_core::oci::{ApplyOptions, apply_resources_with};
use nri_domain_cri::{ResolvedUpdate, cdi, host};
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::conmon::{Conmon, Exit};
use crate::cri::{self, ContainerEventType as What};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::files;
use crate::images::Images;
use crate::low_level::LowLevel;
use crate::network::Network;
use crate::pause;
use crate::record::{Container, Pod, State, new_id, now};
use crate::spec::Host;
use crate::store::{Kind, Store};
use crate::{handed, trial, views};

/// The exit code of a container of which nobody knows how it ended, or that could not be started.
const UNKNOWN: i32 = 255;
const NOT_STARTED: i32 = 128;
/// The directory of what is kept of commands in containers while they run. It is not on the disk
/// that may be full.
const COMMANDS: &str = "commands";
/// The reason of a container that could not be started.
pub(crate) const START_ERROR: &str = "StartError";

/// What there is.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) low: LowLevel,
    pub(crate) conmon: Conmon,
    pub(crate) images: Images,
    pub(crate) network: Network,
    pub(crate) host: Host,
    /// Whether pods can have user namespaces of their own.
    pub(crate) user_namespaces: Result<()>,
    /// Those who listen to what becomes of containers.
    pub(crate) events: Events,
    /// Changes whenever a container has ended.
    exits: watch::Sender<()>,
    /// Locks of objects, by which requests for one take turns.
    turns: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Two changes of resources at a time could leave one in effect and the other on record.
    updating: tokio::sync::Mutex<()>,
    /// Keeps another instance from our directory.
    _lock: files::Lock,
}

impl Engine {
    /// Finds the programs that are needed, and what is there of the last run.
    ///
    /// # Errors
    /// What is missing, and how to install it; another instance runs; the operating system's.
    pub(crate) async fn open(config: Config) -> Result<Self> {
        let (namespaces, commands) = (config.run.join("netns"), config.run.join(COMMANDS));
        for dir in [&config.root, &config.run, &namespaces, &commands] {
            files::make_dir(dir)?;
        }
        let lock = files::Lock::take(&config.root.join("lock"))?;
        // Before anything is run: nobody can run what a child of ours has open for writing still.
        pause::install(&config)?;
        let low = LowLevel::find(&config).await?;
        let conmon = Conmon::find(&config, low.clone())?;
        let user_namespaces = trial::user_namespaces(&config.root, &low).await;
        if let Err(error) = &user_namespaces {
            tracing::info!(%error, "pods cannot have user namespaces of their own");
        }
        Ok(Self {
            store: Store::open(&config.root)?,
            images: Images::open(&config)?,
            network: Network::new(&config.network),
            host: Host::look(),
            user_namespaces,
            events: Events::default(),
            exits: watch::Sender::new(()),
            turns: Mutex::default(),
            updating: tokio::sync::Mutex::default(),
            _lock: lock,
            low,
            conmon,
            config,
        })
    }

    /// Waits until no other request works on the object of this id.
    pub(crate) async fn turn(&self, id: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, lock| lock.strong_count() > 0);
            let known = turns.get(id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                turns.insert(id.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// Where a pod's network namespace is kept.
    pub(crate) fn network_namespace(&self, pod: &str) -> PathBuf {
        self.config.run.join("netns").join(pod)
    }

    /// Removes the layers that nothing needs any more.
    pub(crate) async fn collect_layers(&self) {
        let used = || -> BTreeSet<String> {
            let containers = self.store.all::<Container>();
            containers
                .into_iter()
                .flat_map(|container| container.layers)
                .collect()
        };
        if let Err(error) = self.images.collect(used).await {
            tracing::warn!(%error, "layers that nothing needs are not removed");
        }
    }

    /// Records that a container's process is gone, and wakes whoever waits for that.
    ///
    /// # Errors
    /// Those of the operating system. Whoever waits is woken all the same.
    pub(crate) async fn exited(&self, id: &str) -> Result<Container> {
        // Whatever is left of it goes, and the cgroup, before anybody hears that it has ended.
        if let Err(error) = self.low.delete(id).await {
            tracing::warn!(container = id, %error, "the low-level runtime does not forget a container");
        }
        let exit = self.conmon.exit(&self.store.dir::<Container>(id), id);
        let changed = self
            .store
            .observe(id, |container: &mut Container| end(container, &exit));
        if let Ok(container) = &changed {
            self.announce(What::ContainerStoppedEvent, id, &container.pod_id);
        }
        self.exits.send_replace(());
        changed
    }

    /// Records that a pod's pause process is gone.
    ///
    /// # Errors
    /// The pod is not there any more; those of the operating system.
    pub(crate) fn pod_ended(&self, id: &str) -> Result<()> {
        let mut was_ready = false;
        self.store.observe(id, |pod: &mut Pod| {
            was_ready = std::mem::take(&mut pod.ready);
        })?;
        if was_ready {
            self.announce(What::ContainerStoppedEvent, id, id);
        }
        Ok(())
    }

    /// Tells those who listen what became of a container of a pod, or, by its own id, of the pod.
    pub(crate) fn announce(&self, what: What, id: &str, pod: &str) {
        self.events.tell(|| self.event(what, id, pod));
    }

    /// An event of a container, with how the pod and its containers are now; `None` if the pod is
    /// not there any more.
    pub(crate) fn event(
        &self,
        what: What,
        id: &str,
        pod: &str,
    ) -> Option<cri::ContainerEventResponse> {
        Some(self.event_of(what, id, &self.store.get(pod)?))
    }

    /// As [`event`](Engine::event), of a pod that need not be there any more.
    pub(crate) fn event_of(&self, what: What, id: &str, pod: &Pod) -> cri::ContainerEventResponse {
        let containers = self.store.containers_of(&pod.id);
        cri::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: what.into(),
            created_at: now(),
            pod_sandbox_status: Some(views::pod_status(pod)),
            containers_statuses: containers.iter().map(views::container_status).collect(),
        }
    }

    /// How what plugins and CRI ask for is put into specs.
    pub(crate) fn apply_options(&self) -> ApplyOptions {
        let mut options = host::apply_options();
        options.cdi_injector = Some(cdi::injector(self.config.cdi_dirs.clone()));
        options
    }

    /// A container that runs.
    ///
    /// # Errors
    /// It is not there, or does not run.
    pub(crate) fn running(&self, id: &str) -> Result<Container> {
        let container: Container = self.store.find(id)?;
        match container.state {
            State::Running => Ok(container),
            _ => Err(Error::precondition(format!(
                "container {} does not run",
                container.id
            ))),
        }
    }

    /// A file for the process of a command in a container.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn exec_pid_file(&self) -> Result<PathBuf> {
        let name = format!("{}.pid", &new_id()?[..16]);
        Ok(self.config.run.join(COMMANDS).join(name))
    }

    /// Waits until a container has ended or is not there any more.
    pub(crate) async fn ended(&self, id: &str) {
        let mut exits = self.exits.subscribe();
        let lives = || {
            let container = self.store.get::<Container>(id);
            container.is_some_and(|container| container.state != State::Exited)
        };
        while lives() && exits.changed().await.is_ok() {}
    }

    /// Stops a container: asks it to end, and kills it once `grace` is over. `why` is the reason
    /// and the message of its status, if they are other than what the exit code says.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(crate) async fn stop(
        &self,
        id: &str,
        grace: Duration,
        why: Option<(&str, &str)>,
    ) -> Result<()> {
        let container: Container = self.store.find(id)?;
        if container.state == State::Exited {
            return Ok(());
        }
        if let Some((reason, message)) = why {
            self.store.observe(id, |container: &mut Container| {
                container.reason = reason.to_owned();
                container.message = message.to_owned();
            })?;
        }
        if !grace.is_zero() {
            // One that has just ended takes no signal, and needs none.
            if let Err(error) = self.low.kill(id, &container.stop_signal).await {
                tracing::debug!(container = id, %error, "a container does not take the signal");
            }
            if timeout(grace, self.ended(id)).await.is_ok() {
                return Ok(());
            }
        }
        let killed = self.low.kill(id, "SIGKILL").await;
        match timeout(Duration::from_secs(60), self.ended(id)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(killed.err().unwrap_or_else(|| {
                Error::deadline(format!(
                    "container {id} does not end, although it was killed"
                ))
            })),
        }
    }

    /// Changes the resources of a container, in its cgroup and on record.
    ///
    /// # Errors
    /// It is not there or has ended; the low-level runtime cannot.
    pub(crate) async fn update(&self, id: &str, update: &ResolvedUpdate) -> Result<Container> {
        let _one_at_a_time = self.updating.lock().await;
        let container: Container = self.store.find(id)?;
        if container.state == State::Exited {
            return Err(Error::precondition(format!("container {id} has ended")));
        }
        let mut resources = container.spec["linux"]["resources"].clone();
        apply_resources_with(&update.nri, &mut resources, &self.apply_options())
            .map_err(|error| Error::invalid(format!("container {id}: {error}")))?;
        self.low.update(id, &update.oci).await?;
        self.store.change(id, |container: &mut Container| {
            container.spec["linux"]["resources"] = resources;
        })
    }

    /// Takes away all that there is of a container besides its record.
    ///
    /// # Errors
    /// The first of what cannot be taken away; the rest is.
    pub(crate) async fn clear_container(&self, id: &str) -> Result<()> {
        let dir = self.store.dir::<Container>(id);
        let result = self.low.delete(id).await;
        let result = result.and(handed::clear(&dir));
        let result = result.and(crate::images::unmount(&dir));
        result.and(self.conmon.forget(id))
    }

    /// Takes away a pod's network and pause process. What was done of that already is fine.
    ///
    /// # Errors
    /// The first of what cannot be taken away; the rest is.
    pub(crate) async fn stop_pod(&self, id: &str) -> Result<()> {
        let mut result = self.disconnect(id).await;
        result = result.and(self.low.delete(id).await);
        let namespace = self.network_namespace(id);
        result = result.and(files::unmount_all(&namespace));
        result.and(files::remove_file(&namespace))
    }

    /// As [`stop_pod`](Engine::stop_pod), and all else that there is of a pod besides its record.
    ///
    /// # Errors
    /// The first of what cannot be taken away; the rest is.
    pub(crate) async fn clear_pod(&self, id: &str) -> Result<()> {
        let result = self.stop_pod(id).await;
        let dir = self.store.dir::<Pod>(id);
        let result = result.and(files::unmount_all(&dir.join("shm")));
        result.and(self.conmon.forget(id))
    }

    /// Writes down that a pod is about to be connected, so that it is disconnected whatever
    /// happens.
    ///
    /// # Errors
    /// There is no network; the operating system's.
    pub(crate) fn intend_network(&self, pod: &Pod) -> Result<()> {
        let intent = json!({"config": pod.config, "kept": self.network.plan()?});
        self.keep_network(&pod.id, &intent)
    }

    /// Writes down what the pod is connected to.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn keep_connection(&self, pod: &Pod, kept: &Value) -> Result<()> {
        self.keep_network(&pod.id, &json!({"config": pod.config, "kept": kept}))
    }

    fn keep_network(&self, pod: &str, kept: &Value) -> Result<()> {
        files::write(&self.network_file(pod), kept.to_string().as_bytes())
    }

    fn network_file(&self, pod: &str) -> PathBuf {
        self.store.dir::<Pod>(pod).join("network.json")
    }

    async fn disconnect(&self, pod: &str) -> Result<()> {
        use crate::network::Attachment;
        let file = self.network_file(pod);
        let Some(text) = files::read(&file, 16 << 20)? else {
            return Ok(());
        };
        let unreadable = |error: serde_json::Error| Error::file("read", &file, error);
        let mut kept: Value = serde_json::from_slice(&text).map_err(unreadable)?;
        let config = serde_json::from_value(kept["config"].take()).map_err(unreadable)?;
        let namespace = self.network_namespace(pod);
        let attachment = Attachment {
            pod,
            namespace: namespace.exists().then_some(&*namespace),
            config: &config,
        };
        self.network.disconnect(&attachment, &kept["kept"]).await?;
        files::remove_file(&file)
    }

    /// Cleans up what was half-made when we died, and containers whose pod was.
    ///
    /// # Errors
    /// The first of what cannot be cleaned up; the rest is.
    pub(crate) async fn clear_half_made(&self) -> Result<()> {
        let mut result = Ok(());
        let containers = self.store.half_made::<Container>()?;
        for id in containers.into_iter().chain(self.store.orphans()) {
            let cleared = self.clear_container(&id).await;
            result = result.and(self.cleared::<Container>(&id, cleared));
        }
        for id in self.store.half_made::<Pod>()? {
            let cleared = self.clear_pod(&id).await;
            result = result.and(self.cleared::<Pod>(&id, cleared));
        }
        result
    }

    /// Removes the record and the directory of what was cleared. What could not be cleared is kept
    /// for the next start.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn cleared<T: Kind>(&self, id: &str, result: Result<()>) -> Result<()> {
        if let Err(error) = result {
            tracing::warn!(kind = T::SINGULAR, id, %error, "not all of it can be cleaned up");
            return Err(error.of(format!("{} {id}", T::SINGULAR)));
        }
        self.store.remove::<T>(id)
    }
}

/// What an exit makes of a container.
fn end(container: &mut Container, exit: &Exit) {
    if container.state == State::Exited {
        return;
    }
    container.state = State::Exited;
    container.pid = 0;
    container.finished_at = exit.at;
    container.exit_code = exit.code.unwrap_or(UNKNOWN);
    let reason = match (&*container.reason, exit) {
        (START_ERROR, _) => {
            container.exit_code = NOT_STARTED;
            return;
        }
        (_, Exit { oom: true, .. }) => "OOMKilled",
        ("", Exit { code: None, .. }) => "Unknown",
        (given, _) => given,
    };
    container.reason = reason.to_owned();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: &str, exit: &Exit) -> (i32, String) {
        let mut container = crate::record::tests::container("c1");
        container.reason = reason.to_owned();
        end(&mut container, exit);
        assert_eq!((container.state, container.finished_at), (State::Exited, 9));
        (container.exit_code, container.reason().to_owned())
    }

    #[test]
    fn a_container_says_why_it_ended() {
        let exit = |code, oom| Exit { code, at: 9, oom };
        assert_eq!(ended("", &exit(Some(0), false)), (0, "Completed".into()));
        assert_eq!(ended("", &exit(Some(3), false)), (3, "Error".into()));
        assert_eq!(ended("", &exit(Some(137), true)), (137, "OOMKilled".into()));
        assert_eq!(
            ended("Evicted", &exit(Some(137), false)),
            (137, "Evicted".into())
        );
        assert_eq!(ended("", &exit(None, false)), (255, "Unknown".into()));
        assert_eq!(
            ended(START_ERROR, &exit(Some(137), false)),
            (128, START_ERROR.into())
        );
    }
}
