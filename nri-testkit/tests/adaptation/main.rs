//! An instance with plugins at its socket and inside of it: what a runtime that embeds
//! `nri-adaptation` sees of it.
//!
//! It stands here so that its plugins and domains are those of the test kit.

mod cancelling;
mod supporting;
mod undoing;
mod values;
mod watching;
