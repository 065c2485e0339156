//! OCI hooks: `hooks`. They are appended; nothing is ever replaced or removed.

use nri_proto::api::Hook;
use serde_json::Value;

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::tree::{self, Object};

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(hooks) = &draft.adjustment.hooks else {
        return Ok(());
    };
    for (list, hooks) in [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ] {
        for hook in hooks {
            tree::list_mut(&mut draft.spec, &["hooks", list]).push(oci(hook));
        }
    }
    Ok(())
}

fn oci(hook: &Hook) -> Value {
    let mut oci = Object::new();
    tree::insert_text(&mut oci, "path", &hook.path);
    tree::insert_texts(&mut oci, "args", &hook.args);
    tree::insert_texts(&mut oci, "env", &hook.env);
    tree::insert_some(
        &mut oci,
        "timeout",
        hook.timeout.map(|timeout| timeout.value),
    );
    Value::Object(oci)
}
