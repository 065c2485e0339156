//! A spec in the making: what every step of applying an adjustment reads and changes.
//!
//! What may not enter: a step.

use nri_proto::api::{ContainerAdjustment, Field, LinuxContainerAdjustment};
use serde_json::Value;

use super::error::{ApplyError, Item, Warning};
use super::options::{ApplyOptions, OnUnsupported};
use super::requesters::Requesters;
use crate::oci::callbacks::CallbackError;
use crate::oci::values::Breach;
use crate::oci::version::OciVersion;

/// A spec in the making, and all that the steps need.
pub(super) struct Draft<'a> {
    pub(super) before: &'a Value,
    pub(super) spec: Value,
    pub(super) adjustment: &'a ContainerAdjustment,
    pub(super) linux: &'a LinuxContainerAdjustment,
    pub(super) options: &'a ApplyOptions,
    pub(super) owners: Requesters<'a>,
    pub(super) needs: Option<OciVersion>,
    pub(super) warnings: Vec<Warning>,
}

impl Draft<'_> {
    /// The item with its plugin. `key` is empty for fields that have none.
    pub(super) fn item(&self, field: Field, key: &str) -> Item {
        Item::new(field, key, &self.owners)
    }

    pub(super) fn invalid(&self, field: Field, key: &str, reason: impl Into<String>) -> ApplyError {
        ApplyError::Invalid {
            item: self.item(field, key),
            reason: reason.into(),
        }
    }

    pub(super) fn breach(&self, breach: &Breach) -> ApplyError {
        self.invalid(breach.field(), breach.key(), breach.reason())
    }

    pub(super) fn warn(&mut self, field: Field, key: &str, text: impl Into<String>) {
        let item = self.item(field, key);
        self.warnings.push(Warning {
            item,
            text: text.into(),
        });
    }

    /// Errs, warns or does nothing about something that needs a callback which is not there.
    pub(super) fn without_callback(
        &mut self,
        field: Field,
        key: &str,
        callback: &'static str,
    ) -> Result<(), ApplyError> {
        match self.options.without_callback {
            OnUnsupported::Error => Err(ApplyError::NoCallback {
                item: self.item(field, key),
                callback,
            }),
            OnUnsupported::Warn => {
                self.warn(
                    field,
                    key,
                    format!("ignored: the runtime has no {callback}"),
                );
                Ok(())
            }
            OnUnsupported::Ignore => Ok(()),
        }
    }

    pub(super) fn callback_failed(
        &self,
        field: Field,
        key: &str,
        source: CallbackError,
    ) -> ApplyError {
        ApplyError::Callback {
            item: self.item(field, key),
            source,
        }
    }
}

/// The name of an enum's number; `None` for numbers of a newer protocol.
pub(super) fn enum_name<E: TryFrom<i32>>(
    number: i32,
    name: fn(&E) -> &'static str,
) -> Option<&'static str> {
    E::try_from(number).ok().map(|value| name(&value))
}
