//! Short texts: durations, cgroup paths, mount tables, annotations.

use std::collections::BTreeMap;

use nri_adaptation::duration;
use nri_core::CgroupPath;
use nri_core::oci::mounts::{parse_mountinfo, propagation_of};
use nri_core::validate::required::{REQUIRED_PLUGINS_ANNOTATION, annotated, tolerates_missing};

/// Reads a duration; what is read is written so that it is read again.
///
/// # Panics
/// A law does not hold.
pub fn durations(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match duration::parse(text) {
        Ok(read) => assert_eq!(
            duration::parse(&duration::format(read)),
            Ok(read),
            "{text:?}"
        ),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads a cgroup path; its directory is below the root.
///
/// # Panics
/// A law does not hold.
pub fn cgroup_paths(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match text.parse::<CgroupPath>() {
        Ok(path) => assert!(!path.directory().starts_with('/'), "{text:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads a mount table, and looks up what is in it.
pub fn mount_table(input: &[u8]) {
    let mounts = parse_mountinfo(&String::from_utf8_lossy(input));
    // Each look-up walks the table.
    for mount in mounts.iter().take(8) {
        let _ = propagation_of(&mounts, &mount.mount_point);
    }
}

/// Reads the annotations that require plugins and that do without.
pub fn annotations(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let annotations = |key: &str| BTreeMap::from([(key.to_owned(), text.clone())]);
    let shown = |error: String| assert!(!error.is_empty());
    if let Err(error) = annotated(&annotations(REQUIRED_PLUGINS_ANNOTATION), "c") {
        shown(error.to_string());
    }
    if let Err(error) = tolerates_missing(&annotations("tolerate"), "tolerate", "c") {
        shown(error.to_string());
    }
}
