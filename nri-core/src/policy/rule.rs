//! One rule: whose requests it is about, in which pods, what they ask for, and what becomes of
//! that.

use std::collections::BTreeMap;
use std::fmt;

use nri_proto::api;

use super::action::Action;
use super::pattern::Pattern;
use super::target::{Selector, Target};

/// One rule of a [`Policy`](super::Policy). It matches what all of its conditions match; a list or
/// map that is empty is no condition.
///
/// ```
/// use nri_core::policy::{Action, Rule};
///
/// let mut rule = Rule::new(Action::Deny);
/// rule.namespaces.push("prod-*".parse()?);
/// rule.fields.push("oci-hooks".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// What records and errors call it. Empty: its number, as `rule 3`.
    pub name: String,
    /// The plugins, by identity (`NN-name`) or name: one of these.
    pub plugins: Vec<Pattern>,
    /// The pod's namespace: one of these.
    pub namespaces: Vec<Pattern>,
    /// Labels of the pod: all of these are there, with values that match.
    pub pod_labels: BTreeMap<String, Pattern>,
    /// The pod's runtime handler, which is empty for the default one: one of these.
    pub runtime_handlers: Vec<Pattern>,
    /// What is asked for: one of these.
    pub fields: Vec<Selector>,
    /// What becomes of it.
    pub action: Action,
}

/// One line: `"no-hooks": deny oci-hooks, env:LD_* of plugins gpu in namespaces prod-*`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn listed<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            before: &str,
            list: &[T],
        ) -> fmt::Result {
            for (at, item) in list.iter().enumerate() {
                write!(f, "{} {item}", if at == 0 { before } else { "," })?;
            }
            Ok(())
        }
        if !self.name.is_empty() {
            write!(f, "{:?}: ", self.name)?;
        }
        write!(f, "{}", self.action)?;
        match &self.fields[..] {
            [] => f.write_str(" everything")?,
            fields => listed(f, "", fields)?,
        }
        listed(f, " of plugins", &self.plugins)?;
        listed(f, " in namespaces", &self.namespaces)?;
        let labels = self.pod_labels.iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        listed(f, " in pods with", &labels)?;
        listed(f, " by runtime handlers", &self.runtime_handlers)
    }
}

impl Rule {
    /// A rule without conditions.
    pub fn new(action: Action) -> Self {
        Self {
            name: String::new(),
            plugins: Vec::new(),
            namespaces: Vec::new(),
            pod_labels: BTreeMap::new(),
            runtime_handlers: Vec::new(),
            fields: Vec::new(),
            action,
        }
    }

    /// How many patterns it has.
    pub(super) fn patterns(&self) -> usize {
        let lists = self.plugins.len() + self.namespaces.len() + self.runtime_handlers.len();
        lists + self.pod_labels.len() + self.fields.len()
    }

    /// Whether it says anything of pods.
    pub(super) fn has_pod_conditions(&self) -> bool {
        !(self.namespaces.is_empty()
            && self.pod_labels.is_empty()
            && self.runtime_handlers.is_empty())
    }

    /// Whether it is about what a plugin asks for, given by its identity and name.
    pub(super) fn is_about_plugin(&self, id: &str, name: &str) -> bool {
        let matches = |plugin: &Pattern| plugin.matches(name) || plugin.matches(id);
        self.plugins.is_empty() || self.plugins.iter().any(matches)
    }

    /// Whether it is about what is asked for in a pod. Of a pod that is not known, a rule with
    /// conditions on pods counts as one about it if it is against something, and not if it is for
    /// it: what is not known is not allowed.
    pub(super) fn is_about_pod(&self, pod: Option<&api::PodSandbox>) -> bool {
        match pod {
            _ if !self.has_pod_conditions() => true,
            Some(pod) => self.fits(pod),
            None => self.action.is_against(),
        }
    }

    fn fits(&self, pod: &api::PodSandbox) -> bool {
        let one_of = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let has = |(key, value): (&String, &Pattern)| {
            pod.labels
                .get(key)
                .is_some_and(|label| value.matches(label))
        };
        one_of(&self.namespaces, &pod.namespace)
            && one_of(&self.runtime_handlers, &pod.runtime_handler)
            && self.pod_labels.iter().all(has)
    }

    /// Whether it is about an item, given by its key's meaning.
    pub(super) fn matches_meant(&self, target: Target, key: Option<&str>) -> bool {
        let matches = |field: &Selector| field.matches_meant(target, key);
        self.fields.is_empty() || self.fields.iter().any(matches)
    }

    /// Whether it is about anything in a target.
    pub(super) fn concerns(&self, target: Target) -> bool {
        let concerns = |field: &Selector| field.concerns(target);
        self.fields.is_empty() || self.fields.iter().any(concerns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_one_line() {
        let mut rule = Rule::new(Action::Drop);
        assert_eq!(rule.to_string(), "drop everything");
        rule.name = "a".into();
        rule.plugins = vec!["gpu".parse().unwrap(), "10-*".parse().unwrap()];
        rule.namespaces.push("prod-*".parse().unwrap());
        rule.pod_labels.insert("tier".into(), "*".parse().unwrap());
        rule.runtime_handlers.push("kata".parse().unwrap());
        rule.fields = vec!["oci-hooks".parse().unwrap(), "env:LD_*".parse().unwrap()];
        assert_eq!(
            rule.to_string(),
            "\"a\": drop oci-hooks, env:LD_* of plugins gpu, 10-* in namespaces prod-* in pods with tier=* by runtime handlers kata"
        );
    }
}
