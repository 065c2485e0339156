//! Requests with their bytes. Most are only sent on: they are encoded once, however many plugins
//! there are, and are not decoded unless somebody looks into them.
//!
//! What may not enter: what becomes of a request.

mod fields;
mod received;
mod target;
mod view;

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message as _;

use self::fields::{text_of, value_of};
pub use self::received::{ContainerView, PodView, ReceivedRequest};
pub use self::target::EncodedTarget;
pub(crate) use self::target::{put_container, put_pod};
pub(crate) use self::view::{ANNOTATIONS, KnownAnnotations};
use crate::{Event, Request};

/// `pod` of every request.
const POD: u32 = 1;
/// `container` of every request that is about one.
const CONTAINER: u32 = 2;

/// The id of a pod and of a container.
const ID: u32 = 1;
/// The name of a pod.
const NAME_OF_POD: u32 = 2;
/// The namespace of a pod.
const NAMESPACE_OF_POD: u32 = 4;
/// The name of a container.
const NAME_OF_CONTAINER: u32 = 3;

/// A request, and what it is on the wire: either is made of the other when it is first needed. It
/// dereferences to the request; what this type itself says of it needs no decoding.
///
/// ```
/// use nri_core::{EncodedRequest, Request, api};
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let request = EncodedRequest::from(Request::RunPodSandbox(api::RunPodSandboxRequest { pod: Some(pod) }));
/// assert_eq!(request.pod_id(), "p1");
/// assert_eq!(request.bytes(), request.encode());
/// ```
pub struct EncodedRequest {
    event: Event,
    /// One of the two is there from the beginning.
    bytes: OnceLock<Bytes>,
    request: OnceLock<Box<Request>>,
    old: OnceLock<Option<Bytes>>,
}

impl fmt::Debug for EncodedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedRequest")
            .field("event", &self.event)
            .field("len", &self.bytes.get().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

impl From<Request> for EncodedRequest {
    fn from(request: Request) -> Self {
        Self {
            event: request.event(),
            bytes: OnceLock::new(),
            request: OnceLock::from(Box::new(request)),
            old: OnceLock::new(),
        }
    }
}

impl Deref for EncodedRequest {
    type Target = Request;

    fn deref(&self) -> &Request {
        self.request.get_or_init(|| Box::new(self.decode()))
    }
}

impl PartialEq for EncodedRequest {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl EncodedRequest {
    /// The request of an event in these bytes, which were encoded here.
    fn of_bytes(event: Event, bytes: Bytes) -> Self {
        Self {
            event,
            bytes: OnceLock::from(bytes),
            request: OnceLock::new(),
            old: OnceLock::new(),
        }
    }

    /// A copy of the request, decoded.
    fn decode(&self) -> Request {
        if let Some(request) = self.request.get() {
            return (**request).clone();
        }
        let bytes = self.bytes();
        // What was encoded here can be decoded.
        Request::decode(self.event, &bytes).unwrap_or_else(|_| Request::empty(self.event))
    }

    /// The event that is asked about.
    pub fn event(&self) -> Event {
        self.event
    }

    /// The request on the wire.
    pub fn bytes(&self) -> Bytes {
        let encode = || match self.request.get() {
            Some(request) => request.encode().into(),
            None => Bytes::new(),
        };
        self.bytes.get_or_init(encode).clone()
    }

    /// The request as a `StateChange` on the wire; `None` for events that have no such form.
    pub fn old_bytes(&self) -> Option<Bytes> {
        let encode = || {
            let change = self.to_state_change()?;
            Some(change.encode_to_vec().into())
        };
        let has_old_form = self.event.has_state_change_form();
        has_old_form.then(|| self.old.get_or_init(encode).clone())?
    }

    /// What `then` says of the bytes of one of the messages in the request; of none if it is not
    /// there.
    fn look<R>(&self, field: u32, then: impl FnOnce(&[u8]) -> R) -> R {
        let bytes = self.bytes();
        let value = value_of(&bytes, field).and_then(|value| bytes.get(value));
        then(value.unwrap_or_default())
    }

    /// The id of the pod that it is about; empty if it is about none.
    pub fn pod_id(&self) -> String {
        self.look(POD, |pod| text_of(pod, ID).to_owned())
    }

    /// The id of the container that it is about; empty if it is about none.
    pub fn container_id(&self) -> String {
        match self.event.subject() {
            crate::Subject::Container => {
                self.look(CONTAINER, |container| text_of(container, ID).to_owned())
            }
            crate::Subject::Pod => String::new(),
        }
    }

    /// The pod or container that it is about, in words for messages; see [`Request::subject`].
    pub fn subject(&self) -> String {
        subject_of(self.event, &self.bytes())
    }

    /// How many bytes it has on the wire.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The pod that it is about, on the wire.
    pub(crate) fn pod_bytes(&self) -> Bytes {
        let bytes = self.bytes();
        match value_of(&bytes, POD) {
            Some(value) => bytes.slice(value),
            None => Bytes::new(),
        }
    }

    /// Another event about the same, both of which say no more than that.
    pub(crate) fn as_event(&self, event: Event) -> Self {
        Self::of_bytes(event, self.bytes())
    }
}

/// What a request is about, in words.
fn subject_of(event: Event, bytes: &[u8]) -> String {
    let is_about_container = event.subject() == crate::Subject::Container;
    let value = |field| value_of(bytes, field).and_then(|value| bytes.get(value));
    if let Some(container) = value(CONTAINER).filter(|_| is_about_container) {
        let name = text_of(container, NAME_OF_CONTAINER);
        return format!("container {name:?} ({:?})", text_of(container, ID));
    }
    match value(POD) {
        Some(pod) => {
            let (namespace, name) = (text_of(pod, NAMESPACE_OF_POD), text_of(pod, NAME_OF_POD));
            format!("pod {namespace}/{name} ({:?})", text_of(pod, ID))
        }
        None => "nothing".to_owned(),
    }
}
