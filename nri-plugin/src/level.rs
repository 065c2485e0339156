//! Which events a runtime accepts, judged by what it says of itself. Pure.
//!
//! A runtime closes a plugin that subscribes to an event that the runtime does not know. Three
//! events came with protocol v0.10, and only since v0.12 does a runtime say its protocol level;
//! before, it has to be told from the runtime's name and version.

use nri_core::{Configuration, EventMask, RuntimeInfo};

/// How much of the protocol a runtime understands, as far as events go.
///
/// ```
/// use nri_plugin::{Configuration, EventMask, RuntimeInfo, RuntimeLevel};
///
/// let mut configuration = Configuration::default();
/// configuration.runtime = RuntimeInfo::new("containerd", "v2.1.4", "");
/// configuration.request_timeout = std::time::Duration::from_secs(2);
/// assert_eq!(RuntimeLevel::of(&configuration), RuntimeLevel::BeforeV0_10);
/// assert_eq!(RuntimeLevel::of(&configuration).events(), EventMask::BEFORE_V0_10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeLevel {
    /// Eleven events: no pod updates, no validation.
    BeforeV0_10,
    /// All fourteen events.
    V0_10OrLater,
    /// The runtime does not say, and its name is not known here. It gets the eleven events that
    /// every runtime accepts.
    Unknown,
}

/// Runtimes that embed the Go implementation: the name that they announce, and the first release
/// (major, minor) with protocol v0.10 or later.
///
/// From the dependency files of the releases: containerd 1.7 has v0.3 to v0.8, 2.0 and 2.1 have
/// v0.8, 2.2 has v0.10; cri-o 1.26 has v0.2, 1.33 a state before v0.10, 1.34 has v0.10; docker had
/// none before v0.11.
const FIRST_WITH_ALL_EVENTS: &[(&str, (u64, u64))] = &[
    ("containerd", (2, 2)),
    ("cri-o", (1, 34)),
    ("docker", (0, 0)),
];

impl RuntimeLevel {
    /// The level of the runtime that sent this configuration. In this order:
    ///
    /// 1. It says its protocol level (since v0.12): that counts. A level that is no version, as
    ///    development builds have, is v0.12 or later.
    /// 2. It does not say how long requests may take: it is older than v0.7.
    /// 3. It is a known one: its release tells.
    /// 4. Otherwise the level is [unknown](RuntimeLevel::Unknown).
    pub fn of(configuration: &Configuration) -> Self {
        let runtime = &configuration.runtime;
        if !runtime.nri_version.is_empty() {
            return match Version::parse(&runtime.nri_version) {
                // Builds without a version say 0.0.0.
                Some(version) if version.is_at_least(0, 1) && !version.is_at_least(0, 10) => {
                    Self::BeforeV0_10
                }
                _ => Self::V0_10OrLater,
            };
        }
        if configuration.registration_timeout.is_zero() && configuration.request_timeout.is_zero() {
            return Self::BeforeV0_10;
        }
        let known = FIRST_WITH_ALL_EVENTS
            .iter()
            .find(|(name, _)| *name == runtime.name);
        match (known, Version::parse(&runtime.version)) {
            (Some((_, (major, minor))), Some(version)) => {
                if version.is_at_least(*major, *minor) {
                    Self::V0_10OrLater
                } else {
                    Self::BeforeV0_10
                }
            }
            _ => Self::Unknown,
        }
    }

    /// The events that a runtime of this level accepts for sure.
    pub fn events(self) -> EventMask {
        match self {
            Self::V0_10OrLater => EventMask::ALL,
            Self::BeforeV0_10 | Self::Unknown => EventMask::BEFORE_V0_10,
        }
    }
}

/// Whether a runtime heeds failure policies: it says protocol level v0.12.4 or later, or one that
/// is no version, as development builds have. Those before v0.12 say none.
pub(crate) fn heeds_failure_policy(runtime: &RuntimeInfo) -> bool {
    match Version::parse(&runtime.nri_version) {
        // Builds without a version say 0.0.0.
        Some(version) => version.numbers == [0, 0, 0] || version.reaches([0, 12, 4]),
        None => !runtime.nri_version.is_empty(),
    }
}

