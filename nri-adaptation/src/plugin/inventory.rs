//! What exists, as a plugin is shown it: a few pods and containers at a time, encoded.
//!
//! What may not enter: which objects a plugin is shown, where they come from, and how they are
//! sent.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use nri_core::api;
use nri_core::flow::EncodedObject;
use nri_core::model::{Container, PodSandbox};
use tokio::time::timeout;

use crate::plugin::failure::Failure;

/// What a plugin is shown.
#[async_trait]
pub(crate) trait Inventory: Send {
    /// The next few, pods before containers; none when there are no more.
    async fn next(&mut self) -> Result<Vec<EncodedObject>, Failure>;
}

/// Told that a plugin has got on with its synchronisation, so that it has as much time again.
pub(crate) type Progress<'a> = &'a (dyn Fn() + Send + Sync);

/// The next few of what a plugin is shown. As long as they are read the plugin has its time, since
/// it is not what takes so long.
pub(crate) async fn read_on(
    inventory: &mut dyn Inventory,
    time: Duration,
    progress: Progress<'_>,
) -> Result<Vec<EncodedObject>, Failure> {
    let mut next = pin!(inventory.next());
    let often = (time / 2).max(Duration::from_millis(1));
    loop {
        match timeout(often, next.as_mut()).await {
            Ok(objects) => return objects,
            Err(_) => progress(),
        }
    }
}

/// A pod as plugins see it. It always has a Linux part, if only an empty one: so it is with
/// runtimes in Go, and plugins look into it without asking.
pub(crate) fn pod_message(pod: &dyn PodSandbox) -> api::PodSandbox {
    let mut message = pod.to_message();
    message.linux.get_or_insert_default();
    message
}

/// A container as plugins see it, with a Linux part like a pod.
pub(crate) fn container_message(container: &dyn Container) -> api::Container {
    let mut message = container.to_message();
    message.linux.get_or_insert_default();
    message
}
