//! How a policy is written: the table `policy`, or a file of its own with the same keys.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use nri_core::policy::{Action, Pattern, Policy, Rule, Selector};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::Config;
use super::error::ConfigError;
use super::reading::{Document, strict};
use super::settings::{Place, Setting, Spelling, settings, table};

/// The keys of a policy.
#[derive(Default)]
struct PolicyTable {
    default: Action,
    rules: Vec<Rule>,
}

/// The keys of a rule.
#[derive(Default)]
struct RuleTable {
    name: String,
    plugins: Vec<Pattern>,
    namespaces: Vec<Pattern>,
    pod_labels: BTreeMap<String, Pattern>,
    runtime_handlers: Vec<Pattern>,
    fields: Vec<Selector>,
    action: Option<Action>,
}

settings!(SnakeOrCamel PolicyTable {
    default,
    rules,
});

settings!(SnakeOrCamel RuleTable {
    name,
    plugins,
    namespaces,
    pod_labels,
    runtime_handlers,
    fields,
    action,
});

impl Setting for Policy {
    fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        let PolicyTable { default, rules } = table(place, from, PolicyTable::default())?;
        Policy::new(rules, default).map_err(D::Error::custom)
    }
}

macro_rules! as_texts {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read<'de, D: Deserializer<'de>>(_: Place<'_>, from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_texts!(Action, Pattern, Selector);

macro_rules! lists {
    ($($type:ty: $what:literal,)*) => {$(
        impl Setting for Vec<$type> {
            fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
                from.deserialize_seq(List(place, $what, PhantomData))
            }
        }
    )*};
}

lists! {
    Rule: "a list of rules, each begun by `[[policy.rules]]`",
    Pattern: "a list of patterns",
    Selector: "a list of fields",
}

/// A list whose elements have places of their own.
struct List<'a, T>(Place<'a>, &'static str, PhantomData<T>);

impl<'de, T: Setting> Visitor<'de> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        loop {
            let key = format!("[{}]", elements.len());
            match list.next_element_seed(self.0.below(&key).seed())? {
                Some(element) => elements.push(element),
                None => return Ok(elements),
            }
        }
    }
}

impl Setting for Rule {
    fn read<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        let RuleTable {
            name,
            plugins,
            namespaces,
            pod_labels,
            runtime_handlers,
            fields,
            action,
        } = table(place, from, RuleTable::default())?;
        let missing = "a rule needs an `action`: `allow`, `deny`, `drop` or `audit`";
        let mut rule = Self::new(action.ok_or_else(|| D::Error::custom(missing))?);
        rule.name = name;
        rule.plugins = plugins;
        rule.namespaces = namespaces;
        rule.pod_labels = pod_labels;
        rule.runtime_handlers = runtime_handlers;
        rule.fields = fields;
        Ok(rule)
    }
}

