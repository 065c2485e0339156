//! Flows: what happens to one request, without doing it.
//!
//! A flow says which plugin to call next with which request; it is told what came of the call; in
//! the end it says what the outcome is. Whoever drives it awaits, times and transports. One driver
//! serves every event:
//!
//! ```
//! use nri_core::flow::{Flow, Member, NotifyFlow, Policy, Reply, Roster, Step};
//! use nri_core::{api, Event, EventMask, RegisteredPlugin, Request, Response};
//!
//! let plugin = RegisteredPlugin { id: "10-logger".parse()?, registration: 1 };
//! let roster = Roster::new([Member::new(plugin, EventMask::ALL)]);
//! let mut flow = NotifyFlow::new(&roster, Request::RunPodSandbox(api::RunPodSandboxRequest::default()));
//! loop {
//!     match flow.next() {
//!         Step::Call(call) => flow.answer(&call.plugin, Reply::Answer(Response::empty(call.request.event()))),
//!         Step::Wait => unreachable!("every call was answered at once"),
//!         Step::Done => break,
//!     }
//! }
//! let report = flow.finish();
//! assert!(report.result.is_ok());
//! assert_eq!(report.outcomes.len(), 1);
//! # Ok::<(), nri_core::InvalidIdentity>(())
//! ```
//!
//! What may not enter: how a plugin is reached, and how long anything takes.

mod chain;
mod create;
mod growth;
mod judging;
mod notify;
mod object;
mod outcome;
mod roster;
mod synchronize;
mod update;
mod validating;

use std::sync::Arc;

pub use create::CreateFlow;
pub use notify::NotifyFlow;
pub use object::{EncodedObject, ObjectEncoder};
pub use outcome::{Outcome, PluginOutcome, Reply, Report};
pub use roster::{FailureAction, Member, Policy, Roster};
pub use synchronize::{
    ENVELOPE_RESERVE, MESSAGE_LIMIT, SynchronizeError, SynchronizeFlow, SynchronizePart,
};
pub use update::{StopFlow, UpdateFlow};
pub use validating::ValidateFlow;
pub(crate) use validating::{consulted, judges_adjustment};

use crate::{EncodedRequest, RegisteredPlugin};

/// A call that a flow wants to be made.
#[derive(Debug, Clone)]
pub struct Call {
    /// The plugin to call.
    pub plugin: RegisteredPlugin,
    /// With what. Calls with the same bytes share one request, so it can be encoded once.
    pub request: Arc<EncodedRequest>,
}

/// What to do next for a flow.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make this call, and tell the flow what came of it. There may be more calls to make at the
    /// same time: ask again.
    Call(Call),
    /// Nothing before one of the calls under way is answered.
    Wait,
    /// Nothing any more: take the outcome.
    Done,
}

/// One request on its way through the plugins.
pub trait Flow {
    /// What comes out of it when it succeeds.
    type Output;

    /// What to do next.
    fn next(&mut self) -> Step;

    /// What came of a call. An answer to a call that is not under way is ignored.
    fn answer(&mut self, plugin: &RegisteredPlugin, reply: Reply);

    /// What [observers](Roster::observers) are told of it once it is [`Step::Done`]: the request as
    /// a plugin after the last one would see it.
    fn observed(&self) -> Option<Arc<EncodedRequest>> {
        None
    }

    /// The outcome. Before [`Step::Done`] it is what is known so far.
    fn finish(self) -> Report<Self::Output>;
}
