//! Why resources cannot be written, in words that name who asked for them. What may not enter: the
//! rules that values break.

use nri_proto::api::Field;

use super::apply::{Item, Requesters};
use crate::brief::quoted;
use crate::merge::Owners;

/// Why resources cannot be written to an OCI spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {:?}: {reason}", .field.as_str_name(), .key)]
pub struct InvalidResource {
    /// The field.
    pub field: Field,
    /// Its key, for example a page size; the value for fields that have no key.
    pub key: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl InvalidResource {
    /// The same for whoever updates a container with what plugins made of an update: with the
    /// container, and with the plugin that set the value, if one did and it was not requested.
    ///
    /// ```
    /// use nri_core::api::{Field, LinuxResources};
    /// use nri_core::build::SetResources as _;
    /// use nri_core::merge::{Owner, Owners};
    /// use nri_core::oci::apply_resources;
    ///
    /// // In a runtime: the resources and the owners of an `UpdateResult`.
    /// let mut resources = LinuxResources::default();
    /// resources.set_pids_limit(-2);
    /// let mut owners = Owners::default();
    /// owners.insert("c1", Field::PidsLimit, None, Owner::Set("20-pids".parse()?));
    ///
    /// let mut spec = serde_json::json!({});
    /// let error = apply_resources(&resources, &mut spec, true).unwrap_err();
    /// assert_eq!(
    ///     error.asked_in(&owners, "c1").to_string(),
    ///     r#"cannot update container "c1": PidsLimit "-2" (of plugin 20-pids): it must be -1 (unlimited) or more"#,
    /// );
    /// # Ok::<(), nri_core::InvalidIdentity>(())
    /// ```
    pub fn asked_in(self, owners: &Owners, container: &str) -> InvalidUpdate {
        let Self { field, key, reason } = self;
        let plugin = Requesters::from((owners, container)).plugin(field, &key);
        InvalidUpdate {
            container: container.to_owned(),
            item: Item {
                field,
                key: Some(key),
                plugin,
            },
            reason,
        }
    }
}

/// Why the resources of a container cannot be updated: an [`InvalidResource`] with who asked for
/// it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot update container {}: {item}: {reason}", quoted(.container))]
#[non_exhaustive]
pub struct InvalidUpdate {
    /// The container.
    pub container: String,
    /// The field, its key or value, and the plugin that asked for it.
    pub item: Item,
    /// What is wrong with it.
    pub reason: &'static str,
}
