//! A minimal runtime: what it has is in memory, and its containers are records.
//!
//! `cargo run -p nri-adaptation --example minimal` takes a pod and a container through their life.
//! With a directory behind it, the socket is there, and it waits for Enter: connect plugins first.

use std::error::Error;
use std::sync::Arc;

use nri_adaptation::api::{self, ContainerState};
use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{Config, Ctx, Domain, DomainError, Nri, RuntimeApi, async_trait};
use tokio::sync::Mutex;

/// What the runtime has. The protocol's messages serve as records; they implement the traits.
#[derive(Default)]
struct Store {
    pods: Mutex<Vec<Arc<api::PodSandbox>>>,
    containers: Mutex<Vec<Arc<api::Container>>>,
}

type Answer = Result<(), DomainError>;

#[async_trait]
impl Domain for Store {
    fn name(&self) -> &str {
        "minimal"
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let pods = self.pods.lock().await;
        Ok(pods.iter().map(|it| Arc::clone(it) as _).collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let all = self.containers.lock().await;
        Ok(all.iter().map(|one| Arc::clone(one) as _).collect())
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let mut pods = self.list_pod_sandboxes().await.ok()?.into_iter();
        pods.find(|pod| pod.id() == id)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let mut all = self.list_containers().await.ok()?.into_iter();
        all.find(|one| one.id() == id)
    }

    // What plugins ask for. A real runtime does it.
    async fn update_container(&self, _: &Ctx, it: &api::ContainerUpdate) -> Answer {
        Err(DomainError::Failed(format!(
            "no update of {}",
            it.container_id
        )))
    }

    async fn evict_container(&self, _: &Ctx, it: &api::ContainerEviction) -> Answer {
        Err(DomainError::Failed(format!(
            "no end of {}",
            it.container_id
        )))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1);
    let temporary = tempfile::tempdir()?;
    let directory = given
        .as_ref()
        .map_or(temporary.path(), |path| path.as_ref());
    let mut config = Config::default();
    config.socket_path = directory.join("nri.sock");
    config.plugin_path = directory.join("plugins");

    let store = Arc::new(Store::default());
    let nri = Nri::builder(config)
        .domain(Arc::clone(&store) as _)
        .build()?;
    nri.start().await?;
    if given.is_some() {
        println!(
            "connect plugins to {}, then press Enter",
            directory.display()
        );
        std::io::stdin().read_line(&mut String::new())?;
    }

    let cx = Ctx::new();
    let mut pod = api::PodSandbox::default();
    (pod.id, pod.name) = ("p1".into(), "web".into());
    nri.run_pod_sandbox(&cx, &pod).await?;
    store.pods.lock().await.push(Arc::new(pod.clone()));
    println!("pod p1 runs");
    let mut container = api::Container::default();
    (container.id, container.pod_sandbox_id) = ("c1".into(), "p1".into());
    let creation = nri.create_container(&cx, &pod, &container).await?;
    // Here the container is created as adjusted. Leaving with an error would undo the creation.
    let adjusts = creation.adjustment().is_some();
    container.set_state(ContainerState::ContainerCreated);
    store
        .containers
        .lock()
        .await
        .push(Arc::new(container.clone()));
    creation.commit();
    nri.post_create_container(&cx, &pod, &container).await?;
    println!("container c1 is created, adjusted: {adjusts}");
    nri.start_container(&cx, &pod, &container).await?;
    container.set_state(ContainerState::ContainerRunning);
    store.containers.lock().await[0] = Arc::new(container.clone());
    nri.post_start_container(&cx, &pod, &container).await?;
    println!("container c1 runs");
    nri.remove_container(&cx, &pod, &container).await?; // implies its stop
    nri.remove_pod_sandbox(&cx, &pod).await?;
    nri.stop().await;
    println!("pod p1 is removed");
    Ok(())
}
