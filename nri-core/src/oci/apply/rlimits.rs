//! POSIX resource limits: `process.rlimits`, one entry per type.

use nri_proto::api::Field;
use serde_json::json;

use super::{ApplyError, Draft};
use crate::oci::tree;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    for rlimit in &draft.adjustment.rlimits {
        let kind = rlimit.r#type.as_str();
        if !draft.options.rlimit_names.iter().any(|name| name == kind) {
            draft.warn(Field::Rlimits, kind, "the host may not know this limit");
        }
        let list = tree::list_mut(&mut draft.spec, &["process", "rlimits"]);
        let same = |entry: &serde_json::Value| tree::string(entry, &["type"]) == kind;
        let place = list.iter().position(same).unwrap_or(list.len());
        list.retain(|entry| !same(entry));
        list.insert(
            place.min(list.len()),
            json!({"type": kind, "hard": rlimit.hard, "soft": rlimit.soft}),
        );
    }
    Ok(())
}
