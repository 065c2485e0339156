//! The rules in order. What may not enter: how what a plugin asks for is gone through.

use std::collections::BTreeMap;
use std::sync::Arc;

use nri_proto::api;

use super::action::Action;
use super::error::PolicyError;
use super::rule::Rule;
use super::target::Target;
use crate::PluginId;

/// The most rules that a policy has.
pub const MAX_RULES: usize = 256;
/// The most patterns that all rules of a policy have together.
pub const MAX_PATTERNS: usize = 1024;

/// Rules in order: the first that matches says what becomes of an item, and a default if none does.
/// Cheap to clone. By default everything is allowed.
///
/// ```
/// use nri_core::policy::{Action, Policy, Rule};
///
/// let mut rule = Rule::new(Action::Drop);
/// rule.name = "no-preload".to_owned();
/// rule.fields.push("env:LD_*".parse()?);
/// let policy = Policy::new(vec![rule], Action::Allow)?;
/// assert!(!policy.allows_everything());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Arc<[Rule]>,
    names: Arc<[Arc<str>]>,
    default: Action,
}

/// How records call what no rule says.
const DEFAULT_RULE: &str = "default";

impl Policy {
    /// A policy of these rules, where `default` holds for what none of them matches.
    ///
    /// # Errors
    /// There are more than [`MAX_RULES`] rules or [`MAX_PATTERNS`] patterns, or two rules have one
    /// name.
    pub fn new(rules: Vec<Rule>, default: Action) -> Result<Self, PolicyError> {
        if rules.len() > MAX_RULES {
            return Err(PolicyError::Rules {
                count: rules.len(),
                most: MAX_RULES,
            });
        }
        let patterns = rules.iter().map(Rule::patterns).sum();
        if patterns > MAX_PATTERNS {
            return Err(PolicyError::Patterns {
                count: patterns,
                most: MAX_PATTERNS,
            });
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut names = Vec::with_capacity(rules.len());
        for (number, rule) in (1..).zip(&rules) {
            let name = match &*rule.name {
                "" => format!("rule {number}"),
                name => name.to_owned(),
            };
            if let Some(first) = seen.insert(name.clone(), number) {
                return Err(PolicyError::Name {
                    first,
                    second: number,
                    name,
                });
            }
            names.push(name.into());
        }
        Ok(Self {
            rules: rules.into(),
            names: names.into(),
            default,
        })
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds for what no rule matches.
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// Whether it has no rules and allows everything, so that nothing need be judged.
    pub fn allows_everything(&self) -> bool {
        self.rules.is_empty() && self.default == Action::Allow
    }

    /// Whether any rule has conditions on pods.
    pub fn has_pod_conditions(&self) -> bool {
        self.rules.iter().any(Rule::has_pod_conditions)
    }

    /// The rules about what a plugin asks for.
    pub(super) fn of_plugin(&self, plugin: &PluginId) -> RulesOfPlugin<'_> {
        let (id, name) = (plugin.to_string(), plugin.name().as_str());
        let rules = self.rules.iter().enumerate();
        RulesOfPlugin {
            policy: self,
            rules: rules
                .filter(|(_, rule)| rule.is_about_plugin(&id, name))
                .collect(),
        }
    }
}

/// The rules about what one plugin asks for, with their numbers.
#[derive(Debug, Clone)]
pub(super) struct RulesOfPlugin<'p> {
    policy: &'p Policy,
    rules: Vec<(usize, &'p Rule)>,
}

impl<'p> RulesOfPlugin<'p> {
    /// Those about a pod.
    pub(super) fn about(&self, pod: Option<&api::PodSandbox>) -> RulesAbout<'p> {
        let rules = self.rules.iter().copied();
        RulesAbout {
            policy: self.policy,
            rules: rules.filter(|(_, rule)| rule.is_about_pod(pod)).collect(),
            concerned: None,
        }
    }
}

/// The rules about what one plugin asks for in one pod.
pub(super) struct RulesAbout<'p> {
    policy: &'p Policy,
    rules: Vec<(usize, &'p Rule)>,
    /// Those among them about a target, the one asked about last: items of a field come one after
    /// the other.
    concerned: Option<(Target, Vec<(usize, &'p Rule)>)>,
}

impl RulesAbout<'_> {
    /// The number of the first rule that matches an item, beyond the last for the default; and what
    /// it says.
    pub(super) fn first(&mut self, target: Target, key: Option<&str>) -> (usize, Action) {
        if self
            .concerned
            .as_ref()
            .is_none_or(|(last, _)| *last != target)
        {
            let concerned = self.rules.iter().filter(|(_, rule)| rule.concerns(target));
            self.concerned = Some((target, concerned.copied().collect()));
        }
        let concerned = self.concerned.iter().flat_map(|(_, rules)| rules);
        let key = key.map(|key| target.meant(key));
        concerned
            .copied()
            .find(|(_, rule)| rule.matches_meant(target, key.as_deref()))
            .map_or(
                (self.policy.rules.len(), self.policy.default),
                |(number, rule)| (number, rule.action),
            )
    }

    /// What a rule is called.
    pub(super) fn name(&self, number: usize) -> Arc<str> {
        let name = self.policy.names.get(number);
        name.map_or_else(|| DEFAULT_RULE.into(), Arc::clone)
    }
}
