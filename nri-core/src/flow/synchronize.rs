//! Showing a plugin what exists already: pods and containers packed into as few messages as the
//! transport's limit allows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{fmt, mem};

use nri_proto::Wire as _;
use nri_proto::api::{self, ContainerState};

use super::object::{EncodedObject, ObjectEncoder};
use crate::model::{Container, PodSandbox};

/// The most that the transport carries in one message: the encoded RPC request, its envelope
/// included (the protocol's limit).
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// What is kept free for the envelope of the RPC request: service and method names, lengths and
/// time limit take about 70 bytes; the rest is for metadata, such as trace contexts.
pub const ENVELOPE_RESERVE: usize = 1 << 10;

/// Length of the field `more` when it is set: a key and a one.
const MORE: usize = 2;

/// Why a plugin cannot be synchronised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SynchronizeError {
    /// One object alone does not fit into a message.
    #[error(
        "{kind} {name:?} ({id:?}) takes {size} bytes, a message to a plugin has room for {room}: shorten what it \
         consists of (annotations, environment, mounts)"
    )]
    TooLarge {
        /// `pod` or `container`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// How many bytes of a message it takes.
        size: usize,
        /// How many there are.
        room: usize,
    },
    /// The plugin did not say that it expects more, so it takes the part for the whole.
    #[error(
        "the plugin cannot be shown what exists in several parts (as needed here); plugins can since protocol v0.7"
    )]
    CannotTakeParts,
    /// The plugin wants changes before it has been shown everything.
    #[error("the plugin asked for {0} updates before it was shown everything")]
    UpdatesTooEarly(usize),
    /// Nothing was asked that this could be the answer to.
    #[error("an answer came although nothing was asked")]
    NotAsked,
}

/// The flow of a plugin's synchronisation: one or more messages, pods before containers, each in
/// the given order. Objects are taken one at a time, and encoded into the message that is being
/// filled: there is never more than one message.
///
/// The last message, the only one if everything fits, has `more` unset, and it is its answer that
/// counts.
///
/// ```
/// use nri_core::{api, flow::SynchronizeFlow};
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let mut flow = SynchronizeFlow::new([pod], []);
/// while let Some(part) = flow.next_part()? {
///     // Send `part.bytes`, an encoded `api::SynchronizeRequest`. The plugin echoes `more`, and with
///     // the last part it may ask for updates.
///     let response = api::SynchronizeResponse { more: part.more, update: Vec::new() };
///     if let Some(updates) = flow.answer(response)? {
///         assert!(updates.is_empty());
///     }
/// }
/// assert!(flow.is_done());
/// # Ok::<(), nri_core::flow::SynchronizeError>(())
/// ```
pub struct SynchronizeFlow {
    /// Where objects come from, unless they are [handed in](SynchronizeFlow::of_added).
    objects: Option<Objects>,
    /// Whether there are no more.
    ended: bool,
    /// What the next message has so far.
    next: Vec<u8>,
    /// What did not fit into it.
    behind: VecDeque<EncodedObject>,
    /// The first of them, if no message can carry it.
    refused: Option<SynchronizeError>,
    /// The most that a message has room for.
    most: usize,
    /// The most that one is filled with where there are several objects.
    room: usize,
    state: State,
}

/// Gives the next object, if there is one.
type Objects = Box<dyn FnMut() -> Option<EncodedObject> + Send>;

/// One message of a synchronisation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SynchronizePart {
    /// The encoded [`api::SynchronizeRequest`].
    pub bytes: Vec<u8>,
    /// Whether there will be another one.
    pub more: bool,
}

impl fmt::Debug for SynchronizeFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynchronizeFlow")
            .field("room", &self.room)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Asked { more: bool },
    Done,
}

impl SynchronizeFlow {
    /// A flow that shows these objects in messages that the transport carries.
    pub fn new<P, C>(pods: P, containers: C) -> Self
    where
        P: IntoIterator<Item = api::PodSandbox, IntoIter: Send + 'static>,
        C: IntoIterator<Item = api::Container, IntoIter: Send + 'static>,
    {
        Self::with_room(pods, containers, MESSAGE_LIMIT - ENVELOPE_RESERVE)
    }

