//! The settings of the built-in validator, under the reference's names.

use nri_core::validate::ValidatorOptions;
use serde::Serialize;

use super::settings::settings;

/// The built-in validator: what it rejects, and which plugins it requires. All off by default.
///
/// Where it is enabled, [`DefaultValidator`](nri_core::validate::DefaultValidator) is there as a
/// built-in plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DefaultValidatorConfig {
    /// Runs the validator at all.
    pub enable: bool,
    /// Rejects OCI hooks of plugins.
    pub reject_oci_hook_adjustment: bool,
    /// Rejects a change of the seccomp policy where the profile is the runtime's default.
    pub reject_runtime_default_seccomp_adjustment: bool,
    /// Rejects a change of the seccomp policy where the container is unconfined, or has no
    /// profile.
    pub reject_unconfined_seccomp_adjustment: bool,
    /// Rejects a change of the seccomp policy where the profile is a localhost one.
    pub reject_custom_seccomp_adjustment: bool,
    /// Rejects changes of namespaces.
    pub reject_namespace_adjustment: bool,
    /// Rejects changes of kernel parameters.
    pub reject_sysctl_adjustment: bool,
    /// Plugins (`name` or `NN-name`) that must have been asked.
    pub required_plugins: Vec<String>,
    /// A pod annotation whose value `true` waives the requirement.
    pub tolerate_missing_plugins_annotation: String,
}

settings!(SnakeOrCamel DefaultValidatorConfig {
    enable,
    reject_oci_hook_adjustment,
    reject_runtime_default_seccomp_adjustment,
    reject_unconfined_seccomp_adjustment,
    reject_custom_seccomp_adjustment,
    reject_namespace_adjustment,
    reject_sysctl_adjustment,
    required_plugins,
    tolerate_missing_plugins_annotation,
});

impl From<&DefaultValidatorConfig> for ValidatorOptions {
    fn from(config: &DefaultValidatorConfig) -> Self {
        let config = config.clone();
        Self {
            enable: config.enable,
            reject_oci_hook_adjustment: config.reject_oci_hook_adjustment,
            reject_runtime_default_seccomp_adjustment: config
                .reject_runtime_default_seccomp_adjustment,
            reject_unconfined_seccomp_adjustment: config.reject_unconfined_seccomp_adjustment,
            reject_custom_seccomp_adjustment: config.reject_custom_seccomp_adjustment,
            reject_namespace_adjustment: config.reject_namespace_adjustment,
            reject_sysctl_adjustment: config.reject_sysctl_adjustment,
            required_plugins: config.required_plugins,
            tolerate_missing_plugins_annotation: config.tolerate_missing_plugins_annotation,
        }
    }
}
