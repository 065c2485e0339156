//! The manual: for who embeds NRI in a container runtime, and for who operates one.
//!
//! | chapter | for |
//! |---|---|
//! | [`concepts`] | the words, and what holds |
//! | [`in_your_runtime`] | authors of runtimes: from nothing to a tested integration |
//! | [`life_of_a_request`] | who wants to know what happens between a call and a plugin |
//! | [`configuration`] | operators: every key, failure policies, pre-installed plugins |
//! | [`security`] | operators and reviewers: what is trusted, and what is bounded |
//! | [`observing`] | operators: logs, metrics, states |
//! | [`costs`] | what a plugin costs, in time and memory |
//! | [`migrating_from_go`] | who knows `pkg/adaptation`, or containerd's package of the API |
//!
//! The other end has a manual too, in the crate `nri-plugin`.
//!
//! What may not enter: anything but documentation.

pub mod concepts;
pub mod configuration;
pub mod costs;
pub mod in_your_runtime;
pub mod life_of_a_request;
pub mod migrating_from_go;
pub mod observing;
pub mod security;
