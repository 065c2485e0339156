//! What requests are about, encoded: a pod, and perhaps a container of it.

use bytes::Bytes;
use nri_proto::api::{self, ContainerState};
use nri_proto::{Wire, Writer};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::fields::{fields, number_in, put_head, value_of};
use super::received::ReceivedRequest;
use super::{CONTAINER, EncodedRequest, POD};
use crate::{Event, Subject};

/// `PodSandbox.linux`.
const LINUX_OF_POD: u32 = 8;
/// `Container.state`.
const STATE_OF_CONTAINER: u32 = 4;
/// `Container.linux`.
const LINUX_OF_CONTAINER: u32 = 11;

/// How large a pod or container is taken to be: what is not used costs as much as what is.
const USUAL: usize = 4096;
const SLACK: usize = 512;

/// A pod, and perhaps a container of it, as requests about them carry them on the wire: encoded
/// once, however many requests and plugins there are. Cheap to clone.
///
/// Both always have a Linux part, if only an empty one: so it is with runtimes in Go, and plugins
/// look into it without asking.
///
/// ```
/// use nri_core::{EncodedTarget, Event, api};
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let container = api::Container { id: "c1".into(), ..Default::default() };
/// let target = EncodedTarget::new(&pod, Some((&container, api::ContainerState::ContainerStopped)));
/// let request = target.request(Event::StopContainer).unwrap();
/// assert_eq!(request.container().unwrap().state(), api::ContainerState::ContainerStopped);
/// assert!(request.pod().unwrap().linux.is_some());
/// ```
#[derive(Debug, Clone)]
pub struct EncodedTarget(Bytes);

/// Puts a pod's fields in front of what is there, as plugins see them.
pub(crate) fn put_pod(pod: &api::PodSandbox, out: &mut Writer) {
    if pod.linux.is_none() {
        out.field(LINUX_OF_POD, |_| {});
    }
    out.fields_of(pod);
}

/// The same of a container, in the state in which it is shown.
pub(crate) fn put_container(container: &api::Container, state: ContainerState, out: &mut Writer) {
    if container.state() != state {
        // Of several numbers the last one counts.
        out.number(STATE_OF_CONTAINER, state.into());
    }
    if container.linux.is_none() {
        out.field(LINUX_OF_CONTAINER, |_| {});
    }
    out.fields_of(container);
}

/// Messages, each with its number and with what is put behind its own fields.
fn joined(messages: &[(u32, &[u8], &[u8])]) -> Bytes {
    let mut out = Vec::new();
    for (number, message, more) in messages {
        put_head(*number, message.len() + more.len(), &mut out);
        out.extend_from_slice(message);
        out.extend_from_slice(more);
    }
    out.into()
}

impl EncodedTarget {
    /// Encodes a pod, and a container with the state in which it is shown.
    pub fn new(
        pod: &api::PodSandbox,
        container: Option<(&api::Container, ContainerState)>,
    ) -> Self {
        // From the end to the beginning, since that is how it is written.
        let mut out = Writer::with_room(2 * USUAL + SLACK);
        if let Some((container, state)) = container {
            out.field(CONTAINER, |out| put_container(container, state, out));
        }
        out.field(POD, |out| put_pod(pod, out));
        Self(out.into_shared())
    }

