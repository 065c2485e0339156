//! Judging what one plugin asks for, before it is merged.

use std::sync::Arc;

use nri_proto::api::{self, ContainerAdjustment, ContainerEviction, ContainerUpdate, Field};

use super::action::Action;
use super::rules::{Policy, RulesAbout, RulesOfPlugin};
use super::target::Target;
use super::verdict::{Denial, Verdict};
use crate::PluginId;
use crate::merge::{Sieve, sift_adjustment, sift_resources};

/// Judges what one plugin asks for in one answer, or on its own account.
///
/// Of pods, namespace, labels and runtime handler are looked at. A pod that is not known is `None`:
/// rules with conditions on pods hold for it if they deny or drop, and do not if they allow or
/// audit.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, PodSandbox};
/// use nri_core::build::Adjust as _;
/// use nri_core::policy::{Action, Policy, Rule};
///
/// let mut rule = Rule::new(Action::Drop);
/// rule.fields.push("env:LD_*".parse()?);
/// let policy = Policy::new(vec![rule], Action::Allow)?;
///
/// let mut asked = ContainerAdjustment::default();
/// asked.add_env("LD_PRELOAD", "/x.so")?.add_env("HOME", "/")?;
/// let plugin = "10-a".parse()?;
/// let mut judge = policy.judge(&plugin);
/// judge.adjustment("c1", Some(&PodSandbox::default()), &mut asked)?;
/// assert_eq!(asked.env.len(), 1);
/// assert_eq!(
///     judge.into_verdicts()[0].to_string(),
///     r#"plugin "10-a" asks for Env "LD_PRELOAD" in container "c1": drop by rule "rule 1""#,
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Judge<'p> {
    rules: RulesOfPlugin<'p>,
    plugin: &'p PluginId,
    /// Whether what is allowed is recorded as well.
    records_all: bool,
    verdicts: Vec<Verdict>,
}

impl Policy {
    /// Begins to judge what a plugin asks for. What is denied, dropped and audited is recorded.
    pub fn judge<'p>(&'p self, plugin: &'p PluginId) -> Judge<'p> {
        Judge {
            rules: self.of_plugin(plugin),
            plugin,
            records_all: false,
            verdicts: Vec::new(),
        }
    }
}

impl Judge<'_> {
    /// Records what is allowed as well.
    #[must_use]
    pub fn recording_all(mut self) -> Self {
        self.records_all = true;
        self
    }

    /// Takes out of what is asked for a container that is created what is to be dropped.
    ///
    /// # Errors
    /// Something is denied: all that is.
    pub fn adjustment(
        &mut self,
        container: &str,
        pod: Option<&api::PodSandbox>,
        asked: &mut ContainerAdjustment,
    ) -> Result<(), Denial> {
        let mut sifting = self.about(container, pod);
        sift_adjustment(asked, &mut sifting);
        sifting.end()
    }

    /// Takes out of an update what is to be dropped, `pod` being that of the container that it is
    /// of; `None` if all of it is. First the update itself is judged, then each thing in it.
    ///
    /// # Errors
    /// Something is denied: all that is.
    pub fn update(
        &mut self,
        pod: Option<&api::PodSandbox>,
        mut update: ContainerUpdate,
    ) -> Result<Option<ContainerUpdate>, Denial> {
        let mut sifting = self.about(&update.container_id, pod);
        let stays = sifting.judge(Target::Updates, None);
        let linux = update.linux.as_mut().filter(|_| stays);
        if let Some(resources) = linux.and_then(|linux| linux.resources.as_mut()) {
            sift_resources(resources, &mut sifting);
        }
        sifting.end()?;
        Ok(stays.then_some(update))
    }

    /// Whether an eviction stays, `pod` being that of the container.
    ///
    /// # Errors
    /// It is denied.
    pub fn eviction(
        &mut self,
        pod: Option<&api::PodSandbox>,
        eviction: &ContainerEviction,
    ) -> Result<bool, Denial> {
        let mut sifting = self.about(&eviction.container_id, pod);
        let stays = sifting.judge(Target::Evictions, None);
        sifting.end()?;
        Ok(stays)
    }

    /// What was recorded, in the order in which it was judged.
    pub fn into_verdicts(self) -> Vec<Verdict> {
        self.verdicts
    }

    fn about(&mut self, container: &str, pod: Option<&api::PodSandbox>) -> Sifting<'_> {
        Sifting {
            rules: self.rules.about(pod),
            plugin: self.plugin,
            container: container.into(),
            records_all: self.records_all,
            first: self.verdicts.len(),
            last_rule: None,
            verdicts: &mut self.verdicts,
        }
    }
}

/// Going through what is asked for one container.
struct Sifting<'j> {
    rules: RulesAbout<'j>,
    plugin: &'j PluginId,
    container: Arc<str>,
    records_all: bool,
    verdicts: &'j mut Vec<Verdict>,
    /// Where the verdicts about this container begin.
    first: usize,
    /// The number of the rule of the last of them.
    last_rule: Option<usize>,
}

impl Sifting<'_> {
    /// Whether an item stays.
    fn judge(&mut self, target: Target, key: Option<&str>) -> bool {
        let (rule, action) = self.rules.first(target, key);
        if action != Action::Allow || self.records_all {
            self.record(rule, action, target, key);
        }
        !action.is_against()
    }

    /// Records a verdict, entries of one field that one rule says the same of together.
    fn record(&mut self, rule: usize, action: Action, target: Target, key: Option<&str>) {
        let last = self.verdicts.last_mut();
        let same = last.filter(|last| self.last_rule == Some(rule) && last.target == target);
        match (same, key) {
            (Some(last), Some(key)) => last.keys.push(key.to_owned()),
            _ => self.verdicts.push(Verdict {
                plugin: self.plugin.clone(),
                container: Arc::clone(&self.container),
                rule: self.rules.name(rule),
                target,
                keys: key.map(str::to_owned).into_iter().collect(),
                action,
            }),
        }
        self.last_rule = Some(rule);
    }

    /// What came of it.
    fn end(self) -> Result<(), Denial> {
        let own = self.verdicts.get(self.first..).unwrap_or_default();
        let denied = own.iter().filter(|verdict| verdict.action == Action::Deny);
        let denied: Vec<Verdict> = denied.cloned().collect();
        match denied.is_empty() {
            true => Ok(()),
            false => Err(Denial { denied }),
        }
    }
}

