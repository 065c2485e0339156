//! What all commands have in common: NRI, the domain, creations that are open, and whose turn it
//! is.
//!
//! What may not enter: what a command does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_adaptation::{Creation, Nri, PluginSyncBlock, RuntimeApi as _};
use nri_core::api;

use super::order::{Order, Turn};
use crate::sim::domain::SimDomain;
use crate::sim::error::SimError;
use crate::sim::reply::Reply;
use crate::sim::watch::Watch;

/// How many ids an error lists.
const LISTED: usize = 8;

/// What comes of a command.
pub(super) type Done = Result<Reply, SimError>;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) nri: Nri,
    pub(super) domain: Arc<SimDomain>,
    pub(super) watch: Arc<Watch>,
    /// Creations that can still be undone, by container; `None` while it is being made.
    pub(super) pending: Mutex<BTreeMap<String, Option<Creation>>>,
    pub(super) order: Order,
}

/// The id of a container that is being made.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    inner: &'a Inner,
    id: String,
}

impl Drop for Reserved<'_> {
    /// What was not made, or is there, is nobody's any more. A creation that is open stays.
    fn drop(&mut self) {
        let mut pending = self.inner.pending();
        if let Some(None) = pending.get(&self.id) {
            pending.remove(&self.id);
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

impl Inner {
    pub(super) fn pending(&self) -> MutexGuard<'_, BTreeMap<String, Option<Creation>>> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id for a container that is to be made: looking whether it is free and taking it
    /// are one step, so of two who want it one gets it.
    ///
    /// # Errors
    /// There is a container of that id, or somebody else is making it.
    pub(super) fn reserve(&self, id: &str) -> Result<Reserved<'_>, SimError> {
        let mut pending = self.pending();
        if self.domain.container(id).is_some() || pending.contains_key(id) {
            return Err(SimError::Exists {
                kind: "container",
                id: id.to_owned(),
                remove: "remove-container",
            });
        }
        pending.insert(id.to_owned(), None);
        let id = id.to_owned();
        Ok(Reserved { inner: self, id })
    }

    /// A creation that plugins were asked about, if it is still open.
    pub(super) fn settle(&self, container: &str) -> Option<Creation> {
        let mut pending = self.pending();
        match pending.get(container) {
            Some(Some(_)) => pending.remove(container).flatten(),
            Some(None) | None => None,
        }
    }

    /// Says that a container exists, if that was open.
    pub(super) fn commit(&self, container: &str) {
        if let Some(creation) = self.settle(container) {
            creation.commit();
        }
    }

    pub(super) fn commit_all(&self) {
        let ids: Vec<String> = self.pending().keys().cloned().collect();
        ids.iter().for_each(|id| self.commit(id));
    }

    pub(super) async fn pod(&self, id: &str) -> Result<api::PodSandbox, SimError> {
        if let Some(pod) = self.domain.pod(id) {
            return Ok(pod);
        }
        let ids: Vec<String> = self
            .domain
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

    pub(super) async fn container(&self, id: &str) -> Result<api::Container, SimError> {
        if let Some(container) = self.domain.container(id) {
            return Ok(container);
        }
        let ids: Vec<String> = self
            .domain
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
    pub(super) fn pod_of(&self, container: &api::Container) -> api::PodSandbox {
        let id = &container.pod_sandbox_id;
        self.domain.pod(id).unwrap_or_else(|| api::PodSandbox {
            id: id.clone(),
            ..Default::default()
        })
    }

    /// A container, and the turn to do something with it.
    pub(super) async fn taken(
        &self,
        id: &str,
    ) -> Result<(Turn, api::PodSandbox, api::Container), SimError> {
        let pod = self.container(id).await?.pod_sandbox_id;
        let turn = self.order.shared(&pod, Some(id)).await;
        // It may be another one by now, or none.
        let container = self.container(id).await?;
        Ok((turn, self.pod_of(&container), container))
    }

    /// A container that is used from now on, so that its creation can no longer be undone, its pod,
    /// and the turn for it.
    pub(super) async fn used(
        &self,
        id: &str,
    ) -> Result<(Turn, api::PodSandbox, api::Container), SimError> {
        let taken = self.taken(id).await?;
        self.commit(id);
        Ok(taken)
    }

    /// Keeps plugins from being synchronised between an event and the change in the domain that
    /// comes of it: they would be sent what was before, and then hear of what comes after.
    /// Those that are about to be shown it go first.
    pub(super) async fn keep_from_joining(&self) -> PluginSyncBlock {
        self.watch.nobody_joins().await;
        self.nri.block_plugin_sync().await
    }
}

/// An error of telling plugins what has happened already.
pub(super) fn all_the_same(
    error: nri_core::Error,
    kind: &'static str,
    done: &'static str,
) -> SimError {
    SimError::Nevertheless {
        error: Box::new(error),
        kind,
        done,
        outcomes: Vec::new(),
    }
}

/// What comes of telling plugins what has happened already.
pub(super) fn nevertheless(
    told: Result<(), nri_core::Error>,
    kind: &'static str,
    done: &'static str,
) -> Done {
    match told {
        Ok(()) => Ok(Reply::Done {}),
        Err(error) => Err(all_the_same(error, kind, done)),
    }
}
