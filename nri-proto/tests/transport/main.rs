//! The wire, from outside: what a connection sends for what, and what it makes of what it gets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic in a test or in what serves it is its report"
)]

mod at_once;
mod calls;
mod closing;
mod fixtures;
mod hostile;
mod ids_and_codes;
mod incomplete;
mod replies;
mod sizes;
mod support;
mod ttrpc_peer;
