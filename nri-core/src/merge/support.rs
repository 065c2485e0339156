//! What a runtime can apply, and what becomes of the rest: plugins' answers are held to it one by
//! one, before they are merged, so that views, owners and validators have to do with nothing that
//! is not going to happen.

use super::error::{MergeError, Omission};
use super::supported::{SupportedFields, Unsupported};
use crate::PluginId;

/// What becomes of something that a plugin asks for and the runtime cannot apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnsupported {
    /// The request fails, with an error that names plugin, container and field. (An update whose
    /// failure is to be ignored is left out as a whole.)
    #[default]
    Refuse,
    /// It is left out and reported as an [`Omission`].
    LeaveOut,
}

/// What a runtime can apply. Unless it says otherwise, everything.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, Container, CreateContainerResponse, Field};
/// use nri_core::build::Adjust as _;
/// use nri_core::merge::{CreateMerge, OnUnsupported, Support, SupportedFields};
/// use nri_core::RegisteredPlugin;
///
/// let support = Support::only(SupportedFields::ALL.without(Field::Sysctl));
/// let plugin = RegisteredPlugin { id: "10-tuner".parse()?, registration: 1 };
/// let mut adjust = ContainerAdjustment::default();
/// adjust.add_sysctl("kernel.shm_rmid_forced", "1")?.add_env("TUNED", "1")?;
/// let response = CreateContainerResponse { adjust: Some(adjust), ..Default::default() };
///
/// let container = Container { id: "c1".into(), ..Default::default() };
/// let mut merge = CreateMerge::new(container.clone()).with_support(support);
/// let refusal = merge.apply(&plugin, response.clone()).unwrap_err();
/// assert!(refusal.to_string().contains(r#""10-tuner" asks for Sysctl "kernel.shm_rmid_forced""#));
///
/// let lenient = support.on_unsupported(OnUnsupported::LeaveOut);
/// let mut merge = CreateMerge::new(container).with_support(lenient);
/// merge.apply(&plugin, response)?;
/// assert_eq!(merge.view().env, ["TUNED=1"]);
/// assert_eq!(merge.finish().omissions.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Support {
    fields: SupportedFields,
    otherwise: OnUnsupported,
}

impl Support {
    /// These fields; anything else is refused.
    pub fn only(fields: SupportedFields) -> Self {
        Self {
            fields,
            otherwise: OnUnsupported::Refuse,
        }
    }

    /// The same, with this to become of the rest.
    #[must_use]
    pub fn on_unsupported(mut self, otherwise: OnUnsupported) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// The fields that can be applied.
    pub fn fields(self) -> SupportedFields {
        self.fields
    }

    /// Takes out of what a plugin asks for what cannot be applied, and says what that was.
    ///
    /// # Errors
    /// There is such a thing, and it is to be refused.
    pub(super) fn enforce<A>(
        self,
        asked: &mut A,
        restrict: impl FnOnce(SupportedFields, &mut A) -> Vec<Unsupported>,
        plugin: &PluginId,
        container: &str,
    ) -> Result<Vec<Omission>, MergeError> {
        let unsupported = restrict(self.fields, asked);
        match self.otherwise {
            _ if unsupported.is_empty() => Ok(Vec::new()),
            OnUnsupported::Refuse => Err(MergeError::Unsupported {
                container: container.to_owned(),
                plugin: plugin.clone(),
                what: unsupported,
            }),
            OnUnsupported::LeaveOut => Ok(unsupported
                .into_iter()
                .map(|what| Omission::Unsupported {
                    plugin: plugin.clone(),
                    container: container.to_owned(),
                    what,
                })
                .collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nri_proto::api::{ContainerUpdate, Field, StopContainerResponse, UpdateContainerResponse};

    use super::*;
    use crate::RegisteredPlugin;
    use crate::build::{SetResources as _, Update as _};
    use crate::merge::{StopMerge, UpdateMerge};

    fn plugin() -> RegisteredPlugin {
        RegisteredPlugin {
            id: "10-a".parse().unwrap(),
            registration: 1,
        }
    }

    fn update(ignore_failure: bool) -> ContainerUpdate {
        let mut update = ContainerUpdate::of_container("c").unwrap();
        update.set_pids_limit(7).set_rdt_class("gold");
        update.set_ignore_failure(ignore_failure);
        update
    }

    fn responds(update: ContainerUpdate) -> UpdateContainerResponse {
        UpdateContainerResponse {
            update: vec![update],
            evict: vec![],
        }
    }

    #[test]
    fn an_update_of_what_cannot_be_applied_is_refused_or_left_out() {
        let support = Support::only(SupportedFields::ALL.without(Field::RdtClass));
        let mut merge = UpdateMerge::new("c".into(), None).with_support(support);
        let error = merge.apply(&plugin(), responds(update(false))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "plugin \"10-a\" asks for RdtClass in container \"c\", which this runtime cannot apply; configure the plugin not to"
        );
        assert_eq!(merge.view(), None, "the request is as it was");

        merge.apply(&plugin(), responds(update(true))).unwrap();
        let outcome = merge.finish();
        assert_eq!(outcome.requested, None, "left out as a whole");
        assert_eq!(outcome.omissions, [Omission::Update(error)]);
    }

    #[test]
    fn what_is_left_out_has_no_owner_and_the_rest_is_merged() {
        let support = Support::only(SupportedFields::ALL.without(Field::RdtClass))
            .on_unsupported(OnUnsupported::LeaveOut);
        let mut merge = StopMerge::new().with_support(support);
        let response = StopContainerResponse {
            update: vec![update(false)],
        };
        merge.apply(&plugin(), response).unwrap();
        let outcome = merge.finish();
        assert_eq!(outcome.owners.owner("c", Field::RdtClass, None), None);
        assert!(outcome.owners.owner("c", Field::PidsLimit, None).is_some());
        assert_eq!(outcome.updates.len(), 1);
        assert_eq!(
            outcome.omissions[0].to_string(),
            "left out RdtClass, which plugin \"10-a\" asks for in container \"c\" and this runtime cannot apply"
        );
    }
}
