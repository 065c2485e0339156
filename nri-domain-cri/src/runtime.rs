//! What a CRI runtime implements: a view of its pods and containers, what plugins may have done to
//! them, and its choices about OCI specs.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox};
use nri_core::oci::{ApplyOptions, CallbackError, apply_resources_with, resources as oci};
use nri_core::{Ctx, Outline, api};

use crate::cri::LinuxContainerResources;
use crate::{CriError, IDENTITY_ANNOTATIONS, OciSpec, StoreError, host, resources};

/// The runtime's pods and containers, without infrastructure containers.
///
/// Anything that plugins can be shown goes: records ([`PodRecord`](crate::PodRecord),
/// [`ContainerRecord`](crate::ContainerRecord)), messages ([`PodSnapshot`], [`ContainerSnapshot`]),
/// or types of the runtime's own. Ids are full ids, never prefixes. A method may wait for a lock or
/// a disk; no lock may be held once it has returned, nor by whoever calls NRI.
///
/// ```
/// use std::sync::Arc;
/// use nri_core::api;
/// use nri_core::model::{Container, PodSandbox, PodSnapshot};
/// use nri_domain_cri::{CriStore, StoreError};
/// use tokio::sync::RwLock;
///
/// struct Pod { id: String, name: String, up: bool }
/// struct Daemon { pods: RwLock<Vec<Pod>> }
///
/// #[async_trait::async_trait]
/// impl CriStore for Daemon {
///     async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
///         let seen = |pod: &Pod| -> Arc<dyn PodSandbox> {
///             let (id, name) = (pod.id.clone(), pod.name.clone());
///             let message = api::PodSandbox { id, name, ..Default::default() };
///             Arc::new(PodSnapshot::new(message).with_ready(pod.up))
///         };
///         Ok(self.pods.read().await.iter().map(seen).collect())
///     }
///
///     async fn containers(&self) -> Result<Vec<Arc<dyn Container>>, StoreError> {
///         Ok(Vec::new())
///     }
/// }
/// ```
///
/// [`PodSnapshot`]: nri_core::model::PodSnapshot
/// [`ContainerSnapshot`]: nri_core::model::ContainerSnapshot
#[async_trait]
pub trait CriStore: Send + Sync + 'static {
    /// All pods.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError>;

    /// All containers.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    async fn containers(&self) -> Result<Vec<Arc<dyn Container>>, StoreError>;

    /// What [`Domain::outline`](nri_core::Domain::outline) is: all pods and containers by what they
    /// are called, so that each is looked up when a plugin is about to be shown it. Default:
    /// `None`, which means that they are listed. Who overrides it overrides
    /// [`pod`](CriStore::pod) and [`container`](CriStore::container) as well, which go through
    /// all of them otherwise.
    ///
    /// # Errors
    /// Whatever kept the store from answering.
    async fn outline(&self) -> Result<Option<Outline>, StoreError> {
        Ok(None)
    }

    /// The pod of a full id. Default: looked for among [all](CriStore::pods).
    ///
    /// # Errors
    /// Whatever kept the store from answering; that there is no such pod is none.
    async fn pod(&self, id: &str) -> Result<Option<Arc<dyn PodSandbox>>, StoreError> {
        Ok(self.pods().await?.into_iter().find(|pod| pod.id() == id))
    }

    /// The container of a full id. Default: looked for among [all](CriStore::containers).
    ///
    /// # Errors
    /// Whatever kept the store from answering; that there is no such container is none.
    async fn container(&self, id: &str) -> Result<Option<Arc<dyn Container>>, StoreError> {
        let mut all = self.containers().await?.into_iter();
        Ok(all.find(|container| container.id() == id))
    }
}

/// What plugins may have done to containers outside of their own lifecycle events.
///
/// Called with no lock of NRI's held. A lock of the runtime's own that serialises work on a
/// container must not be held while NRI is called.
#[async_trait]
pub trait CriActions: Send + Sync + 'static {
    /// Changes the resources of a created or running container. Members that the update does not
    /// have stay as they are.
    ///
    /// # Errors
    /// Whatever kept the update from being applied.
    async fn update_container(
        &self,
        cx: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> Result<(), ActionError>;

    /// Kills a container, at once, and returns when its process is gone. One that is stopped
    /// already is a success. `reason` is for the container's status, as its message; its short form
    /// is `Evicted`.
    ///
    /// # Errors
    /// Whatever kept the container alive.
    async fn stop_container(&self, cx: &Ctx, id: &str, reason: &str) -> Result<(), ActionError>;
}

/// The runtime's choices about OCI specs.
pub trait SpecHooks: Send + Sync + 'static {
    /// How adjustments are applied to the specs of a pod's containers. Default:
    /// [`host::apply_options`].
    fn apply_options(&self, pod: &dyn PodSandbox) -> ApplyOptions {
        let _ = pod;
        host::apply_options()
    }

    /// Annotations that plugins may not change, in addition to those of the options. Default:
    /// [`IDENTITY_ANNOTATIONS`].
    fn protected_annotations(&self) -> Vec<String> {
        IDENTITY_ANNOTATIONS.map(str::to_owned).to_vec()
    }
}

