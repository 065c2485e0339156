//! POSIX resource limits: `process.rlimits`, one entry per type.

use std::collections::BTreeMap;

use nri_proto::api::{Field, PosixRlimit};
use serde_json::{Value, json};

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::tree;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    // By type, the limits that are not in the list yet; of two of one type, the last one counts.
    let mut wanted = BTreeMap::new();
    for rlimit in &draft.adjustment.rlimits {
        let kind = rlimit.r#type.as_str();
        if !draft.options.rlimit_names.iter().any(|name| name == kind) {
            draft.warn(Field::Rlimits, kind, "the host may not know this limit");
        }
        wanted.insert(kind, Some(rlimit));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let list = tree::list_mut(&mut draft.spec, &["process", "rlimits"]);
    // A limit takes the place of the first one of its type, and drops the others.
    list.retain_mut(|entry| match wanted.get_mut(tree::text(entry, &["type"])) {
        None => true,
        Some(wanted) => match wanted.take() {
            None => false,
            Some(rlimit) => {
                *entry = oci(rlimit);
                true
            }
        },
    });
    for rlimit in &draft.adjustment.rlimits {
        if let Some(rlimit) = wanted
            .get_mut(rlimit.r#type.as_str())
            .and_then(Option::take)
        {
            list.push(oci(rlimit));
        }
    }
    Ok(())
}

fn oci(rlimit: &PosixRlimit) -> Value {
    json!({"type": rlimit.r#type, "hard": rlimit.hard, "soft": rlimit.soft})
}
