//! A spec and an adjustment to a new spec.
//!
//! The order of the steps is the protocol's: later steps override earlier ones. CDI comes after the environment and before
//! devices and mounts, so CDI wins over plugins for a variable, and plugins win over CDI for a device or a mount; explicit RDT
//! settings override an RDT class; the resource checker sees neither block I/O nor RDT.

mod annotations;
mod cdi;
mod classes;
mod devices;
mod error;
mod hooks;
mod mounts;
mod namespaces;
mod net_devices;
mod options;
mod process;
mod rdt;
mod requirements;
mod resources;
mod rlimits;
mod seccomp;
mod sysctl;

use std::cell::OnceCell;

use nri_proto::api::{ContainerAdjustment, Field, FieldOwners, LinuxContainerAdjustment};
use serde_json::Value;

use super::shape;
use crate::merge::ContainerOwners;

pub use error::{ApplyError, Item, Warning};
pub use options::{
    ApplyOptions, CallbackError, CdiInjector, ClassResolver, DeviceAccess, KeyedChanges,
    KeyedFilter, OnUnsupported, Relabel, ResourceChecker,
};
pub use requirements::OciVersion;

/// What came of applying an adjustment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// The new spec.
    pub spec: Value,
    /// The OCI version that has all members which the adjustment writes, if it is not 1.0.0. The spec's own `ociVersion` stays:
    /// runtimes do not go by it, and old ones refuse a newer one.
    pub needs: Option<OciVersion>,
    /// What may not have the effect that was asked for, in the order of the steps.
    pub warnings: Vec<Warning>,
}

/// Applies what all plugins together ask for to a container's OCI spec.
///
/// The spec given stays as it is; on an error nothing has been applied. Members that are not adjusted are kept, known or not.
/// `owners` is the adjusted container's entry of the merge's owners, if warnings and errors are to name plugins.
///
/// # Errors
/// A document that is no OCI spec; an adjustment that no runtime could carry out; what one of the callbacks says; something
/// that needs a callback which is not there, unless the options say to ignore that.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, KeyValue};
/// use nri_core::oci::{ApplyOptions, apply};
/// use serde_json::json;
///
/// let spec = json!({"process": {"env": ["A=1", "B=2"]}, "vendor": "kept"});
/// let adjustment = ContainerAdjustment {
///     env: vec![
///         KeyValue { key: "A".into(), value: "new".into() },
///         KeyValue { key: "-B".into(), value: String::new() },
///     ],
///     ..Default::default()
/// };
/// let applied = apply(&spec, &adjustment, &ApplyOptions::default(), None)?;
/// assert_eq!(applied.spec, json!({"process": {"env": ["A=new"]}, "vendor": "kept"}));
/// # Ok::<(), nri_core::oci::ApplyError>(())
/// ```
pub fn apply(
    spec: &Value,
    adjustment: &ContainerAdjustment,
    options: &ApplyOptions,
    owners: Option<&FieldOwners>,
) -> Result<Applied, ApplyError> {
    shape::check(spec)?;
    let no_linux = LinuxContainerAdjustment::default();
    let mut draft = Draft {
        spec: spec.clone(),
        adjustment,
        linux: adjustment.linux.as_ref().unwrap_or(&no_linux),
        options,
        owners,
        by_key: OnceCell::new(),
        needs: None,
        warnings: Vec::new(),
    };
    for step in STEPS {
        step(&mut draft)?;
    }
    Ok(Applied {
        spec: draft.spec,
        needs: draft.needs,
        warnings: draft.warnings,
    })
}

type Step = fn(&mut Draft<'_>) -> Result<(), ApplyError>;

/// Everything that can be adjusted, in the order in which it is.
const STEPS: [Step; 22] = [
    annotations::apply,
    process::env,
    process::args,
    hooks::apply,
    cdi::apply,
    devices::apply,
    process::cgroups_path,
    process::oom_score_adj,
    process::io_priority,
    process::scheduler,
    seccomp::apply,
    namespaces::apply,
    sysctl::apply,
    net_devices::apply,
    process::memory_policy,
    resources::apply,
    classes::blockio,
    classes::rdt,
    rdt::apply,
    mounts::apply,
    rlimits::apply,
    requirements::check,
];

/// A spec in the making, and all that the steps need.
struct Draft<'a> {
    spec: Value,
    adjustment: &'a ContainerAdjustment,
    linux: &'a LinuxContainerAdjustment,
    options: &'a ApplyOptions,
    owners: Option<&'a FieldOwners>,
    /// The same by the normal forms of keys, once a plugin is to be named.
    by_key: OnceCell<ContainerOwners>,
    needs: Option<OciVersion>,
    warnings: Vec<Warning>,
}

impl Draft<'_> {
    /// The item with its plugin. `key` is empty for fields that have none.
    fn item(&self, field: Field, key: &str) -> Item {
        let owner = self.owners.and_then(|owners| {
            let owners = self
                .by_key
                .get_or_init(|| ContainerOwners::from_message(owners));
            owners.owner(field, owners.has_entries(field).then_some(key))
        });
        let plugin = owner.map(ToString::to_string);
        // A dash in front of the identity says that the plugin removed the item.
        let plugin = plugin.map(|owner| match owner.strip_prefix('-') {
            Some(plugin) => plugin.to_owned(),
            None => owner,
        });
        Item {
            field,
            key: (!key.is_empty()).then(|| key.to_owned()),
            plugin,
        }
    }

    fn invalid(&self, field: Field, key: &str, reason: impl Into<String>) -> ApplyError {
        ApplyError::Invalid {
            item: self.item(field, key),
            reason: reason.into(),
        }
    }

    fn warn(&mut self, field: Field, key: &str, text: impl Into<String>) {
        let item = self.item(field, key);
        self.warnings.push(Warning {
            item,
            text: text.into(),
        });
    }

    /// Errs, warns or does nothing about something that needs a callback which is not there.
    fn without_callback(
        &mut self,
        field: Field,
        key: &str,
        callback: &'static str,
    ) -> Result<(), ApplyError> {
        match self.options.without_callback {
            OnUnsupported::Error => Err(ApplyError::NoCallback {
                item: self.item(field, key),
                callback,
            }),
            OnUnsupported::Warn => {
                self.warn(
                    field,
                    key,
                    format!("ignored: the runtime has no {callback}"),
                );
                Ok(())
            }
            OnUnsupported::Ignore => Ok(()),
        }
    }

    fn callback_failed(&self, field: Field, key: &str, source: CallbackError) -> ApplyError {
        ApplyError::Callback {
            item: self.item(field, key),
            source,
        }
    }
}

/// The key of a removal: what follows the marker `-`.
fn removed(key: &str) -> Option<&str> {
    key.strip_prefix('-')
}

/// The name of an enum's number; `None` for numbers of a newer protocol.
fn enum_name<E: TryFrom<i32>>(number: i32, name: fn(&E) -> &'static str) -> Option<&'static str> {
    E::try_from(number).ok().map(|value| name(&value))
}

#[cfg(test)]
mod tests;
