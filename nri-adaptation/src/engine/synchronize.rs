//! Synchronising a plugin: the domains are asked what exists, and the plugin is sent it. In which
//! order things happen is the scheduler's business; what came of it is returned.

use nri_core::api;
use nri_core::lifecycle::Listing;
use tokio::time::Instant;

use crate::engine::domains::Domains;
use crate::engine::listed::Listed;
use crate::engine::state::Dispatch;
use crate::plugin::connected::ConnectedPlugin;
use crate::plugin::end_reason::ListingError;
use crate::plugin::failure::Failure;
use crate::plugin::inventory::{Inventory, Progress};
use crate::telemetry::reporter::Reporter;

/// Asks the domains what exists.
///
/// # Errors
/// A domain cannot say.
pub(crate) async fn list_domains(
    dispatch: &Dispatch,
    domains: &Domains,
) -> Result<(Listing, Vec<Listed>), ListingError> {
    let listing = dispatch.lock().scheduler.lifecycles().begin_listing();
    Ok((listing, domains.list().await?))
}

/// Sends a plugin what exists, and returns what it asks for then.
///
/// # Errors
/// It does not take it.
pub(crate) async fn send_snapshot(
    connected: &ConnectedPlugin,
    inventory: &mut dyn Inventory,
    progress: Progress<'_>,
    reporter: &Reporter,
) -> Result<Vec<api::ContainerUpdate>, Failure> {
    let time = connected.settings().request_timeout;
    let begun = Instant::now();
    let answer = connected
        .endpoint
        .synchronize(inventory, time, progress)
        .await;
    let result = answer.as_ref().map(Vec::len).map_err(Failure::class);
    reporter.synchronized(&connected.plugin.id, begun.elapsed(), result);
    answer
}
