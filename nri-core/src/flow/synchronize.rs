//! Showing a plugin what exists already: pods and containers packed into as few messages as the
//! transport's limit allows.

use std::sync::Arc;
use std::{fmt, mem};

use nri_proto::api::{self, ContainerState};
use nri_proto::{Wire as _, Writer};

use crate::encoded::{put_container, put_pod};
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
    objects: Objects,
    /// Where objects are encoded.
    object: Writer,
    /// What the next message has so far.
    next: Vec<u8>,
    /// What there is behind it, as far as that is known.
    behind: Behind,
    room: usize,
    state: State,
}

/// Encodes the next object in what it is given, if there is one, and if it can be shown.
type Objects = Box<dyn FnMut(&mut Writer) -> Option<Result<(), SynchronizeError>> + Send>;

/// One message of a synchronisation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SynchronizePart {
    /// The encoded [`api::SynchronizeRequest`].
    pub bytes: Vec<u8>,
    /// Whether there will be another one.
    pub more: bool,
}

/// What is behind the message that is being filled.
enum Behind {
    /// Nobody has looked: there is room in it.
    Unknown,
    /// The object that was encoded last, which did not fit into it.
    Object,
    /// An object that cannot be shown.
    Refused(SynchronizeError),
    Nothing,
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

    fn of<P: Shown, C: Shown>(
        pods: impl Iterator<Item = P> + Send + 'static,
        containers: impl Iterator<Item = C> + Send + 'static,
        room: usize,
    ) -> Self {
        // Room for objects: any message but the last has `more` set, and which one is the last is
        // not known beforehand.
        let room = room.saturating_sub(MORE);
        let (mut pods, mut containers) = (pods.fuse(), containers.fuse());
        let objects = move |to: &mut Writer| match pods.next() {
            Some(pod) => Some(encode(&pod, room, to)),
            None => Some(encode(&containers.next()?, room, to)),
        };
        Self {
            objects: Box::new(objects),
            object: Writer::with_room(0),
            next: Vec::new(),
            behind: Behind::Unknown,
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

    /// Takes up to so many objects into the next message, so that it is ready when it is asked for;
    /// there are two messages then, if the one before is still on its way. Whether there is more
    /// to do for it.
    pub fn prepare(&mut self, objects: usize) -> bool {
        for _ in 0..objects {
            if !matches!(self.behind, Behind::Unknown) {
                return false;
            }
            self.object.clear();
            match (self.objects)(&mut self.object) {
                None => self.behind = Behind::Nothing,
                Some(Err(error)) => self.behind = Behind::Refused(error),
                Some(Ok(())) => {
                    let len = self.next.len() + self.object.len();
                    if len > self.room && !self.next.is_empty() {
                        self.behind = Behind::Object;
                    } else {
                        self.next.extend_from_slice(self.object.bytes());
                    }
                }
            }
        }
        matches!(self.behind, Behind::Unknown)
    }

    /// The next message to send; `None` while an answer is awaited and when there is nothing left.
    ///
    /// # Errors
    /// [`SynchronizeError::TooLarge`], naming an object that does not fit into a message of its
    /// own. What was sent before stays a part; the plugin has to be closed.
    pub fn next_part(&mut self) -> Result<Option<SynchronizePart>, SynchronizeError> {
        if self.state != State::Ready {
            return Ok(None);
        }
        while self.prepare(usize::MAX) {}
        let mut bytes = mem::take(&mut self.next);
        let more = match mem::replace(&mut self.behind, Behind::Unknown) {
            Behind::Refused(error) => return Err(error),
            Behind::Object => {
                // The next one is about as long.
                self.next.reserve(bytes.len());
                self.next.extend_from_slice(self.object.bytes());
                true
            }
            Behind::Nothing | Behind::Unknown => false,
        };
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

/// What is shown, and what it is called where it cannot be.
trait Shown {
    const KIND: &'static str;
    /// Of its list in the message.
    const TAG: u32;
    /// Puts its fields in front of what is there.
    fn put(&self, to: &mut Writer);
    fn name_and_id(&self) -> (String, String);
}

/// The two that there are, each as the message that it is and as a runtime has it.
macro_rules! shown {
    ($kind:literal $tag:literal $shown:ty: |$object:ident, $to:ident| $put:expr, $named:expr) => {
        impl Shown for $shown {
            const KIND: &'static str = $kind;
            const TAG: u32 = $tag;

            fn put(&self, $to: &mut Writer) {
                let $object = self;
                $put
            }

            fn name_and_id(&self) -> (String, String) {
                let $object = self;
                ($named.name.clone(), $named.id.clone())
            }
        }
    };
}

shown!("pod" 1 api::PodSandbox: |pod, to| to.fields_of(pod), pod);
shown!("pod" 1 Arc<dyn PodSandbox>: |pod, to| put_pod(&pod.message(), to), pod.message());
shown!("container" 2 api::Container: |container, to| to.fields_of(container), container);
shown!("container" 2 (Arc<dyn Container>, ContainerState):
    |shown, to| put_container(&shown.0.message(), shown.1, to), shown.0.message());

/// Encodes an object as it is in a message, no longer than the room there is: so each message takes
/// one at least.
fn encode<T: Shown>(object: &T, room: usize, to: &mut Writer) -> Result<(), SynchronizeError> {
    to.field(T::TAG, |to| object.put(to));
    if to.len() > room {
        let (name, id) = object.name_and_id();
        return Err(SynchronizeError::TooLarge {
            kind: T::KIND,
            name,
            id,
            size: to.len(),
            room,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use proptest::prelude::*;
    use prost::Message as _;

    fn pod(id: usize, bytes: usize) -> api::PodSandbox {
        api::PodSandbox {
            id: format!("p{id}"),
            name: "x".repeat(bytes),
            ..Default::default()
        }
    }

    fn container(id: usize, bytes: usize) -> api::Container {
        api::Container {
            id: format!("c{id}"),
            name: "x".repeat(bytes),
            ..Default::default()
        }
    }

    fn objects(
        pods: &[usize],
        containers: &[usize],
    ) -> (Vec<api::PodSandbox>, Vec<api::Container>) {
        (
            pods.iter().enumerate().map(|(i, b)| pod(i, *b)).collect(),
            containers
                .iter()
                .enumerate()
                .map(|(i, b)| container(i, *b))
                .collect(),
        )
    }

    /// What a plugin that does as the protocol says gets to see.
    fn run(mut flow: SynchronizeFlow) -> Vec<api::SynchronizeRequest> {
        let mut parts = Vec::new();
        while let Some(part) = flow.next_part().unwrap() {
            assert_eq!(flow.next_part(), Ok(None), "one part at a time");
            let more = part.more;
            let part = api::SynchronizeRequest::decode(&*part.bytes).unwrap();
            assert_eq!(part.more, more);
            let answer = api::SynchronizeResponse {
                update: Vec::new(),
                more: part.more,
            };
            let done = flow.answer(answer).unwrap();
            assert_eq!(done.is_some(), !part.more);
            parts.push(part);
        }
        assert!(flow.is_done());
        parts
    }

    proptest! {
        /// Law: everything arrives once and in order; no part is over the limit; every part but the
        /// only one of nothing holds something; only the last is the last; no two neighbours would
        /// have fitted into one.
        #[test]
        fn everything_arrives_in_few_parts_under_the_limit(
            pods in prop::collection::vec(0usize..400, 0..40),
            containers in prop::collection::vec(0usize..400, 0..40),
            room in 420usize..2000,
        ) {
            let (pods, containers) = objects(&pods, &containers);
            let parts = run(SynchronizeFlow::with_room(pods.clone(), containers.clone(), room));
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(part.encoded_len() <= room);
                prop_assert_eq!(part.more, at + 1 < parts.len());
                prop_assert!(parts.len() == 1 || !part.pods.is_empty() || !part.containers.is_empty());
            }
            for pair in parts.windows(2) {
                let mut both = pair[0].clone();
                both.pods.extend(pair[1].pods.first().cloned());
                if pair[1].pods.is_empty() {
                    both.containers.extend(pair[1].containers.first().cloned());
                }
                prop_assert!(both.encoded_len() > room);
            }
            prop_assert_eq!(parts.iter().flat_map(|p| p.pods.clone()).collect::<Vec<_>>(), pods);
            prop_assert_eq!(parts.iter().flat_map(|p| p.containers.clone()).collect::<Vec<_>>(), containers);
        }

        /// Law: an object is refused exactly when a message with it alone, marked as a part, would
        /// be over the limit.
        #[test]
        fn what_is_too_large_alone_is_refused_by_name(bytes in 0usize..600, room in 0usize..600) {
            let alone = api::SynchronizeRequest {
                containers: vec![container(7, bytes)],
                more: true,
                ..Default::default()
            };
            match SynchronizeFlow::with_room([], [container(7, bytes)], room).next_part() {
                Ok(_) => prop_assert!(alone.encoded_len() <= room),
                Err(SynchronizeError::TooLarge { kind, id, size, .. }) => {
                    prop_assert_eq!((kind, id.as_str()), ("container", "c7"));
                    prop_assert_eq!(size + MORE, alone.encoded_len());
                    prop_assert!(alone.encoded_len() > room);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    /// Law: parts can be small, and what is not has one of its own; it is the same that arrives,
    /// whenever it was prepared.
    #[test]
    fn parts_are_as_small_as_they_are_to_be() {
        let (pods, containers) = objects(&[100; 9], &[5, 900, 5]);
        let mut flow = SynchronizeFlow::with_room(pods.clone(), containers.clone(), 1000);
        flow = flow.in_parts_of(300);
        assert!(flow.prepare(1), "there is room for more");
        while flow.prepare(1) {}
        assert!(!flow.prepare(1), "it is full");
        let parts = run(flow);
        assert_eq!(
            parts
                .iter()
                .map(prost::Message::encoded_len)
                .filter(|len| *len > 302)
                .count(),
            1
        );
        assert_eq!(parts.len(), 7);
        assert_eq!(
            parts
                .iter()
                .flat_map(|p| p.pods.clone())
                .collect::<Vec<_>>(),
            pods
        );
        let arrived = parts.iter().flat_map(|p| p.containers.clone());
        assert_eq!(arrived.collect::<Vec<_>>(), containers);
    }

    /// Law: what a runtime has is shown as requests about it show it.
    #[test]
    fn objects_of_a_runtime_have_a_linux_part_and_the_state_they_are_shown_in() {
        let (pods, containers) = objects(&[5; 3], &[7; 3]);
        let shown = ContainerState::ContainerStopped;
        let arc = |pod: &api::PodSandbox| Arc::new(pod.clone()) as Arc<dyn PodSandbox>;
        let of_pods: Vec<_> = pods.iter().map(arc).collect();
        let arc = |container: &api::Container| Arc::new(container.clone()) as Arc<dyn Container>;
        let of_containers: Vec<_> = containers.iter().map(|it| (arc(it), shown)).collect();
        let parts = run(SynchronizeFlow::of_objects(of_pods, of_containers));
        let [part] = &parts[..] else {
            panic!("{parts:?}")
        };
        for (sent, pod) in part.pods.iter().zip(pods) {
            let linux = Some(api::LinuxPodSandbox::default());
            assert_eq!(*sent, api::PodSandbox { linux, ..pod });
        }
        for (sent, mut container) in part.containers.iter().zip(containers) {
            container.linux = Some(api::LinuxContainer::default());
            container.set_state(shown);
            assert_eq!(*sent, container);
        }
        assert_eq!((part.pods.len(), part.containers.len()), (3, 3));
    }

    #[test]
    fn nothing_is_one_message() {
        let parts = run(SynchronizeFlow::new([], []));
        assert_eq!(parts, [api::SynchronizeRequest::default()]);
    }

    /// The reference sends empty messages until its time is over here.
    #[test]
    fn one_pod_with_many_large_containers_takes_few_messages() {
        let (pods, containers) = objects(&[100], &[1 << 20; 9]);
        let parts = run(SynchronizeFlow::new(pods, containers));
        assert_eq!(parts.len(), 3);
        assert!(
            parts
                .iter()
                .all(|part| part.encoded_len() + ENVELOPE_RESERVE <= MESSAGE_LIMIT)
        );
    }

    /// The reference crashes here.
    #[test]
    fn large_containers_without_pods_are_no_trouble() {
        let (_, containers) = objects(&[], &[1 << 20; 9]);
        assert_eq!(run(SynchronizeFlow::new([], containers)).len(), 3);
    }

    #[test]
    fn an_object_over_the_limit_is_named() {
        let mut flow = SynchronizeFlow::new([pod(3, 10), pod(4, 5 << 20)], []);
        let error = flow.next_part().unwrap_err();
        let text = SynchronizeError::to_string(&error);
        assert!(text.contains("pod") && text.contains("\"p4\""));
        assert!(matches!(error, SynchronizeError::TooLarge { size, .. } if size > 5 << 20));
    }

    /// Law: nothing is taken before there is room for it.
    #[test]
    fn objects_are_taken_as_parts_are_filled() {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let pods = (0..10).map(move |id| {
            counted.fetch_add(1, Ordering::Relaxed);
            pod(id, 100)
        });
        let mut flow = SynchronizeFlow::with_room(pods, [], 350);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert!(flow.next_part().unwrap().unwrap().more);
        assert_eq!(
            taken.load(Ordering::Relaxed),
            4,
            "three that fit, and one that did not"
        );
    }

    fn first_of_two_parts() -> SynchronizeFlow {
        let (pods, _) = objects(&[100, 100], &[]);
        let mut flow = SynchronizeFlow::with_room(pods, [], 150);
        assert!(flow.next_part().unwrap().unwrap().more);
        flow
    }

    #[test]
    fn a_plugin_that_does_not_expect_more_cannot_take_parts() {
        let answer = api::SynchronizeResponse::default();
        assert_eq!(
            first_of_two_parts().answer(answer),
            Err(SynchronizeError::CannotTakeParts)
        );
    }

    #[test]
    fn updates_belong_to_the_last_part() {
        let update = vec![api::ContainerUpdate::default()];
        let early = api::SynchronizeResponse {
            update: update.clone(),
            more: true,
        };
        assert_eq!(
            first_of_two_parts().answer(early),
            Err(SynchronizeError::UpdatesTooEarly(1))
        );
        let mut flow = SynchronizeFlow::new([], []);
        assert!(!flow.next_part().unwrap().unwrap().more);
        // Whatever `more` says: the runtime asked for nothing more.
        let last = api::SynchronizeResponse {
            update: update.clone(),
            more: true,
        };
        assert_eq!(flow.answer(last), Ok(Some(update)));
    }

    #[test]
    fn an_answer_to_nothing_is_an_error() {
        let mut flow = SynchronizeFlow::new([], []);
        assert_eq!(
            flow.answer(api::SynchronizeResponse::default()),
            Err(SynchronizeError::NotAsked)
        );
    }
}
