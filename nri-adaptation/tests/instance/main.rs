//! Whole instances with real sockets and hand-made peers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

mod crowd;
mod gating;
mod handshake;
mod joining;
mod judging;
mod late;
mod life;
mod limits;
mod observing;
mod order;
mod reconfiguring;
mod recorder;
mod requests;
mod side_effects;
mod support;
mod wishes;
