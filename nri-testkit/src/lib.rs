#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]
//!
//! The manual is in the module [`manual`].
//!
//! What may not enter: anything that a runtime or a plugin needs in production. Test doubles live
//! here and nowhere else.

pub mod conformance;
pub mod domain_conformance;
mod fake_plugin;
mod fake_process;
mod fault_proxy;
mod gate;
mod harness;
mod journal;
pub mod manual;
mod memory_domain;
mod named_file;
#[cfg(feature = "cli")]
mod new_plugin;
#[cfg(feature = "vectors")]
pub mod oci_vectors;
#[cfg(feature = "cli")]
mod page;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub mod plugin_conformance;
mod ready;
pub mod runtime_conformance;
pub mod sim;
mod test_runtime;
#[cfg(feature = "cli")]
mod tested_plugin;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub mod traffic;
#[cfg(feature = "vectors")]
pub mod vectors;
mod watcher;

pub use fake_plugin::{Behavior, Connected, FakePlugin, ReceivedCall, When, Wire};
pub use fake_process::{
    Action, FakeProcess, Options as FakeProcessOptions, Rule, Script, ScriptError, Wish, play,
};
pub use fault_proxy::{Fault, FaultProxy, Faults};
pub use gate::Gate;
pub use harness::{Changes, DescribeContainer, Harness, container, pod};
pub use journal::{Journal, TEST_TIMEOUT};
pub use memory_domain::{DomainOperation, MemoryDomain};
pub use named_file::read_file;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub use new_plugin::NewPlugin;
pub use test_runtime::{Describe, Joined, TestRuntime, TestRuntimeBuilder};
pub use watcher::{Call, PluginEvent, Watcher};

/// Runs the examples of the workspace's README: this crate sees all the others.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
