//! Block I/O and RDT classes: names that the runtime resolves to `linux.resources.blockIO` and
//! `linux.intelRdt`.

use nri_proto::api::{Field, OptionalString};

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::callbacks::ClassResolver;
use crate::oci::{shape, tree};

pub(super) fn blockio(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let resources = draft.linux.resources.as_ref();
    let class = resources.and_then(|resources| resources.blockio_class.as_ref());
    Target {
        field: Field::BlockioClass,
        parent: &["linux", "resources"],
        member: "blockIO",
        callback: "block I/O resolver",
    }
    .apply(draft, class, draft.options.blockio_resolver.as_ref())
}

pub(super) fn rdt(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let resources = draft.linux.resources.as_ref();
    let class = resources.and_then(|resources| resources.rdt_class.as_ref());
    Target {
        field: Field::RdtClass,
        parent: &["linux"],
        member: "intelRdt",
        callback: "RDT resolver",
    }
    .apply(draft, class, draft.options.rdt_resolver.as_ref())
}

struct Target {
    field: Field,
    parent: &'static [&'static str],
    member: &'static str,
    callback: &'static str,
}

impl Target {
    /// An empty name deletes the object, as does a class that stands for nothing; any other
    /// replaces it as a whole.
    fn apply(
        &self,
        draft: &mut Draft<'_>,
        class: Option<&OptionalString>,
        resolver: Option<&ClassResolver>,
    ) -> Result<(), ApplyError> {
        let Some(OptionalString { value: class }) = class else {
            return Ok(());
        };
        let object = if class.is_empty() {
            None
        } else {
            let Some(resolver) = resolver else {
                return draft.without_callback(self.field, class, self.callback);
            };
            resolver(class).map_err(|source| draft.callback_failed(self.field, class, source))?
        };
        match object {
            Some(object) => {
                tree::set(&mut draft.spec, self.parent, self.member, object);
                shape::check(&draft.spec)?;
            }
            None => tree::remove(&mut draft.spec, self.parent, self.member),
        }
        Ok(())
    }
}
