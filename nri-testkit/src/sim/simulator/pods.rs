//! What a runtime does with its pods around their events.

use nri_adaptation::{Ctx, RuntimeApi as _};
use nri_core::{Domain as _, api};

use super::inner::{Done, Inner, nevertheless};
use crate::sim::command::End;
use crate::sim::domain::lives;
use crate::sim::error::SimError;
use crate::sim::reply::Reply;

impl Inner {
    fn new_pod(&self, pod: &api::PodSandbox) -> Result<(), SimError> {
        match self.domain.pod(&pod.id) {
            None => Ok(()),
            Some(_) => Err(SimError::Exists {
                kind: "pod",
                id: pod.id.clone(),
                remove: "remove-pod",
            }),
        }
    }

    pub(super) async fn add_pod(&self, pod: api::PodSandbox) -> Done {
        let _turn = self.order.alone(&pod.id).await;
        self.new_pod(&pod)?;
        self.domain.put_pod(pod);
        Ok(Reply::Done {})
    }

    pub(super) async fn run_pod(&self, cx: &Ctx, pod: api::PodSandbox) -> Done {
        let _turn = self.order.alone(&pod.id).await;
        let again = self.domain.restartable() && !self.domain.is_ready(&pod.id);
        if !again {
            self.new_pod(&pod)?;
        }
        if let Err(error) = self.nri.run_pod_sandbox(cx, &pod).await {
            let undo = |undone: Result<(), nri_core::Error>| {
                if let Err(error) = undone {
                    tracing::warn!(pod = pod.id, %error, "undoing a pod went wrong");
                }
            };
            undo(self.nri.stop_pod_sandbox(cx, &pod).await);
            // One that was there before is stopped again, no more.
            if !again {
                undo(self.nri.remove_pod_sandbox(cx, &pod).await);
            }
            return Err(error.into());
        }
        // Only now: before, a plugin that joins would be sent what it is about to hear of. One
        // that comes between the event and this is shown the pod all the same.
        self.domain.put_pod(pod);
        Ok(Reply::Done {})
    }

    pub(super) async fn update_pod(
        &self,
        cx: &Ctx,
        id: &str,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> Done {
        let _turn = self.order.shared(id, None).await;
        let pod = self.pod(id).await?;
        let _block = self.keep_from_joining().await;
        self.nri
            .update_pod_sandbox(cx, &pod, overhead.clone(), resources.clone())
            .await?;
        if overhead.is_some() || resources.is_some() {
            let accept = |pod: &mut api::PodSandbox| {
                let linux = pod.linux.get_or_insert_default();
                linux.pod_overhead = overhead.or(linux.pod_overhead.take());
                linux.pod_resources = resources.or(linux.pod_resources.take());
            };
            self.domain.change_pod(id, accept).await;
        }
        Ok(Reply::Done {})
    }

    /// The containers of a pod.
    async fn containers_of(&self, pod: &str) -> Vec<api::Container> {
        let mut containers = self.domain.containers().await;
        containers.retain(|container| container.pod_sandbox_id == pod);
        containers
    }

    pub(super) async fn stop_pod(&self, cx: &Ctx, id: &str) -> Done {
        let _turn = self.order.alone(id).await;
        let pod = self.pod(id).await?;
        for container in self.containers_of(id).await.into_iter().filter(lives) {
            self.commit(&container.id);
            let stopped = self
                .stop_in(cx, &pod, container.clone(), End::default())
                .await;
            implied(&container.id, stopped.map(drop));
        }
        self.domain.stop_pod(id);
        let told = self.nri.stop_pod_sandbox(cx, &pod).await;
        nevertheless(told, "pod", "stopped")
    }

    pub(super) async fn remove_pod(&self, cx: &Ctx, id: &str) -> Done {
        let _turn = self.order.alone(id).await;
        let pod = self.pod(id).await?;
        for container in self.containers_of(id).await {
            self.commit(&container.id);
            let removed = self.remove_in(cx, &pod, container.clone()).await;
            implied(&container.id, removed.map(drop));
        }
        self.domain.stop_pod(id);
        let told = self.nri.remove_pod_sandbox(cx, &pod).await;
        self.domain.remove_pod(id);
        nevertheless(told, "pod", "removed")
    }
}

/// Logs what went wrong with a container while something was done with its pod.
fn implied(container: &str, result: Result<(), SimError>) {
    if let Err(error) = result {
        tracing::warn!(container, %error, "ending a container of a pod that ends went wrong");
    }
}
