//! Saying beforehand what a policy would do.

use nri_proto::api::{ContainerAdjustment, PodSandbox};

use super::rules::Policy;
use super::verdict::Verdict;
use crate::PluginId;

/// What a policy says of each thing in an adjustment that a plugin may ask for in a pod, and by
/// which rule: of what is allowed too. Nothing is changed.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, PodSandbox};
/// use nri_core::build::Adjust as _;
/// use nri_core::policy::{Action, Policy, Rule, explain};
///
/// let mut rule = Rule::new(Action::Deny);
/// rule.name = "no-preload".to_owned();
/// rule.plugins.push("logger".parse()?);
/// rule.fields.push("env:LD_*".parse()?);
/// let policy = Policy::new(vec![rule], Action::Audit)?;
///
/// let mut asked = ContainerAdjustment::default();
/// asked.add_env("LD_PRELOAD", "/x.so")?.add_env("HOME", "/")?;
/// let says = explain(&policy, &"10-logger".parse()?, &PodSandbox::default(), &asked);
/// assert_eq!((&*says[0].rule, says[0].action), ("no-preload", Action::Deny));
/// assert_eq!((&*says[1].rule, says[1].action), ("default", Action::Audit));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn explain(
    policy: &Policy,
    plugin: &PluginId,
    pod: &PodSandbox,
    adjustment: &ContainerAdjustment,
) -> Vec<Verdict> {
    let mut judge = policy.judge(plugin).recording_all();
    // What is denied is among the verdicts.
    let _ = judge.adjustment("", Some(pod), &mut adjustment.clone());
    judge.into_verdicts()
}
