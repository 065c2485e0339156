//! Settings of single plugins, as they are written.

use std::time::Duration;

use serde::Serialize;

use super::settings::settings;
use crate::duration;
use nri_core::flow::FailureAction;
use nri_core::schedule::AfterLate;

/// Settings of one plugin. What is absent is as for all plugins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PluginConfig {
    /// How long it may take to answer a request.
    #[serde(
        with = "duration::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout: Option<Duration>,
    /// How many requests it gets at a time. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
    /// Has it hear of what happens, and no more: no request waits for it, and nothing that it asks
    /// for is done. Default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe: Option<bool>,
    /// What an error it answers means for the request. Default `"fail"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<FailureAction>,
    /// What its lateness means for the request. Default: what its own failure policy says, else
    /// `"skip"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_late: Option<FailureAction>,
    /// What the loss of its connection means for the request that it is asked, or would be next.
    /// Default `"skip"`, unless its own failure policy says otherwise of the request that it
    /// is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_absent: Option<FailureAction>,
    /// What happens to it when it was late. Default: what its own failure policy says, else
    /// [`Config::after_late`](super::Config::after_late).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_late: Option<AfterLate>,
    /// Has validators judge its updates of other containers too, not only what it asks of a
    /// container that is created. Default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_updates: Option<bool>,
    /// Launches it again when it ends, if it was launched by us. Default:
    /// [`Config::restart`](super::Config::restart).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<bool>,
    /// User ids whose processes may connect under this name, in place of the general lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_uids: Option<Vec<u32>>,
}

settings!(SnakeOrCamel PluginConfig {
    request_timeout,
    max_in_flight,
    observe,
    on_error,
    on_late,
    on_absent,
    after_late,
    validate_updates,
    restart,
    allowed_uids,
});
