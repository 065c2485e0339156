//! A spec and an adjustment to a new spec.
//!
//! The order of the steps is the protocol's: later steps override earlier ones. CDI comes after the
//! environment and before devices and mounts, so CDI wins over plugins for a variable, and plugins
//! win over CDI for a device or a mount; explicit RDT settings override an RDT class; the resource
//! checker sees neither block I/O nor RDT.

mod annotations;
mod cdi;
mod classes;
mod devices;
mod draft;
mod error;
mod hooks;
mod mounts;
mod namespaces;
mod net_devices;
mod options;
mod process;
mod rdt;
mod requesters;
mod requirements;
mod resources;
mod rlimits;
mod seccomp;
mod sysctl;

use nri_proto::api::{ContainerAdjustment, Field, LinuxContainerAdjustment};
use serde_json::Value;

use super::values;
use super::version::OciVersion;
use super::{shape, tree};

pub use error::{ApplyError, Item, Warning};
pub use options::{ApplyOptions, DeviceAccess, OnUnsupported};
pub use requesters::Requesters;

use draft::Draft;

/// What came of applying an adjustment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// The new spec.
    pub spec: Value,
    /// The OCI version that has all members which the adjustment writes, if it is not 1.0.0. The
    /// spec's own `ociVersion` stays: runtimes do not go by it, and old ones refuse a newer
    /// one.
    pub needs: Option<OciVersion>,
    /// What may not have the effect that was asked for, in the order of the steps.
    pub warnings: Vec<Warning>,
}

/// Applies what all plugins together ask for to a container's OCI spec.
///
/// The spec given stays as it is; on an error nothing has been applied. Members that are not
/// adjusted are kept, known or not. `owners` says who asked for what, if warnings and errors are to
/// name plugins: what a [`Creation`](crate::Creation) knows, and the container's id. See
/// [`Requesters`] for the other forms.
///
/// # Errors
/// A document that is no OCI spec; a value that breaks one of the [rules](values::RULES) and is not
/// left to the low-level runtime; what one of the callbacks says; something that needs a callback
/// which is not there, unless the options say to ignore that.
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
///
/// With what a runtime gets from its plugins:
///
/// ```
/// use nri_core::Creation;
/// use nri_core::oci::{Applied, ApplyError, ApplyOptions, apply};
/// use serde_json::Value;
///
/// fn adjusted(spec: &Value, id: &str, creation: &Creation) -> Result<Option<Applied>, ApplyError> {
///     let owners = (creation.owners(), id);
///     creation
///         .adjustment()
///         .map(|adjustment| apply(spec, adjustment, &ApplyOptions::default(), owners))
///         .transpose()
/// }
/// # assert!(adjusted(&serde_json::json!({}), "c1", &Creation::untouched()).unwrap().is_none());
/// ```
pub fn apply<'a>(
    spec: &Value,
    adjustment: &ContainerAdjustment,
    options: &ApplyOptions,
    owners: impl Into<Requesters<'a>>,
) -> Result<Applied, ApplyError> {
    shape::check(spec)?;
    let no_linux = LinuxContainerAdjustment::default();
    let mut draft = Draft {
        before: spec,
        spec: spec.clone(),
        adjustment,
        linux: adjustment.linux.as_ref().unwrap_or(&no_linux),
        options,
        owners: owners.into(),
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
const STEPS: [Step; 25] = [
    judge_asked,
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
    judge_outcome,
    whole_process,
    requirements::check,
];

fn judge_asked(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let options = draft.options;
    let (limits, left) = (&options.rlimit_names, &options.left_to_runtime);
    values::judge_asked(draft.adjustment, draft.linux, limits, left)
        .map_err(|breach| draft.breach(&breach))
}

fn judge_outcome(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let left = &draft.options.left_to_runtime;
    values::judge_outcome(draft.before, &draft.spec, draft.linux, left)
        .map_err(|breach| draft.breach(&breach))
}

/// A process is made of what is set in it. Where the spec had none, it is not whole: a command and
/// a working directory cannot be made up.
fn whole_process(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let has = |spec: &Value, path: &[&str]| tree::get(spec, path).is_some();
    let made = has(&draft.spec, &["process"]) && !has(draft.before, &["process"]);
    if made && !(has(&draft.spec, &["process", "args"]) && has(&draft.spec, &["process", "cwd"])) {
        draft.warn(
            Field::Args,
            "",
            "the spec had no process, and the one that was made for what plugins ask for has no command or no working directory",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
