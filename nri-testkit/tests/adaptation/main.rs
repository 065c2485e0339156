//! An instance with plugins at its socket and inside of it: what a runtime that embeds
//! `nri-adaptation` sees of it.
//!
//! It stands here so that its plugins and domains are those of the test kit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

mod budgets;
mod cancelling;
mod crowd;
mod gating;
mod handing_back;
mod handshake;
mod joining;
mod judging;
mod late;
mod life;
mod limits;
mod observers;
mod observing;
mod order;
mod policies;
mod reading;
mod reconciling;
mod reconfiguring;
mod relaying;
mod requests;
mod side_effects;
mod supporting;
mod undoing;
mod values;
mod watching;
mod wishes;
