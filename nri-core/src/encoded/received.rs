//! Requests as they came: of which only that is decoded that somebody asks for.

use bytes::Bytes;
use nri_proto::{Wire as _, api};
use prost::DecodeError;

use super::fields::{fields, text_of, value_of};
use super::{CONTAINER, ID, NAME_OF_CONTAINER, NAME_OF_POD, NAMESPACE_OF_POD, POD, subject_of};
use crate::{Event, Request, Subject};

/// The labels of a pod and of a container.
const LABELS: u32 = 5;
/// The annotations of a pod and of a container.
const ANNOTATIONS: u32 = 6;
/// The pod of a container.
const POD_OF_CONTAINER: u32 = 2;
/// The key and the value of an entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A request as it came, not decoded yet. To decode one is most of what a plugin does for a call
/// (some hundred texts are allocated): whoever needs a name and an annotation of it is done in a
/// fraction of that with [`pod`](Self::pod) and [`container`](Self::container).
///
/// ```
/// use nri_core::{Event, ReceivedRequest, Request, api};
///
/// let pod = api::PodSandbox {
///     name: "web-1".into(),
///     annotations: [("example.com/mode".into(), "fast".into())].into(),
///     ..Default::default()
/// };
/// let request = api::RunPodSandboxRequest { pod: Some(pod.clone()) };
/// let request = ReceivedRequest::from(&Request::RunPodSandbox(request));
/// assert_eq!(request.event(), Event::RunPodSandbox);
/// assert_eq!(request.pod().name(), "web-1");
/// assert_eq!(request.pod().annotation("example.com/mode"), Some("fast"));
/// assert_eq!(request.pod().decode(), Ok(pod));
/// ```
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    event: Event,
    bytes: Bytes,
}

impl From<&Request> for ReceivedRequest {
    fn from(request: &Request) -> Self {
        Self {
            event: request.event(),
            bytes: request.encode().into(),
        }
    }
}

impl ReceivedRequest {
    /// The request of an event in these bytes.
    ///
    /// # Errors
    /// The bytes are no fields of a message. What is in a field is looked at when it is asked for.
    pub fn new(event: Event, bytes: Bytes) -> Result<Self, DecodeError> {
        let (mut end, mut seen) = (0, 0_u64);
        let mut is_plain = true;
        for field in fields(&bytes) {
            end = field.whole.end;
            let bit = 1_u64.checked_shl(field.number).unwrap_or(0);
            is_plain &= seen & bit == 0;
            seen |= bit;
        }
        // A message in several pieces is put together, once.
        if is_plain && end == bytes.len() {
            return Ok(Self { event, bytes });
        }
        let request = Request::decode(event, &bytes)?;
        Ok(Self::from(&request))
    }

    /// The event that is asked about.
    pub fn event(&self) -> Event {
        self.event
    }

    /// The request on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it.
    ///
    /// # Errors
    /// The bytes are no such message.
    pub fn decode(&self) -> Result<Request, DecodeError> {
        Request::decode(self.event, &self.bytes)
    }

    /// The pod that it is about; an empty one if there is none.
    pub fn pod(&self) -> PodView<'_> {
        PodView(value(&self.bytes, POD).unwrap_or_default())
    }

    /// The container that it is about; an empty one if it is about a pod.
    pub fn container(&self) -> ContainerView<'_> {
        let is_about_one = self.event.subject() == Subject::Container;
        let container = value(&self.bytes, CONTAINER).filter(|_| is_about_one);
        ContainerView(container.unwrap_or_default())
    }

    /// The pod or container that it is about, in words for messages; see [`Request::subject`].
    pub fn subject(&self) -> String {
        subject_of(self.event, &self.bytes)
    }
}

fn value(bytes: &[u8], number: u32) -> Option<&[u8]> {
    bytes.get(value_of(bytes, number)?)
}

/// What pods and containers have alike.
macro_rules! view {
    ($(#[$doc:meta])* $view:ident of $message:ident: $($(#[$about:meta])* $text:ident $number:ident)*) => {
        $(#[$doc])*
        ///
        /// What is not there, or no text, is empty.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $view<'a>(&'a [u8]);

        impl<'a> $view<'a> {
            $($(#[$about])*
            pub fn $text(&self) -> &'a str {
                text_of(self.0, $number)
            })*

            /// The label of a key.
            pub fn label(&self, key: &str) -> Option<&'a str> {
                last_of(self.labels(), key)
            }

            /// The annotation of a key.
            pub fn annotation(&self, key: &str) -> Option<&'a str> {
                last_of(self.annotations(), key)
            }

            /// The labels, in the order in which they were sent.
            pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
                entries(self.0, LABELS)
            }

            /// The annotations, in the order in which they were sent.
            pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
                entries(self.0, ANNOTATIONS)
            }

            /// All of it.
            ///
            /// # Errors
            /// The bytes are no such message.
            pub fn decode(&self) -> Result<api::$message, DecodeError> {
                api::$message::from_wire(self.0)
            }
        }
    };
}