impl Sieve for Sifting<'_> {
    /// A removal of what a plugin may not touch does not happen.
    const A_PART_STAYS: bool = false;

    fn keeps(&mut self, field: Field, key: Option<&str>) -> bool {
        self.judge(Target::of(field), key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Adjust as _, SetResources as _, Update as _};
    use crate::policy::Rule;

    fn policy(rules: &[(&str, Action)]) -> Policy {
        let rules = rules.iter().map(|(field, action)| {
            let mut rule = Rule::new(*action);
            rule.fields.push(field.parse().unwrap());
            rule
        });
        Policy::new(rules.collect(), Action::Allow).unwrap()
    }

    fn plugin() -> PluginId {
        "10-a".parse().unwrap()
    }

    #[test]
    fn a_denial_names_all_that_is_denied() {
        let policy = policy(&[("env:LD_*", Action::Deny), ("args", Action::Deny)]);
        let mut asked = ContainerAdjustment::default();
        asked.add_env("LD_A", "1").unwrap().remove_env("LD_B");
        asked.args = vec!["sh".into()];
        let plugin = plugin();
        let mut judge = policy.judge(&plugin);
        let denial = judge.adjustment("c", None, &mut asked).unwrap_err();
        assert_eq!(
            denial.to_string(),
            "the policy denies it: plugin \"10-a\" asks for Env \"LD_A\", \"LD_B\" in container \"c\": deny by rule \"rule 1\"; \
             plugin \"10-a\" asks for Args in container \"c\": deny by rule \"rule 2\""
        );
        assert_eq!(judge.into_verdicts(), denial.denied);
        assert_eq!(asked, ContainerAdjustment::default());
    }

    #[test]
    fn a_removal_of_rdt_goes_where_one_of_its_fields_is_dropped() {
        let policy = policy(&[("rdt-clos-id", Action::Drop)]);
        let mut asked = ContainerAdjustment::default();
        asked.remove_rdt();
        asked.set_rdt_enable_monitoring(true);
        let plugin = plugin();
        let mut judge = policy.judge(&plugin);
        judge.adjustment("c", None, &mut asked).unwrap();
        let rdt = asked.linux.unwrap().rdt.unwrap();
        assert!(!rdt.remove && rdt.enable_monitoring.is_some());
    }

    #[test]
    fn an_update_is_judged_as_a_whole_and_by_what_is_in_it() {
        let update = || {
            let mut update = ContainerUpdate::of_container("c").unwrap();
            update.set_pids_limit(7).set_memory_limit(1);
            update
        };
        let plugin = plugin();
        let dropping = policy(&[("mem*", Action::Drop), ("updates", Action::Audit)]);
        let mut judge = dropping.judge(&plugin);
        let kept = judge.update(None, update()).unwrap().unwrap();
        let resources = kept.linux.unwrap().resources.unwrap();
        assert!(resources.pids.is_some() && resources.memory.unwrap().limit.is_none());
        let says: Vec<_> = judge
            .into_verdicts()
            .iter()
            .map(|v| (v.target.name(), v.action))
            .collect();
        assert_eq!(
            says,
            [("Updates", Action::Audit), ("MemLimit", Action::Drop)]
        );

        let none = policy(&[("updates", Action::Drop)]);
        assert_eq!(none.judge(&plugin).update(None, update()), Ok(None));
        assert!(
            policy(&[("pids-limit", Action::Deny)])
                .judge(&plugin)
                .update(None, update())
                .is_err()
        );
    }

    #[test]
    fn in_a_pod_that_is_not_known_rules_hold_that_are_against_something() {
        let mut allow = Rule::new(Action::Allow);
        allow.namespaces.push("dev".parse().unwrap());
        let mut deny = Rule::new(Action::Drop);
        deny.namespaces.push("prod".parse().unwrap());
        let policy = Policy::new(vec![allow, deny], Action::Audit).unwrap();
        let pod = |namespace: &str| api::PodSandbox {
            namespace: namespace.into(),
            ..Default::default()
        };
        let eviction = ContainerEviction::default();
        let says = |pod: Option<&api::PodSandbox>| {
            policy.judge(&plugin()).eviction(pod, &eviction).unwrap()
        };
        assert!(says(Some(&pod("dev"))) && says(Some(&pod("test"))));
        assert!(!says(Some(&pod("prod"))) && !says(None));
    }

    #[test]
    fn entries_of_which_one_rule_says_the_same_are_one_verdict() {
        let policy = policy(&[("env:B", Action::Audit), ("env", Action::Drop)]);
        let mut asked = ContainerAdjustment::default();
        for key in ["A", "A2", "B", "C"] {
            asked.add_env(key, "").unwrap();
        }
        let plugin = plugin();
        let mut judge = policy.judge(&plugin);
        judge.adjustment("c", None, &mut asked).unwrap();
        let keys: Vec<_> = judge.into_verdicts().into_iter().map(|v| v.keys).collect();
        assert_eq!(keys, [vec!["A", "A2"], vec!["B"], vec!["C"]]);
    }
}
