//! Updating and evicting containers when no event asks for it.
//!
//! [`RuntimeHandle::update_containers`](crate::RuntimeHandle::update_containers), of the
//! [`RuntimeLink`](crate::RuntimeLink) that a [`Handle`](crate::Handle) has
//! ([`Handle::runtime`](crate::Handle::runtime)) or of a handler's context
//! ([`PluginCtx::runtime`](crate::PluginCtx::runtime)), which may be kept beyond the call.
//!
//! ```no_run
//! use nri_plugin::build::{SetResources as _, Update as _};
//! use nri_plugin::{RuntimeHandle as _, RuntimeLink, api};
//!
//! /// Gives a container more memory.
//! async fn grow(runtime: &RuntimeLink, container: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut update = api::ContainerUpdate::of_container(container)?;
//!     update.set_memory_limit(2 << 30);
//!     let failed = runtime.update_containers(vec![update], vec![]).await?;
//!     for update in failed {
//!         eprintln!("{} keeps its limit", update.container_id);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! * It returns the updates that could not be applied, and an error where the whole of it could
//!   not: refused, not in time ([`update_timeout`](crate::Builder::update_timeout)), or not
//!   connected ([`UpdateFailure`](crate::UpdateFailure)).
//! * It is there once the plugin is being synchronised. Of a runtime of this project, the answer
//!   comes even in the middle of a handler; of others it may not: **return updates in the answer of
//!   a handler, or spawn a task**, but do not await this in a handler.
//! * Runtimes limit the rate: ours 1000 updates and evictions a second, and 10000 at once.
//! * Runtimes in Go do not carry out evictions, and lose the list of failed updates.
