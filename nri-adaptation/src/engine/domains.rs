//! The domains of an instance: which pods and containers there are, and who can change them.
//!
//! The registry's lock is never held while a domain is called, and no call into a domain is waited
//! for without a limit.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use nri_core::model::{Container, PodSandbox};
use nri_core::{ContainerOutline, Ctx, Domain, DomainError, Outline, PodOutline, api};

use crate::engine::listed::{Listed, ListedContainer, ListedPod};
use crate::error::Error;
use crate::lock::Lock;
use crate::plugin::end_reason::ListingError;
use crate::plugin::inventory::{container_message, pod_message};

/// The domains of an instance, in the order of their registration.
#[derive(Default)]
pub(crate) struct Domains(Lock<Registry>);

#[derive(Default)]
struct Registry {
    domains: Vec<Arc<dyn Domain>>,
    closed: bool,
    /// How long a domain may take for one call.
    time: Duration,
}

/// All pods and containers of a domain, as they are.
pub(crate) type Whole = (Vec<Arc<dyn PodSandbox>>, Vec<Arc<dyn Container>>);

impl Domains {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock()
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// There is one of this name, or plugins may have been synchronised already.
    pub(crate) fn register(&self, domain: Arc<dyn Domain>) -> Result<(), Error> {
        let name = domain.name().to_owned();
        let mut registry = self.lock();
        if registry.closed {
            return Err(Error::LateDomain(name));
        }
        if registry.domains.iter().any(|other| other.name() == name) {
            return Err(Error::DuplicateDomain(name));
        }
        registry.domains.push(domain);
        Ok(())
    }

    /// Takes no domains any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Sets how long a domain may take for one call.
    pub(crate) fn set_time(&self, time: Duration) {
        self.lock().time = time;
    }