view! {
    /// A pod that is not decoded.
    PodView of PodSandbox:
        /// Its id.
        id ID
        /// Its name.
        name NAME_OF_POD
        /// Its namespace.
        namespace NAMESPACE_OF_POD
}

view! {
    /// A container that is not decoded.
    ContainerView of Container:
        /// Its id.
        id ID
        /// The id of its pod.
        pod_sandbox_id POD_OF_CONTAINER
        /// Its name.
        name NAME_OF_CONTAINER
}

/// The entries of a map.
fn entries(bytes: &[u8], number: u32) -> impl Iterator<Item = (&str, &str)> {
    fields(bytes)
        .filter(move |field| field.number == number)
        .filter_map(|field| bytes.get(field.value))
        .map(|entry| (text_of(entry, KEY), text_of(entry, VALUE)))
}

fn last_of<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>, key: &str) -> Option<&'a str> {
    let of_key = entries.filter(|(other, _)| *other == key);
    of_key.last().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies;

    proptest! {
        /// Law: a view says what the message says.
        #[test]
        fn views_say_what_the_messages_say(
            container in strategies::container(),
            name in "[a-z]{0,3}",
        ) {
            let pod = api::PodSandbox {
                id: container.pod_sandbox_id.clone(),
                namespace: container.name.clone(),
                labels: container.annotations.clone(),
                annotations: container.labels.clone(),
                name,
                ..Default::default()
            };
            for event in Event::ALL {
                let target = crate::EncodedTarget::new(&pod, Some((&container, container.state())));
                let Some(request) = target.request(event) else { continue };
                let request = ReceivedRequest::new(event, request.bytes()).unwrap();
                let decoded = request.decode().unwrap();
                prop_assert_eq!(request.subject(), decoded.subject());
                let (view, pod) = (request.pod(), decoded.pod().unwrap());
                prop_assert_eq!((view.id(), view.name()), (&*pod.id, &*pod.name));
                prop_assert_eq!(view.namespace(), &*pod.namespace);
                prop_assert_eq!(&view.decode().unwrap(), pod);
                for (key, value) in &pod.annotations {
                    prop_assert_eq!(view.annotation(key), Some(&**value));
                }
                prop_assert_eq!(view.annotations().count(), pod.annotations.len());
                prop_assert_eq!(view.labels().count(), pod.labels.len());
                let view = request.container();
                let Some(container) = decoded.container() else {
                    prop_assert_eq!(view, ContainerView(&[]));
                    continue;
                };
                prop_assert_eq!((view.id(), view.name()), (&*container.id, &*container.name));
                prop_assert_eq!(view.pod_sandbox_id(), &*container.pod_sandbox_id);
                for (key, value) in &container.labels {
                    prop_assert_eq!(view.label(key), Some(&**value));
                }
            }
        }

        /// Law: whatever a peer sends, a view says something or nothing, and does not panic.
        #[test]
        fn any_bytes_can_be_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let Ok(request) = ReceivedRequest::new(Event::CreateContainer, bytes.into()) else {
                return Ok(());
            };
            let (pod, container) = (request.pod(), request.container());
            let _ = (pod.id(), pod.annotation("a"), container.labels().count(), request.subject());
        }
    }

    /// Law: of what is in several pieces all counts, and of two texts the last.
    #[test]
    fn a_pod_in_two_pieces_is_one() {
        let of = |id: &str, name: &str| {
            let pod = api::PodSandbox {
                id: id.into(),
                name: name.into(),
                ..Default::default()
            };
            api::RunPodSandboxRequest { pod: Some(pod) }.to_wire()
        };
        let bytes = [of("p1", ""), of("", "web"), of("p2", "")].concat();
        let request = ReceivedRequest::new(Event::RunPodSandbox, bytes.into()).unwrap();
        assert_eq!((request.pod().id(), request.pod().name()), ("p2", "web"));
    }

    #[test]
    fn what_is_cut_off_is_no_request() {
        let bytes = Bytes::from_static(&[10, 5, 1]);
        assert!(ReceivedRequest::new(Event::RunPodSandbox, bytes).is_err());
    }
}