/// A release: `1.7`, `v2.1.4`, `1.34.0-rc.1`, `2.0.5-k3s1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: [u64; 3],
    /// Before the release that the numbers name. Suffixes of distributors are not.
    is_preview: bool,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut parts = numbers.split('.');
        let mut next = |default: Option<&str>| parts.next().or(default)?.parse().ok();
        let numbers = [next(None)?, next(None)?, next(Some("0"))?];
        let suffix = rest.strip_prefix(['-', '~']).unwrap_or("");
        let is_preview = ["alpha", "beta", "rc", "pre", "dev"]
            .iter()
            .any(|word| suffix.starts_with(word));
        Some(Self {
            numbers,
            is_preview,
        })
    }

    /// Major, minor, patch.
    pub(crate) fn numbers(self) -> [u64; 3] {
        self.numbers
    }

    /// Whether this is release `major.minor.0` or later.
    fn is_at_least(self, major: u64, minor: u64) -> bool {
        self.reaches([major, minor, 0])
    }

    /// Whether it is this release or later.
    fn reaches(self, first: [u64; 3]) -> bool {
        self.numbers > first || (self.numbers == first && !self.is_preview)
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeLevel::{BeforeV0_10, Unknown, V0_10OrLater};
    use super::*;
    use std::time::Duration;

    fn level(name: &str, version: &str, nri: &str, timeouts: bool) -> RuntimeLevel {
        let mut configuration = Configuration::default();
        configuration.runtime = RuntimeInfo::new(name, version, nri);
        if timeouts {
            configuration.registration_timeout = Duration::from_secs(5);
            configuration.request_timeout = Duration::from_secs(2);
        }
        RuntimeLevel::of(&configuration)
    }

    #[test]
    fn what_a_runtime_says_of_its_protocol_counts() {
        for (nri, expected) in [
            ("v0.12.5", V0_10OrLater),
            ("v0.12.6-3-gabcdef0", V0_10OrLater),
            ("v0.12.2", V0_10OrLater),
            ("v0.12.0", V0_10OrLater),
            ("v1.0.0", V0_10OrLater),
            ("v0.10.0", V0_10OrLater),
            ("v0.10.0-rc.1", BeforeV0_10),
            ("v0.9.1-0.20250219030224-e597e7849f24", BeforeV0_10),
            ("v0.9.0", BeforeV0_10),
            ("(devel)", V0_10OrLater),
            ("0.0.0-unknown", V0_10OrLater),
            ("nonsense", V0_10OrLater),
        ] {
            assert_eq!(level("containerd", "v1.7.2", nri, true), expected, "{nri}");
        }
    }

    #[test]
    fn failure_policies_are_heeded_since_v0_12_4() {
        for (nri, expected) in [
            ("v0.12.5", true),
            ("v0.12.4", true),
            ("v0.13.0", true),
            ("v0.12.4-rc.1", false),
            ("v0.12.3", false),
            ("v0.12.0", false),
            ("", false),
            ("(devel)", true),
            ("0.0.0-unknown", true),
        ] {
            let runtime = RuntimeInfo::new("containerd", "v2.4.0", nri);
            assert_eq!(heeds_failure_policy(&runtime), expected, "{nri}");
        }
    }

    #[test]
    fn releases_of_known_runtimes_tell_their_protocol() {
        for (name, version, expected) in [
            ("containerd", "v1.7.2", BeforeV0_10),
            ("containerd", "1.7.29", BeforeV0_10),
            ("containerd", "v2.0.7", BeforeV0_10),
            ("containerd", "2.1.5-k3s1", BeforeV0_10),
            ("containerd", "v2.2.0-rc.0", BeforeV0_10),
            ("containerd", "v2.2.0", V0_10OrLater),
            ("containerd", "2.2.1~ds1", V0_10OrLater),
            ("containerd", "v3.0", V0_10OrLater),
            ("cri-o", "1.26.4", BeforeV0_10),
            ("cri-o", "1.33.13", BeforeV0_10),
            ("cri-o", "1.34.0", V0_10OrLater),
            ("cri-o", "1.36.3", V0_10OrLater),
            ("docker", "29.2.0", V0_10OrLater),
            ("docker", "0.0.0", V0_10OrLater),
            ("containerd", "", Unknown),
            ("containerd", "main", Unknown),
            ("containerd", "2", Unknown),
            ("containerd", "99999999999999999999.0.0", Unknown),
            ("", "1.0.0", Unknown),
            ("other", "1.0.0", Unknown),
        ] {
            assert_eq!(level(name, version, "", true), expected, "{name} {version}");
        }
    }

    /// Law: a runtime that does not say its timeouts is older than v0.7, whatever its name.
    #[test]
    fn without_timeouts_a_runtime_is_old() {
        assert_eq!(level("docker", "29.2.0", "", false), BeforeV0_10);
        assert_eq!(level("iSulad", "2.1.5", "", false), BeforeV0_10);
        assert_eq!(level("new", "1.0.0", "v0.12.0", false), V0_10OrLater);
    }

    /// Law: what is not known to be accepted is not sent.
    #[test]
    fn an_unknown_runtime_gets_what_all_accept() {
        assert_eq!(Unknown.events().bits(), 0x7ff);
        assert_eq!(BeforeV0_10.events().bits(), 0x7ff);
        assert_eq!(V0_10OrLater.events().bits(), 0x3fff);
    }
}
