//! The conformance suite for domains: domains that keep the rules pass, and for every rule there is
//! one that breaks it and is caught.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod cri_runtime;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Domain, DomainError, Outline, RuntimeApi};
use nri_testkit::MemoryDomain;
use nri_testkit::domain_conformance::{Adapter, Rule, check, check_within};

/// How long a domain may take that never returns.
const TIME: Duration = Duration::from_millis(500);

/// Containers in a domain in memory.
#[derive(Default)]
struct InMemory {
    domain: Option<Arc<MemoryDomain>>,
    made: AtomicUsize,
    api: Arc<Mutex<Option<Arc<dyn RuntimeApi>>>>,
}

impl InMemory {
    fn of(domain: &Arc<MemoryDomain>) -> Self {
        Self {
            domain: Some(Arc::clone(domain)),
            ..Default::default()
        }
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}-{:08}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    fn domain(&self) -> &MemoryDomain {
        self.domain.as_ref().unwrap()
    }
}

#[async_trait]
impl Adapter for InMemory {
    async fn create_pod(&self) -> Result<String, String> {
        let id = self.id("pod");
        self.domain().put_pod(api::PodSandbox {
            id: id.clone(),
            ..Default::default()
        });
        Ok(id)
    }

    async fn create_container(&self, pod: &str) -> Result<String, String> {
        let id = self.id("container");
        let memory = api::LinuxMemory {
            swap: Some(api::OptionalInt64 { value: 7 }),
            ..Default::default()
        };
        let resources = api::LinuxResources {
            memory: Some(memory),
            devices: vec![api::LinuxDeviceCgroup::default()],
            ..Default::default()
        };
        self.domain().put_container(api::Container {
            id: id.clone(),
            pod_sandbox_id: pod.to_owned(),
            state: ContainerState::ContainerRunning.into(),
            linux: Some(api::LinuxContainer {
                resources: Some(resources),
                ..Default::default()
            }),
            ..Default::default()
        });
        Ok(id)
    }

    async fn remove_container(&self, id: &str) -> Result<(), String> {
        self.domain().remove_container(id);
        Ok(())
    }

    async fn remove_pod(&self, id: &str) -> Result<(), String> {
        self.domain().remove_pod(id);
        Ok(())
    }

    async fn start_again(&self, id: &str) -> Result<(), String> {
        let mut container = self.domain().container(id).ok_or("it is gone")?;
        container.set_state(ContainerState::ContainerRunning);
        self.domain().put_container(container);
        Ok(())
    }

    fn attach(&self, nri: Arc<dyn RuntimeApi>) {
        *self.api.lock().unwrap() = Some(nri);
    }
}

#[tokio::test]
async fn a_domain_in_memory_keeps_the_rules() {
    let domain = Arc::new(MemoryDomain::new("test"));
    let report = check(domain.clone(), &InMemory::of(&domain)).await.unwrap();
    report.assert_ok();
    assert_eq!(report.to_string(), "the domain keeps all rules");
}

#[tokio::test]
async fn a_domain_whose_containers_run_again_keeps_the_rules() {
    let domain = Arc::new(MemoryDomain::new("test"));
    domain.set_restartable(true);
    let adapter = InMemory::of(&domain);
    check(domain.clone(), &adapter).await.unwrap().assert_ok();
    let evictions = domain.evictions();
    let ids = evictions.iter().map(|eviction| &eviction.container_id);
    let first: Vec<_> = ids.filter(|id| *id == "container-00000001").collect();
    assert_eq!(first.len(), 4, "twice in each of its runs");
}

