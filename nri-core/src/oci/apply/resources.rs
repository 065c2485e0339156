//! Resources: `linux.resources`, and the runtime's check of them.

use nri_proto::api::Field;
use serde_json::Value;

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::{resources, shape, tree};

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(wanted) = &draft.linux.resources else {
        return Ok(());
    };
    let mut oci = tree::get(&draft.spec, &["linux", "resources"])
        .cloned()
        .unwrap_or(Value::Null);
    resources::write(wanted, &mut oci, draft.options).map_err(|breach| draft.breach(&breach))?;
    if !oci.is_null() {
        tree::set(&mut draft.spec, &["linux"], "resources", oci);
    }
    if wanted.pids.is_some_and(|pids| pids.limit == 0) {
        draft.warn(
            Field::PidsLimit,
            "",
            "0 means no process at all since OCI 1.3, and unlimited to older runtimes",
        );
    }
    if let Some(checker) = &draft.options.resource_checker {
        let resources = draft
            .spec
            .pointer_mut("/linux/resources")
            .filter(|resources| !resources.is_null());
        checker(resources).map_err(ApplyError::ResourcesRefused)?;
        shape::check(&draft.spec)?;
    }
    Ok(())
}