    /// The same with another limit: `room` is the most bytes that an encoded
    /// [`api::SynchronizeRequest`] may have.
    pub fn with_room<P, C>(pods: P, containers: C, room: usize) -> Self
    where
        P: IntoIterator<Item = api::PodSandbox, IntoIter: Send + 'static>,
        C: IntoIterator<Item = api::Container, IntoIter: Send + 'static>,
    {
        Self::of(pods.into_iter(), containers.into_iter(), room)
    }

    /// A flow that shows what a runtime has, each object as it is when it is its turn. Pods and
    /// containers always have a Linux part, if only an empty one; containers are shown in the
    /// state that is beside them.
    pub fn of_objects<P, C>(pods: P, containers: C) -> Self
    where
        P: IntoIterator<Item = Arc<dyn PodSandbox>, IntoIter: Send + 'static>,
        C: IntoIterator<Item = (Arc<dyn Container>, ContainerState), IntoIter: Send + 'static>,
    {
        let room = MESSAGE_LIMIT - ENVELOPE_RESERVE;
        Self::of(pods.into_iter(), containers.into_iter(), room)
    }

    /// A flow that shows what is [added](Self::add) to it: for a runtime that reads what it has one
    /// after the other, and waits for that.
    ///
    /// ```
    /// use nri_core::flow::{ObjectEncoder, SynchronizeFlow};
    /// use nri_core::api;
    ///
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let mut flow = SynchronizeFlow::of_added();
    /// assert!(flow.wants_more() && flow.next_part()?.is_none(), "nobody knows yet what there is");
    /// flow.add(ObjectEncoder::new().pod(&pod));
    /// flow.end();
    /// assert!(!flow.next_part()?.unwrap().more);
    /// # Ok::<(), nri_core::flow::SynchronizeError>(())
    /// ```
    pub fn of_added() -> Self {
        Self::with(None, MESSAGE_LIMIT - ENVELOPE_RESERVE)
    }

    fn of<P, C>(
        pods: impl Iterator<Item = P> + Send + 'static,
        containers: impl Iterator<Item = C> + Send + 'static,
        room: usize,
    ) -> Self
    where
        P: Encode,
        C: Encode,
    {
        let (mut pods, mut containers) = (pods.fuse(), containers.fuse());
        let mut encoder = ObjectEncoder::new();
        let objects = move || match pods.next() {
            Some(pod) => Some(pod.encoded(&mut encoder)),
            None => Some(containers.next()?.encoded(&mut encoder)),
        };
        Self::with(Some(Box::new(objects)), room)
    }

    fn with(objects: Option<Objects>, room: usize) -> Self {
        // Room for objects: any message but the last has `more` set, and which one is the last is
        // not known beforehand.
        let room = room.saturating_sub(MORE);
        Self {
            objects,
            ended: false,
            next: Vec::new(),
            behind: VecDeque::new(),
            refused: None,
            most: room,
            room,
            state: State::Ready,
        }
    }

    /// The same flow, in parts of about this many bytes where there have to be several anyway, and
    /// even where all would fit into one message: for plugins that are known to take parts. What
    /// does not fit into such a part is in one of its own.
    #[must_use]
    pub fn in_parts_of(mut self, bytes: usize) -> Self {
        self.room = self.room.min(bytes);
        self
    }

    /// Whether there is room for another object, so that the next message is not complete. What is
    /// added nevertheless waits for the message after it.
    pub fn wants_more(&self) -> bool {
        !self.ended && self.behind.is_empty()
    }

    /// Puts an object behind all others.
    pub fn add(&mut self, object: EncodedObject) {
        self.behind.push_back(object);
        self.fill();
    }

    /// Says that no other object will be added.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Takes into the next message what fits into it.
    fn fill(&mut self) {
        while let Some(object) = self.behind.front() {
            let len = object.bytes().len();
            if len > self.most {
                self.refused = Some(too_large(object, self.most));
                return;
            }
            let filled = self.next.len() + len;
            if filled > self.room && !self.next.is_empty() {
                return;
            }
            grow(&mut self.next, filled + MORE, self.room + MORE);
            self.next.extend_from_slice(object.bytes());
            self.behind.pop_front();
        }
    }

