//! What an instance tells about itself: to its observer, its metrics, its counters and its log. It
//! is given data and tells it; it knows no plugin, no request and no engine.

pub(crate) mod audit;
pub(crate) mod call_report;
pub(crate) mod metrics;
pub(crate) mod observer;
pub(crate) mod plugin_info;
pub(crate) mod readiness;
pub(crate) mod reporter;
pub(crate) mod statistics;
