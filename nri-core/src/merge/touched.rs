//! Which fields of a container an adjustment changes.

use nri_proto::api::ContainerAdjustment;

use crate::encoded::ANNOTATIONS;

/// The fields of `Container` in which it changes something, by number.
pub(super) fn touched(asked: &ContainerAdjustment) -> Vec<u32> {
    let ContainerAdjustment {
        annotations,
        mounts,
        env,
        hooks,
        linux,
        rlimits,
        cdi_devices,
        args,
    } = asked;
    let fields = [
        (ANNOTATIONS, !annotations.is_empty()),
        (7, !args.is_empty()),
        (8, !env.is_empty()),
        (9, !mounts.is_empty()),
        (10, hooks.is_some()),
        (11, linux.is_some()),
        (13, !rlimits.is_empty()),
        (20, !cdi_devices.is_empty()),
    ];
    let fields = fields.into_iter().filter(|(_, touched)| *touched);
    fields.map(|(number, _)| number).collect()
}
