//! What a request is about: the pod and the container, read once when the API is entered.

use nri_core::api::ContainerState;
use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, EncodedRequest, EncodedTarget, Error, Event, ReceivedRequest, Subject, api};
use tracing::Span;

use crate::engine::domains::Domains;

/// What a pod, and the container of it that a request is about, if it is about one, are known by.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) pod: ObjectKey,
    pub(crate) container: Option<ObjectKey>,
}

impl Keys {
    /// What a pod, and perhaps a container of it, are known by that have these names and ids, the
    /// pod with the domain that it says; the container's is the same.
    ///
    /// # Errors
    /// One of them has no id, or the domain is not said where there are several.
    fn new(
        domains: &Domains,
        domain: &str,
        (name, id): (&str, &str),
        container: Option<(&str, &str)>,
    ) -> Result<Self, Error> {
        let id = identified("pod", name, id)?;
        let domain = domains.name_of(domain, format_args!("pod {id:?}"))?;
        let pod = ObjectKey::pod(domain, id);
        let container = match container {
            None => None,
            Some((name, id)) => {
                let id = identified("container", name, id)?;
                Some(ObjectKey::container(pod.domain(), id))
            }
        };
        Ok(Self { pod, container })
    }

    /// The pod's or container's.
    pub(crate) fn object(&self) -> &ObjectKey {
        self.container.as_ref().unwrap_or(&self.pod)
    }

    /// The span of a request about it: a child of the caller's if there is one, else of the current
    /// one. Ids only, no values.
    pub(crate) fn span(&self, event: Event, cx: &Ctx) -> Span {
        let pod = self.pod.id();
        let container = self.container.as_ref().map_or("", ObjectKey::id);
        if cx.span().is_none() {
            tracing::info_span!("nri_event", %event, pod, container)
        } else {
            tracing::info_span!(parent: cx.span(), "nri_event", %event, pod, container)
        }
    }
}

/// A pod, and the container of it that a request is about, if it is about one: by what they are
/// known, and as plugins are told of them.
#[derive(Debug, Clone)]
pub(crate) struct RequestTarget {
    pub(crate) keys: Keys,
    pub(crate) encoded: EncodedTarget,
}

impl RequestTarget {
    /// Reads a pod, and the container of it that a request is about; `state` says in which state
    /// that is shown.
    ///
    /// # Errors
    /// One of them has no id, or does not say its domain where there are several.
    pub(crate) fn read(
        domains: &Domains,
        pod: &dyn PodSandbox,
        container: Option<&dyn Container>,
        state: impl FnOnce(ContainerState) -> ContainerState,
    ) -> Result<Self, Error> {
        let (of_pod, of_container) = (pod.message(), container.map(Container::message));
        let state = of_container.as_ref().map(|message| state(message.state()));
        let mut target = Self::of_messages(
            domains,
            (pod.domain(), &of_pod),
            of_container.as_deref().zip(state),
        )?;
        let said = container.map(Container::domain).unwrap_or_default();
        match &mut target.keys.container {
            Some(key) if !said.is_empty() => *key = ObjectKey::container(&*said, key.id()),
            _ => {}
        }
        Ok(target)
    }

    /// What messages are about, the first with the domain that it says; the container's is the
    /// same. It is shown in the state beside it.
    ///
    /// # Errors
    /// One of them has no id, or the domain is not said where there are several.
    pub(crate) fn of_messages(
        domains: &Domains,
        (domain, pod): (String, &api::PodSandbox),
        container: Option<(&api::Container, ContainerState)>,
    ) -> Result<Self, Error> {
        let of_container = container.map(|(container, _)| (&*container.name, &*container.id));
        Ok(Self {
            keys: Keys::new(domains, &domain, (&pod.name, &pod.id), of_container)?,
            encoded: EncodedTarget::new(pod, container),
        })
    }

    /// The pod, and the container if the event is about one, that a message of the protocol is
    /// about.
    ///
    /// # Errors
    /// It does not say, or there are several domains.
    pub(crate) fn of_request(
        domains: &Domains,
        event: Event,
        pod: Option<&api::PodSandbox>,
        container: Option<&api::Container>,
    ) -> Result<Self, Error> {
        let pod = pod.ok_or_else(|| missing(event, "pod"))?;
        let container = match event.subject() {
            Subject::Pod => None,
            Subject::Container => {
                let container = container.ok_or_else(|| missing(event, "container"))?;
                let state = match event {
                    Event::CreateContainer => created(container.state()),
                    _ => container.state(),
                };
                Some((container, state))
            }
        };
        Self::of_messages(domains, (String::new(), pod), container)
    }

    /// The same of a request that is not decoded; `None` if it has to be.
    ///
    /// # Errors
    /// One of them has no id, or there are several domains.
    pub(crate) fn of_received(
        domains: &Domains,
        request: &ReceivedRequest,
    ) -> Result<Option<Self>, Error> {
        let event = request.event();
        let state: fn(ContainerState) -> ContainerState = match event {
            Event::CreateContainer => created,
            _ => |state| state,
        };
        let Some(encoded) = EncodedTarget::received(request, state) else {
            return Ok(None);
        };
        let (pod, container) = (request.pod(), request.container());
        let keys = match event.subject() {
            Subject::Pod => Keys::new(domains, "", (pod.name(), pod.id()), None)?,
            Subject::Container => {
                let container = (container.name(), container.id());
                Keys::new(domains, "", (pod.name(), pod.id()), Some(container))?
            }
        };
        Ok(Some(Self { keys, encoded }))
    }
}

/// The state of a container that is about to be created, whatever the runtime's books say yet.
pub(crate) fn created(state: ContainerState) -> ContainerState {
    match state {
        ContainerState::ContainerUnknown => ContainerState::ContainerCreated,
        known => known,
    }
}

fn missing(event: Event, what: &str) -> Error {
    Error::Invalid(format!("a request {event} names no {what}"))
}

fn identified<'a>(kind: &str, name: &str, id: &'a str) -> Result<&'a str, Error> {
    match id {
        "" => Err(Error::Invalid(format!(
            "a {kind} needs an id, and {name:?} has none"
        ))),
        id => Ok(id),
    }
}

impl RequestTarget {
    /// The request of an event that says no more than what it is about.
    ///
    /// # Errors
    /// The event says more.
    pub(crate) fn request(&self, event: Event) -> Result<EncodedRequest, Error> {
        let request = self.encoded.request(event);
        request.ok_or_else(|| Error::Invalid(format!("{event} says more than what it is about")))
    }
}
