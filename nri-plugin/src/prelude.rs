//! What nearly every plugin names, for one `use nri_plugin::prelude::*;`: the ways to make a
//! plugin, what handlers get and answer, and the builders' traits.
//!
//! What may not enter: what runs a plugin, but for [`Runner`] and [`Backoff`].

pub use crate::answer::{Adjustment, Updates};
pub use crate::backoff::Backoff;
pub use crate::handlers::handlers;
pub use crate::runner::Runner;
pub use crate::stateful::stateful;
pub use crate::unsolicited::Unsolicited;
#[cfg(feature = "config")]
pub use crate::{
    annotation::{AnnotationKey, effective_annotation_as},
    configuration::configuration,
};
pub use nri_core::build::{Adjust, Evict, SetResources, Update};
pub use nri_core::model::effective_annotation;
pub use nri_core::{Event, EventMask, HandlerError, Plugin, PluginCtx, api};
