//! Why responses cannot be combined, and what was left out without an error.

use nri_proto::api::Field;

use super::supported::Unsupported;
use crate::PluginId;
use crate::brief::{listed, quoted};

/// Why a plugin's response cannot be combined with the earlier ones. The request fails; nothing of
/// it is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A plugin sets what another one has set, and does not remove it first.
    #[error(
        "conflict on container {}: plugin \"{plugin}\" sets {}, already set by \"{other}\"",
        quoted(.container),
        place(*.field, .key.as_deref())
    )]
    Conflict {
        /// The container.
        container: String,
        /// The later plugin.
        plugin: PluginId,
        /// What both set.
        field: Field,
        /// Which entry of it; `None` for fields with one value.
        key: Option<String>,
        /// The plugin that owns it.
        other: PluginId,
    },
    /// A plugin sets one thing twice in one response.
    #[error(
        "conflict on container {}: plugin \"{plugin}\" sets {} twice in one response",
        quoted(.container),
        place(*.field, .key.as_deref())
    )]
    DuplicateSet {
        /// The container.
        container: String,
        /// The plugin.
        plugin: PluginId,
        /// What it sets twice.
        field: Field,
        /// Which entry of it; `None` for fields with one value.
        key: Option<String>,
    },
    /// A plugin updates the very container that is being created. Its resources belong into the
    /// adjustment.
    #[error(
        "plugin \"{plugin}\" updates container {} while that container is being created; an adjustment can do that",
        quoted(.container)
    )]
    SelfUpdate {
        /// The container.
        container: String,
        /// The plugin.
        plugin: PluginId,
    },
    /// A plugin asks for what the runtime cannot apply, and such a request is to be refused.
    #[error(
        "plugin \"{plugin}\" asks for {} in container {}, which this runtime cannot apply; configure the plugin not to",
        listed(.what, ", "),
        quoted(.container)
    )]
    Unsupported {
        /// The container.
        container: String,
        /// The plugin.
        plugin: PluginId,
        /// What cannot be applied. Never empty.
        what: Vec<Unsupported>,
    },
}

/// A field and, if it has entries, the one concerned, in words.
fn place(field: Field, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("{} {}", field.as_str_name(), quoted(key)),
        None => field.as_str_name().to_owned(),
    }
}

/// Something that a plugin asked for and that was left out, although the request goes on. Worth a
/// line in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Omission {
    /// An update that conflicts was dropped as a whole, because the plugin marked it so that its
    /// failure is ignored.
    #[error("dropped an update whose failure is to be ignored: {0}")]
    Update(MergeError),
    /// Rules of the device cgroup in an update: the protocol has them in adjustments only.
    #[error(
        "plugin \"{plugin}\" updates device cgroup rules of container {}, which only an adjustment can do",
        quoted(.container)
    )]
    DeviceRules {
        /// The plugin.
        plugin: PluginId,
        /// The container.
        container: String,
    },
    /// Something that the runtime cannot apply.
    #[error(
        "left out {what}, which plugin \"{plugin}\" asks for in container {} and this runtime cannot apply",
        quoted(.container)
    )]
    Unsupported {
        /// The plugin.
        plugin: PluginId,
        /// The container.
        container: String,
        /// What was left out.
        what: Unsupported,
    },
    /// An eviction of the container that is being created.
    #[error(
        "plugin \"{plugin}\" evicts container {}, which is only being created; an error would refuse it",
        quoted(.container)
    )]
    Eviction {
        /// The plugin.
        plugin: PluginId,
        /// The container.
        container: String,
    },
}

/// A clash inside the rules, which know neither container nor plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) field: Field,
    pub(super) key: Option<String>,
    /// The earlier setter; `None` if it is the same response.
    pub(super) other: Option<PluginId>,
}

impl Clash {
    /// The clash as `plugin` made it on `container`.
    pub(super) fn on(self, container: &str, plugin: &PluginId) -> MergeError {
        let Self { field, key, other } = self;
        let (container, plugin) = (container.to_owned(), plugin.clone());
        match other {
            Some(other) => MergeError::Conflict {
                container,
                plugin,
                field,
                key,
                other,
            },
            None => MergeError::DuplicateSet {
                container,
                plugin,
                field,
                key,
            },
        }
    }
}
