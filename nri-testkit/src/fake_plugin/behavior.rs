//! What a fake plugin does when it is asked something, and when it does that.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nri_core::{Event, api};
use nri_proto::transport::{Code, Status};

use super::seen::ReceivedCall;
use crate::Gate;

/// When an [`Behavior`] is done: a method, and which calls of it.
///
/// ```
/// use nri_core::Event;
/// use nri_testkit::When;
///
/// let third_for_c1 = When::from(Event::CreateContainer).of("c1").nth(3);
/// let joining = When::method("Synchronize");
/// ```
#[derive(Debug, Clone)]
pub struct When {
    method: String,
    id: Option<String>,
    nth: Option<usize>,
    matched: Arc<AtomicUsize>,
}

impl When {
    /// Whenever a method is called, by its bare name: that of an event, `Configure`, `Synchronize`,
    /// `Shutdown`, `StateChange`, or one that there is not.
    pub fn method(name: impl Into<String>) -> Self {
        Self {
            method: name.into(),
            id: None,
            nth: None,
            matched: Arc::default(),
        }
    }

    /// Only for the container of this id, or for the pod in events of pods.
    #[must_use]
    pub fn of(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Only the `n`th time that the rest holds, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        self.nth = Some(n);
        self
    }

    /// Whether it is now. Counts.
    pub(super) fn is_now(&self, seen: &ReceivedCall) -> bool {
        let fits = self.method == seen.method()
            && self
                .id
                .as_ref()
                .is_none_or(|id| seen.id().as_ref() == Some(id));
        fits && {
            let before = self.matched.fetch_add(1, Ordering::Relaxed);
            self.nth.is_none_or(|nth| nth == before + 1)
        }
    }
}

impl From<Event> for When {
    fn from(event: Event) -> Self {
        Self::method(event.name())
    }
}

/// What a fake plugin does when it is asked something: first the waits, in order, then the end.
///
/// ```
/// use std::time::Duration;
/// use nri_core::api;
/// use nri_core::build::Adjust as _;
/// use nri_proto::transport::Code;
/// use nri_testkit::{Behavior, Gate};
///
/// let gate = Gate::new();
/// let mut adjustment = api::ContainerAdjustment::default();
/// adjustment.add_env("A", "1").unwrap();
/// let late = Behavior::adjust(adjustment).behind(&gate);
/// let refuse = Behavior::fail(Code::Unknown, "no such device").after(Duration::from_millis(1));
/// let choosy = Behavior::decide(|seen| async move {
///     match seen.id().as_deref() {
///         Some("c2") => Behavior::exit(),
///         _ => Behavior::usual(),
///     }
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "a behavior does nothing by itself"]
pub struct Behavior {
    pub(super) waits: Vec<Wait>,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) enum Wait {
    At(Gate),
    For(Duration),
}

impl Wait {
    pub(super) async fn over(&self) {
        match self {
            Self::At(gate) => gate.pass().await,
            Self::For(time) => tokio::time::sleep(*time).await,
        }
    }
}

#[derive(Clone)]
pub(super) enum End {
    Usual,
    Answer(Bytes),
    Fail(Status),
    Decide(Decide),
    Hang,
    Exit,
    AnswerAndExit,
    Garbage(Bytes),
    Flood(usize),
    StopReading,
    HalfClose,
    Register(String),
}

pub(super) type Decide =
    Arc<dyn Fn(ReceivedCall) -> Pin<Box<dyn Future<Output = Behavior> + Send>> + Send + Sync>;

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl End {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Answer(_) => "answer",
            Self::Fail(_) => "fail",
            Self::Decide(_) => "decide",
            Self::Hang => "hang",
            Self::Exit => "exit",
            Self::AnswerAndExit => "answer and exit",
            Self::Garbage(_) => "garbage",
            Self::Flood(_) => "flood",
            Self::StopReading => "stop reading",
            Self::HalfClose => "half close",
            Self::Register(_) => "register",
        }
    }
}

impl Behavior {
    pub(super) fn new(end: End) -> Self {
        Self {
            waits: Vec::new(),
            end,
        }
    }

    /// Answers as a plugin does that has nothing to say: with an empty message, and in the
    /// handshake as the protocol wants.
    pub fn usual() -> Self {
        Self::new(End::Usual)
    }

    /// Answers with a message; which one it must be is the method's business and not checked.
    pub fn answer(message: impl prost::Message) -> Self {
        Self::answer_bytes(message.encode_to_vec())
    }

    /// Answers with these bytes as the message, whether they are one or not.
    pub fn answer_bytes(message: impl Into<Bytes>) -> Self {
        Self::new(End::Answer(message.into()))
    }

    /// Answers with what is no message of any kind.
    pub fn bad_answer() -> Self {
        // A field of length-delimited type that is longer than what there is.
        Self::answer_bytes(&[0x0a, 0xff, 0xff, 0x01][..])
    }

    /// Answers `CreateContainer` with an adjustment.
    pub fn adjust(adjustment: api::ContainerAdjustment) -> Self {
        Self::answer(api::CreateContainerResponse {
            adjust: Some(adjustment),
            ..Default::default()
        })
    }

    /// Answers with an error.
    pub fn fail(code: Code, message: impl Into<String>) -> Self {
        Self::new(End::Fail(Status::new(code, message)))
    }

    /// Answers that there is no such method.
    pub fn unimplemented() -> Self {
        Self::fail(Code::Unimplemented, "not implemented")
    }

    /// Does what the closure says, which may look at the request and may take its time.
    pub fn decide<F, R>(decide: F) -> Self
    where
        F: Fn(ReceivedCall) -> R + Send + Sync + 'static,
        R: Future<Output = Behavior> + Send + 'static,
    {
        Self::new(End::Decide(Arc::new(move |seen| Box::pin(decide(seen)))))
    }

    /// Never answers. The connection stays.
    pub fn hang() -> Self {
        Self::new(End::Hang)
    }

    /// Drops the connection without an answer.
    pub fn exit() -> Self {
        Self::new(End::Exit)
    }

    /// Gives the usual answer, and drops the connection once it is written.
    pub fn answer_and_exit() -> Self {
        Self::new(End::AnswerAndExit)
    }

    /// Writes these bytes between the frames of the connection, and never answers.
    pub fn garbage(bytes: impl Into<Bytes>) -> Self {
        Self::new(End::Garbage(bytes.into()))
    }

    /// Writes so many valid frames of 4 KiB that nobody asked for, then gives the usual answer.
    pub fn flood(frames: usize) -> Self {
        Self::new(End::Flood(frames))
    }

    /// Reads nothing any more, and never answers. The connection stays.
    pub fn stop_reading() -> Self {
        Self::new(End::StopReading)
    }

    /// Closes its own direction of the connection, and so cannot answer; it goes on reading.
    pub fn half_close() -> Self {
        Self::new(End::HalfClose)
    }

    /// Registers (again) under an identity, `NN-name`, before it gives the usual answer.
    pub fn register(identity: impl Into<String>) -> Self {
        Self::new(End::Register(identity.into()))
    }

    /// Waits at a gate before.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.waits.push(Wait::At(gate.clone()));
        self
    }

    /// Waits for a time before. A [gate](Behavior::behind) is better where the test knows what it
    /// waits for.
    pub fn after(mut self, time: Duration) -> Self {
        self.waits.push(Wait::For(time));
        self
    }
}