#[tokio::test]
async fn a_domain_that_calls_nri_when_it_evicts_keeps_the_rules() {
    let domain = Arc::new(MemoryDomain::new("test"));
    let adapter = InMemory::of(&domain);
    let (api, weak) = (Arc::clone(&adapter.api), Arc::downgrade(&domain));
    domain.on_evict(move |eviction| {
        let (api, domain) = (api.lock().unwrap().clone(), weak.upgrade().unwrap());
        async move {
            // The container ends by itself, as it does when its process is killed.
            let container = domain.container(&eviction.container_id);
            if let (Some(api), Some(container)) = (api, container) {
                let pod = domain.pod(&container.pod_sandbox_id).unwrap();
                let stopped = api.stop_container(&Ctx::new(), &pod, &container).await;
                stopped.map_err(|error| DomainError::Failed(error.to_string()))?;
            }
            Ok(())
        }
    });
    let report = check(domain.clone(), &adapter).await.unwrap();
    report.assert_ok();
}

/// A domain that breaks a rule.
struct Broken {
    inner: Arc<MemoryDomain>,
    how: How,
    calls: AtomicUsize,
    api: Arc<Mutex<Option<Arc<dyn RuntimeApi>>>>,
    lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fickle,
    Nameless,
    ListsTwice,
    ListsNothing,
    CannotList,
    ListsWhatIsNot,
    DeniesWhatIs,
    OutlinesNothing,
    OutlinesAnotherState,
    FindsNoneOfMany,
    Remembers,
    ForgetsThePod,
    HidesState,
    TakesPrefixes,
    EvictsPrefixes,
    FindsAnything,
    UpdatesAnything,
    HandsOutItself,
    DropsUpdates,
    Replaces,
    FailsOnNothing,
    ClearsOnNothing,
    KeepsRunning,
    EvictsOnce,
    ForgetsStopped,
    Wavers,
    StaysStopped,
    LosesUpdates,
    LocksNriOut,
    Hangs,
    Panics,
}

impl Broken {
    fn is(&self, how: How) -> bool {
        self.how == how
    }

    /// The id that is meant.
    fn meant(&self, id: &str) -> String {
        let all = self.inner.container_ids();
        let by_prefix = all
            .iter()
            .find(|full| !id.is_empty() && full.starts_with(id));
        match (self.how, by_prefix) {
            (How::TakesPrefixes, Some(full)) => full.clone(),
            _ => id.to_owned(),
        }
    }
}

/// A container that is looked up anew whenever it is asked.
struct Alive(Arc<MemoryDomain>, String);

impl Container for Alive {
    fn id(&self) -> String {
        self.1.clone()
    }
    fn pod_sandbox_id(&self) -> String {
        self.to_message().pod_sandbox_id
    }
    fn status(&self) -> nri_core::model::ContainerStatus {
        let mut status = nri_core::model::ContainerStatus::default();
        status.state = self.to_message().state();
        status
    }
    fn to_message(&self) -> api::Container {
        self.0.container(&self.1).unwrap_or_default()
    }
}

#[async_trait]
impl Domain for Broken {
    fn name(&self) -> &str {
        match self.how {
            How::Nameless => "",
            How::Fickle if self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1 => "other",
            _ => "test",
        }
    }

