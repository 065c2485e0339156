//! Why the default validator rejects, and how it says so.
//!
//! What may not enter: what is checked.

use std::collections::BTreeMap;
use std::fmt;

use nri_proto::api;
use nri_proto::api::security_profile::ProfileType;

/// What a container's orchestrator asked for in the way of seccomp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeccompClass {
    /// The runtime's default profile.
    RuntimeDefault,
    /// No profile.
    Unconfined,
    /// A profile of its own, or one of a kind that is not known here.
    Custom,
}

impl SeccompClass {
    /// The class of a container. What counts is the profile that was asked for, not the policy that
    /// plugins ask for; a profile that is there and empty is the runtime's default.
    pub fn of(container: &api::Container) -> Self {
        let linux = container.linux.as_ref();
        match linux.and_then(|linux| linux.seccomp_profile.as_ref()) {
            None => Self::Unconfined,
            Some(profile) => match ProfileType::try_from(profile.profile_type) {
                Ok(ProfileType::RuntimeDefault) => Self::RuntimeDefault,
                Ok(ProfileType::Unconfined) => Self::Unconfined,
                Ok(ProfileType::Localhost) | Err(_) => Self::Custom,
            },
        }
    }
}

impl fmt::Display for SeccompClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RuntimeDefault => "runtime default",
            Self::Unconfined => "unconfined",
            Self::Custom => "custom",
        })
    }
}

/// Why the default validator rejects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Plugins add OCI hooks.
    #[error("validation error: {} not allowed: OCI hooks are restricted", attempts(.plugins, "add OCI hooks"))]
    Hooks {
        /// The plugins, in the order in which they were called.
        plugins: Vec<String>,
    },
    /// A plugin sets a seccomp policy.
    #[error(
        "validation error: plugin {plugin} attempted to adjust the {class} seccomp policy, which is restricted"
    )]
    Seccomp {
        /// The plugin.
        plugin: String,
        /// What the container was to have.
        class: SeccompClass,
    },
    /// Plugins change namespaces.
    #[error("validation error: namespace adjustment is restricted: {}", entries(.changes))]
    Namespaces {
        /// Type of the namespace and the plugin, in order of the types.
        changes: Vec<(String, String)>,
    },
    /// Plugins change kernel parameters.
    #[error("validation error: sysctl adjustment is restricted: {}", by_plugin(.changes))]
    Sysctl {
        /// The keys that each plugin sets or removes, by plugin.
        changes: BTreeMap<String, Vec<String>>,
    },
    /// Required plugins were not consulted.
    #[error("validation error: {}", missing(.plugins))]
    MissingPlugins {
        /// Those that are missing, as they are required.
        plugins: Vec<String>,
    },
    /// An annotation about required plugins makes no sense.
    #[error(transparent)]
    InvalidAnnotation(#[from] InvalidAnnotation),
}

fn attempts(plugins: &[String], what: &str) -> String {
    match plugins {
        [plugin] => format!("plugin {plugin} attempted to {what},"),
        plugins => format!("plugins {} attempted to {what},", plugins.join(", ")),
    }
}

fn entries(changes: &[(String, String)]) -> String {
    let texts = changes
        .iter()
        .map(|(namespace, plugin)| format!("{namespace} by plugin {plugin}"));
    texts.collect::<Vec<_>>().join(", ")
}

fn by_plugin(changes: &BTreeMap<String, Vec<String>>) -> String {
    let texts = changes
        .iter()
        .map(|(plugin, keys)| format!("{} by plugin {plugin}", keys.join(", ")));
    texts.collect::<Vec<_>>().join("; ")
}

fn missing(plugins: &[String]) -> String {
    match plugins {
        [plugin] => format!("required plugin {plugin:?} is missing"),
        plugins => {
            let names: Vec<String> = plugins.iter().map(|name| format!("{name:?}")).collect();
            format!("required plugins {} are missing", names.join(", "))
        }
    }
}

/// An annotation that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid annotation {key:?}: {value:?} is not {expected}")]
#[non_exhaustive]
pub struct InvalidAnnotation {
    /// The key as the pod has it.
    pub key: String,
    /// The value.
    pub value: String,
    /// What it should be.
    pub expected: String,
}
