//! The manual: how runtimes and plugins are tested with this crate.
//!
//! What may not enter: anything but documentation.

#[doc = include_str!("interoperability.md")]
pub mod interoperability {}
#[doc = include_str!("nri_sim.md")]
pub mod nri_sim {}
#[doc = include_str!("testing.md")]
pub mod testing {}
