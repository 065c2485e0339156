//! A daemon in the manner of Docker, in memory: containers without pods, a network that one shares
//! with another, restarts and removals. It prints what a plugin hears, which is part of it.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_adaptation::api::{self, ContainerState::*, PodSandbox};
use nri_adaptation::model::Container;
use nri_adaptation::solo::{SoloDomain, SoloNri, Source, own_pod};
use nri_adaptation::{Config, Ctx, DomainError, EventMask, Nri, Observer, Plugin};
use nri_adaptation::{PluginCallReport, RuntimeApi as _, merge};

/// The containers, and in whose network each one is if not in its own.
#[derive(Default)]
struct Store(Mutex<BTreeMap<String, (api::Container, Option<String>)>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (api::Container, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: &str, state: api::ContainerState) -> Result<api::Container, DomainError> {
        let (mut all, unknown) = (self.lock(), || DomainError::NotFound(id.into()));
        let (container, _) = all.get_mut(id).ok_or_else(unknown)?;
        container.set_state(state);
        Ok(container.clone())
    }
}

#[async_trait::async_trait]
impl Source for Store {
    async fn all(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let shown = |(it, _): &(api::Container, _)| Arc::new(it.clone()) as _;
        Ok(self.lock().values().map(shown).collect())
    }

    async fn get(&self, id: &str) -> Option<Arc<dyn Container>> {
        Some(Arc::new(self.lock().get(id)?.0.clone()))
    }

    async fn pod_of(&self, container: &dyn Container) -> PodSandbox {
        let all = self.lock();
        let network = all.get(&container.id()).and_then(|(_, it)| it.clone());
        let owner = network.and_then(|id| all.get(&id));
        owner.map_or_else(|| own_pod(container), |(owner, _)| own_pod(owner))
    }

    async fn update(&self, _: &Ctx, _: &api::ContainerUpdate) -> Result<(), DomainError> {
        Err(DomainError::Failed("a toy has no resources".into()))
    }

    async fn evict(&self, _: &Ctx, evict: &api::ContainerEviction) -> Result<(), DomainError> {
        self.set(&evict.container_id, ContainerStopped).map(drop)
    }
}

struct Daemon {
    store: Arc<Store>,
    nri: SoloNri<Store>,
    cx: Ctx,
}

impl Daemon {
    /// `docker create`, with `--network container:X`.
    async fn create(&self, id: &str, network: Option<&str>) -> Result<(), Box<dyn Error>> {
        let mut container = api::Container::default();
        (container.id, container.name) = (id.into(), id.into());
        container.set_state(ContainerCreated);
        // Whose network it uses is asked while plugins are.
        let entry = |it: &api::Container| (it.clone(), network.map(str::to_owned));
        self.store.lock().insert(id.into(), entry(&container));
        let asked = self.nri.create(&self.cx, &container).await;
        let creation = asked.inspect_err(|_| drop(self.store.lock().remove(id)))?;
        if let Some(adjustment) = creation.adjustment() {
            container = merge::apply(&container, adjustment);
        }
        self.store.lock().insert(id.into(), entry(&container));
        creation.commit(); // whatever fails before this is undone towards the plugins
        Ok(self.nri.created(&self.cx, &container).await?)
    }

    /// `docker start`, for the first time or again.
    async fn start(&self, id: &str) -> Result<(), Box<dyn Error>> {
        let container = self.store.get(id).await.ok_or("no such container")?;
        self.nri.start(&self.cx, &*container).await?;
        let running = self.store.set(id, ContainerRunning)?;
        Ok(self.nri.started(&self.cx, &running).await?)
    }

    /// A process has ended, by itself or by `docker stop`.
    async fn exited(&self, id: &str) -> Result<(), Box<dyn Error>> {
        let stopped = self.store.set(id, ContainerStopped)?;
        Ok(self.nri.exited(&self.cx, &stopped).await.map(drop)?)
    }

    /// `docker rm --force`.
    async fn remove(&self, id: &str) -> Result<(), Box<dyn Error>> {
        let stopped = self.store.set(id, ContainerStopped)?;
        self.nri.remove(&self.cx, &stopped).await?;
        self.store.lock().remove(id);
        Ok(())
    }
}

struct Watches;

impl Plugin for Watches {
    fn events(&self) -> EventMask {
        EventMask::ALL
    }
}

impl Observer for Watches {
    fn plugin_call(&self, call: &PluginCallReport<'_>) {
        println!("    {} {} {}", call.event, call.pod, call.container);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (store, mut config) = (Arc::new(Store::default()), Config::default());
    // A real daemon has a socket, and plugins that are installed.
    (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    let domain = Arc::new(SoloDomain::new("toy", store.clone()));
    let builder = Nri::builder(config).domain(domain.clone());
    let builder = builder.plugin("10-watches".parse()?, Arc::new(Watches));
    let nri = Arc::new(builder.observer(Arc::new(Watches)).build()?);
    nri.start().await?;
    let nri = SoloNri::new(nri, domain);
    let cx = Ctx::new();
    let daemon = Daemon { store, nri, cx };

    daemon.create("web", None).await?;
    daemon.start("web").await?;
    daemon.exited("web").await?;
    println!("web is started again, and shares its network");
    daemon.start("web").await?;
    daemon.create("side", Some("web")).await?;
    daemon.start("side").await?;
    println!("web goes, side stays in its pod");
    daemon.remove("web").await?;
    println!("side goes, and the pod with it");
    daemon.remove("side").await?;
    daemon.nri.nri().stop().await;
    Ok(())
}