    /// What a request is about that came from elsewhere, with its bytes as they are: nothing is
    /// decoded, and what a newer protocol says of the pod and the container stays in it. `state`
    /// says in which state a container is shown.
    ///
    /// `None` if the request says more than what it is about, or does not say that: it has to be
    /// decoded.
    ///
    /// ```
    /// use nri_core::{EncodedTarget, Event, ReceivedRequest, Request, api};
    ///
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let request = Request::RunPodSandbox(api::RunPodSandboxRequest { pod: Some(pod) });
    /// let target = EncodedTarget::received(&ReceivedRequest::from(&request), |state| state).unwrap();
    /// let relayed = target.request(Event::RunPodSandbox).unwrap();
    /// assert_eq!(relayed.pod_id(), "p1");
    /// assert!(relayed.pod().unwrap().linux.is_some());
    /// ```
    pub fn received(
        request: &ReceivedRequest,
        state: impl FnOnce(ContainerState) -> ContainerState,
    ) -> Option<Self> {
        let bytes = request.bytes();
        let is_about_container = request.event().subject() == Subject::Container;
        let expected = |number| number == POD || (number == CONTAINER && is_about_container);
        if !fields(bytes).all(|field| expected(field.number)) {
            return None;
        }
        let pod = bytes.get(value_of(bytes, POD)?)?;
        let mut of_pod = Vec::new();
        if value_of(pod, LINUX_OF_POD).is_none() {
            put_head(LINUX_OF_POD, 0, &mut of_pod);
        }
        let Some(container) = value_of(bytes, CONTAINER) else {
            let whole = (!is_about_container).then_some(bytes)?;
            return Some(Self(match of_pod.is_empty() {
                true => whole.clone(),
                false => joined(&[(POD, pod, &of_pod)]),
            }));
        };
        let container = bytes.get(container)?;
        let (mut of_container, mut number) = (Vec::new(), 0);
        let mut has_linux = false;
        // It has a hundred fields or so: they are gone through once.
        for field in fields(container) {
            match field.number {
                LINUX_OF_CONTAINER => has_linux = true,
                STATE_OF_CONTAINER => number = number_in(container.get(field.value)?),
                _ => {}
            }
        }
        if !has_linux {
            put_head(LINUX_OF_CONTAINER, 0, &mut of_container);
        }
        let number = i32::try_from(number).unwrap_or_default();
        let known = ContainerState::try_from(number).unwrap_or_default();
        let shown = state(known);
        if shown != known {
            // Of several numbers the last one counts.
            encode_key(STATE_OF_CONTAINER, WireType::Varint, &mut of_container);
            encode_varint(shown as u64, &mut of_container);
        }
        Some(Self(match of_pod.is_empty() && of_container.is_empty() {
            true => bytes.clone(),
            false => joined(&[(POD, pod, &of_pod), (CONTAINER, container, &of_container)]),
        }))
    }

    /// The request of an event that says no more than what it is about; `None` for the others.
    pub fn request(&self, event: Event) -> Option<EncodedRequest> {
        match event {
            Event::UpdateContainer
            | Event::UpdatePodSandbox
            | Event::ValidateContainerAdjustment => None,
            _ => Some(EncodedRequest::of_bytes(event, self.0.clone())),
        }
    }

    /// The request that asks for a container's resources.
    pub fn update_container(&self, resources: api::LinuxResources) -> EncodedRequest {
        let more = api::UpdateContainerRequest {
            linux_resources: Some(resources),
            ..Default::default()
        };
        self.and(Event::UpdateContainer, &more)
    }

    /// The request that asks for a pod's resources.
    pub fn update_pod_sandbox(
        &self,
        overhead: Option<api::LinuxResources>,
        resources: Option<api::LinuxResources>,
    ) -> EncodedRequest {
        let more = api::UpdatePodSandboxRequest {
            pod: None,
            overhead_linux_resources: overhead,
            linux_resources: resources,
        };
        self.and(Event::UpdatePodSandbox, &more)
    }

