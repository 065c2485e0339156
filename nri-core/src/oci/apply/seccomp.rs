//! The seccomp policy: `linux.seccomp`, replaced as a whole. There is no way to remove it.

use nri_proto::api::{LinuxSeccomp, LinuxSyscall};
use serde_json::{Value, json};

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::tree::{self, Object};

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let Some(policy) = &draft.linux.seccomp_policy else {
        return Ok(());
    };
    let value = oci(policy);
    tree::set(&mut draft.spec, &["linux"], "seccomp", value);
    Ok(())
}

fn oci(policy: &LinuxSeccomp) -> Value {
    let mut oci = Object::new();
    tree::insert_text(&mut oci, "defaultAction", &policy.default_action);
    let default_errno = policy.default_errno.map(|errno| errno.value);
    tree::insert_some(&mut oci, "defaultErrnoRet", default_errno);
    tree::insert_texts(&mut oci, "architectures", &policy.architectures);
    // Left out when empty: runc takes an empty list to mean "no flags" and an absent one to mean
    // its defaults.
    tree::insert_texts(&mut oci, "flags", &policy.flags);
    tree::insert_text(&mut oci, "listenerPath", &policy.listener_path);
    tree::insert_text(&mut oci, "listenerMetadata", &policy.listener_metadata);
    let syscalls: Vec<Value> = policy.syscalls.iter().map(rule).collect();
    tree::insert_some(
        &mut oci,
        "syscalls",
        (!syscalls.is_empty()).then_some(syscalls),
    );
    Value::Object(oci)
}

fn rule(rule: &LinuxSyscall) -> Value {
    let mut oci = Object::new();
    tree::insert_texts(&mut oci, "names", &rule.names);
    tree::insert_text(&mut oci, "action", &rule.action);
    tree::insert_some(
        &mut oci,
        "errnoRet",
        rule.errno_ret.map(|errno| errno.value),
    );
    let args: Vec<Value> = rule
        .args
        .iter()
        .map(|arg| {
            let mut oci = json!({"index": arg.index, "value": arg.value, "op": arg.op});
            if arg.value_two != 0 {
                tree::set(&mut oci, &[], "valueTwo", arg.value_two);
            }
            oci
        })
        .collect();
    tree::insert_some(&mut oci, "args", (!args.is_empty()).then_some(args));
    Value::Object(oci)
}
