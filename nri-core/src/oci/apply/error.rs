//! Why an adjustment was not applied, or not wholly.

use std::fmt;

use nri_proto::api::Field;

use super::requesters::Requesters;
use crate::oci::callbacks::CallbackError;
use crate::oci::shape::Malformed;
use crate::oci::version::OciVersion;

/// One thing that an adjustment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The field. Device cgroup rules, which have no field of their own, go by `Devices`.
    pub field: Field,
    /// Its key (a name, a path, a type), or its value where there is no key.
    pub key: Option<String>,
    /// The plugin that asked for it, if the caller gave owners.
    pub plugin: Option<String>,
}

impl Item {
    /// The item with its plugin. `key` is empty for fields that have none.
    pub(in crate::oci) fn new(field: Field, key: &str, owners: &Requesters<'_>) -> Self {
        Self {
            field,
            key: (!key.is_empty()).then(|| key.to_owned()),
            plugin: owners.plugin(field, key),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.as_str_name())?;
        if let Some(key) = &self.key {
            write!(f, " {key:?}")?;
        }
        if let Some(plugin) = &self.plugin {
            write!(f, " (of plugin {plugin})")?;
        }
        Ok(())
    }
}

/// Why an adjustment cannot be applied. Nothing of it has been then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The document is no OCI spec.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No runtime could carry this out.
    #[error("cannot apply {item}: {reason}")]
    Invalid {
        /// What was asked for.
        item: Item,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime does not let plugins change this annotation.
    #[error("cannot apply {item}: the runtime keeps this annotation to itself")]
    Protected {
        /// What was asked for.
        item: Item,
    },
    /// The embedding runtime has not given the callback that this needs.
    #[error(
        "cannot apply {item}: the runtime has no {callback}; give one in the options, or let them ignore what needs one"
    )]
    NoCallback {
        /// What was asked for.
        item: Item,
        /// The callback, in words.
        callback: &'static str,
    },
    /// A callback of the embedding runtime refused or failed.
    #[error("cannot apply {item}: {source}")]
    Callback {
        /// What was asked for.
        item: Item,
        /// What the callback says.
        source: CallbackError,
    },
    /// The embedding runtime's resource checker does not accept the adjusted resources.
    #[error("the runtime refuses the adjusted resources: {0}")]
    ResourcesRefused(#[source] CallbackError),
    /// The low-level runtime is too old for this.
    #[error(
        "cannot apply {item}: {member} needs a low-level runtime for OCI {needed}, and this one supports {supported}"
    )]
    BeyondRuntime {
        /// What was asked for.
        item: Item,
        /// The member of the spec.
        member: &'static str,
        /// The first OCI version that has the member.
        needed: OciVersion,
        /// What the runtime supports.
        supported: OciVersion,
    },
    /// The runtime's type for OCI specs has no place for it, and
    /// [`beyond_type`](super::ApplyOptions::beyond_type) is to fail then.
    #[error("cannot apply {item}: the runtime's type for OCI specs has no place for {member}")]
    BeyondType {
        /// What was asked for.
        item: Item,
        /// The member of the spec.
        member: Box<str>,
    },
    /// The runtime's type for OCI specs does not take the value.
    #[error("cannot apply {item}: the runtime's type for OCI specs refuses {member}: {reason}")]
    TypeRefuses {
        /// What was asked for.
        item: Item,
        /// The member of the spec.
        member: Box<str>,
        /// What the type says.
        reason: Box<str>,
    },
    /// The runtime's type for OCI specs does not take the adjusted spec, whatever is left out.
    #[error("the runtime's type for OCI specs refuses the adjusted spec: {0}")]
    TypeRefusesSpec(String),
    /// The runtime's spec cannot be written as JSON.
    #[error("the runtime's spec cannot be written as JSON: {0}")]
    TypeUnwritable(String),
}

/// Something that was applied but may not have the effect that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// What was asked for.
    pub item: Item,
    /// What may be wrong with it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.text)
    }
}
