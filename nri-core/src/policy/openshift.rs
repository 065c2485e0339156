//! The policy file that is proposed for OpenShift (openshift/enhancements#1971), as rules.
//!
//! ```yaml
//! mode: strict                  # or permissive
//! policies:
//!   - namespaceSelector:
//!       matchNames: [team-a]
//!     allowedMutations: [resources, hooks]
//!   - namespaceSelector:
//!       matchNames: [trusted]
//!     allowedMutations: [all]
//! ```
//!
//! Without the feature `policy-serde` the types are there to be filled in. With it they are read
//! with any format of serde; a reader of YAML is the caller's choice.
//!
//! # What is the same
//!
//! In a namespace with a policy, what `allowedMutations` names is allowed and everything else is
//! denied; an empty list allows nothing, and `all` everything. In a namespace without one, `strict`
//! denies and `permissive` allows and records ([`Action::Audit`]).
//!
//! # What differs
//!
//! * There, a validator judges the combined adjustment once all plugins were asked. Here each
//!   plugin's answer is judged before it is merged: what one plugin asks for and a later one takes
//!   back is denied here and not seen there; the error names the plugin.
//! * There, creations are judged. Here the same rules hold for what is in updates. Updates and
//!   evictions as such, of which such a file says nothing, are allowed.
//! * If several policies name one namespace, the first counts.
//! * The names of mutations are those of a [`Selector`], keys included, and the file's own:
//!   `hooks`, `environment`, `seccomp`, `namespaces`, `sysctls`, `cdi`. Others are errors; nothing
//!   is allowed or denied by a word that is not understood.
//! * The container's pod must be known by its namespace; where it is not, denials hold.

use super::action::Action;
use super::error::{InvalidPattern, InvalidSelector, PolicyError};
use super::pattern::Pattern;
use super::rule::Rule;
use super::rules::Policy;
use super::target::Selector;

