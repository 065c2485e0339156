//! What a request is about: the pod and the container, read once when the API is entered.

use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Error, Event, Request, api};
use tracing::Span;

use crate::instance::Instance;

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

    /// The span of a request about it: a child of the caller's if there is one, else of the current one. Ids only, no values.
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
pub(crate) struct Subject {
    pub(crate) keys: Keys,
    pub(crate) pod: api::PodSandbox,
    pub(crate) container: Option<api::Container>,
}

impl Instance {
    /// Reads a pod.
    pub(crate) fn pod_subject(&self, pod: &dyn PodSandbox) -> Result<Subject, Error> {
        let message = pod_message(pod);
        let id = identified("pod", &message.name, &message.id)?;
        let domain = self
            .domains
            .name_of(&pod.domain(), &format!("pod {id:?}"))?;
        Ok(Subject {
            keys: Keys {
                pod: ObjectKey::pod(domain, id),
                container: None,
            },
            pod: message,
            container: None,
        })
    }

    /// Reads a container and its pod.
    pub(crate) fn container_subject(
        &self,
        pod: &dyn PodSandbox,
        container: &dyn Container,
    ) -> Result<Subject, Error> {
        let mut subject = self.pod_subject(pod)?;
        let message = container_message(container);
        let id = identified("container", &message.name, &message.id)?;
        let said = container.domain();
        let domain = match said.as_str() {
            "" => subject.keys.pod.domain(),
            said => said,
        };
        subject.keys.container = Some(ObjectKey::container(domain, id));
        subject.container = Some(message);
        Ok(subject)
    }
}

/// A pod as plugins see it. It always has a Linux part, if only an empty one: so it is with runtimes in Go, and plugins look
/// into it without asking.
pub(crate) fn pod_message(pod: &dyn PodSandbox) -> api::PodSandbox {
    let mut message = pod.to_message();
    message.linux.get_or_insert_default();
    message
}

/// A container as plugins see it, with a Linux part like a pod.
pub(crate) fn container_message(container: &dyn Container) -> api::Container {
    let mut message = container.to_message();
    message.linux.get_or_insert_default();
    message
}

fn identified(kind: &str, name: &str, id: &str) -> Result<String, Error> {
    match id {
        "" => Err(Error::Invalid(format!(
            "a {kind} needs an id, and {name:?} has none"
        ))),
        id => Ok(id.to_owned()),
    }
}

impl Subject {
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
