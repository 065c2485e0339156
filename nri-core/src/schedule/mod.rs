//! Who is asked what, and when: turns, slots, lateness, joining and taking over, as state without a
//! clock.
//!
//! * **Slots.** The events of one pod go through the plugins one after the other; those of
//!   different pods overlap, unless [`Config::serial`] says otherwise.
//! * **Steps.** Whether an event is due is decided when it has its pod's slot, by the
//!   [`Lifecycles`](crate::lifecycle::Lifecycles) that the scheduler keeps. One that is not due
//!   succeeds without any plugin; one that cannot be fails.
//! * **Turns.** A plugin gets [`PluginLimits::max_in_flight`] calls at a time, in the order in
//!   which they came to it, and never two of one pod. Its time begins with the turn; waiting is
//!   charged to the caller's deadline.
//! * **Lateness.** When a plugin's time is over, the request goes on as the plugin's policy says,
//!   and the plugin keeps its turn until the answer comes, which is dropped. Until then requests do
//!   not wait for it. Being late in a row, or owing an answer for very long, closes it, unless the
//!   plugin is to be kept whatever happens. Lateness that nobody saw, since the caller had stopped
//!   waiting before, is not held against it.
//! * **Callers.** At its deadline a request that may be refused ends with
//!   [`Error::OutOfTime`](crate::Error::OutOfTime). A notification has happened: its caller is
//!   told, and the rest of the plugins still hear of it.
//! * **Budgets.** When a caller's [budget](Submission::with_budget) is over, its request goes on at
//!   once: whoever has not answered is late, whoever has not been asked counts as such and is not
//!   asked. Of a notification the caller hears that all is well, and the plugins still hear of it;
//!   where that would keep a later request of the pod beyond its budget, nobody waits for them any
//!   more. A plugin that was cut short is to blame if it took at least half of the budget.
//! * **Joining.** From its admission on, a plugin is part of every request that begins, and the
//!   requests wait for it. What began before is waited for (creations until they are settled, all
//!   within [`Config::settle_timeout`]), then what the runtime has is listed and shown. So each
//!   container reaches the plugin once: by the list or by an event. What had ended by then reaches
//!   it not at all: it hears no end of what it never knew.
//! * **Taking over.** A plugin that joins with the identity of another one replaces it when it is
//!   synchronised. If that fails, the older one gets what waited for the newer.
//! * **Observing.** A plugin that [observes](crate::flow::Member::observes) is part of no request:
//!   it hears of what has happened when the request is through the others, of a creation when its
//!   container is known to exist. So no request waits for it, and what it answers changes nothing.
//!   What it has not had time for is kept within [`PluginLimits::observed_events`] and
//!   [`PluginLimits::observed_bytes`]; with more, or when it owes an answer for very long, it is
//!   synchronised again.
//! * **Undoing.** A creation that fails, or that is settled as abandoned, is taken back towards the
//!   plugins whose request was handed to the transport, and no others, before anything else happens
//!   to the pod. A late plugin hears of it as soon as its answer has come.
//!
//! All of it is in [`Scheduler`]. Whoever drives it tells it what happens
//! ([`handle_request`](Scheduler::handle_request), [`handle_reply`](Scheduler::handle_reply), ...),
//! then carries out what [`poll_effect`](Scheduler::poll_effect) returns until that is `None`, and
//! calls [`handle_timeout`](Scheduler::handle_timeout) when
//! [`poll_timeout`](Scheduler::poll_timeout) says so:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use nri_core::flow::{Member, Reply};
//! use nri_core::lifecycle::ObjectKey;
//! use nri_core::schedule::{Config, Effect, Submission, PluginLimits, Scheduler};
//! use nri_core::{api, EventMask, RegisteredPlugin, Request, Response};
//!
//! let mut scheduler: Scheduler = Scheduler::new(Config::default());
//! let plugin = RegisteredPlugin { id: "10-logger".parse()?, registration: 1 };
//! let now = Instant::now();
//! scheduler.handle_admitted(Member::new(plugin, EventMask::ALL), PluginLimits::default(), now);
//! let run = Arc::new(Request::RunPodSandbox(api::RunPodSandboxRequest::default()).into());
//! let mine = scheduler.handle_request(Submission::new(run, ObjectKey::pod("", "p1")), now);
//!
//! let mut log = Vec::new();
//! while let Some(effect) = scheduler.poll_effect() {
//!     match effect {
//!         Effect::Synchronize { plugin } => {
//!             // Ask the runtime; send what it has, without what is to be hidden, to the plugin; when it has answered:
//!             let showing = scheduler.handle_snapshot(&plugin, now);
//!             assert!(showing.is_some());
//!             scheduler.handle_synchronized(&plugin, now);
//!         }
//!         Effect::PluginReady { plugin } => log.push(format!("{plugin} is open")),
//!         Effect::Call { call, message, .. } => {
//!             // Send it; when the answer is there, however late:
//!             log.push(message.event().to_string());
//!             scheduler.handle_reply(call, Reply::Answer(Response::empty(message.event())), now);
//!         }
//!         Effect::Finished { request, report, .. } => {
//!             assert_eq!(request, mine);
//!             assert!(report.result.is_ok());
//!             log.push("done".into());
//!         }
//!         Effect::CallResolved { plugin, outcome, .. } => log.push(format!("{plugin}: {}", outcome.name())),
//!         Effect::Close { .. } | Effect::OutOfTime { .. } | Effect::FellBehind { .. } => unreachable!(),
//!         _ => unreachable!("there are no other effects"),
//!     }
//! }
//! assert_eq!(log, ["10-logger is open", "RunPodSandbox", "10-logger: answered", "done"]);
//! assert!(scheduler.poll_timeout().is_none());
//! # Ok::<(), nri_core::InvalidIdentity>(())
//! ```
//!
//! What may not enter: how plugins are reached, what they are asked ([`flow`](crate::flow) knows),
//! which steps lead where ([`lifecycle`](crate::lifecycle) knows).

mod active;
mod backlog;
mod budget;
mod calls;
mod effect;
mod finish;
mod instance;
mod job;
mod joining;
mod limits;
mod observing;
mod relay;
mod scheduler;
mod slots;
mod state;
mod timers;

#[cfg(test)]
mod scenes;

pub use effect::{CallId, CallOutcome, CloseReason, Effect, RequestId, SyncPlan};
pub use job::{Job, RequestFlow, RequestOutcome, Submission};
pub use limits::{AfterLate, Config, LATE_ANSWER_TIMEOUTS, PluginLimits};
pub use state::Scheduler;
