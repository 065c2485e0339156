//! RDT settings: `linux.intelRdt`. They override what an RDT class has set.

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::tree;

const OBJECT: [&str; 2] = ["linux", "intelRdt"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(rdt) = &draft.linux.rdt else {
        return Ok(());
    };
    if rdt.remove {
        tree::remove(&mut draft.spec, &["linux"], "intelRdt");
    }
    if let Some(clos_id) = &rdt.clos_id {
        tree::set(&mut draft.spec, &OBJECT, "closID", clos_id.value.as_str());
    }
    if let Some(schemata) = &rdt.schemata {
        tree::set(&mut draft.spec, &OBJECT, "schemata", schemata.value.clone());
        if !schemata.value.is_empty() {
            // OCI: the older ways to say the same must not stand beside it.
            tree::remove(&mut draft.spec, &OBJECT, "l3CacheSchema");
            tree::remove(&mut draft.spec, &OBJECT, "memBwSchema");
        }
    }
    if let Some(enable) = rdt.enable_monitoring {
        tree::set(&mut draft.spec, &OBJECT, "enableMonitoring", enable.value);
    }
    Ok(())
}
