//! OCI hooks: `hooks`. They are appended; nothing is ever replaced or removed.

use nri_proto::api::{Field, Hook};
use serde_json::Value;

use super::{ApplyError, Draft};
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
            if !hook.path.starts_with('/') {
                return Err(draft.invalid(
                    Field::OciHooks,
                    &hook.path,
                    "the path of a hook must be absolute",
                ));
            }
            if hook.timeout.is_some_and(|timeout| timeout.value <= 0) {
                return Err(draft.invalid(
                    Field::OciHooks,
                    &hook.path,
                    "the timeout of a hook must be a second or more",
                ));
            }
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
