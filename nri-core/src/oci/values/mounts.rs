//! Mounts: what they must say for somebody to be able to mount them.

use super::rule::{Asked, Broken};
use crate::merge::removal_marker::marked;

/// Options with which a type does not matter: a bind has none, and what is mounted again has one.
const WITHOUT_TYPE: [&str; 3] = ["bind", "rbind", "remount"];

/// Types that say nothing. The type `bind` says what is meant, so what a runtime makes of it alone
/// is left to that one: runc 1.1.5 refuses it without the option, as it refuses these.
const NO_TYPE: [&str; 2] = ["", "none"];

/// runc hands the type to the kernel, which has no such file system.
pub(super) fn mount_type(asked: &Asked<'_>) -> Option<Broken> {
    let mut added = asked.adjustment.mounts.iter();
    let mount = added.find(|mount| {
        marked(&mount.destination).is_none()
            && NO_TYPE.contains(&mount.r#type.as_str())
            && !mount
                .options
                .iter()
                .any(|option| WITHOUT_TYPE.contains(&option.as_str()))
    })?;
    Some(Broken::by(&mount.destination).because(format!(
        "its type is {:?}, which is no file system, and none of its options is bind or rbind",
        mount.r#type
    )))
}
