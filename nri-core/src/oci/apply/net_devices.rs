//! Network devices that move into the container: `linux.netDevices`, by their names on the host.

use serde_json::Value;

use super::draft::Draft;
use super::error::ApplyError;
use crate::merge::removal_marker::marked;
use crate::oci::tree::{self, Object};

const MAP: [&str; 2] = ["linux", "netDevices"];

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let devices = &draft.linux.net_devices;
    for host in devices.keys().filter_map(|host| marked(host)) {
        tree::remove(&mut draft.spec, &MAP, host);
    }
    for (host, device) in devices.iter().filter(|(host, _)| marked(host).is_none()) {
        let mut oci = Object::new();
        tree::insert_text(&mut oci, "name", &device.name);
        tree::set(&mut draft.spec, &MAP, host, Value::Object(oci));
    }
    Ok(())
}
