//! Validation: looking at what plugins ask for together, and accepting or rejecting it as a whole.
//!
//! The default validator is here, as a pure function of its options and the request ([`check`]) and
//! as a plugin to build into a runtime ([`DefaultValidator`]); so are requirements that certain
//! plugins have had their say ([`required`]).
//!
//! What may not enter: who is asked to validate, and what a rejection does to the request; that is
//! a flow's business.

mod checks;
mod options;
mod rejection;
pub mod required;
mod sequence;

use async_trait::async_trait;
use nri_proto::api;

pub use checks::check;
pub use options::ValidatorOptions;
pub use rejection::{Rejection, SeccompClass};

use crate::{Event, EventMask, HandlerError, Plugin, PluginCtx};

/// The default validator as a plugin. Its identity in a runtime is [`DefaultValidator::IDENTITY`].
///
/// It accepts updates of containers (a request without an adjustment): none of its rules is about
/// what an update can change, and requirements are about how a container comes to be.
///
/// ```
/// use nri_core::validate::{DefaultValidator, ValidatorOptions};
/// use nri_core::{Event, Plugin};
///
/// let validator = DefaultValidator::new(ValidatorOptions { enable: true, ..Default::default() });
/// assert_eq!(validator.events(), Event::ValidateContainerAdjustment.into());
/// ```
#[derive(Debug, Clone, Default)]
pub struct DefaultValidator {
    options: ValidatorOptions,
}

impl DefaultValidator {
    /// Index and name under which runtimes register it.
    pub const IDENTITY: &'static str = "00-default-validator";

    /// A validator with these options. Whether it is enabled is for the runtime to ask.
    pub fn new(options: ValidatorOptions) -> Self {
        Self { options }
    }

    /// Its options.
    pub fn options(&self) -> &ValidatorOptions {
        &self.options
    }
}

#[async_trait]
impl Plugin for DefaultValidator {
    fn events(&self) -> EventMask {
        Event::ValidateContainerAdjustment.into()
    }

    async fn validate_container_adjustment(
        &self,
        _cx: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        if request.adjust.is_none() {
            return Ok(api::ValidateContainerAdjustmentResponse::default());
        }
        Ok(check(&self.options, &request)
            .err()
            .map(|rejection| api::ValidateContainerAdjustmentResponse {
                reject: true,
                reason: rejection.to_string(),
            })
            .unwrap_or_default())
    }
}
