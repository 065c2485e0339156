//! A domain in memory: what a test puts in is what plugins see, and what plugins do to it is
//! written down.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nri_core::api::{self, ContainerState};
use nri_core::merge;
use nri_core::model::{Container, PodSandbox};
use nri_core::{ContainerOutline, Ctx, Domain, DomainError, Outline, PodOutline};

use crate::Journal;

/// What a domain can be made to refuse once; see [`MemoryDomain::fail_next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DomainOperation {
    /// An update of the container.
    Update,
    /// An eviction of the container.
    Evict,
}

/// What a hook does before a change is made; an error refuses the change.
type Hook<C> = Arc<dyn Fn(C) -> Pin<Box<dyn Future<Output = HookResult> + Send>> + Send + Sync>;
type HookResult = Result<(), DomainError>;

/// Pods and containers in memory, and a record of what plugins did to them.
///
/// It keeps the rules of [`Domain`]. What a plugin asks for can be made to fail
/// ([`fail_next`](Self::fail_next)) or run code of the test's first
/// ([`on_update`](Self::on_update), [`on_evict`](Self::on_evict)), which may call back into the
/// API.
///
/// ```
/// use nri_core::{api, Domain};
/// use nri_testkit::MemoryDomain;
///
/// let domain = MemoryDomain::new("test");
/// domain.put_pod(api::PodSandbox { id: "p1".into(), ..Default::default() });
/// domain.put_container(api::Container { id: "c1".into(), pod_sandbox_id: "p1".into(), ..Default::default() });
/// assert_eq!(domain.name(), "test");
/// assert_eq!(domain.container("c1").unwrap().pod_sandbox_id, "p1");
/// ```
pub struct MemoryDomain {
    name: String,
    contents: Mutex<Contents>,
    updates: Journal<api::ContainerUpdate>,
    evictions: Journal<api::ContainerEviction>,
}

impl fmt::Debug for MemoryDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.contents();
        f.debug_struct("MemoryDomain")
            .field("name", &self.name)
            .field("pods", &contents.pods.len())
            .field("containers", &contents.containers.len())
            .field("updates", &self.updates)
            .field("evictions", &self.evictions)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Contents {
    pods: BTreeMap<String, Arc<api::PodSandbox>>,
    containers: BTreeMap<String, Arc<api::Container>>,
    refusals: BTreeMap<(String, DomainOperation), String>,
    no_listing: Option<String>,
    restartable: bool,
    without_outline: bool,
    on_update: Option<Hook<api::ContainerUpdate>>,
    on_evict: Option<Hook<api::ContainerEviction>>,
    on_list: Option<Hook<()>>,
    on_read: Option<Hook<Vec<String>>>,
}

impl MemoryDomain {
    /// An empty domain.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            contents: Mutex::default(),
            updates: Journal::default(),
            evictions: Journal::default(),
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics while it holds the lock, so a poisoned one is as good as any.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says, before the domain is registered, whether its pods and containers may run again after a
    /// stop; see [`Domain::restartable`]. They may not by default.
    pub fn set_restartable(&self, restartable: bool) {
        self.contents().restartable = restartable;
    }

    /// Says whether there is an [outline](Domain::outline), so that what plugins are shown is
    /// looked up when it is its turn; otherwise it is listed. There is one by default.
    pub fn set_outline(&self, outline: bool) {
        self.contents().without_outline = !outline;
    }

    /// Adds a pod, or replaces the one with its id.
    pub fn put_pod(&self, pod: api::PodSandbox) {
        self.contents().pods.insert(pod.id.clone(), Arc::new(pod));
    }

    /// Adds a container, or replaces the one with its id.
    pub fn put_container(&self, container: api::Container) {
        self.contents()
            .containers
            .insert(container.id.clone(), Arc::new(container));
    }

    /// Takes a pod out.
    pub fn remove_pod(&self, id: &str) -> Option<api::PodSandbox> {
        self.contents().pods.remove(id).map(Arc::unwrap_or_clone)
    }

    /// Takes a container out.
    pub fn remove_container(&self, id: &str) -> Option<api::Container> {
        self.contents()
            .containers
            .remove(id)
            .map(Arc::unwrap_or_clone)
    }

    /// A pod as it is now.
    pub fn pod(&self, id: &str) -> Option<api::PodSandbox> {
        self.contents().pods.get(id).map(|pod| (**pod).clone())
    }

    /// A container as it is now.
    pub fn container(&self, id: &str) -> Option<api::Container> {
        self.contents()
            .containers
            .get(id)
            .map(|container| (**container).clone())
    }

