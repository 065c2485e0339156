//! The default validator with the options that are in force now.

use std::sync::Arc;

use async_trait::async_trait;
use nri_core::validate::DefaultValidator;
use nri_core::{EventMask, HandlerError, Plugin, PluginCtx, api};

use crate::config::DefaultValidatorConfig;
use crate::lock::Lock;

/// The default validator; its options can be changed while it is ready.
#[derive(Debug, Default)]
pub(crate) struct LiveValidator(Lock<Arc<DefaultValidator>>);

impl LiveValidator {
    pub(crate) fn set(&self, config: &DefaultValidatorConfig) {
        let now = Arc::new(DefaultValidator::new(config.into()));
        self.0.set(now);
    }

    fn now(&self) -> Arc<DefaultValidator> {
        self.0.get()
    }
}

#[async_trait]
impl Plugin for LiveValidator {
    fn events(&self) -> EventMask {
        self.now().events()
    }

    async fn validate_container_adjustment(
        &self,
        cx: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        self.now().validate_container_adjustment(cx, request).await
    }
}
