//! The options of the default validator, as a configuration has them.

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
    /// Whether to reject a seccomp policy for a container that is to have the runtime's default.
    /// Default: false.
    #[cfg_attr(
        feature = "serde",
        serde(alias = "rejectRuntimeDefaultSeccompAdjustment")
    )]
    pub reject_runtime_default_seccomp_adjustment: bool,
    /// Whether to reject a seccomp policy for a container that is to have none. Default: false.
    #[cfg_attr(feature = "serde", serde(alias = "rejectUnconfinedSeccompAdjustment"))]
    pub reject_unconfined_seccomp_adjustment: bool,
    /// Whether to reject a seccomp policy for a container that is to have a profile of its own.
    /// Default: false.
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
    /// The annotation with which a pod says that missing plugins are tolerated; empty if there is
    /// no such annotation. Default: empty.
    #[cfg_attr(feature = "serde", serde(alias = "tolerateMissingPluginsAnnotation"))]
    pub tolerate_missing_plugins_annotation: String,
}
