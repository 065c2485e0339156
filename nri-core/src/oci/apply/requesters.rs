//! Who asked for what, as the caller of `apply` has it.

use std::cell::OnceCell;

use nri_proto::api::{Field, FieldOwners};

use crate::merge::{ContainerOwners, Owners};

/// Who asked for the parts of an adjustment, so that warnings and errors name plugins.
///
/// Made of what the caller has: the owners of a request and the id of the container,
/// `(creation.owners(), id)`; the container's entry of the owners' message, if it has one; or
/// `None`.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, Field, LinuxContainerAdjustment, OptionalInt};
/// use nri_core::merge::{Owner, Owners};
/// use nri_core::oci::{ApplyOptions, apply};
///
/// let mut owners = Owners::default();
/// owners.insert("c1", Field::OomScoreAdj, None, Owner::Set("20-oom".parse()?));
/// let linux = LinuxContainerAdjustment {
///     oom_score_adj: Some(OptionalInt { value: 1001 }),
///     ..Default::default()
/// };
/// let adjustment = ContainerAdjustment { linux: Some(linux), ..Default::default() };
/// let spec = serde_json::json!({});
/// let error = apply(&spec, &adjustment, &ApplyOptions::default(), (&owners, "c1")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"cannot apply OomScoreAdj "1001" (of plugin 20-oom): it must be between -1000 and 1000"#,
/// );
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Debug, Clone)]
pub struct Requesters<'a>(Known<'a>);

#[derive(Debug, Clone)]
enum Known<'a> {
    Nobody,
    /// The message, and the same by the normal forms of keys, once a plugin is to be named.
    Message(&'a FieldOwners, OnceCell<ContainerOwners>),
    Container(&'a Owners, &'a str),
}

impl<'a> From<Option<&'a FieldOwners>> for Requesters<'a> {
    fn from(owners: Option<&'a FieldOwners>) -> Self {
        Self(match owners {
            Some(owners) => Known::Message(owners, OnceCell::new()),
            None => Known::Nobody,
        })
    }
}

impl<'a> From<(&'a Owners, &'a str)> for Requesters<'a> {
    fn from((owners, container): (&'a Owners, &'a str)) -> Self {
        Self(Known::Container(owners, container))
    }
}

impl<'a> From<(&'a Owners, &'a String)> for Requesters<'a> {
    fn from((owners, container): (&'a Owners, &'a String)) -> Self {
        Self(Known::Container(owners, container))
    }
}

impl Requesters<'_> {
    /// The plugin that asked for a field, or for the entry `key` of one that has entries; several
    /// plugins with commas between.
    pub(in crate::oci) fn plugin(&self, field: Field, key: &str) -> Option<String> {
        let owner = match &self.0 {
            Known::Nobody => None,
            Known::Message(message, by_key) => {
                let owners = by_key.get_or_init(|| ContainerOwners::from_message(message));
                owners.owner(field, owners.has_entries(field).then_some(key))
            }
            Known::Container(owners, container) => owners
                .owner(container, field, Some(key))
                .or_else(|| owners.owner(container, field, None)),
        }?
        .to_string();
        // A dash in front of the identity says that the plugin removed the item.
        Some(owner.strip_prefix('-').unwrap_or(&owner).to_owned())
    }
}
