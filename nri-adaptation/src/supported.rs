//! What the runtime cannot apply of what plugins ask for: refused, or taken out and reported; never dropped in silence.

use nri_core::merge::{
    CreateOutcome, Owners, SupportedFields, Unsupported, UpdateOutcome, strip, strip_update,
};
use nri_core::{DomainError, Error, PluginId, Request, api};

use crate::instance::Instance;
use crate::text::sanitized;

/// What is done where plugins ask for what the runtime cannot apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnsupported {
    /// The request fails, and a creation is undone towards the plugins that saw it. An update of another container fails by
    /// itself.
    #[default]
    Refuse,
    /// It is taken out, and reported to the observer and the log.
    Report,
}

/// What the runtime can apply, and what is done with the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Supported {
    pub(crate) fields: SupportedFields,
    pub(crate) otherwise: OnUnsupported,
}

/// What cannot be applied, each with those who asked for it.
fn in_words(container: &str, parts: &[Unsupported], owners: &Owners) -> Vec<String> {
    let word = |part: &Unsupported| {
        let mut plugins: Vec<&PluginId> = Vec::new();
        let single = part.keys.is_empty().then_some(None);
        let keys = part.keys.iter().map(|key| Some(key.as_str()));
        for key in single.into_iter().chain(keys) {
            let owner = part
                .field
                .and_then(|field| owners.owner(container, field, key));
            plugins.extend(owner.into_iter().flat_map(|owner| owner.plugins()));
        }
        plugins.sort();
        plugins.dedup();
        let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
        match plugins.is_empty() {
            true => sanitized(&part.to_string()),
            false => format!("{} ({})", sanitized(&part.to_string()), plugins.join(", ")),
        }
    };
    parts.iter().map(word).collect()
}

impl Instance {
    /// What of a creation's outcome can be applied to the container.
    ///
    /// # Errors
    /// Something cannot, and is to be refused.
    pub(crate) fn supported_creation(
        &self,
        request: &Request,
        mut asked: CreateOutcome,
    ) -> Result<CreateOutcome, Error> {
        let fields = self.supported.fields;
        if let Some(adjustment) = &mut asked.adjustment
            && fields != SupportedFields::ALL
        {
            let id = request.container().map_or("", |container| &container.id);
            match self.supported.otherwise {
                OnUnsupported::Refuse => {
                    refuse(id, &fields.unsupported(adjustment), &asked.owners)?;
                }
                OnUnsupported::Report => {
                    self.took_out(id, &fields.restrict(adjustment), &asked.owners);
                    asked.adjustment = asked.adjustment.take().and_then(strip);
                }
            }
        }
        Ok(asked)
    }

    /// What of an update's outcome can be applied to the container that is updated.
    ///
    /// # Errors
    /// Something cannot, and is to be refused.
    pub(crate) fn supported_update(
        &self,
        request: &Request,
        mut asked: UpdateOutcome,
    ) -> Result<UpdateOutcome, Error> {
        let fields = self.supported.fields;
        let own = asked.requested.as_mut().map(|merged| &mut merged.update);
        if fields != SupportedFields::ALL
            && let Some(resources) = own.and_then(resources)
        {
            let id = request.container().map_or("", |container| &container.id);
            match self.supported.otherwise {
                OnUnsupported::Refuse => {
                    refuse(id, &fields.unsupported_resources(resources), &asked.owners)?;
                }
                OnUnsupported::Report => {
                    let out = fields.restrict_resources(resources);
                    self.took_out(id, &out, &asked.owners);
                }
            }
        }
        Ok(asked)
    }

    /// What of an update of another container can be applied; `None` if that is all of it.
    ///
    /// # Errors
    /// Something cannot, and is to be refused.
    pub(crate) fn supported_side_update(
        &self,
        update: &api::ContainerUpdate,
        plugins: &[PluginId],
    ) -> Result<Option<api::ContainerUpdate>, DomainError> {
        let fields = self.supported.fields;
        if fields == SupportedFields::ALL {
            return Ok(None);
        }
        let mut rest = update.clone();
        let out = resources(&mut rest).map(|resources| fields.restrict_resources(resources));
        let out = out.unwrap_or_default();
        if out.is_empty() {
            return Ok(None);
        }
        let id = &update.container_id;
        match self.supported.otherwise {
            OnUnsupported::Refuse => Err(DomainError::Invalid {
                id: id.clone(),
                reason: format!(
                    "the runtime cannot apply {}",
                    in_words(id, &out, &Owners::default()).join(", ")
                ),
            }),
            OnUnsupported::Report => {
                let owners = crate::audit::owners_of_all(plugins, std::slice::from_ref(update));
                self.took_out(id, &out, &owners);
                // Without the units that nothing is left of.
                Ok(Some(strip_update(rest).unwrap_or_default()))
            }
        }
    }

    fn took_out(&self, container: &str, out: &[Unsupported], owners: &Owners) {
        if !out.is_empty() {
            let parts = in_words(container, out, owners).join(", ");
            tracing::warn!(
                container,
                parts,
                "the runtime cannot apply what plugins ask for; leaving it out"
            );
            self.observer.unsupported(container, out, owners);
        }
    }
}

fn refuse(container: &str, parts: &[Unsupported], owners: &Owners) -> Result<(), Error> {
    match parts.is_empty() {
        true => Ok(()),
        false => Err(Error::Unsupported {
            container: container.to_owned(),
            parts: in_words(container, parts, owners),
        }),
    }
}

fn resources(update: &mut api::ContainerUpdate) -> Option<&mut api::LinuxResources> {
    update.linux.as_mut()?.resources.as_mut()
}
