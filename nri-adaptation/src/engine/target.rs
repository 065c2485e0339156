//! What a request is about: the pod and the container, read once when the API is entered.

use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Error, Event, Request, Subject, api};
use tracing::Span;

use crate::engine::domains::Domains;
use crate::plugin::inventory::{container_message, pod_message};

/// What a pod, and the container of it that a request is about, if it is about one, are known by.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) pod: ObjectKey,
    pub(crate) container: Option<ObjectKey>,
}

impl Keys {
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

/// A pod, and the container of it that a request is about, if it is about one.
#[derive(Debug, Clone)]
pub(crate) struct RequestTarget {
    pub(crate) keys: Keys,
    pub(crate) pod: api::PodSandbox,
    pub(crate) container: Option<api::Container>,
}

impl RequestTarget {
    /// Reads a pod, and the container of it that a request is about.
    ///
    /// # Errors
    /// One of them has no id, or does not say its domain where there are several.
    pub(crate) fn read(
        domains: &Domains,
        pod: &dyn PodSandbox,
        container: Option<&dyn Container>,
    ) -> Result<Self, Error> {
        let domain = container.map(|container| container.domain());
        let mut target = Self::of_messages(
            domains,
            (pod.domain(), pod_message(pod)),
            container.map(container_message),
        )?;
        if let (Some(said), Some(key)) = (domain, &mut target.keys.container)
            && !said.is_empty()
        {
            *key = ObjectKey::container(&*said, key.id());
        }
        Ok(target)
    }

    /// What messages are about, the first with the domain that it says; the container's is the
    /// same.
    ///
    /// # Errors
    /// One of them has no id, or the domain is not said where there are several.
    pub(crate) fn of_messages(
        domains: &Domains,
        (domain, message): (String, api::PodSandbox),
        container: Option<api::Container>,
    ) -> Result<Self, Error> {
        let id = identified("pod", &message.name, &message.id)?;
        let domain = domains.name_of(&domain, &format!("pod {id:?}"))?;
        let mut target = Self {
            keys: Keys {
                pod: ObjectKey::pod(domain, id),
                container: None,
            },
            pod: message,
            container: None,
        };
        if let Some(message) = container {
            let id = identified("container", &message.name, &message.id)?;
            let domain = target.keys.pod.domain();
            target.keys.container = Some(ObjectKey::container(domain, id));
            target.container = Some(message);
        }
        Ok(target)
    }

    /// The pod, and the container if the event is about one, that a message of the protocol is
    /// about.
    ///
    /// # Errors
    /// It does not say, or there are several domains.
    pub(crate) fn of_request(
        domains: &Domains,
        event: Event,
        pod: Option<api::PodSandbox>,
        container: Option<api::Container>,
    ) -> Result<Self, Error> {
        let mut pod = pod.ok_or_else(|| missing(event, "pod"))?;
        pod.linux.get_or_insert_default();
        let container = match event.subject() {
            Subject::Pod => None,
            Subject::Container => {
                let mut container = container.ok_or_else(|| missing(event, "container"))?;
                container.linux.get_or_insert_default();
                Some(container)
            }
        };
        Self::of_messages(domains, (String::new(), pod), container)
    }
}

fn missing(event: Event, what: &str) -> Error {
    Error::Invalid(format!("a request {event} names no {what}"))
}

fn identified(kind: &str, name: &str, id: &str) -> Result<String, Error> {
    match id {
        "" => Err(Error::Invalid(format!(
            "a {kind} needs an id, and {name:?} has none"
        ))),
        id => Ok(id.to_owned()),
    }
}

impl RequestTarget {
    /// The request of an event that says no more than what it is about.
    ///
    /// # Errors
    /// The event says more.
    pub(crate) fn into_request(self, event: Event) -> Result<Request, Error> {
        let Self { pod, container, .. } = self;
        let pod = Some(pod);
        Ok(match event {
            Event::CreateContainer => {
                Request::CreateContainer(api::CreateContainerRequest { pod, container })
            }
            Event::StopContainer => {
                Request::StopContainer(api::StopContainerRequest { pod, container })
            }
            event => {
                let change = api::StateChangeEvent {
                    event: event.number(),
                    pod,
                    container,
                };
                Request::from_state_change(change).ok_or_else(|| {
                    Error::Invalid(format!("{event} says more than what it is about"))
                })?
            }
        })
    }
}
