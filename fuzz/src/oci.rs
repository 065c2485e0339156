//! OCI specs: reading a container, applying an adjustment.

use nri_core::api::ContainerAdjustment;
use nri_core::oci::{ApplyOptions, apply as applied, read as reading, shape};
use serde_json::Value;

use crate::script::salvage;

/// Reads a container from a spec, whatever it is.
pub fn read(input: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let _ = reading::container(&spec);
    if let Err(error) = shape::check(&spec) {
        assert!(!error.to_string().is_empty());
    }
}

/// Applies an adjustment to a spec: the spec's length in two bytes, the spec, the adjustment as it
/// is on the wire. What comes of it can be read, and is a spec.
///
/// # Panics
/// A law does not hold.
pub fn apply(input: &[u8]) {
    let [low, high, rest @ ..] = input else {
        return;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (spec, adjustment) = rest.split_at(length);
    let Ok(spec) = serde_json::from_slice::<Value>(spec) else {
        return;
    };
    let adjustment: ContainerAdjustment = salvage(adjustment);
    match applied(&spec, &adjustment, &ApplyOptions::default(), None) {
        Ok(done) => {
            let _ = reading::container(&done.spec);
            assert_eq!(
                shape::check(&done.spec),
                Ok(()),
                "what was applied is a spec"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
