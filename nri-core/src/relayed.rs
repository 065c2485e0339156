//! What comes of an event that is relayed as a message, whichever it is.

use nri_proto::api;

use crate::embed::{Creation, StopResult, UpdateResult};
use crate::flow::{PluginOutcome, consulted};
use crate::merge::{Omission, Owners};
use crate::{Event, PluginId, Response};

/// What came of an event that was relayed as a message: the answer of all plugins as that of one.
///
/// For what hands requests on from a runtime above to plugins below, and is a plugin itself to the
/// runtime.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Relayed {
    /// The merged answer, with the updates and evictions that plugins ask for: nothing was done
    /// about them.
    pub response: Response,
    /// Which plugin asked for which part.
    pub owners: Owners,
    /// What every plugin did with the request, in plugin order; empty for events whose answers say
    /// nothing.
    pub outcomes: Vec<PluginOutcome>,
    /// What plugins asked for and was left out without failing the request.
    pub omissions: Vec<Omission>,
    /// Whether a plugin has taken the command line over. The answer no longer says so: whoever
    /// hands it on as that of one plugin puts an empty argument in front.
    pub takes_over_args: bool,
}

impl Relayed {
    /// What came of an event with which no plugin had anything to do, or whose answers say nothing.
    pub fn untouched(event: Event) -> Self {
        Self::new(Response::empty(event))
    }

    /// An answer of nobody.
    pub fn new(response: Response) -> Self {
        Self {
            response,
            owners: Owners::default(),
            outcomes: Vec::new(),
            omissions: Vec::new(),
            takes_over_args: false,
        }
    }

    /// What came of a creation, which is committed by this.
    pub fn committed(creation: Creation) -> Self {
        let (asked, outcomes) = creation.into_committed();
        let takes_over_args = asked.takes_over_args;
        let (response, owners, omissions) = asked.into_response();
        Self {
            takes_over_args,
            owners,
            outcomes,
            omissions,
            ..Self::new(Response::CreateContainer(response))
        }
    }

    /// Who is behind the answer: what [`Behind::expand`] needs later, when the runtime above has it
    /// validated.
    pub fn behind(&self) -> Behind {
        Behind {
            owners: self.owners.clone(),
            plugins: consulted(&self.outcomes),
        }
    }
}

impl From<UpdateResult> for Relayed {
    fn from(result: UpdateResult) -> Self {
        let response = Response::UpdateContainer(result.to_response());
        Self {
            owners: result.owners().clone(),
            omissions: result.omissions().to_vec(),
            outcomes: result.outcomes,
            ..Self::new(response)
        }
    }
}

impl From<StopResult> for Relayed {
    fn from(result: StopResult) -> Self {
        let response = Response::StopContainer(result.to_response());
        Self {
            owners: result.owners().clone(),
            omissions: result.omissions().to_vec(),
            outcomes: result.outcomes,
            ..Self::new(response)
        }
    }
}

/// The plugins behind an answer that one plugin gave for them.
///
/// ```
/// use nri_core::api::{Field, PluginInstance, ValidateContainerAdjustmentRequest};
/// use nri_core::merge::{Owner, Owners};
/// use nri_core::{Behind, PluginId};
///
/// let (hub, tuner): (PluginId, PluginId) = ("50-hub".parse()?, "10-tuner".parse()?);
/// let mut behind = Behind::default();
/// behind.owners.insert("c1", Field::MemLimit, None, Owner::Set(tuner));
/// behind.plugins = vec![PluginInstance { name: "tuner".into(), index: "10".into() }];
///
/// let mut above = Owners::default();
/// above.insert("c1", Field::MemLimit, None, Owner::Set(hub.clone()));
/// let mut request = ValidateContainerAdjustmentRequest {
///     owners: Some(above.to_message()),
///     plugins: vec![PluginInstance { name: "hub".into(), index: "50".into() }],
///     ..Default::default()
/// };
/// behind.expand(&hub, &mut request);
/// assert_eq!(request.plugins, behind.plugins);
/// assert_eq!(request.owners, Some(behind.owners.to_message()));
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Behind {
    /// Who owns what in the answer.
    pub owners: Owners,
    /// Those that count as consulted.
    pub plugins: Vec<api::PluginInstance>,
}

impl Behind {
    /// Names these plugins in a request to validate, in place of `outer`, the plugin that answered
    /// for them: as owners ([`Owners::expand`]), and among those that were consulted. There the
    /// place of `outer` is theirs. A request that does not name it stays as it is.
    pub fn expand(&self, outer: &PluginId, request: &mut api::ValidateContainerAdjustmentRequest) {
        if let Some(owners) = &mut request.owners {
            let expanded = Owners::from_message(owners).expand(outer, &self.owners);
            *owners = expanded.to_message();
        }
        let is_outer = |plugin: &api::PluginInstance| {
            plugin.name == outer.name().as_str() && plugin.index == outer.index().to_string()
        };
        if let Some(at) = request.plugins.iter().position(is_outer) {
            request
                .plugins
                .splice(at..=at, self.plugins.iter().cloned());
        }
    }
}
