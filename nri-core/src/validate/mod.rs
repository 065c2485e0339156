//! Validation: looking at what plugins ask for together, and accepting or rejecting it as a whole.
//!
//! The default validator is here, as a pure function of its options and the request ([`check`]) and as a plugin to build into
//! a runtime ([`DefaultValidator`]); so are requirements that certain plugins have had their say ([`required`]).
//!
//! What may not enter: who is asked to validate, and what a rejection does to the request; that is a flow's business.

mod checks;
pub mod required;
mod sequence;

use async_trait::async_trait;
use nri_proto::api;

pub use checks::{Rejection, SeccompClass, check};

use crate::{Event, EventMask, HandlerError, Plugin, PluginCtx};

/// What the default validator rejects, and which plugins it requires. By default, nothing and none.
///
/// ```
/// use nri_core::validate::ValidatorOptions;
///
/// let options = ValidatorOptions { reject_oci_hook_adjustment: true, ..Default::default() };
/// assert!(!options.reject_namespace_adjustment);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct ValidatorOptions {
    /// Whether the validator is used at all. Default: false.
    pub enable: bool,
    /// Whether to reject OCI hooks. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectOCIHookAdjustment"))]
    pub reject_oci_hook_adjustment: bool,
    /// Whether to reject a seccomp policy for a container that is to have the runtime's default. Default: false.
    #[cfg_attr(
        feature = "serde",
        serde(alias = "rejectRuntimeDefaultSeccompAdjustment")
    )]
    pub reject_runtime_default_seccomp_adjustment: bool,
    /// Whether to reject a seccomp policy for a container that is to have none. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectUnconfinedSeccompAdjustment"))]
    pub reject_unconfined_seccomp_adjustment: bool,
    /// Whether to reject a seccomp policy for a container that is to have a profile of its own. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectCustomSeccompAdjustment"))]
    pub reject_custom_seccomp_adjustment: bool,
    /// Whether to reject changes of namespaces. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectNamespaceAdjustment"))]
    pub reject_namespace_adjustment: bool,
    /// Whether to reject changes of kernel parameters, removals included. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectSysctlAdjustment"))]
    pub reject_sysctl_adjustment: bool,
    /// Plugins that must have been consulted, as `name` or `index-name`. Default: none.
    #[cfg_attr(feature = "serde", serde(alias = "requiredPlugins"))]
    pub required_plugins: Vec<String>,
    /// The annotation with which a pod says that missing plugins are tolerated; empty if there is no such annotation. Default:
    /// empty.
    #[cfg_attr(feature = "serde", serde(alias = "tolerateMissingPluginsAnnotation"))]
    pub tolerate_missing_plugins_annotation: String,
}

/// The default validator as a plugin. Its identity in a runtime is [`DefaultValidator::IDENTITY`].
///
/// It accepts updates of containers (a request without an adjustment): none of its rules is about what an update can change,
/// and requirements are about how a container comes to be.
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
