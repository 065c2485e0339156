//! What is asked for besides CRI's plain fields: limits of processes and CDI devices. It is put
//! into a spec as what plugins ask for is, by the crates below.

use nri_core::api::{CdiDevice, ContainerAdjustment};
use nri_core::oci::{ApplyOptions, apply};
use nri_domain_cri::OciSpec;

use crate::config::Config;
use crate::cri;
use crate::error::{Error, Result};
use crate::rlimits;

/// The beginning of the keys of annotations that ask for CDI devices.
const CDI: &str = "cdi.k8s.io/";

/// The spec of a container with what it and the annotations of its pod ask for.
///
/// # Errors
/// Something is asked for that is not there, or cannot be.
pub(super) fn add(
    spec: OciSpec,
    container: &cri::ContainerConfig,
    pod: &cri::PodSandboxConfig,
    daemon: &Config,
    options: &ApplyOptions,
) -> Result<OciSpec> {
    let low = &daemon.low_level;
    let name = container.metadata.clone().unwrap_or_default().name;
    let mut limits = rlimits::configured(&low.rlimits)?;
    // Of two for the same, the later one counts.
    let key = &low.rlimits_annotation;
    limits.extend(rlimits::annotated(&pod.annotations, key, &name)?);
    let limits = ContainerAdjustment {
        rlimits: limits,
        ..Default::default()
    };
    let devices = ContainerAdjustment {
        cdi_devices: devices(container),
        ..Default::default()
    };
    let put = |spec: OciSpec, asked: &ContainerAdjustment| {
        let applied = apply(&spec, asked, options, None);
        applied
            .map(|applied| applied.spec)
            .map_err(|error| Error::invalid(error.to_string()))
    };
    put(put(spec, &limits)?, &devices).map_err(|error| match &*daemon.cdi_dirs {
        [] => error.of("`cdi_dirs` has no directory in the configuration"),
        _ => error,
    })
}

/// The CDI devices of a container: those of CRI's field, and of its annotations, which are lists
/// with commas. Each is there once.
fn devices(config: &cri::ContainerConfig) -> Vec<CdiDevice> {
    let field = config.cdi_devices.iter().map(|device| device.name.as_str());
    let annotations = config.annotations.iter();
    let annotations = annotations.filter(|(key, _)| key.starts_with(CDI));
    let annotated = annotations.flat_map(|(_, names)| names.split(',').map(str::trim));
    let mut names: Vec<&str> = Vec::new();
    let mut there = std::collections::BTreeSet::new();
    names.extend(field.chain(annotated).filter(|name| there.insert(*name)));
    let device = |name: &str| CdiDevice {
        name: name.to_owned(),
    };
    names.into_iter().map(device).collect()
}