    /// The ids of its containers, sorted.
    pub fn container_ids(&self) -> Vec<String> {
        self.contents().containers.keys().cloned().collect()
    }

    /// Sets of a container what `resources` sets, as an update does, without writing it down. No
    /// effect without the container.
    pub fn overlay(&self, id: &str, resources: api::LinuxResources) {
        if let Some(container) = self.contents().containers.get_mut(id) {
            *container = Arc::new(updated(container, resources));
        }
    }

    /// The updates that were applied, in order.
    pub fn updates(&self) -> Vec<api::ContainerUpdate> {
        self.updates.all()
    }

    /// The evictions that were carried out, in order.
    pub fn evictions(&self) -> Vec<api::ContainerEviction> {
        self.evictions.all()
    }

    /// The updates themselves, to wait for something in them.
    pub fn update_journal(&self) -> &Journal<api::ContainerUpdate> {
        &self.updates
    }

    /// The evictions themselves, to wait for something in them.
    pub fn eviction_journal(&self) -> &Journal<api::ContainerEviction> {
        &self.evictions
    }

    /// Makes the next update or eviction of a container fail with `reason`.
    pub fn fail_next(&self, container_id: &str, what: DomainOperation, reason: impl Into<String>) {
        self.contents()
            .refusals
            .insert((container_id.to_owned(), what), reason.into());
    }

    /// Makes the next listing, of pods or of containers, or the next outline fail with `reason`.
    pub fn fail_next_listing(&self, reason: impl Into<String>) {
        self.contents().no_listing = Some(reason.into());
    }

    /// Runs `hook` before every update. Nothing is locked meanwhile, so it may call the API or this
    /// domain, or take its time. Its error refuses the update.
    ///
    /// ```
    /// use nri_core::{api, Ctx, Domain, DomainError};
    /// use nri_testkit::MemoryDomain;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let domain = MemoryDomain::new("test");
    /// domain.on_update(|update| async move { Err(DomainError::Failed(format!("{} is full", update.container_id))) });
    /// let update = api::ContainerUpdate { container_id: "c1".into(), ..Default::default() };
    /// assert_eq!(domain.update_container(&Ctx::new(), &update).await, Err(DomainError::Failed("c1 is full".into())));
    /// # });
    /// ```
    pub fn on_update<F, R>(&self, hook: F)
    where
        F: Fn(api::ContainerUpdate) -> R + Send + Sync + 'static,
        R: Future<Output = HookResult> + Send + 'static,
    {
        self.contents().on_update = Some(Arc::new(move |update| Box::pin(hook(update))));
    }

    /// Runs `hook` before every listing of pods and every outline, as
    /// [`on_update`](Self::on_update) does before updates. Its error fails the listing.
    pub fn on_list<F, R>(&self, hook: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = HookResult> + Send + 'static,
    {
        self.contents().on_list = Some(Arc::new(move |()| Box::pin(hook())));
    }

    /// Runs `hook` before some pods or containers are read that a plugin is about to be shown, with
    /// their ids, as [`on_update`](Self::on_update) does before updates: what it changes they see.
    /// Its error fails the reading.
    pub fn on_read<F, R>(&self, hook: F)
    where
        F: Fn(Vec<String>) -> R + Send + Sync + 'static,
        R: Future<Output = HookResult> + Send + 'static,
    {
        self.contents().on_read = Some(Arc::new(move |ids| Box::pin(hook(ids))));
    }

    async fn run_on_read(&self, ids: &[String]) -> HookResult {
        let hook = self.contents().on_read.clone();
        match hook {
            Some(hook) => hook(ids.to_vec()).await,
            None => Ok(()),
        }
    }

    async fn run_on_list(&self) -> HookResult {
        let hook = self.contents().on_list.clone();
        match hook {
            Some(hook) => hook(()).await,
            None => Ok(()),
        }
    }

    /// Runs `hook` before every eviction, as [`on_update`](Self::on_update) does before updates.
    pub fn on_evict<F, R>(&self, hook: F)
    where
        F: Fn(api::ContainerEviction) -> R + Send + Sync + 'static,
        R: Future<Output = HookResult> + Send + 'static,
    {
        self.contents().on_evict = Some(Arc::new(move |eviction| Box::pin(hook(eviction))));
    }
}

impl Contents {
    /// The container that is to be changed, unless the change is to be refused.
    fn change(
        &mut self,
        id: &str,
        what: DomainOperation,
    ) -> Result<&mut api::Container, DomainError> {
        if let Some(reason) = self.refusals.remove(&(id.to_owned(), what)) {
            return Err(DomainError::Failed(reason));
        }
        self.containers
            .get_mut(id)
            .map(Arc::make_mut)
            .ok_or_else(|| DomainError::NotFound(id.to_owned()))
    }

