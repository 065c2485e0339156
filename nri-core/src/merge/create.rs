//! Merging the responses to a creation.

use std::collections::BTreeMap;

use nri_proto::api;

use super::error::{MergeError, Omission};
use super::evictions::{Eviction, Evictions};
use super::owners::{ContainerOwners, Owners};
use super::rule::Group as _;
use super::support::Support;
use super::supported::SupportedFields;
use super::table::Adjustments;
use super::touched::touched;
use super::updates::{MergedUpdate, Updates};
use crate::encoded::ANNOTATIONS;
use crate::{PluginId, RegisteredPlugin};

/// What the plugins of a creation ask for so far, and what the next plugin is to see.
///
/// ```
/// use nri_core::api::{Container, ContainerAdjustment, CreateContainerResponse, Field};
/// use nri_core::merge::CreateMerge;
/// use nri_core::RegisteredPlugin;
///
/// let sets_args = |args: &[&str]| CreateContainerResponse {
///     adjust: Some(ContainerAdjustment {
///         args: args.iter().map(ToString::to_string).collect(),
///         ..Default::default()
///     }),
///     ..Default::default()
/// };
/// let first = RegisteredPlugin { id: "10-first".parse()?, registration: 1 };
/// let second = RegisteredPlugin { id: "20-second".parse()?, registration: 2 };
///
/// let mut merge = CreateMerge::new(Container { id: "c1".into(), ..Default::default() });
/// merge.apply(&first, sets_args(&["sh"])).unwrap();
/// assert_eq!(merge.view().args, ["sh"]);
///
/// let conflict = merge.apply(&second, sets_args(&["bash"])).unwrap_err();
/// assert_eq!(
///     conflict.to_string(),
///     r#"conflict on container "c1": plugin "20-second" sets Args, already set by "10-first""#
/// );
/// let outcome = merge.finish();
/// assert_eq!(outcome.owners.owner("c1", Field::Args, None).unwrap().to_string(), "10-first");
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Debug, Clone)]
pub struct CreateMerge {
    view: api::Container,
    combined: Combined,
}

/// What the plugins of a creation ask for together.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CreateOutcome {
    /// The combined adjustment; `None` if nothing is asked for.
    pub adjustment: Option<api::ContainerAdjustment>,
    /// Updates of other containers, by first mention.
    pub updates: Vec<MergedUpdate>,
    /// Evictions of other containers, by first mention. To be carried out before the updates.
    pub evictions: Vec<Eviction>,
    /// Who asked for what.
    pub owners: Owners,
    /// What was left out without failing the request.
    pub omissions: Vec<Omission>,
    /// Whether a plugin has taken the command line over, which the combined one no longer says.
    pub takes_over_args: bool,
}

impl CreateOutcome {
    /// The combined response, as one plugin could have given it, but for
    /// [`takes_over_args`](Self::takes_over_args).
    pub fn to_response(&self) -> api::CreateContainerResponse {
        api::CreateContainerResponse {
            adjust: self.adjustment.clone(),
            update: self.updates.iter().map(|u| u.update.clone()).collect(),
            evict: self.evictions.iter().map(Eviction::to_message).collect(),
        }
    }

    /// The same of what is not needed any more.
    pub(crate) fn into_response(self) -> (api::CreateContainerResponse, Owners, Vec<Omission>) {
        let response = api::CreateContainerResponse {
            adjust: self.adjustment,
            update: self.updates.into_iter().map(|u| u.update).collect(),
            evict: self.evictions.iter().map(Eviction::to_message).collect(),
        };
        (response, self.owners, self.omissions)
    }
}

impl CreateMerge {
    /// A merge for a container that no plugin has touched yet.
    pub fn new(container: api::Container) -> Self {
        Self {
            combined: Combined::new(&container.id, Support::default()),
            view: container,
        }
    }

    /// The same merge for a runtime that can apply just this.
    #[must_use]
    pub fn with_support(mut self, support: Support) -> Self {
        self.combined.support = support;
        self
    }

    /// The container as the next plugin is to see it: the original with everything
    /// [applied](super::apply) that was asked for so far.
    pub fn view(&self) -> &api::Container {
        &self.view
    }

    /// The container as the runtime asked for it. Not kept, but made of the view and what plugins
    /// changed in it.
    pub fn original(&self) -> api::Container {
        let mut container = self.view.clone();
        self.combined.clone().restore(&mut container);
        container
    }

    /// Takes in the response of the next plugin: as a whole, or, on an error, not at all.
    ///
    /// # Errors
    /// The response cannot be combined with the earlier ones, or it contradicts itself.
    pub fn apply(
        &mut self,
        plugin: &RegisteredPlugin,
        response: api::CreateContainerResponse,
    ) -> Result<(), MergeError> {
        self.combined.apply(plugin, response, Some(&self.view))?;
        self.combined.show(|| Some(&mut self.view));
        Ok(())
    }

    /// What the plugins ask for together.
    pub fn finish(self) -> CreateOutcome {
        self.combined.finish()
    }
}

