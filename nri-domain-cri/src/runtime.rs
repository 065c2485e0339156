//! What a CRI runtime implements: a view of its pods and containers, what plugins may have done to
//! them, and its choices about OCI specs.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use nri_core::oci::{ApplyOptions, apply_resources_with, resources as oci};
use nri_core::{Ctx, api};

use crate::cri::LinuxContainerResources;
use crate::{ContainerRecord, IDENTITY_ANNOTATIONS, OciSpec, PodRecord, host, resources};

/// The runtime's pods and containers, without infrastructure containers.
///
/// Cheap: no I/O, no lock held after the call. Ids are full ids.
pub trait CriStore: Send + Sync + 'static {
    /// All pods.
    fn pods(&self) -> Vec<PodRecord>;

    /// All containers.
    fn containers(&self) -> Vec<ContainerRecord>;

    /// The pod of a full id.
    fn pod(&self, id: &str) -> Option<PodRecord>;

    /// The container of a full id.
    fn container(&self, id: &str) -> Option<ContainerRecord>;
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

    /// Stops a container and returns when its process is gone: kills it once `grace` is over. One
    /// that is stopped already is a success. `reason` is for the container's status; its short
    /// form is `Evicted`.
    ///
    /// # Errors
    /// Whatever kept the container alive.
    async fn stop_container(
        &self,
        cx: &Ctx,
        id: &str,
        grace: Duration,
        reason: &str,
    ) -> Result<(), ActionError>;
}

/// The runtime's choices about OCI specs.
pub trait SpecHooks: Send + Sync + 'static {
    /// How adjustments are applied to the specs of a pod's containers. Default:
    /// [`host::apply_options`].
    fn apply_options(&self, pod: &PodRecord) -> ApplyOptions {
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