    fn and(&self, event: Event, more: &impl Wire) -> EncodedRequest {
        let bytes = [&*self.0, &more.to_wire()].concat();
        EncodedRequest::of_bytes(event, bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Request, strategies};

    /// A state that is not known is shown as that of a container which is made.
    fn made(state: ContainerState) -> ContainerState {
        match state {
            ContainerState::ContainerUnknown => ContainerState::ContainerCreated,
            known => known,
        }
    }

    proptest! {
        /// Law: what is relayed of a request's bytes is what would be relayed of the request.
        #[test]
        fn what_is_received_is_as_good_as_what_is_encoded(
            mut container in strategies::container(),
            state in 0..6,
            of_pod in any::<bool>(),
            of_container in any::<bool>(),
        ) {
            let pod = api::PodSandbox {
                id: container.pod_sandbox_id.clone(),
                labels: container.labels.clone(),
                linux: of_pod.then(api::LinuxPodSandbox::default),
                ..Default::default()
            };
            container.state = state;
            if !of_container {
                container.linux = None;
            }
            for event in Event::ALL {
                let (pod, container) = match event.subject() {
                    Subject::Pod => (pod.clone(), None),
                    Subject::Container => (pod.clone(), Some(container.clone())),
                };
                let bytes = Writer::with_room(0);
                let request = sent(bytes, &pod, container.as_ref());
                let request = ReceivedRequest::new(event, request).unwrap();
                let received = EncodedTarget::received(&request, made).unwrap();
                let shown = container.as_ref().map(|container| (container, made(container.state())));
                let encoded = EncodedTarget::new(&pod, shown);
                let Some(relayed) = received.request(event) else { continue };
                prop_assert_eq!(&*relayed, &*encoded.request(event).unwrap());
            }
        }
    }

    /// A request about a pod and a container, as somebody else writes it.
    fn sent(mut out: Writer, pod: &api::PodSandbox, container: Option<&api::Container>) -> Bytes {
        if let Some(container) = container {
            out.field(CONTAINER, |out| out.fields_of(container));
        }
        out.field(POD, |out| out.fields_of(pod));
        out.into_shared()
    }

    /// Law: what a newer protocol says of a pod and of a container reaches plugins.
    #[test]
    fn what_is_not_known_here_stays_in_it() {
        const NEWER: [u8; 3] = [0xa0, 0x06, 1];
        let of = |number, id: u8| {
            let mut out = Vec::new();
            put_head(number, 6, &mut out);
            out.extend([&[0x0a, 1, id][..], &NEWER].concat());
            out
        };
        let sent = [of(POD, b'p'), of(CONTAINER, b'c')].concat();
        let request = ReceivedRequest::new(Event::CreateContainer, sent.into()).unwrap();
        let target = EncodedTarget::received(&request, made).unwrap();
        let relayed = target.request(Event::CreateContainer).unwrap();
        assert_eq!((&*relayed.pod_id(), &*relayed.container_id()), ("p", "c"));
        let bytes = relayed.bytes();
        let found = bytes.windows(NEWER.len()).filter(|part| *part == NEWER);
        assert_eq!(found.count(), 2);
        let container = relayed.container().unwrap();
        assert_eq!(container.state(), ContainerState::ContainerCreated);
    }

    /// Law: what says more than that, or does not say it, is not taken for it.
    #[test]
    fn what_says_more_is_to_be_decoded() {
        let container = api::Container::default();
        let request = |bytes: Bytes| ReceivedRequest::new(Event::StartContainer, bytes).unwrap();
        let of = |request| EncodedTarget::received(&request, |state| state);
        let (pod, none) = (api::PodSandbox::default(), None);
        let whole = sent(Writer::with_room(0), &pod, Some(&container));
        assert!(of(request(whole.clone())).is_some());
        // A field of a newer protocol.
        let newer = [&*whole, &[0x50, 1]].concat();
        assert!(of(request(newer.into())).is_none());
        assert!(of(request(sent(Writer::with_room(0), &pod, none))).is_none());
        assert!(of(request(Bytes::new())).is_none());
    }

    #[test]
    fn every_event_is_about_the_pod_and_the_container_that_were_encoded() {
        let pod = api::PodSandbox {
            id: "p1".into(),
            name: "web".into(),
            namespace: "default".into(),
            linux: Some(api::LinuxPodSandbox::default()),
            ..Default::default()
        };
        let container = api::Container {
            id: "c1".into(),
            name: "nginx".into(),
            state: ContainerState::ContainerRunning.into(),
            linux: Some(api::LinuxContainer::default()),
            ..Default::default()
        };
        let state = ContainerState::ContainerRunning;
        let of_container = EncodedTarget::new(&pod, Some((&container, state)));
        let of_pod = EncodedTarget::new(&pod, None);
        for event in Event::ALL {
            let empty = Request::decode(event, &[]).unwrap();
            let target = match event.subject() {
                crate::Subject::Pod => &of_pod,
                crate::Subject::Container => &of_container,
            };
            let Some(request) = target.request(event) else {
                continue;
            };
            assert_eq!(request.event(), empty.event());
            assert_eq!(request.pod(), Some(&pod));
            assert_eq!(request.subject(), (*request).subject());
            assert_eq!(request.pod_id(), "p1");
            if event.subject() == crate::Subject::Container {
                assert_eq!(request.container(), Some(&container));
                assert_eq!(request.container_id(), "c1");
            }
            assert_eq!(request.bytes(), request.encode());
        }
    }

    #[test]
    fn what_is_asked_for_is_behind_what_it_is_about() {
        let resources = api::LinuxResources {
            rdt_class: Some(api::OptionalString { value: "x".into() }),
            ..Default::default()
        };
        let (pod, container) = (api::PodSandbox::default(), api::Container::default());
        let state = container.state();
        let target = EncodedTarget::new(&pod, Some((&container, state)));
        match &*target.update_container(resources.clone()) {
            Request::UpdateContainer(request) => {
                assert_eq!(request.linux_resources.as_ref(), Some(&resources));
                assert!(request.container.as_ref().unwrap().linux.is_some());
            }
            other => panic!("{other:?}"),
        }
        match &*EncodedTarget::new(&pod, None).update_pod_sandbox(None, Some(resources.clone())) {
            Request::UpdatePodSandbox(request) => {
                assert_eq!(request.linux_resources.as_ref(), Some(&resources));
                assert_eq!(request.overhead_linux_resources, None);
            }
            other => panic!("{other:?}"),
        }
    }
}
