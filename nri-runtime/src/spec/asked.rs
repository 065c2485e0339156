//! What is asked for besides CRI's plain fields: limits of processes and CDI devices. It is put
//! into a spec as what plugins ask for is, by the crates below.

use nri_core::api::{CdiDevice, ContainerAdjustment};
use nri_core::oci::apply;
use nri_domain_cri::OciSpec;

use super::Input;
use crate::cri;
use crate::error::{Error, Result};
use crate::rlimits;

/// The beginning of the keys of annotations that ask for CDI devices.
const CDI: &str = "cdi.k8s.io/";

/// The spec with what is asked for.
///
/// # Errors
/// Something is asked for that is not there, or cannot be.
pub(super) fn add(spec: OciSpec, input: &Input<'_>) -> Result<OciSpec> {
    let low = &input.daemon.low_level;
    let name = input.config.metadata.clone().unwrap_or_default().name;
    let mut limits = rlimits::configured(&low.rlimits)?;
    let annotations = &input.pod.config.annotations;
    // Of two for the same, the later one counts.
    limits.extend(rlimits::annotated(
        annotations,
        &low.rlimits_annotation,
        &name,
    )?);
    let limits = ContainerAdjustment {
        rlimits: limits,
        ..Default::default()
    };
    let devices = ContainerAdjustment {
        cdi_devices: devices(input.config),
        ..Default::default()
    };
    let spec = put(spec, &limits, input)?;
    put(spec, &devices, input).map_err(|error| match &*input.daemon.cdi_dirs {
        [] => error.of("`cdi_dirs` has no directory in the configuration"),
        _ => error,
    })
}

fn put(spec: OciSpec, asked: &ContainerAdjustment, input: &Input<'_>) -> Result<OciSpec> {
    let applied = apply(&spec, asked, input.options, None);
    let applied = applied.map_err(|error| Error::invalid(error.to_string()))?;
    Ok(applied.spec)
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
