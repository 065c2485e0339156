//! What requests are about, encoded: a pod, and perhaps a container of it.

use bytes::Bytes;
use nri_proto::api::{self, ContainerState};
use nri_proto::{Wire, Writer};

use super::{CONTAINER, EncodedRequest, POD};
use crate::Event;

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
    use super::*;
    use crate::Request;

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
