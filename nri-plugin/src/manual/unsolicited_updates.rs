//! Updating and evicting containers when no event asks for it.
//!
//! [`apply`](crate::Unsolicited::apply), on the
//! [`RuntimeLink`](crate::RuntimeLink) that a [`Handle`](crate::Handle) has
//! ([`Handle::runtime`](crate::Handle::runtime)) or of a handler's context
//! ([`PluginCtx::runtime`](crate::PluginCtx::runtime)), which may be kept beyond the call.
//!
//! ```no_run
//! use nri_plugin::RuntimeLink;
//! use nri_plugin::prelude::*;
//!
//! /// Gives a container more memory.
//! async fn grow(runtime: &RuntimeLink, container: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut update = api::ContainerUpdate::of_container(container)?;
//!     update.set_memory_limit(2 << 30);
//!     let results = runtime.apply(Updates::from_iter([update])).await?;
//!     for update in results.failed() {
//!         eprintln!("{} keeps its limit", update.container_id);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! * It returns a result per container ([`UpdateResults`](crate::UpdateResults)), and an error
//!   where the whole of it could not: refused, not in time
//!   ([`update_timeout`](crate::Builder::update_timeout)), or not connected
//!   ([`UpdateFailure`](crate::UpdateFailure)).
//! * [`apply_until_done`](crate::Unsolicited::apply_until_done) asks again for what failed. No
//!   runtime says what became of updates in the answer of a handler: a task that asks for them once
//!   more in this way makes sure of them.
//! * It is there once the plugin is being synchronised. Of a runtime of this project, the answer
//!   comes even in the middle of a handler; of others it may not: **return updates in the answer of
//!   a handler, or spawn a task**, but do not await this in a handler.
//! * Runtimes limit the rate: ours 1000 updates and evictions a second, and 10000 at once.
//! * Runtimes in Go do not carry out evictions, and lose the list of failed updates.
