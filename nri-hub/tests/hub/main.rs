//! The hub between a runtime and plugins, all in one process: a `TestRuntime` above, fake plugins
//! below.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod churn;
mod late;
mod narrow;
mod observing;
mod operating;
mod policies;
mod reconnecting;
mod relaying;
mod sequences;
mod stage;
mod upgrading;
mod validating;
