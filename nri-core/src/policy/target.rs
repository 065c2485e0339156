//! What a rule is about: fields of the protocol, by name, and the keys of their entries.

use std::fmt;
use std::str::FromStr;

use nri_proto::api::Field;

use super::error::{InvalidPattern, InvalidSelector};
use super::pattern::Pattern;
use crate::keys::KeyKind;
use crate::merge::{fields, resource_fields};

/// Something that a plugin can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A field of an adjustment or of an update's resources.
    Field(Field),
    /// The rules of the device cgroup, which have no number in the protocol.
    DeviceRules,
    /// An update of a container, as a whole.
    Updates,
    /// An eviction of a container.
    Evictions,
}

impl Target {
    /// The target of a number of the protocol, where "no field" stands for the rules of the device
    /// cgroup.
    pub(super) fn of(field: Field) -> Self {
        match field {
            Field::None => Self::DeviceRules,
            field => Self::Field(field),
        }
    }

    /// The name: the protocol's for its fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Field(field) => field.as_str_name(),
            Self::DeviceRules => "DeviceRules",
            Self::Updates => "Updates",
            Self::Evictions => "Evictions",
        }
    }

    /// All targets, each with whether it has keys.
    pub(super) fn all() -> impl Iterator<Item = (Self, bool)> {
        let fields = fields().into_iter();
        let fields = fields.map(|(field, has_keys)| (Self::of(field), has_keys));
        fields.chain([(Self::Updates, false), (Self::Evictions, false)])
    }

    /// The key by what it means: in its normal form, and of a variable only what stands before the
    /// first `=`, since that is the name that the container's process will see.
    pub(super) fn meant(self, key: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Field(Field::Env) => key.split('=').next().unwrap_or_default().into(),
            Self::Field(field) => KeyKind::of(field).normal(key),
            _ => key.into(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The group of all that an update can carry.
const RESOURCES: &str = "resources";

/// What a rule is about: `NAME` or `NAME:KEYS`.
///
/// The name is one of the protocol's, compared without regard to case, `-` and `_`: `OciHooks`,
/// `oci-hooks` and `oci_hooks` are one. It may have a `*`: `mem*`, `rdt-*`. Beside the protocol's
/// fields there are `device-rules` (of the device cgroup), `updates` (an update of a container as a
/// whole, in whatever answer or on a plugin's own account; what is in it is judged as well),
/// `evictions`, and `resources` for all that an update can carry.
///
/// The keys are a [`Pattern`], compared with keys in their [normal form](crate::keys). It is a
/// [path](Pattern::path) for mounts, devices, annotations and CDI devices. A removal counts as its
/// key.
///
/// ```
/// use nri_core::policy::{Selector, Target};
/// use nri_core::api::Field;
///
/// let mounts: Selector = "mounts:/var/run/**".parse()?;
/// assert!(mounts.matches(Target::Field(Field::Mounts), Some("/var/lib/../run/x.sock")));
/// let hooks: Selector = "oci-hooks".parse()?;
/// assert!(hooks.matches(Target::Field(Field::OciHooks), None));
/// assert_eq!(
///     "oci-hooks:x".parse::<Selector>().unwrap_err().to_string().split(';').next(),
///     Some("`oci-hooks` has no keys"),
/// );
/// # Ok::<(), nri_core::policy::InvalidSelector>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    targets: Vec<Target>,
    keys: Option<Pattern>,
}

/// The selector as it was written.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({:?})", self.text)
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let (name, keys) = match text.split_once(':') {
            Some((name, keys)) => (name, Some(keys)),
            None => (text, None),
        };
        let unknown = || InvalidSelector::Unknown {
            name: name.to_owned(),
            allowed: names(|_| true),
        };
        let pattern: Pattern = squashed(name).parse().map_err(|_| unknown())?;
        let named: Vec<(Target, bool)> = match squashed(name) == RESOURCES {
            true => resources().collect(),
            false => Target::all()
                .filter(|(target, _)| pattern.matches(&squashed(target.name())))
                .collect(),
        };
        if named.is_empty() {
            return Err(unknown());
        }
        let keys = match (keys, &named[..]) {
            (None, _) => None,
            (Some(keys), [(target, true)]) => Some(key_pattern(*target, keys)?),
            (Some(_), _) => {
                return Err(InvalidSelector::NoKeys {
                    name: name.to_owned(),
                    allowed: names(|has_keys| has_keys),
                });
            }
        };
        let mut targets: Vec<Target> = named.into_iter().map(|(target, _)| target).collect();
        targets.sort();
        Ok(Self {
            text: text.to_owned(),
            targets,
            keys,
        })
    }
}

impl Selector {
    /// Whether it is about an item: what it is of, and its key, where it has one, without a removal
    /// marker and in any spelling.
    pub fn matches(&self, target: Target, key: Option<&str>) -> bool {
        self.matches_meant(target, key.map(|key| target.meant(key)).as_deref())
    }

    /// The same for a key by what it means.
    pub(super) fn matches_meant(&self, target: Target, key: Option<&str>) -> bool {
        self.targets.binary_search(&target).is_ok()
            && self
                .keys
                .as_ref()
                .is_none_or(|keys| key.is_some_and(|key| keys.matches(key)))
    }

    /// Whether it is about anything in this target.
    pub(super) fn concerns(&self, target: Target) -> bool {
        self.targets.binary_search(&target).is_ok()
    }
}