/// A whole file.
///
/// ```
/// use nri_core::policy::openshift::{Mode, MutationPolicies};
/// use nri_core::policy::Action;
///
/// let mut file = MutationPolicies::default();
/// file.mode = Mode::Permissive;
/// assert_eq!(file.to_policy()?.default_action(), Action::Audit);
/// # Ok::<(), nri_core::policy::openshift::InvalidMutationPolicies>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "policy-serde", derive(serde::Deserialize))]
#[cfg_attr(
    feature = "policy-serde",
    serde(rename_all = "camelCase", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct MutationPolicies {
    /// What holds in a namespace without a policy.
    pub mode: Mode,
    /// The policies in order.
    #[cfg_attr(feature = "policy-serde", serde(default))]
    pub policies: Vec<MutationPolicy>,
}

/// What holds in a namespace without a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "policy-serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "policy-serde", serde(rename_all = "lowercase"))]
pub enum Mode {
    /// Everything is denied. The default.
    #[default]
    Strict,
    /// Everything is allowed, and recorded.
    Permissive,
}

/// What is allowed in some namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "policy-serde", derive(serde::Deserialize))]
#[cfg_attr(
    feature = "policy-serde",
    serde(rename_all = "camelCase", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct MutationPolicy {
    /// What records call it, if it has a name.
    #[cfg_attr(feature = "policy-serde", serde(default))]
    pub name: String,
    /// The namespaces.
    pub namespace_selector: NamespaceSelector,
    /// What is allowed there: names of fields, or `all`.
    #[cfg_attr(feature = "policy-serde", serde(default))]
    pub allowed_mutations: Vec<String>,
}

/// Namespaces by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "policy-serde", derive(serde::Deserialize))]
#[cfg_attr(
    feature = "policy-serde",
    serde(rename_all = "camelCase", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct NamespaceSelector {
    /// Their names.
    pub match_names: Vec<String>,
}

/// Why a file says nothing that rules can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMutationPolicies {
    /// A policy names no namespace.
    #[error("policy {policy}: `namespaceSelector.matchNames` must name a namespace")]
    NoNamespace {
        /// Its number, from 1.
        policy: usize,
    },
    /// A policy names what is no namespace.
    #[error("policy {policy}: `namespaceSelector.matchNames`: {source}")]
    Namespace {
        /// Its number, from 1.
        policy: usize,
        /// What is wrong with the name.
        source: InvalidPattern,
    },
    /// A policy allows what is not known.
    #[error("policy {policy}: `allowedMutations`: {source}")]
    Mutation {
        /// Its number, from 1.
        policy: usize,
        /// What is wrong with the name.
        source: InvalidSelector,
    },
    /// There are too many policies, or two have one name.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// The word for everything.
const ALL: &str = "all";

/// What such files call otherwise than the protocol.
const NAMES: [(&str, &str); 6] = [
    ("hooks", "oci-hooks"),
    ("environment", "env"),
    ("seccomp", "seccomp-policy"),
    ("namespaces", "namespace"),
    ("sysctls", "sysctl"),
    ("cdi", "cdi-devices"),
];

fn selector(name: &str) -> Result<Selector, InvalidSelector> {
    let known = NAMES.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
    known.map_or(name, |(_, name)| name).parse()
}

impl MutationPolicies {
    /// The rules that say the same.
    ///
    /// # Errors
    /// A policy has no namespace, or allows what is not known.
    pub fn to_policy(&self) -> Result<Policy, InvalidMutationPolicies> {
        let mut others = Rule::new(Action::Allow);
        others.name = "updates and evictions".to_owned();
        others.fields = ["updates", "evictions"]
            .into_iter()
            .map(selector)
            .collect::<Result<_, _>>()
            .map_err(|source| InvalidMutationPolicies::Mutation { policy: 0, source })?;
        let mut rules = vec![others];
        for (policy, written) in (1..).zip(&self.policies) {
            let names = written.namespace_selector.match_names.iter();
            let namespaces: Vec<Pattern> = names
                .map(|name| Pattern::literal(name))
                .collect::<Result<_, _>>()
                .map_err(|source| InvalidMutationPolicies::Namespace { policy, source })?;
            if namespaces.is_empty() {
                return Err(InvalidMutationPolicies::NoNamespace { policy });
            }
            let name = match &*written.name {
                "" => format!("policy {policy}"),
                name => name.to_owned(),
            };
            let rule = |name: String, action| {
                let mut rule = Rule::new(action);
                rule.name = name;
                rule.namespaces.clone_from(&namespaces);
                rule
            };
            let allowed = &written.allowed_mutations;
            if allowed.iter().any(|word| word.eq_ignore_ascii_case(ALL)) {
                rules.push(rule(name, Action::Allow));
                continue;
            }
            let fields: Vec<Selector> = allowed
                .iter()
                .map(|name| selector(name))
                .collect::<Result<_, _>>()
                .map_err(|source| InvalidMutationPolicies::Mutation { policy, source })?;
            if !fields.is_empty() {
                let mut allowing = rule(format!("{name} (allowed)"), Action::Allow);
                allowing.fields = fields;
                rules.push(allowing);
            }
            rules.push(rule(name, Action::Deny));
        }
        let default = match self.mode {
            Mode::Strict => Action::Deny,
            Mode::Permissive => Action::Audit,
        };
        Ok(Policy::new(rules, default)?)
    }
}

#[cfg(test)]
mod tests {
    use nri_proto::api::{ContainerAdjustment, ContainerEviction, PodSandbox};

    use super::*;
    use crate::build::Adjust as _;

    fn file(mode: Mode) -> MutationPolicies {
        let policy = |namespace: &str, allowed: &[&str]| MutationPolicy {
            namespace_selector: NamespaceSelector {
                match_names: vec![namespace.to_owned()],
            },
            allowed_mutations: allowed.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        MutationPolicies {
            mode,
            policies: vec![
                policy("some", &["resources", "hooks"]),
                policy("none", &[]),
                policy("trusted", &["all"]),
            ],
        }
    }

    /// What becomes of a variable and of a hook.
    fn says(mode: Mode, namespace: &str) -> [Action; 2] {
        let policy = file(mode).to_policy().unwrap();
        let mut asked = ContainerAdjustment::default();
        asked.add_env("A", "1").unwrap();
        asked
            .hooks
            .get_or_insert_default()
            .poststop
            .push(Default::default());
        let pod = PodSandbox {
            namespace: namespace.into(),
            ..Default::default()
        };
        let says = super::super::explain(&policy, &"10-a".parse().unwrap(), &pod, &asked);
        [says[0].action, says[1].action]
    }

    #[test]
    fn what_is_named_is_allowed_and_nothing_else() {
        use Action::{Allow, Audit, Deny};
        for mode in [Mode::Strict, Mode::Permissive] {
            assert_eq!(says(mode, "some"), [Deny, Allow]);
            assert_eq!(says(mode, "none"), [Deny, Deny]);
            assert_eq!(says(mode, "trusted"), [Allow, Allow]);
        }
        assert_eq!(says(Mode::Strict, "other"), [Deny, Deny]);
        assert_eq!(says(Mode::Permissive, "other"), [Audit, Audit]);
    }

    #[test]
    fn evictions_are_none_of_its_business() {
        let policy = file(Mode::Strict).to_policy().unwrap();
        let plugin = "10-a".parse().unwrap();
        let eviction = ContainerEviction::default();
        assert_eq!(policy.judge(&plugin).eviction(None, &eviction), Ok(true));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let mut wrong = file(Mode::Strict);
        wrong.policies[1].allowed_mutations.push("hoks".into());
        let error = wrong.to_policy().unwrap_err().to_string();
        assert!(
            error.starts_with("policy 2: `allowedMutations`: \"hoks\" is no field"),
            "{error}"
        );
        wrong.policies[1].namespace_selector.match_names.clear();
        let error = wrong.to_policy().unwrap_err().to_string();
        assert!(
            error.starts_with("policy 2: `namespaceSelector.matchNames`"),
            "{error}"
        );
    }

    #[cfg(feature = "policy-serde")]
    #[test]
    fn it_is_read_as_it_is_written() {
        let json = r#"{"mode":"strict","policies":[{"namespaceSelector":{"matchNames":["a"]},"allowedMutations":["all"]}]}"#;
        let read: MutationPolicies = serde_json::from_str(json).unwrap();
        assert_eq!(read.policies[0].namespace_selector.match_names, ["a"]);
        assert!(
            serde_json::from_str::<MutationPolicies>(r#"{"mode":"strict","polices":[]}"#).is_err()
        );
        assert!(serde_json::from_str::<MutationPolicies>(r#"{"policies":[]}"#).is_err());
    }
}