    fn restartable(&self) -> bool {
        match self.how {
            How::Wavers => self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1,
            How::ForgetsStopped | How::StaysStopped => true,
            _ => false,
        }
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.inner.list_pod_sandboxes().await
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut all = self.inner.list_containers().await?;
        match self.how {
            How::ListsTwice => all.extend(all.clone()),
            How::ListsNothing => all.clear(),
            How::CannotList => return Err(DomainError::Failed("not now".into())),
            How::ListsWhatIsNot => all.push(Arc::new(api::Container {
                id: "ghost".into(),
                ..Default::default()
            })),
            How::ForgetsThePod | How::HidesState => {
                for container in &mut all {
                    let mut message = container.to_message();
                    match self.how {
                        How::HidesState => message.state = 0,
                        _ => message.pod_sandbox_id = "pod".into(),
                    }
                    *container = Arc::new(message);
                }
            }
            How::ForgetsStopped => {
                all.retain(|c| c.status().state != ContainerState::ContainerStopped);
            }
            How::StaysStopped => {
                let evicted = self.inner.evictions();
                for container in &mut all {
                    let mut message = container.to_message();
                    if evicted.iter().any(|it| it.container_id == message.id) {
                        message.set_state(ContainerState::ContainerStopped);
                    }
                    *container = Arc::new(message);
                }
            }
            How::Panics => panic!("as planned"),
            _ => {}
        }
        Ok(all)
    }

    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        let mut outline = self.inner.outline().await?.unwrap_or_default();
        match self.how {
            How::FindsNoneOfMany => {}
            How::OutlinesNothing => outline.containers.clear(),
            How::OutlinesAnotherState => {
                for container in &mut outline.containers {
                    container.state = ContainerState::ContainerPaused;
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(outline))
    }

    async fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        match self.how {
            How::FindsNoneOfMany => Ok(Vec::new()),
            _ => self.inner.get_containers(ids).await,
        }
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        match self.inner.get_pod_sandbox(id).await {
            None if self.is(How::FindsAnything) => Some(Arc::new(api::PodSandbox {
                id: id.into(),
                ..Default::default()
            })),
            found => found,
        }
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        if self.is(How::LocksNriOut) {
            drop(self.lock.lock().await);
        }
        match self.how {
            How::DeniesWhatIs => None,
            How::HandsOutItself if self.inner.container(id).is_some() => {
                Some(Arc::new(Alive(Arc::clone(&self.inner), id.into())))
            }
            How::Remembers if id.starts_with("container-0") && id.len() == 18 => {
                Some(Arc::new(self.inner.container(id).unwrap_or_default()))
            }
            How::ForgetsThePod => {
                let mut container = self.inner.container(id)?;
                container.pod_sandbox_id = "pod".into();
                Some(Arc::new(container))
            }
            _ => self.inner.get_container(&self.meant(id)).await,
        }
    }

    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let mut update = update.clone();
        update.container_id = self.meant(&update.container_id);
        let id = &update.container_id;
        let resources = update.linux.clone().and_then(|linux| linux.resources);
        match (self.how, self.inner.container(id)) {
            (How::UpdatesAnything, None) => return Ok(()),
            (How::DropsUpdates, Some(_)) => return Ok(()),
            (How::FailsOnNothing, Some(_)) if resources.is_none() => {
                return Err(DomainError::Failed("nothing to do".into()));
            }
            (How::Hangs, Some(_)) => std::future::pending().await,
            (How::Replaces, Some(mut container)) => {
                container.linux.get_or_insert_default().resources = resources;
                self.inner.put_container(container);
                return Ok(());
            }
            (How::ClearsOnNothing, Some(mut container)) if resources.is_none() => {
                container.linux = None;
                self.inner.put_container(container);
                return Ok(());
            }
            (How::LosesUpdates, Some(mut container)) => {
                let shown = self.inner.container(id).and_then(|c| c.linux);
                tokio::task::yield_now().await;
                self.inner.update_container(cx, &update).await?;
                // Only what it saw before and what it sets: a read-modify-write with a pause in it.
                container.linux = shown;
                self.inner.put_container(container);
                return self.inner.update_container(cx, &update).await;
            }
            _ => {}
        }
        self.inner.update_container(cx, &update).await
    }

    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let mut eviction = eviction.clone();
        let all = self.inner.container_ids();
        let id = &eviction.container_id;
        if self.is(How::EvictsPrefixes) && all.iter().any(|full| full.starts_with(id)) {
            return Ok(());
        }
        eviction.container_id = self.meant(id);
        let id = &eviction.container_id;
        match (self.how, self.inner.container(id)) {
            (How::KeepsRunning, Some(_)) => return Ok(()),
            (How::EvictsOnce, Some(container))
                if container.state() == ContainerState::ContainerStopped =>
            {
                return Err(DomainError::Failed("no such process".into()));
            }
            (How::LocksNriOut, Some(container)) => {
                let api = self.api.lock().unwrap().clone();
                if let Some(api) = api {
                    let _locked = self.lock.lock().await;
                    // NRI may look the container up; nothing of that kind may wait for us.
                    let _ = self.get_container(id).await;
                    let pod = self.inner.pod(&container.pod_sandbox_id).unwrap();
                    let _ = api.stop_container(cx, &pod, &container).await;
                }
            }
            _ => {}
        }
        self.inner.evict_container(cx, &eviction).await
    }
}

