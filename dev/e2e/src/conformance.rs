//! The conformance suite for runtimes: what NRI promises to plugins, looked at inside real
//! containers, with a runtime that is killed and started again.

use std::sync::{Arc, Mutex, PoisonError};

use nri_testkit::runtime_conformance::{Check, Crictl, check};

use crate::crictl::{IMAGE, LOGS};
use crate::stage::{NRI, SOCKET, Stage};

/// What CRI has not: a container starts once.
const NOT_IN_CRI: &[Check] = &[Check::StartsAgain];

/// Makes all checks.
///
/// # Errors
/// A promise is not kept, or could not be looked at.
pub(crate) async fn run(stage: Stage) -> Result<Stage, String> {
    std::fs::create_dir_all(LOGS).map_err(|e| format!("{LOGS}: {e}"))?;
    let program = stage.needs().crictl.clone();
    let shared = Arc::new(Mutex::new(stage));
    let restarted = shared.clone();
    let driver = Crictl::new(program, SOCKET, NRI, IMAGE)
        .directory(LOGS)
        .shell()
        .fails_creations()
        .restarted_by(move || {
            let mut stage = restarted.lock().unwrap_or_else(PoisonError::into_inner);
            stage.kill()?;
            stage.start()
        });
    let report = check(&driver).await;
    drop(driver);
    let stage = Arc::into_inner(shared).ok_or("somebody restarts the runtime still")?;
    let stage = stage.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !report.failed().is_empty() || report.skipped() != NOT_IN_CRI {
        return Err(format!("{report}\n{}", stage.said()));
    }
    let kept = report.results().len() - NOT_IN_CRI.len();
    println!("e2e: conformance: {kept} promises are kept, and CRI has no {NOT_IN_CRI:?}");
    stage.is_clean()?;
    Ok(stage)
}