    fn may_be_listed(&mut self) -> Result<(), DomainError> {
        match self.no_listing.take() {
            Some(reason) => Err(DomainError::Failed(reason)),
            None => Ok(()),
        }
    }
}

/// A container with the fields set that `resources` sets; rules of the device cgroup are not for
/// updates.
fn updated(container: &api::Container, mut resources: api::LinuxResources) -> api::Container {
    resources.devices.clear();
    let adjustment = api::ContainerAdjustment {
        linux: Some(api::LinuxContainerAdjustment {
            resources: Some(resources),
            ..Default::default()
        }),
        ..Default::default()
    };
    merge::apply(container, &adjustment)
}

#[async_trait]
impl Domain for MemoryDomain {
    fn name(&self) -> &str {
        &self.name
    }

    fn restartable(&self) -> bool {
        self.contents().restartable
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.run_on_list().await?;
        let mut contents = self.contents();
        contents.may_be_listed()?;
        Ok(contents
            .pods
            .values()
            .map(|pod| Arc::clone(pod) as Arc<dyn PodSandbox>)
            .collect())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let mut contents = self.contents();
        contents.may_be_listed()?;
        Ok(contents
            .containers
            .values()
            .map(|container| Arc::clone(container) as Arc<dyn Container>)
            .collect())
    }

    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        if self.contents().without_outline {
            return Ok(None);
        }
        self.run_on_list().await?;
        let mut contents = self.contents();
        contents.may_be_listed()?;
        let pods = contents.pods.values().map(|pod| PodOutline::of(&**pod));
        let containers = contents.containers.values();
        let containers = containers.map(|container| ContainerOutline::of(&**container));
        Ok(Some(Outline::new(pods.collect(), containers.collect())))
    }