/// A creation's merge without the container: whoever holds the view passes it in.
///
/// Views are not made anew for every plugin, nor is the original kept beside them. Both would mean
/// to copy the container, which costs more than everything else here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Combined {
    container_id: String,
    /// Elsewhere, as it is large and a merge is moved.
    adjustments: Box<Adjustments>,
    /// What was asked for last. It is checked, but not taken in before somebody looks: after the
    /// last plugin nobody does.
    last: Option<api::ContainerAdjustment>,
    last_plugin: Option<PluginId>,
    updates: Updates,
    evictions: Evictions,
    omissions: Vec<Omission>,
    support: Support,
    takes_over_args: bool,
}

impl Combined {
    /// A merge of nothing, for the container with this id.
    pub(crate) fn new(container_id: &str, support: Support) -> Self {
        Self {
            container_id: container_id.to_owned(),
            support,
            ..Self::default()
        }
    }

    /// Brings the view up to date. It is the original in the first call and always the same; it is
    /// only asked for if it changes.
    pub(crate) fn show<'v>(&mut self, view: impl FnOnce() -> Option<&'v mut api::Container>) {
        if let (Some(plugin), Some(adjust)) = (self.last_plugin.take(), self.last.take()) {
            self.adjustments.take(adjust, &plugin, view());
        }
    }

    /// The fields of the container that the view lacks what was asked for in, by number; none if it
    /// lacks nothing.
    pub(crate) fn unseen(&self) -> Vec<u32> {
        self.last.as_ref().map(touched).unwrap_or_default()
    }

    /// What the view lacks, if that is annotations and nothing else.
    pub(crate) fn unseen_annotations(&self) -> Option<&BTreeMap<String, String>> {
        let last = self.last.as_ref()?;
        (touched(last) == [ANNOTATIONS]).then_some(&last.annotations)
    }

    /// The fields of the container that [`apply`](Self::apply) looks at in the view.
    pub(crate) fn looks_at(asked: Option<&api::ContainerAdjustment>) -> Vec<u32> {
        let looks = asked.filter(|asked| Adjustments::looks(asked));
        looks.map(touched).unwrap_or_default()
    }

    /// [`CreateMerge::apply`], where the view is left as it was [shown](Self::show) to the plugin.
    pub(crate) fn apply(
        &mut self,
        plugin: &RegisteredPlugin,
        mut response: api::CreateContainerResponse,
        view: Option<&api::Container>,
    ) -> Result<(), MergeError> {
        let plugin = &plugin.id;
        let mut unsupported = Vec::new();
        if let Some(adjust) = &mut response.adjust {
            let restrict = |fields: SupportedFields, asked: &mut _| fields.restrict(asked);
            unsupported = self
                .support
                .enforce(adjust, restrict, plugin, &self.container_id)?;
        }
        let adjust = response.adjust.as_ref();
        let adjust = adjust.filter(|adjust| Adjustments::asks(adjust));
        if let Some(adjust) = adjust {
            self.adjustments
                .check(adjust)
                .map_err(|clash| clash.on(&self.container_id, plugin))?;
        }
        let asks = adjust.is_some();
        let mut staged = self.updates.stage(
            plugin,
            response.update,
            Some(&self.container_id),
            self.support,
        )?;

        // From here on nothing fails.
        if asks {
            if let (Some(adjust), Some(view)) = (&response.adjust, view) {
                self.adjustments.note(adjust, view);
            }
            let first = response.adjust.as_ref().and_then(|a| a.args.first());
            self.takes_over_args |= first.is_some_and(String::is_empty);
            self.last = response.adjust;
            self.last_plugin = Some(plugin.clone());
        }
        self.omissions.append(&mut unsupported);
        self.omissions.append(&mut staged.omissions);
        self.updates
            .commit(plugin, staged, |_| api::LinuxResources::default());
        for eviction in response.evict {
            if eviction.container_id == self.container_id {
                self.omissions.push(Omission::Eviction {
                    plugin: plugin.clone(),
                    container: eviction.container_id,
                });
            } else {
                self.evictions.add(plugin, eviction);
            }
        }
        Ok(())
    }

    /// Makes the view the original again. To be called once, after the last response; nobody looks
    /// at it any more then.
    pub(crate) fn restore(&mut self, view: &mut api::Container) {
        self.adjustments.restore(view);
    }

    /// [`CreateMerge::finish`].
    pub(crate) fn finish(mut self) -> CreateOutcome {
        self.show(|| None);
        let mut owners = Owners::default();
        let mut created = ContainerOwners::default();
        let adjustment = self.adjustments.finish(&mut created);
        owners.insert_container(self.container_id, created);
        CreateOutcome {
            adjustment: Adjustments::asks(&adjustment).then_some(adjustment),
            updates: self.updates.finish(&mut owners),
            evictions: self.evictions.finish(),
            owners,
            omissions: self.omissions,
            takes_over_args: self.takes_over_args,
        }
    }
}