#[tokio::test]
async fn every_rule_is_caught_when_it_is_broken() {
    let table: BTreeMap<Rule, Vec<How>> = [
        (Rule::Name, vec![How::Fickle, How::Nameless]),
        (
            Rule::Listed,
            vec![How::ListsTwice, How::ListsNothing, How::CannotList],
        ),
        (
            Rule::ListedIsFound,
            vec![How::ListsWhatIsNot, How::DeniesWhatIs],
        ),
        (Rule::Removed, vec![How::Remembers]),
        (Rule::Pod, vec![How::ForgetsThePod]),
        (Rule::State, vec![How::HidesState]),
        (Rule::FullIds, vec![How::TakesPrefixes, How::EvictsPrefixes]),
        (
            Rule::Unknown,
            vec![How::FindsAnything, How::UpdatesAnything],
        ),
        (
            Rule::Outline,
            vec![
                How::OutlinesNothing,
                How::OutlinesAnotherState,
                How::FindsNoneOfMany,
            ],
        ),
        (Rule::Snapshots, vec![How::HandsOutItself]),
        (Rule::UpdateVisible, vec![How::DropsUpdates]),
        (Rule::UpdateOverlays, vec![How::Replaces]),
        (
            Rule::EmptyUpdate,
            vec![How::FailsOnNothing, How::ClearsOnNothing],
        ),
        (Rule::EvictionStops, vec![How::KeepsRunning]),
        (Rule::EvictedTwice, vec![How::EvictsOnce]),
        (Rule::KeepsStopped, vec![How::ForgetsStopped, How::Wavers]),
        (Rule::RunsAgain, vec![How::StaysStopped]),
        (Rule::Parallel, vec![How::LosesUpdates]),
        (Rule::Reentrant, vec![How::LocksNriOut]),
        (Rule::Answers, vec![How::Hangs, How::Panics]),
    ]
    .into();
    assert!(Rule::ALL.iter().all(|rule| table.contains_key(rule)));
    for (rule, how) in table
        .iter()
        .flat_map(|(rule, all)| all.iter().map(move |how| (rule, how)))
    {
        let inner = Arc::new(MemoryDomain::new("test"));
        let adapter = InMemory::of(&inner);
        let broken = Broken {
            inner,
            how: *how,
            calls: AtomicUsize::new(0),
            api: Arc::clone(&adapter.api),
            lock: tokio::sync::Mutex::new(()),
        };
        let report = check_within(Arc::new(broken), &adapter, TIME)
            .await
            .unwrap();
        assert!(
            report.breaks(*rule),
            "{how:?} was to break {rule:?}, and {report}"
        );
        assert!(report.to_string().contains(rule.text()));
    }
}

#[tokio::test]
async fn a_runtime_that_makes_nothing_cannot_be_checked() {
    struct Full;
    #[async_trait]
    impl Adapter for Full {
        async fn create_pod(&self) -> Result<String, String> {
            Err("no space left".into())
        }
        async fn create_container(&self, _: &str) -> Result<String, String> {
            Err("no space left".into())
        }
        async fn remove_container(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
        async fn remove_pod(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }
    let domain = Arc::new(MemoryDomain::new("test"));
    let error = check(domain, &Full).await.unwrap_err().to_string();
    assert!(error.contains("no space left"), "{error}");
}