    async fn get_pod_sandboxes(
        &self,
        ids: &[String],
    ) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        self.run_on_read(ids).await?;
        let contents = self.contents();
        let pods = ids.iter().filter_map(|id| contents.pods.get(id));
        Ok(pods.map(|pod| Arc::clone(pod) as _).collect())
    }

    async fn get_containers(&self, ids: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        self.run_on_read(ids).await?;
        let contents = self.contents();
        let containers = ids.iter().filter_map(|id| contents.containers.get(id));
        Ok(containers
            .map(|container| Arc::clone(container) as _)
            .collect())
    }

    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pod = self.contents().pods.get(id).cloned();
        pod.map(|pod| pod as Arc<dyn PodSandbox>)
    }

    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.contents().containers.get(id).cloned();
        container.map(|container| container as Arc<dyn Container>)
    }

    async fn has_container(&self, id: &str) -> bool {
        self.contents().containers.contains_key(id)
    }

    /// Writes the update down and sets what it sets.
    async fn update_container(
        &self,
        _: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let hook = self.contents().on_update.clone();
        if let Some(hook) = hook {
            hook(update.clone()).await?;
        }
        let id = &update.container_id;
        let mut contents = self.contents();
        let container = contents.change(id, DomainOperation::Update)?;
        let Some(resources) = update
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone())
        else {
            return Err(DomainError::Invalid {
                id: id.clone(),
                reason: "the update has no resources".to_owned(),
            });
        };
        *container = updated(container, resources);
        self.updates.push(update.clone());
        Ok(())
    }

    /// Writes the eviction down. The container is stopped from then on.
    async fn evict_container(
        &self,
        _: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let hook = self.contents().on_evict.clone();
        if let Some(hook) = hook {
            hook(eviction.clone()).await?;
        }
        let mut contents = self.contents();
        let container = contents.change(&eviction.container_id, DomainOperation::Evict)?;
        if container.state() != ContainerState::ContainerStopped {
            container.state = ContainerState::ContainerStopped.into();
            container.status_reason.clone_from(&eviction.reason);
        }
        self.evictions.push(eviction.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(id: &str) -> api::ContainerUpdate {
        let resources = api::LinuxResources {
            pids: Some(api::LinuxPids { limit: 7 }),
            ..Default::default()
        };
        api::ContainerUpdate {
            container_id: id.into(),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(resources),
            }),
            ignore_failure: false,
        }
    }

    #[tokio::test]
    async fn what_plugins_do_is_written_down() {
        let domain = MemoryDomain::new("test");
        domain.put_container(api::Container {
            id: "c1".into(),
            ..Default::default()
        });
        let cx = Ctx::new();
        domain.update_container(&cx, &update("c1")).await.unwrap();
        let eviction = api::ContainerEviction {
            container_id: "c1".into(),
            reason: "pressure".into(),
        };
        domain.evict_container(&cx, &eviction).await.unwrap();
        assert_eq!(domain.updates(), [update("c1")]);
        assert_eq!(domain.evictions(), [eviction]);
        let container = domain.container("c1").unwrap();
        assert_eq!(container.state(), ContainerState::ContainerStopped);
        assert_eq!(
            container.linux.unwrap().resources.unwrap().pids,
            Some(api::LinuxPids { limit: 7 })
        );
    }

    #[tokio::test]
    async fn unknown_ids_and_refusals_are_errors_and_a_refusal_holds_once() {
        let domain = MemoryDomain::new("test");
        let cx = Ctx::new();
        assert_eq!(
            domain.update_container(&cx, &update("c1")).await,
            Err(DomainError::NotFound("c1".into()))
        );
        domain.put_container(api::Container {
            id: "c1".into(),
            ..Default::default()
        });
        domain.fail_next("c1", DomainOperation::Update, "no memory");
        let failed = DomainError::Failed("no memory".into());
        assert_eq!(
            domain.update_container(&cx, &update("c1")).await,
            Err(failed)
        );
        assert_eq!(domain.update_container(&cx, &update("c1")).await, Ok(()));
    }

    #[tokio::test]
    async fn an_update_is_laid_over_what_there_is() {
        let domain = MemoryDomain::new("test");
        let limit = |page_size: &str, limit| api::HugepageLimit {
            page_size: page_size.into(),
            limit,
        };
        let resources = api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: Some(api::OptionalInt64 { value: 1 }),
                swap: Some(api::OptionalInt64 { value: 2 }),
                ..Default::default()
            }),
            hugepage_limits: vec![limit("2MB", 1), limit("1GB", 1)],
            devices: vec![api::LinuxDeviceCgroup::default()],
            ..Default::default()
        };
        domain.put_container(api::Container {
            id: "c1".into(),
            linux: Some(api::LinuxContainer {
                resources: Some(resources.clone()),
                oom_score_adj: Some(api::OptionalInt { value: 5 }),
                ..Default::default()
            }),
            ..Default::default()
        });
        let mut asked = update("c1");
        let set = asked.linux.as_mut().unwrap().resources.as_mut().unwrap();
        set.hugepage_limits = vec![limit("1GB", 9)];
        set.devices = vec![api::LinuxDeviceCgroup::default(); 3];
        set.memory = Some(api::LinuxMemory {
            swap: Some(api::OptionalInt64 { value: 7 }),
            ..Default::default()
        });
        domain.update_container(&Ctx::new(), &asked).await.unwrap();
        let linux = domain.container("c1").unwrap().linux.unwrap();
        assert_eq!(linux.oom_score_adj, Some(api::OptionalInt { value: 5 }));
        let mut expected = resources;
        expected.hugepage_limits[1].limit = 9;
        expected.pids = Some(api::LinuxPids { limit: 7 });
        expected.memory.as_mut().unwrap().swap = Some(api::OptionalInt64 { value: 7 });
        assert_eq!(linux.resources, Some(expected));
    }

    #[tokio::test]
    async fn a_hook_comes_first_and_may_use_the_domain() {
        let domain = Arc::new(MemoryDomain::new("test"));
        let container = |id: &str| api::Container {
            id: id.into(),
            ..Default::default()
        };
        domain.put_container(container("c1"));
        let weak = Arc::downgrade(&domain);
        domain.on_evict(move |eviction| {
            let domain = weak.upgrade().unwrap();
            async move {
                domain.put_container(container("c2"));
                let id = eviction.container_id;
                domain.update_container(&Ctx::new(), &update(&id)).await
            }
        });
        let eviction = api::ContainerEviction {
            container_id: "c1".into(),
            reason: String::new(),
        };
        let cx = Ctx::new();
        domain.evict_container(&cx, &eviction).await.unwrap();
        assert_eq!((domain.updates().len(), domain.evictions().len()), (1, 1));
        assert!(domain.has_container("c2").await);
    }

    #[tokio::test]
    async fn a_listing_can_fail_once() {
        let domain = MemoryDomain::new("test");
        domain.fail_next_listing("the database is locked");
        let failed = DomainError::Failed("the database is locked".into());
        assert_eq!(domain.list_pod_sandboxes().await.err(), Some(failed));
        assert_eq!(domain.list_containers().await.err(), None);
    }
}
