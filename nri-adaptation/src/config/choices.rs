//! Values of settings that are one of several words.

use nri_core::flow::OnTrouble;
use nri_core::schedule;
use serde::{Deserialize, Serialize};

use super::settings::words;

words!(AfterLate, SideUpdateFailure, Trouble);

/// What happens to a plugin that was late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AfterLate {
    /// It goes on once its reply has come; the reply is dropped. The default.
    #[default]
    Keep,
    /// It is synchronised again once its reply has come, so that it learns what was done without
    /// it.
    Resync,
    /// It is closed at once, as the reference does.
    Close,
}

impl From<AfterLate> for schedule::AfterLate {
    fn from(after_late: AfterLate) -> Self {
        match after_late {
            AfterLate::Keep => Self::Keep,
            AfterLate::Resync => Self::Resync,
            AfterLate::Close => Self::Close,
        }
    }
}

impl From<schedule::AfterLate> for AfterLate {
    fn from(after_late: schedule::AfterLate) -> Self {
        match after_late {
            schedule::AfterLate::Resync => Self::Resync,
            schedule::AfterLate::Close => Self::Close,
            // What the core may get beside these is no choice of an operator.
            _ => Self::Keep,
        }
    }
}

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

/// What a plugin's trouble means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// The request fails.
    Fail,
    /// The request goes on without the plugin.
    Skip,
}

impl From<Trouble> for OnTrouble {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fail => OnTrouble::Fail,
            Trouble::Skip => OnTrouble::Skip,
        }
    }
}
