//! Values of settings that are one of several words.

use nri_core::flow::OnTrouble;
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
    /// It is synchronised again once its reply has come, so that it learns what was done without it.
    Resync,
    /// It is closed at once, as the reference does.
    Close,
}

/// What a failed update of another container means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideUpdateFailure {
    /// The creation or update fails, unless the update has `ignore_failure`. The default.
    #[default]
    Fail,
    /// It is only logged, as containerd does.
    Log,
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
