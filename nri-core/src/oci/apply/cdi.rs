//! CDI devices: whatever their specifications say, through the injector.

use nri_proto::api::Field;

use super::draft::Draft;
use super::error::ApplyError;
use crate::oci::shape;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let devices = &draft.adjustment.cdi_devices;
    let names: Vec<String> = devices.iter().map(|device| device.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let Some(injector) = &draft.options.cdi_injector else {
        return names
            .iter()
            .try_for_each(|name| draft.without_callback(Field::CdiDevices, name, "CDI injector"));
    };
    injector(&mut draft.spec, &names)
        .map_err(|source| draft.callback_failed(Field::CdiDevices, &names.join(","), source))?;
    // The steps that follow rely on the types of the members.
    shape::check(&draft.spec)?;
    Ok(())
}
