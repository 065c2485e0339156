//! Merging the responses to an update and to a stop.

use nri_proto::api;

use super::error::{MergeError, Omission};
use super::evictions::{Eviction, Evictions};
use super::owners::Owners;
use super::sieve::{Sieve, sift_resources};
use super::support::Support;
use super::updates::{MergedUpdate, Updates};
use crate::RegisteredPlugin;

/// What the plugins of an update ask for so far, and which resources the next plugin is to see.
///
/// ```
/// use nri_core::api::{
///     ContainerUpdate, LinuxContainerUpdate, LinuxPids, LinuxResources, UpdateContainerResponse,
/// };
/// use nri_core::merge::UpdateMerge;
/// use nri_core::RegisteredPlugin;
///
/// let pids = |limit| LinuxResources { pids: Some(LinuxPids { limit }), ..Default::default() };
/// let plugin = RegisteredPlugin { id: "10-first".parse()?, registration: 1 };
///
/// let mut merge = UpdateMerge::new("c1".into(), Some(pids(100)));
/// merge.apply(&plugin, UpdateContainerResponse {
///     update: vec![ContainerUpdate {
///         container_id: "c1".into(),
///         linux: Some(LinuxContainerUpdate { resources: Some(pids(7)) }),
///         ignore_failure: false,
///     }],
///     evict: vec![],
/// }).unwrap();
/// assert_eq!(merge.view(), Some(&pids(7)));
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct UpdateMerge {
    container_id: String,
    requested: Option<api::LinuxResources>,
    updates: Updates,
    evictions: Evictions,
    omissions: Vec<Omission>,
    support: Support,
}

/// What the plugins of an update ask for together.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UpdateOutcome {
    /// The full resources to apply instead of the requested ones; `None` if no plugin changed any.
    pub requested: Option<MergedUpdate>,
    /// Updates of other containers, by first mention.
    pub updates: Vec<MergedUpdate>,
    /// Evictions, by first mention. To be carried out before the updates.
    pub evictions: Vec<Eviction>,
    /// Who asked for what.
    pub owners: Owners,
    /// What was left out without failing the request.
    pub omissions: Vec<Omission>,
}

impl UpdateOutcome {
    /// The combined response, as one plugin could have given it. As the protocol has it, the last
    /// update is that of the requested container, and an empty one stands there if nothing
    /// changed it.
    pub fn to_response(&self) -> api::UpdateContainerResponse {
        let requested = self.requested.as_ref().map(|r| r.update.clone());
        let others = self.updates.iter().map(|u| u.update.clone());
        api::UpdateContainerResponse {
            update: others.chain([requested.unwrap_or_default()]).collect(),
            evict: self.evictions.iter().map(Eviction::to_message).collect(),
        }
    }
}

impl UpdateMerge {
    /// A merge for a container that is to get the `requested` resources.
    pub fn new(container_id: String, requested: Option<api::LinuxResources>) -> Self {
        Self {
            container_id,
            requested,
            updates: Updates::default(),
            evictions: Evictions::default(),
            omissions: Vec::new(),
            support: Support::default(),
        }
    }

    /// The same merge for a runtime that can apply just this.
    #[must_use]
    pub fn with_support(mut self, support: Support) -> Self {
        self.support = support;
        self
    }

    /// The resources as the next plugin is to see them.
    pub fn view(&self) -> Option<&api::LinuxResources> {
        self.updates
            .resources(&self.container_id)
            .or(self.requested.as_ref())
    }

    /// Takes in the response of the next plugin: as a whole, or, on an error, not at all.
    ///
    /// # Errors
    /// The response cannot be combined with the earlier ones, or it contradicts itself.
    pub fn apply(
        &mut self,
        plugin: &RegisteredPlugin,
        response: api::UpdateContainerResponse,
    ) -> Result<(), MergeError> {
        let plugin = &plugin.id;
        let mut staged = self
            .updates
            .stage(plugin, response.update, None, self.support)?;
        self.omissions.append(&mut staged.omissions);
        self.updates
            .commit(plugin, staged, |id| match &self.requested {
                Some(requested) if id == self.container_id => requested.clone(),
                _ => api::LinuxResources::default(),
            });
        for eviction in response.evict {
            self.evictions.add(plugin, eviction);
        }
        Ok(())
    }

    /// What the plugins ask for together.
    pub fn finish(self) -> UpdateOutcome {
        let mut owners = Owners::default();
        let (mut requested, updates): (Vec<_>, Vec<_>) = self
            .updates
            .finish(&mut owners)
            .into_iter()
            .partition(|merged| merged.update.container_id == self.container_id);
        UpdateOutcome {
            requested: requested.pop(),
            updates,
            evictions: self.evictions.finish(),
            owners,
            omissions: self.omissions,
        }
    }
}

/// Of a container's resources, what plugins own.
pub(crate) fn asked_part(
    owners: &Owners,
    container: &str,
    mut resources: api::LinuxResources,
) -> api::LinuxResources {
    sift_resources(&mut resources, &mut HasOwner { owners, container });
    resources
        .memory
        .take_if(|memory| *memory == Default::default());
    resources.cpu.take_if(|cpu| *cpu == Default::default());
    resources
}

/// Keeps what has an owner.
struct HasOwner<'a> {
    owners: &'a Owners,
    container: &'a str,
}

impl Sieve for HasOwner<'_> {
    const A_PART_STAYS: bool = true;

    fn keeps(&mut self, field: api::Field, key: Option<&str>) -> bool {
        self.owners.owner(self.container, field, key).is_some()
    }
}

/// What the plugins of a stop ask for so far.
#[derive(Debug, Clone, Default)]
pub struct StopMerge {
    updates: Updates,
    omissions: Vec<Omission>,
    support: Support,
}

/// What the plugins of a stop ask for together.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StopOutcome {
    /// Updates, by first mention; the stopped container may be among them.
    pub updates: Vec<MergedUpdate>,
    /// Who asked for what.
    pub owners: Owners,
    /// What was left out without failing the request.
    pub omissions: Vec<Omission>,
}

impl StopOutcome {
    /// The combined response, as one plugin could have given it.
    pub fn to_response(&self) -> api::StopContainerResponse {
        api::StopContainerResponse {
            update: self.updates.iter().map(|u| u.update.clone()).collect(),
        }
    }
}

impl StopMerge {
    /// A merge of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same merge for a runtime that can apply just this.
    #[must_use]
    pub fn with_support(mut self, support: Support) -> Self {
        self.support = support;
        self
    }

    /// Takes in the response of the next plugin: as a whole, or, on an error, not at all.
    ///
    /// # Errors
    /// The response cannot be combined with the earlier ones, or it contradicts itself.
    pub fn apply(
        &mut self,
        plugin: &RegisteredPlugin,
        response: api::StopContainerResponse,
    ) -> Result<(), MergeError> {
        let mut staged = self
            .updates
            .stage(&plugin.id, response.update, None, self.support)?;
        self.omissions.append(&mut staged.omissions);
        self.updates
            .commit(&plugin.id, staged, |_| api::LinuxResources::default());
        Ok(())
    }

    /// What the plugins ask for together.
    pub fn finish(self) -> StopOutcome {
        let mut owners = Owners::default();
        StopOutcome {
            updates: self.updates.finish(&mut owners),
            owners,
            omissions: self.omissions,
        }
    }
}
