//! The simulated runtime behind `nri-sim`: NRI as a container runtime embeds it, around pods and
//! containers in memory.
//!
//! [`Simulator`] takes one [`Command`] after the other (or several at a time); [`serve`] reads them
//! from a stream, one JSON object per line; [`play`] takes them from a [`Scenario`].
//!
//! What may not enter: knowledge of a particular plugin.

mod command;
mod distinct;
mod domain;
mod error;
mod lines;
mod members;
mod nearest;
mod options;
mod policy;
mod reply;
mod request;
mod scenario;
mod serve;
mod simulator;
mod table;
mod watch;

pub use command::{Command, End, Start};
pub use error::SimError;
pub use options::{RuntimeOptions, Setup};
pub use policy::{PolicyCheck, PolicyQuestion};
pub use reply::{
    Created, Evicted, FieldOwners, OutcomeReply, OwnersReply, PluginReply, PodState, Refused,
    Reply, State, Stopped, UpdateReply, Updated, Version, field_names,
};
pub use request::{BadRequest, Request};
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub use scenario::scenario_page;
pub use scenario::{
    Action, Asked, EndReport, Json, Mismatch, PlayOptions, PluginCommand, PluginEntry, Progress,
    Scenario, Step, StepReport, Text, assert_scenario, play, scenario_manual,
};
pub use serve::serve;
pub use simulator::Simulator;
pub use table::{COMMANDS, Member, Spec, manual};
