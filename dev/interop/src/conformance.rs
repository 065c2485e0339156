//! The conformance suite for runtimes at a real containerd, driven through crictl.

use nri_testkit::runtime_conformance::{Check, Crictl, check};

/// What containerd is known not to keep; that it keeps it is no error.
const KNOWN: &[Check] = &[
    // An update of a container that it does not know is as good as done.
    Check::Unsolicited,
    // It carries out no evictions.
    Check::Evicted,
    // Containers that are created while a plugin is shown what exists can be lost to it.
    Check::JoinDuring,
];

/// Makes all checks; what fails and is not known is an error.
pub(super) fn run(driver: &Crictl, version: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let report = runtime.block_on(check(driver));
    let failed = report.failed();
    if failed.iter().any(|check| !KNOWN.contains(check)) {
        return Err(report.to_string());
    }
    let all = report.results().len();
    let skipped = report.skipped().len();
    Ok(format!(
        "{} of {all} checks of runtime conformance passed, {skipped} skipped, and these failed: {failed:?} (NRI {version})",
        all - failed.len() - skipped,
    ))
}
