//! The skeleton of a CRI daemon: its handlers, without gRPC, images, networks and processes. It
//! keeps no CRI configuration, and its CRI types are its own.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use nri_adaptation::{Config, Ctx, Nri};
use nri_domain_cri::CriNri;
use prost::Message as _;

use crate::nri::{self, seen_container, seen_pod};
use crate::spec::{Process, Spec};
use crate::store::{Container, Phase, Place, Pod, Store};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The daemon's own message of CRI's resources, as its generator made it of a part of the proto.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LinuxContainerResources {
    #[prost(int64, tag = "3")]
    pub(crate) cpu_shares: i64,
    #[prost(int64, tag = "4")]
    pub(crate) memory_limit_in_bytes: i64,
}

pub(crate) struct Daemon {
    pub(crate) store: Arc<Store>,
    pub(crate) instance: Nri,
    nri: CriNri<Store>,
    cx: Ctx,
}

impl Daemon {
    /// Starts, with what an earlier daemon has left in the directory.
    pub(crate) async fn start(directory: &Path, config: Config) -> Result<Self> {
        let store = Arc::new(Store::load(directory.join("state.json"))?);
        let (instance, nri) = nri::start(&store, config).await?;
        Ok(Self {
            store,
            instance,
            nri,
            cx: Ctx::new(),
        })
    }

    pub(crate) async fn run_pod_sandbox(&self, id: &str) -> Result {
        let pod = Pod {
            id: id.to_owned(),
            name: format!("name-of-{id}"),
            namespace: "shop".to_owned(),
            annotations: [("team".to_owned(), "blue".to_owned())].into(),
            cgroup_parent: "/pods".to_owned(),
            ready: true,
        };
        self.nri.run_pod_sandbox(&self.cx, &seen_pod(&pod)).await?;
        Ok(self
            .store
            .change(|state| state.pods.insert(pod.id.clone(), pod))
            .await
            .map(drop)?)
    }

    /// `bundle` makes what the low-level runtime starts from, and may fail.
    pub(crate) async fn create_container(
        &self,
        pod: &str,
        id: &str,
        bundle: impl FnOnce(&Spec) -> Result,
    ) -> Result {
        let pod = self.store.pod(pod).await?;
        let container = Container {
            id: id.to_owned(),
            pod_id: pod.id.clone(),
            name: format!("name-of-{id}"),
            phase: Phase::Created,
            exit_code: 0,
            reason: String::new(),
            spec: Spec {
                oci_version: "1.0.2".to_owned(),
                process: Process {
                    args: vec!["/app".to_owned()],
                    cwd: "/".to_owned(),
                    env: vec!["A=1".to_owned()],
                },
                ..Default::default()
            },
        };
        let mut at = Place { pod, container };
        let token = nri::adjust(&self.nri, &mut at).await?;
        bundle(&at.container.spec)?;
        let Place { pod, container } = at;
        let (pod, seen) = (seen_pod(&pod), seen_container(&container));
        self.store
            .change(|state| state.containers.insert(container.id.clone(), container))
            .await?;
        token.commit(&self.cx, &pod, &seen).await;
        Ok(())
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result {
        let Place { pod, container } = self.store.place(id).await?;
        let (pod, container) = (seen_pod(&pod), seen_container(&container));
        self.nri.start_container(&self.cx, &pod, &container).await?;
        let running = self.store.change_container(id, |container| {
            container.phase = Phase::Running;
            Ok(())
        });
        running.await?;
        let container = seen_container(&self.store.place(id).await?.container);
        self.nri
            .post_start_container(&self.cx, &pod, &container)
            .await;
        Ok(())
    }

    pub(crate) async fn update_container_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result {
        let place = self.store.place(id).await?;
        let wanted = resources.encode_to_vec();
        let resources = nri::resources(&self.nri, &place, &wanted).await?;
        Ok(self.store.set_resources(id, &resources).await?)
    }

    pub(crate) async fn stop_container(&self, id: &str) -> Result {
        self.store.kill(id, "").await?;
        let container = seen_container(&self.store.place(id).await?.container);
        self.nri.stop_container(&self.cx, &container).await;
        Ok(())
    }

    /// The container's process has ended by itself.
    pub(crate) async fn process_ended(&self, id: &str) -> Result {
        self.store.kill(id, "").await?;
        let container = seen_container(&self.store.place(id).await?.container);
        self.nri
            .notify_exit(&container, container.exit_code, 1)
            .await;
        Ok(())
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result {
        let container = seen_container(&self.store.place(id).await?.container);
        self.nri.remove_container(&self.cx, &container).await;
        Ok(self
            .store
            .change(|state| state.containers.remove(id))
            .await
            .map(drop)?)
    }

    pub(crate) async fn stop_pod_sandbox(&self, id: &str) -> Result {
        let pod = seen_pod(&self.store.pod(id).await?);
        self.nri.stop_pod_sandbox(&self.cx, &pod).await;
        let not_ready = |pod: &mut Pod| pod.ready = false;
        let stopped = self
            .store
            .change(|state| state.pods.get_mut(id).map(not_ready));
        Ok(stopped.await.map(drop)?)
    }

    pub(crate) async fn remove_pod_sandbox(&self, id: &str) -> Result {
        let pod = seen_pod(&self.store.pod(id).await?);
        self.nri.remove_pod_sandbox(&self.cx, &pod).await;
        Ok(self
            .store
            .change(|state| state.pods.remove(id))
            .await
            .map(drop)?)
    }
}
