//! Doing to a container what an adjustment asks for.

use nri_proto::api::{Container, ContainerAdjustment};

use super::rule::Group as _;
use super::table::Adjustments;

/// The container as the adjustment makes it: removals first, then sets.
///
/// This is what later plugins see of earlier ones, and what a runtime's own application of an adjustment has to agree with:
///
/// * annotations, kernel parameters, network devices: marked keys go, others are set;
/// * mounts, environment, devices, namespaces: all entries with a marked key go; a set replaces the first entry of its key
///   where it is and drops further ones; new entries go to the end;
/// * limits and cgroup v2 parameters are replaced by key, CDI devices added if absent;
/// * single values are overwritten, hooks and device rules added to;
/// * a memory policy has no place in a `Container`, so it changes nothing here.
///
/// The adjustment is a combined one, or one plugin's in [normal form](super::normal_form): it no longer says whose values are
/// taken over, so an empty first argument is an argument.
///
/// ```
/// use nri_core::api::{Container, ContainerAdjustment, KeyValue};
///
/// let container = Container { env: vec!["A=1".into(), "B=2".into()], ..Default::default() };
/// let env = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
/// let adjustment = ContainerAdjustment { env: vec![env("A", "9"), env("-B", "")], ..Default::default() };
/// assert_eq!(nri_core::merge::apply(&container, &adjustment).env, ["A=9"]);
/// ```
#[must_use]
pub fn apply(container: &Container, adjustment: &ContainerAdjustment) -> Container {
    let mut applied = container.clone();
    Adjustments::apply(adjustment, &mut applied);
    applied
}
