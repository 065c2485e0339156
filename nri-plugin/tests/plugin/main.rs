//! A plugin from outside: what a runtime, played by hand over real unix sockets, sees of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic in a test or in what serves it is its report"
)]

#[cfg(feature = "config")]
mod configuring;
mod ending;
mod events;
#[cfg(all(feature = "cli", feature = "config"))]
mod examples;
mod masks;
#[cfg(all(feature = "cli", feature = "config"))]
mod program;
mod reconnecting;
mod registration;
mod stateful;
mod support;
mod synchronizing;
mod updates;
