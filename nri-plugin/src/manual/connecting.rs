//! Identity, registration, reconnection, and runtimes that are older than the plugin.
//!
//! # Identity
//!
//! An index of two digits and a name: `10-memory`. Plugins with lower indices are called first.
//! What counts, in this order: what the program says ([`identity`](crate::Builder::identity),
//! [`index`](crate::Builder::index), [`name`](crate::Builder::name)); what a runtime that launched
//! it says in the environment (`NRI_PLUGIN_IDX`, `NRI_PLUGIN_NAME`); the file's name, if it has
//! that form; and [`default_identity`](crate::Builder::default_identity). A runtime goes by the
//! file's name of what it launches.
//!
//! # Where the connection comes from
//!
//! A stream that the program has ([`stream`](crate::Builder::stream)), else the socket that the
//! runtime hands down (`NRI_PLUGIN_SOCKET`), else the path [`socket`](crate::Builder::socket), by
//! default [`DEFAULT_SOCKET`](crate::DEFAULT_SOCKET). So one program can be launched by a runtime
//! and started by hand. [`use_environment(false)`](crate::Builder::use_environment) ignores the
//! variables.
//!
//! # What a connection goes through
//!
//! | state | |
//! |---|---|
//! | [`Connecting`](crate::State::Connecting) | until the runtime has accepted the registration and configured the plugin |
//! | [`Configured`](crate::State::Configured) | until the plugin is synchronised; what the runtime is stands in the [`Registration`](crate::Registration) |
//! | [`Ready`](crate::State::Ready) | events come |
//! | [`Waiting`](crate::State::Waiting) | between two attempts |
//! | [`Ended`](crate::State::Ended) | over |
//!
//! [`Runner::handle`](crate::Runner::handle) gives a [`Handle`](crate::Handle) to watch that, to
//! stop the plugin, and to [update containers](super::unsolicited_updates).
//!
//! # Once, or again and again
//!
//! [`run`](crate::Runner::run) ends with the connection: right for plugins that the runtime
//! launches. [`run_forever`](crate::Runner::run_forever) connects again to a runtime that was away,
//! with waits that grow ([`Backoff`](crate::Backoff)); each connection begins with a whole
//! synchronisation. With a connection that was inherited it is the same as `run`, so a program may
//! always call it.
//!
//! A plugin that a living runtime shuts down, for example because a newer instance has taken over,
//! does not come back ([`AfterShutdown`](crate::AfterShutdown)).
//!
//! ```no_run
//! use nri_plugin::{Backoff, Runner, State, handlers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nri_plugin::Error> {
//! let plugin = handlers().on_remove_container(|_cx, _pod, _container| async { Ok(()) }).build();
//! let runner = Runner::builder(plugin).identity("50-cleaner").build()?;
//! let mut state = runner.handle().state();
//! tokio::spawn(async move {
//!     while state.changed().await.is_ok() {
//!         if let State::Waiting { wait, reason } = &*state.borrow_and_update() {
//!             eprintln!("disconnected: {reason}; the next attempt is in {wait:?}");
//!         }
//!     }
//! });
//! println!("{}", runner.run_forever(Backoff::default()).await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Old runtimes
//!
//! A runtime refuses a plugin that subscribes to events that it does not have, so those are left
//! out of the subscription, with a warning: they are
//! [`Registration::missing`](crate::Registration::missing). [`RuntimeLevel`](crate::RuntimeLevel)
//! says how that is judged; [`assume_level`](crate::Builder::assume_level) is for runtimes that do
//! not say. Runtimes before v0.12 send most events in an older form, which needs no care. Whether a
//! failure policy is heeded is in
//! [`heeds_failure_policy`](crate::Registration::heeds_failure_policy), which parts of an answer
//! the runtime is too old for in [`ignored_fields`](crate::Registration::ignored_fields); an answer
//! that has one of them is warned about in the log, once.
