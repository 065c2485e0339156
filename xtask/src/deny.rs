//! Which licences, sources and crates may be depended on: the rules of `deny.toml`, checked by
//! `cargo-deny`, which is installed if it is missing.
//!
//! Advisories are not checked here: their database comes over the network, and what it says changes
//! without a change of ours. `cargo deny check advisories` is run before a release.

use nri_dev::process;

use crate::tools;

/// Checks the workspace.
///
/// # Errors
/// cargo-deny cannot be had, or has named what breaks a rule.
pub(crate) fn run() -> Result<(), String> {
    tools::provide("deny")?;
    process::run(process::cargo().args([
        "deny",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}
