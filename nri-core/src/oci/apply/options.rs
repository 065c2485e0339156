//! What an embedding runtime decides about adjustments.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::oci::callbacks::{CdiInjector, ClassResolver, KeyedFilter, Relabel, ResourceChecker};
use crate::oci::mounts::HostMounts;
use crate::oci::names;
use crate::oci::values::Family;
use crate::oci::version::OciVersion;

/// What a container may do with a device that a plugin adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceAccess {
    /// What the device's mode says: `r`, `w` or both (both if it says nothing), and `m` for block
    /// devices.
    #[default]
    Derived,
    /// Always `rw`, and `m` for block devices, as the reference implementation does.
    Compat,
}

/// What to do about something that cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnsupported {
    /// Refuse the whole adjustment.
    Error,
    /// Leave it to the low-level runtime, or out if there is nothing to leave, and say so.
    Warn,
    /// The same without saying so.
    Ignore,
}

/// How adjustments are applied. The default has no callbacks and does what the protocol says.
///
/// ```
/// use std::sync::Arc;
/// use nri_core::oci::{ApplyOptions, KeyedChanges};
///
/// let mut options = ApplyOptions::default();
/// options.swap_supported = false;
/// options.annotation_filter = Some(Arc::new(|changes: &mut KeyedChanges| {
///     changes.set.retain(|key, _| key.starts_with("example.com/"));
///     Ok(())
/// }));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ApplyOptions {
    /// Sees the changes of annotations. Default: none, they pass.
    pub annotation_filter: Option<KeyedFilter>,
    /// Annotations that plugins may not change, by their full keys: the runtime's own, by which it
    /// knows its containers. Changing one is an error. Default: none.
    pub protected_annotations: Vec<String>,
    /// Sees the changes of kernel parameters. Default: none, they pass.
    pub sysctl_filter: Option<KeyedFilter>,
    /// Refuses kernel parameters of a namespace that the container does not have to itself.
    /// Default: true.
    pub check_sysctl_namespaces: bool,
    /// Injects CDI devices. Default: none.
    pub cdi_injector: Option<CdiInjector>,
    /// Checks adjusted resources. Default: none.
    pub resource_checker: Option<ResourceChecker>,
    /// Resolves block I/O classes to `linux.resources.blockIO`. Default: none.
    pub blockio_resolver: Option<ClassResolver>,
    /// Resolves RDT classes to `linux.intelRdt`. Default: none.
    pub rdt_resolver: Option<ClassResolver>,
    /// Relabels the sources of mounts that ask for it with the option `relabel`. Default: none;
    /// the option is dropped with a warning.
    pub relabel: Option<Relabel>,
    /// The host's mounts, by which shared and slave bind mounts are checked. Default: none; they
    /// are not checked.
    pub host_mounts: Option<Arc<dyn HostMounts>>,
    /// What a container may do with an added device. Default: what the device's mode says.
    pub device_access: DeviceAccess,
    /// Whether the host has a swap controller, so that a memory limit can imply a swap limit.
    /// Default: true.
    pub swap_supported: bool,
    /// What to do about CDI devices and classes for which there is no callback. Default: an error.
    pub without_callback: OnUnsupported,
    /// The OCI version that the low-level runtime supports. Default: unknown; everything is taken
    /// to be supported.
    pub runtime: Option<OciVersion>,
    /// What to do about what `runtime` says is not supported. Default: a warning.
    pub beyond_runtime: OnUnsupported,
    /// What to do about what the type of a spec has no place for, in
    /// [`apply_typed`](crate::oci::apply_typed). Default: a warning.
    pub beyond_type: OnUnsupported,
    /// The resource limits that the host knows; others are refused, or set with a warning where
    /// [`Family::Rlimits`] is left to the low-level runtime. Default: those of Linux.
    pub rlimit_names: Vec<String>,
    /// Rules of values that are not judged: the low-level runtime sees to them itself. Default:
    /// none; all [rules](crate::oci::values::RULES) hold.
    pub left_to_runtime: BTreeSet<Family>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            annotation_filter: None,
            protected_annotations: Vec::new(),
            sysctl_filter: None,
            check_sysctl_namespaces: true,
            cdi_injector: None,
            resource_checker: None,
            blockio_resolver: None,
            rdt_resolver: None,
            relabel: None,
            host_mounts: None,
            device_access: DeviceAccess::Derived,
            swap_supported: true,
            without_callback: OnUnsupported::Error,
            runtime: None,
            beyond_runtime: OnUnsupported::Warn,
            beyond_type: OnUnsupported::Warn,
            rlimit_names: names::RLIMITS.map(str::to_owned).to_vec(),
            left_to_runtime: BTreeSet::new(),
        }
    }
}

impl fmt::Debug for ApplyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyOptions")
            .field("annotation_filter", &self.annotation_filter.is_some())
            .field("protected_annotations", &self.protected_annotations)
            .field("sysctl_filter", &self.sysctl_filter.is_some())
            .field("check_sysctl_namespaces", &self.check_sysctl_namespaces)
            .field("cdi_injector", &self.cdi_injector.is_some())
            .field("resource_checker", &self.resource_checker.is_some())
            .field("blockio_resolver", &self.blockio_resolver.is_some())
            .field("rdt_resolver", &self.rdt_resolver.is_some())
            .field("relabel", &self.relabel.is_some())
            .field("host_mounts", &self.host_mounts.is_some())
            .field("device_access", &self.device_access)
            .field("swap_supported", &self.swap_supported)
            .field("without_callback", &self.without_callback)
            .field("runtime", &self.runtime)
            .field("beyond_runtime", &self.beyond_runtime)
            .field("beyond_type", &self.beyond_type)
            .field("rlimit_names", &self.rlimit_names)
            .field("left_to_runtime", &self.left_to_runtime)
            .finish()
    }
}
