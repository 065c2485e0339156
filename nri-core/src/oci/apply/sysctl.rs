//! Kernel parameters: `linux.sysctl`.

use nri_proto::api::Field;

use super::annotations::changes;
use super::{ApplyError, Draft};
use crate::oci::names::sysctl_namespace;
use crate::oci::{read, tree};

const MAP: [&str; 2] = ["linux", "sysctl"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    if draft.linux.sysctl.is_empty() {
        return Ok(());
    }
    let mut changes = changes(&draft.linux.sysctl);
    if let Some(filter) = &draft.options.sysctl_filter {
        filter(&mut changes).map_err(|source| draft.callback_failed(Field::Sysctl, "", source))?;
    }
    let own = read::namespaces(&draft.spec);
    for name in changes.set.keys() {
        if name.is_empty() {
            return Err(draft.invalid(Field::Sysctl, "", "the name is empty"));
        }
        let needed = sysctl_namespace(name).filter(|_| draft.options.check_sysctl_namespaces);
        if let Some(needed) = needed
            && !own.iter().any(|namespace| namespace.r#type == needed)
        {
            return Err(draft.invalid(
                Field::Sysctl,
                name,
                format!(
                    "it is a parameter of the {needed} namespace, and the container uses the host's"
                ),
            ));
        }
    }
    for name in &changes.removed {
        tree::remove(&mut draft.spec, &MAP, name);
    }
    for (name, value) in changes.set {
        tree::set(&mut draft.spec, &MAP, &name, value);
    }
    Ok(())
}