/// All that an update can carry, but for the rules of the device cgroup, which adjustments alone
/// can.
fn resources() -> impl Iterator<Item = (Target, bool)> {
    let fields = resource_fields().into_iter();
    fields.map(|(field, has_keys)| (Target::of(field), has_keys))
}

/// A name without what does not count in comparing.
fn squashed(name: &str) -> String {
    let counts = name.chars().filter(|c| !matches!(c, '-' | '_'));
    counts.map(|c| c.to_ascii_lowercase()).collect()
}

/// The names that there are, for those with or without keys.
fn names(which: impl Fn(bool) -> bool) -> String {
    let targets = Target::all().filter(|(_, has_keys)| which(*has_keys));
    let mut names: Vec<&str> = targets.map(|(target, _)| target.name()).collect();
    if which(false) {
        names.push("Resources");
    }
    names.join(", ")
}

/// A pattern of keys, spelled as their normal forms are.
fn key_pattern(target: Target, text: &str) -> Result<Pattern, InvalidSelector> {
    let is_everything = !text.is_empty() && text.bytes().all(|byte| byte == b'*');
    let pattern = match target {
        _ if is_everything || text.is_empty() => text.parse(),
        Target::Field(field @ (Field::Mounts | Field::Devices)) => match text.starts_with("**") {
            true => Pattern::path(text),
            false => Pattern::path(&KeyKind::of(field).normal(text)),
        },
        Target::Field(Field::Annotations | Field::CdiDevices) => Pattern::path(text),
        Target::Field(Field::Env) if text.contains('=') => return Err(InvalidSelector::Equals),
        Target::Field(field) => KeyKind::of(field).normal(text).parse(),
        _ => text.parse(),
    };
    pattern.map_err(|error: InvalidPattern| InvalidSelector::Pattern(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, field: Field, key: &str) -> bool {
        let selector: Selector = selector.parse().unwrap();
        selector.matches(Target::of(field), Some(key))
    }

    #[test]
    fn names_are_compared_without_regard_to_case_and_separators() {
        for name in [
            "OciHooks",
            "oci-hooks",
            "oci_hooks",
            "OCIHOOKS",
            "*hooks",
            "*",
        ] {
            let selector: Selector = name.parse().unwrap();
            assert!(
                selector.matches(Target::Field(Field::OciHooks), None),
                "{name}"
            );
            assert_eq!(selector.to_string(), name);
        }
        let memory: Selector = "mem-*".parse().unwrap();
        assert!(memory.matches(Target::Field(Field::MemLimit), None));
        assert!(!memory.matches(Target::Field(Field::CpuShares), None));
        let resources: Selector = "resources".parse().unwrap();
        assert!(resources.matches(Target::Field(Field::PidsLimit), None));
        assert!(resources.matches(Target::DeviceRules, None));
        assert!(!resources.matches(Target::Field(Field::Rlimits), Some("nofile")));
        assert!(!resources.matches(Target::Updates, None));
    }

    #[test]
    fn every_target_can_be_named() {
        for (target, has_keys) in Target::all() {
            let selector: Selector = target.name().parse().unwrap();
            assert!(selector.matches(target, has_keys.then_some("x")));
            assert_eq!(format!("{target}:*").parse::<Selector>().is_ok(), has_keys);
        }
    }

    #[test]
    fn patterns_and_keys_are_compared_in_normal_form() {
        assert!(matches("mounts:/var/run/**", Field::Mounts, "var//run/x"));
        assert!(matches("mounts:/var/run/", Field::Mounts, "/var/run"));
        assert!(matches("mounts:*", Field::Mounts, "/a/b"));
        assert!(matches(
            "mounts:**/docker.sock",
            Field::Mounts,
            "/run/docker.sock"
        ));
        assert!(!matches(
            "devices:/dev/nvidia*",
            Field::Devices,
            "/dev/nvidia/../sda"
        ));
        assert!(matches(
            "hugepage-limits:2M",
            Field::HugepageLimits,
            "2048KB"
        ));
        assert!(matches(
            "sysctl:net/ipv4/*",
            Field::Sysctl,
            "net.ipv4.conf.all.rp_filter"
        ));
        assert!(matches(
            "annotations:*.example.com/*",
            Field::Annotations,
            "a.example.com/b"
        ));
    }

    /// A process sees the variable `PATH` where a plugin sets one that is called `PATH=/x:`.
    #[test]
    fn of_a_variable_the_name_counts_that_the_process_sees() {
        assert!(matches("env:PATH", Field::Env, "PATH=/x:"));
        assert!("env:PATH=*".parse::<Selector>().is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        let error = |text: &str| text.parse::<Selector>().unwrap_err().to_string();
        assert!(
            error("hoks").starts_with("\"hoks\" is no field; the fields are Annotations, Mounts,")
        );
        assert!(
            error("oci-hooks:a")
                .starts_with("`oci-hooks` has no keys; those that have are Annotations,")
        );
        assert!(error("mem*:a").starts_with("`mem*` has no keys"));
        assert_eq!(
            error("env:"),
            "the key: a pattern must not be empty; `*` is everything"
        );
        assert!(error("").contains("is no field"));
        assert!(error(&"x".repeat(1 << 20)).len() < 2000);
    }
}
