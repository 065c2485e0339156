//! Scenarios: pods, containers, steps and expectations in a file, played with real plugins.
//!
//! A step is a command of `serve`, and what is expected of it is compared with its result: one vocabulary for both.

mod expectation;
mod file;
mod launch;
mod play;
mod print;

pub use expectation::Mismatch;
pub use file::{Action, PluginEntry, Scenario, Step};
pub use launch::PluginCommand;
pub use play::{EndReport, PlayOptions, Progress, StepReport, play};
pub use print::{Json, Text};