impl Config {
    /// Reads a policy from a file of its own, with the keys of the table `policy` at the top, or
    /// from a whole configuration, whoever's it is.
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let policy = Config::policy_from_toml(r#"
    ///     default = "allow"
    ///     [[rules]]
    ///     namespaces = ["prod-*"]
    ///     fields = ["oci-hooks", "env:LD_*"]
    ///     action = "deny"
    /// "#)?;
    /// assert_eq!(policy.rules().len(), 1);
    ///
    /// let error = Config::policy_from_toml("[[rules]]\naction = 'deny'\nfields = ['hoks']").unwrap_err();
    /// assert!(error.to_string().starts_with("line 3: key `rules[0].fields[0]`: \"hoks\" is no field"));
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::from_toml`].
    pub fn policy_from_toml(text: &str) -> Result<Policy, ConfigError> {
        let document = Document::parse(text)?;
        let mut keys = document.table.get_ref().keys();
        let own = |key: &str| {
            let mut known = <PolicyTable as super::settings::Settings>::KEYS.iter();
            known.any(|known| Spelling::SnakeOrCamel.means(known, key))
        };
        if !keys.any(|key| own(key.get_ref())) {
            return Self::from_whole_toml(text, Self::default()).map(|config| config.policy);
        }
        let PolicyTable { default, rules } = strict(document.read(PolicyTable::default())?)?;
        Policy::new(rules, default).map_err(|error| ConfigError::Invalid {
            key: "rules".to_owned(),
            line: None,
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::JsonConfig;
    use super::*;

    const WHOLE: &str = r#"
socket_path = "/s"
[policy]
Default = "Audit"

[[policy.rules]]
name = "first"
plugins = ["10-*", "gpu"]
namespaces = ["prod-*"]
podLabels = { tier = "front*", "example.com/Team_A" = "*" }
runtime_handlers = ["kata"]
fields = ["env:LD_*", "mounts:/var/run/**"]
action = "deny"

[[policy.rules]]
action = "drop"
"#;

    #[test]
    fn a_policy_is_part_of_a_configuration() {
        let config = Config::from_toml(WHOLE).unwrap();
        let [first, second] = config.policy.rules() else {
            panic!("{:?}", config.policy);
        };
        assert_eq!(config.policy.default_action(), Action::Audit);
        assert_eq!((first.action, second.action), (Action::Deny, Action::Drop));
        assert_eq!(first.pod_labels["example.com/Team_A"].to_string(), "*");
        assert_eq!(first.fields[1].to_string(), "mounts:/var/run/**");
        assert_eq!(Config::policy_from_toml(WHOLE), Ok(config.policy.clone()));

        let text = toml::to_string(&config).unwrap();
        assert_eq!(Config::from_toml(&text), Ok(config.clone()));
        let json = serde_json::to_string(&JsonConfig(&config)).unwrap();
        assert!(
            json.contains("podLabels") && json.contains("example.com/Team_A"),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn a_file_of_its_own_has_the_keys_at_the_top() {
        let own = WHOLE
            .replace("socket_path = \"/s\"\n[policy]\n", "")
            .replace("policy.rules", "rules");
        assert_eq!(
            Config::policy_from_toml(&own),
            Config::policy_from_toml(WHOLE)
        );
        assert_eq!(Config::policy_from_toml(""), Ok(Policy::default()));
        let containerd =
            "version = 3\n[plugins.\"io.containerd.nri.v1.nri\".policy]\ndefault = 'deny'";
        let policy = Config::policy_from_toml(containerd).unwrap();
        assert_eq!(policy.default_action(), Action::Deny);
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_key_and_what_is_allowed() {
        let error = |text: &str| Config::from_toml(text).unwrap_err().to_string();
        for (text, expected) in [
            (
                "[policy]\ndefault = 'block'",
                "line 2: key `policy.default`: \"block\" is no action; the actions are `allow`, `deny`, `drop` and `audit`",
            ),
            (
                "[[policy.rules]]\naction = 'deny'\n[[policy.rules]]\nname = 'x'\n",
                "line 3: key `policy.rules[1]`: a rule needs an `action`: `allow`, `deny`, `drop` or `audit`",
            ),
            (
                "[[policy.rules]]\naction = 'deny'\nplugin = ['a']\n",
                "line 3: unknown key `policy.rules[0].plugin`; did you mean `plugins`?",
            ),
            (
                "[[policy.rules]]\naction = 'deny'\nnamespaces = [\n'a',\n'b?',\n]",
                "line 5: key `policy.rules[0].namespaces[1]`: `?` is no wildcard here, `*` and `**` are; write `\\?` for the character itself",
            ),
            (
                "[[policy.rules]]\naction = 'deny'\npod_labels = { tier = 1 }",
                "line 3: key `policy.rules[0].pod_labels.tier`: invalid type: integer `1`, expected a string",
            ),
            (
                "[[policy.rules]]\naction = 'deny'\nAction = 'drop'",
                "line 2: key `policy.rules[0].action`: it is set twice, the other time as `Action`",
            ),
            (
                "[[policy.rules]]\nname = 'a'\naction = 'deny'\n[[policy.rules]]\nname = 'a'\naction = 'drop'",
                "line 1: key `policy`: rules 1 and 2 are both called \"a\"",
            ),
            (
                "[policy]\nrules = 3",
                "line 2: key `policy.rules`: invalid type: integer `3`, expected a list of rules, each begun by `[[policy.rules]]`",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
        let hooks = error("[[policy.rules]]\naction = 'deny'\nfields = ['env', 'hoks']");
        assert!(
            hooks.starts_with("line 3: key `policy.rules[0].fields[1]`: \"hoks\" is no field; the fields are Annotations"),
            "{hooks}"
        );
    }

    #[test]
    fn too_many_rules_are_refused() {
        let rules = "[[policy.rules]]\naction = 'drop'\n".repeat(257);
        let error = Config::from_toml(&rules).unwrap_err().to_string();
        assert!(
            error.contains("a policy has at most 256 rules, and this one 257"),
            "{error}"
        );
    }
}
