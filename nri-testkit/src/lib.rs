#![doc = include_str!("../README.md")]
//!
//! What may not enter: anything that a runtime or a plugin needs in production. Test doubles live here and nowhere else.

mod memory_domain;
pub mod oci_vectors;
pub mod sim;
pub mod vectors;

pub use memory_domain::{MemoryDomain, Refusal};

/// Runs the examples of the workspace's README: this crate sees all the others.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
