//! Values of settings that are one of several words.

use nri_core::flow::FailureAction;
use nri_core::schedule::AfterLate;
use serde::{Deserialize, Serialize};

use super::settings::words;

words!(AfterLate, FailureAction, SideUpdateFailure);

/// What a failed update or eviction of another container means for the request in whose answer it
/// was asked for. The observer is told of it either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideUpdateFailure {
    /// Nothing; it is logged. What containerd and CRI-O do, and the default.
    #[default]
    Log,
    /// The creation or update fails, unless the update has `ignore_failure`.
    Fail,
}
