//! Whether a plugin is fit for any runtime, as a runtime sees it: for the tests of a plugin,
//! whatever it is written in.
//!
//! [`check`] starts the plugin (or waits for it), plays a runtime that is as good or bad as real
//! ones are, and looks at what comes back. The [`Report`] is a table of named [`Check`]s, each
//! passed, failed with what was seen and what to do, or skipped where it cannot be made. It is what
//! `nri-sim check` prints.
//!
//! ```no_run
//! use nri_testkit::plugin_conformance::{Options, check};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let report = check(&Options::of("target/debug/my-plugin --socket {socket}")).await?;
//! report.assert_ok();
//! # Ok::<(), String>(())
//! # });
//! ```
//!
//! What may not enter: what plugins are free to do as they like.

mod check;
mod options;
mod scenes;
mod stage;

pub use self::check::{Check, CheckResult, Report};
pub use self::options::Options;
pub use crate::conformance::Outcome;

use self::stage::Stage;

/// Checks a plugin.
///
/// # Errors
/// It cannot be checked at all: there is no place for the socket, or another runtime listens there.
pub async fn check(options: &Options) -> Result<Report, String> {
    let mut stage = Stage::new(options)?;
    for scene in scenes::ALL {
        let wanted = |check: &&Check| options.only.contains(check);
        let checks: Vec<Check> = scene.checks.iter().filter(wanted).copied().collect();
        if checks.is_empty() {
            continue;
        }
        // Without that, there is nothing to look at; how it is started may still be the reason.
        let is_basic = checks.iter().any(|it| *it <= Check::Socket);
        if !is_basic && stage.has_found(&[Check::Registered, Check::Configured]) {
            for check in checks {
                stage.skip(
                    check,
                    "the plugin does not come as far as that: see what failed before",
                );
            }
            continue;
        }
        let ended = (scene.play)(&mut stage).await;
        stage.end(&checks, ended).await;
    }
    let wanted = |check: &&Check| options.only.contains(check);
    let wanted: Vec<Check> = Check::ALL.iter().filter(wanted).copied().collect();
    Ok(stage.report(&wanted))
}
