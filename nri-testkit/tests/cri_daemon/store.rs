//! What the daemon keeps: pods and containers behind an async lock, and on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::spec::Spec;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) cgroup_parent: String,
    pub(crate) ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Phase {
    Created,
    Running,
    Exited,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) pod_id: String,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) spec: Spec,
}

/// A container and its pod.
pub(crate) struct Place {
    pub(crate) pod: Pod,
    pub(crate) container: Container,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) containers: BTreeMap<String, Container>,
}

pub(crate) struct Store {
    state: Mutex<State>,
    file: PathBuf,
}

impl Store {
    /// What an earlier daemon has left, if there was one.
    pub(crate) fn load(file: PathBuf) -> Result<Self, String> {
        let state = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string())?,
            Err(_) => State::default(),
        };
        Ok(Self {
            state: Mutex::new(state),
            file,
        })
    }

    pub(crate) async fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// Changes what is kept, in memory and on disk.
    pub(crate) async fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> T,
    ) -> Result<T, String> {
        let mut state = self.lock().await;
        let changed = change(&mut state);
        let text = serde_json::to_vec(&*state).map_err(|error| error.to_string())?;
        std::fs::write(&self.file, text).map_err(|error| error.to_string())?;
        Ok(changed)
    }

    pub(crate) async fn pod(&self, id: &str) -> Result<Pod, String> {
        let pod = self.lock().await.pods.get(id).cloned();
        pod.ok_or_else(|| format!("there is no pod {id}"))
    }

    pub(crate) async fn place(&self, id: &str) -> Result<Place, String> {
        let container = self.lock().await.containers.get(id).cloned();
        let container = container.ok_or_else(|| format!("there is no container {id}"))?;
        let pod = self.pod(&container.pod_id).await?;
        Ok(Place { pod, container })
    }

    /// What a low-level runtime's `update` does: members that are there are set.
    pub(crate) async fn set_resources(&self, id: &str, resources: &Value) -> Result<(), String> {
        let resources = resources.clone();
        self.change_container(id, |container| {
            let mut merged = serde_json::to_value(&container.spec.linux.resources)?;
            for (part, members) in resources.as_object().into_iter().flatten() {
                for (name, value) in members.as_object().into_iter().flatten() {
                    merged[part][name] = value.clone();
                }
            }
            container.spec.linux.resources = serde_json::from_value(merged)?;
            Ok(())
        })
        .await
    }

    /// What a low-level runtime's `kill` does.
    pub(crate) async fn kill(&self, id: &str, reason: &str) -> Result<(), String> {
        self.change_container(id, |container| {
            container.phase = Phase::Exited;
            container.exit_code = 137;
            container.reason = reason.to_owned();
            Ok(())
        })
        .await
    }

    pub(crate) async fn change_container(
        &self,
        id: &str,
        change: impl FnOnce(&mut Container) -> Result<(), serde_json::Error>,
    ) -> Result<(), String> {
        let changed = self.change(|state| {
            let container = state.containers.get_mut(id);
            let container = container.ok_or_else(|| format!("there is no container {id}"))?;
            change(container).map_err(|error| error.to_string())
        });
        changed.await?
    }
}