/// Why a runtime did not do what a plugin asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// There is no such container.
    #[error("there is no such container")]
    NotFound,
    /// The container is in a state in which this is not possible; the state in words.
    #[error("the container is {0}, so this is not possible")]
    WrongState(String),
    /// The runtime tried and failed.
    #[error("{0}")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl ActionError {
    /// The runtime tried and failed: with an error of its own, or words.
    ///
    /// ```
    /// use nri_domain_cri::ActionError;
    /// assert_eq!(ActionError::failed("the cgroup is busy").to_string(), "the cgroup is busy");
    /// ```
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

/// New resources of a container in the three forms that a runtime may want.
///
/// `oci` carries all of it but the classes. A runtime that can only go through its CRI code takes
/// `cri`, and must look at `not_in_cri`: see [`require_cri`](ResolvedUpdate::require_cri).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResolvedUpdate {
    /// What plugins ask for, and what the orchestrator asks for of what they say nothing about.
    pub nri: api::LinuxResources,
    /// What CRI can carry of it, laid over the orchestrator's request.
    pub cri: LinuxContainerResources,
    /// The `linux.resources` members to change, as a low-level runtime's `update` takes them.
    pub oci: OciSpec,
    /// What `cri` does not say, by the names of the protocol.
    pub not_in_cri: Vec<&'static str>,
}

impl ResolvedUpdate {
    /// Resources to apply; `request` is what the orchestrator asked for, empty if it did not.
    ///
    /// Where plugins raise the limit of memory above the total of memory and swap that was
    /// requested, the total is raised with it: see [`keep_swap_share`](oci::keep_swap_share).
    ///
    /// # Errors
    /// Resources that break one of the [rules](nri_core::oci::values::RULES).
    pub fn new(
        request: &LinuxContainerResources,
        nri: api::LinuxResources,
        swap_supported: bool,
    ) -> Result<Self, oci::InvalidResource> {
        let mut options = ApplyOptions::default();
        options.swap_supported = swap_supported;
        Self::with_options(request, nri, &options)
    }

    /// As [`new`](ResolvedUpdate::new), with the options by which adjustments are applied: rules
    /// that they leave to the low-level runtime are left to it here too.
    ///
    /// # Errors
    /// Resources that break a rule that is not left to the low-level runtime.
    pub fn with_options(
        request: &LinuxContainerResources,
        nri: api::LinuxResources,
        options: &ApplyOptions,
    ) -> Result<Self, oci::InvalidResource> {
        let mut nri = resources::filled(request, nri);
        if let (Some(requested), Some(memory)) =
            (resources::shown(request).memory, nri.memory.as_mut())
        {
            oci::keep_swap_share(&requested, memory);
        }
        let mut oci = OciSpec::Object(Default::default());
        apply_resources_with(&nri, &mut oci, options)?;
        Ok(Self {
            oci,
            not_in_cri: resources::not_in_cri(&nri),
            cri: resources::overlay(request, &nri),
            nri,
        })
    }

    /// What the orchestrator asks for and nothing else: for updates that plugins have nothing to
    /// say to, where [`CriNri::update_container`](crate::CriNri::update_container) gives
    /// `None`.
    ///
    /// ```
    /// use nri_domain_cri::{ResolvedUpdate, cri::LinuxContainerResources, host};
    ///
    /// let request = LinuxContainerResources { cpu_shares: 512, ..Default::default() };
    /// let update = ResolvedUpdate::requested(&request, &host::apply_options())?;
    /// assert_eq!(update.oci, serde_json::json!({"cpu": {"shares": 512}}));
    /// # Ok::<(), nri_domain_cri::CriError>(())
    /// ```
    ///
    /// # Errors
    /// Resources that make no sense.
    pub fn requested(
        request: &LinuxContainerResources,
        options: &ApplyOptions,
    ) -> Result<Self, CriError> {
        let wanted = resources::to_nri(request)?;
        Self::with_options(request, wanted, options).map_err(CriError::RequestedResources)
    }

    /// Has `oci` seen by the [resource checker](ApplyOptions::resource_checker) of the options, if
    /// there is one, as it sees the resources of a new container.
    ///
    /// # Errors
    /// What the checker says.
    pub fn checked(mut self, options: &ApplyOptions) -> Result<Self, CallbackError> {
        if let Some(check) = &options.resource_checker {
            check(Some(&mut self.oci))?;
        }
        Ok(self)
    }

    /// Moves what cgroup v2 has files for from `not_in_cri` to `cri.unified`. For hosts with cgroup
    /// v2.
    #[must_use]
    pub fn with_unified(mut self) -> Self {
        for (member, file, value) in resources::as_unified(&self.nri) {
            self.not_in_cri.retain(|name| *name != member);
            self.cri.unified.entry(file.to_owned()).or_insert(value);
        }
        self
    }

    /// For runtimes that apply `cri` alone.
    ///
    /// # Errors
    /// The members that would be lost.
    pub fn require_cri(&self) -> Result<(), ActionError> {
        if self.not_in_cri.is_empty() {
            return Ok(());
        }
        let members = self.not_in_cri.join(", ");
        Err(ActionError::Failed(
            format!("this runtime cannot update {members}: CRI has no fields for that").into(),
        ))
    }
}
