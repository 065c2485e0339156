//! The manual: how runtimes and plugins are tested with this crate.
//!
//! | chapter | |
//! |---|---|
//! | [`first_plugin`] | a tested plugin in ten minutes |
//! | [`any_language`] | testing a plugin in any language with `nri-sim`, with a CI file to copy |
//! | [`testing`] | testing with the types of this crate |
//! | [`nri_sim`] | the commands of `nri-sim`, and scenarios |
//! | [`interoperability`] | what was tried with the reference, and what came of it |
//!
//! What may not enter: anything but documentation.

#[doc = include_str!("any_language.md")]
pub mod any_language {}
#[doc = include_str!("first_plugin.md")]
pub mod first_plugin {}
#[doc = include_str!("interoperability.md")]
pub mod interoperability {}
#[doc = include_str!("nri_sim.md")]
pub mod nri_sim {}
#[doc = include_str!("testing.md")]
pub mod testing {}