    /// Takes up to so many objects into the next message, so that it is ready when it is asked for;
    /// there are two messages then, if the one before is still on its way. Whether there is more
    /// to do for it.
    pub fn prepare(&mut self, objects: usize) -> bool {
        let Some(mut source) = self.objects.take() else {
            return false;
        };
        for _ in 0..objects {
            if !self.wants_more() {
                break;
            }
            match source() {
                Some(object) => self.add(object),
                None => self.end(),
            }
        }
        self.objects = Some(source);
        self.wants_more()
    }

    /// The next message to send; `None` while an answer is awaited, or objects that are to be
    /// added, and when there is nothing left.
    ///
    /// # Errors
    /// [`SynchronizeError::TooLarge`], naming an object that does not fit into a message of its
    /// own. What was sent before stays a part; the plugin has to be closed.
    pub fn next_part(&mut self) -> Result<Option<SynchronizePart>, SynchronizeError> {
        if self.state != State::Ready {
            return Ok(None);
        }
        while self.prepare(usize::MAX) {}
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.wants_more() {
            return Ok(None);
        }
        let mut bytes = mem::take(&mut self.next);
        let more = !self.behind.is_empty();
        if more {
            // The next one is about as long.
            grow(&mut self.next, bytes.len(), self.room + MORE);
            self.fill();
        }
        let rest = api::SynchronizeRequest {
            more,
            ..Default::default()
        };
        bytes.extend(rest.to_wire());
        self.state = State::Asked { more };
        Ok(Some(SynchronizePart { bytes, more }))
    }

    /// Takes the answer to the message sent last. `Some` are the updates that the plugin wants, and
    /// the end of the flow.
    ///
    /// # Errors
    /// The plugin did not treat the part as a part; it has to be closed then.
    pub fn answer(
        &mut self,
        response: api::SynchronizeResponse,
    ) -> Result<Option<Vec<api::ContainerUpdate>>, SynchronizeError> {
        match self.state {
            State::Asked { more: false } => {
                self.state = State::Done;
                Ok(Some(response.update))
            }
            State::Asked { more: true } if !response.more => Err(SynchronizeError::CannotTakeParts),
            State::Asked { more: true } if !response.update.is_empty() => {
                Err(SynchronizeError::UpdatesTooEarly(response.update.len()))
            }
            State::Asked { more: true } => {
                self.state = State::Ready;
                Ok(None)
            }
            State::Ready | State::Done => Err(SynchronizeError::NotAsked),
        }
    }

    /// Whether the answer to the last message is in.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// The objects that there are: the messages, and what a runtime has.
trait Encode {
    fn encoded(self, encoder: &mut ObjectEncoder) -> EncodedObject;
}

impl Encode for api::PodSandbox {
    fn encoded(self, encoder: &mut ObjectEncoder) -> EncodedObject {
        encoder.pod_message(&self)
    }
}

impl Encode for api::Container {
    fn encoded(self, encoder: &mut ObjectEncoder) -> EncodedObject {
        encoder.container_message(&self)
    }
}

impl Encode for Arc<dyn PodSandbox> {
    fn encoded(self, encoder: &mut ObjectEncoder) -> EncodedObject {
        encoder.pod(&*self)
    }
}

impl Encode for (Arc<dyn Container>, ContainerState) {
    fn encoded(self, encoder: &mut ObjectEncoder) -> EncodedObject {
        encoder.container(&*self.0, self.1)
    }
}

/// Makes room for so many bytes in all, and for more as a vector does, but not for more than there
/// may be.
fn grow(bytes: &mut Vec<u8>, all: usize, most: usize) {
    if all > bytes.capacity() {
        let room = (2 * bytes.capacity()).min(most).max(all);
        bytes.reserve_exact(room - bytes.len());
    }
}

fn too_large(object: &EncodedObject, room: usize) -> SynchronizeError {
    let (kind, name, id) = object.kind_name_and_id();
    SynchronizeError::TooLarge {
        kind,
        name,
        id,
        size: object.bytes().len(),
        room,
    }
}

#[cfg(test)]
mod tests;