    /// The domains that are registered.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Domain>> {
        self.lock().domains.clone()
    }

    /// The name of the domain that an object of the API belongs to; objects need not say it where
    /// there is one only.
    ///
    /// # Errors
    /// The object does not say it, and there are several.
    pub(crate) fn name_of(
        &self,
        said: &str,
        what: fmt::Arguments<'_>,
    ) -> Result<Arc<str>, nri_core::Error> {
        if !said.is_empty() {
            return Ok(said.into());
        }
        match &self.lock().domains[..] {
            [] => Ok("".into()),
            [only] => Ok(only.name().into()),
            several => Err(nri_core::Error::Invalid(format!(
                "{what} does not say which domain it belongs to, and there are {}: return its name from `domain()`",
                several.len()
            ))),
        }
    }

    /// What there is in all domains: only what it is called where they have an outline.
    ///
    /// # Errors
    /// A domain cannot list.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ListingError> {
        let mut lists = Vec::new();
        for domain in self.all() {
            let outline = self.within(self.time(), domain.outline()).await;
            lists.push(match outline.map_err(failed(&*domain))? {
                Some(outline) => outlined(&*domain, outline),
                None => {
                    let whole = self.whole(&*domain).await?;
                    listed(&*domain, whole)
                }
            });
        }
        Ok(lists)
    }

    /// All that a domain has.
    ///
    /// # Errors
    /// It cannot list.
    pub(crate) async fn whole(&self, domain: &dyn Domain) -> Result<Whole, ListingError> {
        let pods = self.bounded(domain.list_pod_sandboxes()).await;
        let pods = pods.map_err(failed(domain))?;
        let containers = self.bounded(domain.list_containers()).await;
        Ok((pods, containers.map_err(failed(domain))?))
    }

    /// The domain of a name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<dyn Domain>> {
        let registry = self.lock();
        let domain = registry.domains.iter().find(|domain| domain.name() == name);
        domain.cloned()
    }

    /// The domain that has a container.
    ///
    /// # Errors
    /// None has it, as with the empty id; or several have: plugins say ids only, so nobody knows
    /// which one is meant.
    pub(crate) async fn owner(&self, container: &str) -> Result<Arc<dyn Domain>, DomainError> {
        if container.is_empty() {
            return Err(DomainError::NotFound(String::new()));
        }
        let mut owner: Option<Arc<dyn Domain>> = None;
        for domain in self.all() {
            let has = self
                .bounded(async { Ok(domain.has_container(container).await) })
                .await?;
            match &owner {
                _ if !has => {}
                None => owner = Some(domain),
                Some(other) => {
                    return Err(DomainError::Invalid {
                        id: container.to_owned(),
                        reason: format!(
                            "domains {:?} and {:?} both have a container of this id, so nobody knows which one is meant",
                            other.name(),
                            domain.name()
                        ),
                    });
                }
            }
        }
        owner.ok_or_else(|| DomainError::NotFound(container.to_owned()))
    }

    /// A container and its pod, as far as a domain knows them.
    pub(crate) async fn container_and_pod(
        &self,
        id: &str,
    ) -> (Option<api::PodSandbox>, Option<api::Container>) {
        let Ok(domain) = self.owner(id).await else {
            return (None, None);
        };
        let look_up = async {
            let container = domain.get_container(id).await;
            let container = container.map(|container| container_message(&*container));
            let pod = match &container {
                Some(container) => domain.get_pod_sandbox(&container.pod_sandbox_id).await,
                None => None,
            };
            Ok((pod.map(|pod| pod_message(&*pod)), container))
        };
        self.bounded(look_up).await.unwrap_or_default()
    }

    /// Updates a container in the domain that has it.
    pub(crate) async fn update(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        let domain = self.owner(&update.container_id).await?;
        self.bounded(domain.update_container(cx, update)).await
    }

    /// Evicts a container from the domain that has it.
    pub(crate) async fn evict(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        let domain = self.owner(&eviction.container_id).await?;
        self.bounded(domain.evict_container(cx, eviction)).await
    }

    /// How long a domain may take for one call.
    pub(crate) fn time(&self) -> Duration {
        self.lock().time
    }

    /// Waits for a domain, but not for ever.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, DomainError>>,
    ) -> Result<T, DomainError> {
        self.within(self.time(), call).await
    }

    /// Waits for a domain for what is left of its time.
    pub(crate) async fn within<T>(
        &self,
        left: Duration,
        call: impl Future<Output = Result<T, DomainError>>,
    ) -> Result<T, DomainError> {
        match tokio::time::timeout(left, call).await {
            Ok(result) => result,
            Err(_) => Err(DomainError::Failed(format!(
                "the runtime did not do it within {:?} (`domain_timeout`)",
                self.time()
            ))),
        }
    }
}

fn failed(domain: &dyn Domain) -> impl FnOnce(DomainError) -> ListingError {
    let domain = domain.name().to_owned();
    |source| ListingError { domain, source }
}

/// The list of a domain that has an outline.
fn outlined(domain: &dyn Domain, outline: Outline) -> Listed {
    let name: Arc<str> = domain.name().into();
    let Outline {
        pods, containers, ..
    } = outline;
    let pods = pods.into_iter();
    let containers = containers.into_iter();
    Listed {
        pods: pods.map(|pod| ListedPod::new(&name, pod, None)).collect(),
        containers: containers
            .map(|container| ListedContainer::new(&name, container, None))
            .collect(),
        name,
    }
}

/// The list of a domain that has none.
fn listed(domain: &dyn Domain, (pods, containers): Whole) -> Listed {
    let name: Arc<str> = domain.name().into();
    let pods = pods.into_iter();
    let containers = containers.into_iter();
    Listed {
        pods: pods
            .map(|pod| ListedPod::new(&name, PodOutline::of(&*pod), Some(pod)))
            .collect(),
        containers: containers
            .map(|it| ListedContainer::new(&name, ContainerOutline::of(&*it), Some(it)))
            .collect(),
        name,
    }
}
