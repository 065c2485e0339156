//! Network devices that move into the container: `linux.netDevices`, by their names on the host.

use nri_proto::api::Field;
use serde_json::Value;

use super::{ApplyError, Draft, removed};
use crate::oci::tree::{self, Object};

const MAP: [&str; 2] = ["linux", "netDevices"];

/// The kernel's limit for the name of an interface, in bytes.
const MAX_NAME: usize = 15;

pub(super) fn apply(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    let devices = &draft.linux.net_devices;
    for host in devices.keys().filter_map(|host| removed(host)) {
        tree::remove(&mut draft.spec, &MAP, host);
    }
    for (host, device) in devices.iter().filter(|(host, _)| removed(host).is_none()) {
        let valid = |name: &str| name.len() <= MAX_NAME && !name.contains('/');
        if host.is_empty() || !valid(host) || !valid(&device.name) {
            return Err(draft.invalid(
                Field::LinuxNetDevices,
                host,
                format!("the name of an interface has 1 to {MAX_NAME} bytes and no slash"),
            ));
        }
        let mut oci = Object::new();
        tree::insert_text(&mut oci, "name", &device.name);
        tree::set(&mut draft.spec, &MAP, host, Value::Object(oci));
    }
    Ok(())
}
