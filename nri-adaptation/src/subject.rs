//! What a request is about: the pod and the container, read once when the API is entered.

use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Error, Event, Request, api};

use crate::drive::About;
use crate::instance::Instance;
use crate::pods::{Line, Place};

/// A pod, and the container of it that a request is about, if it is about one.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) pod: api::PodSandbox,
    pub(crate) pod_key: ObjectKey,
    pub(crate) container: Option<(api::Container, ObjectKey)>,
}

impl Instance {
    /// Reads a pod.
    pub(crate) fn pod_subject(&self, pod: &dyn PodSandbox) -> Result<Subject, Error> {
        let message = pod.to_message();
        let id = identified("pod", &message.name, &message.id)?;
        let domain = self
            .domains
            .name_of(&pod.domain(), &format!("pod {id:?}"))?;
        let pod_key = ObjectKey::pod(domain, id);
        Ok(Subject {
            pod: message,
            pod_key,
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
        let message = container.to_message();
        let id = identified("container", &message.name, &message.id)?;
        let said = container.domain();
        let domain = match said.as_str() {
            "" => subject.pod_key.domain(),
            said => said,
        };
        subject.container = Some((message, ObjectKey::container(domain, id)));
        Ok(subject)
    }

    /// Takes a place in the line of a subject's pod.
    pub(crate) fn line_up(&self, subject: &Subject) -> Place {
        let line = match self.config().serial {
            true => Line::All,
            false => Line::Pod(subject.pod_key.clone()),
        };
        self.lines.enter(line)
    }
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
    /// What it is known by.
    pub(crate) fn key(&self) -> &ObjectKey {
        self.container
            .as_ref()
            .map_or(&self.pod_key, |(_, key)| key)
    }

    /// The container's message, to be changed.
    pub(crate) fn container_mut(&mut self) -> Option<&mut api::Container> {
        self.container.as_mut().map(|(container, _)| container)
    }

    pub(crate) fn container_message(&self) -> Option<api::Container> {
        self.container
            .as_ref()
            .map(|(container, _)| container.clone())
    }

    pub(crate) fn about(&self, event: Event) -> About {
        About {
            event,
            pod: self.pod.id.clone(),
            container: self
                .container
                .as_ref()
                .map(|(_, key)| key.id().to_owned())
                .unwrap_or_default(),
        }
    }

    /// The request of an event that says no more than what it is about; `None` for the others.
    pub(crate) fn plain_request(&self, event: Event) -> Option<Request> {
        Request::from_state_change(api::StateChangeEvent {
            event: event.number(),
            pod: Some(self.pod.clone()),
            container: self.container_message(),
        })
    }

    /// In words, for errors.
    pub(crate) fn in_words(&self) -> String {
        match &self.container {
            Some((container, _)) => format!("container {:?} ({:?})", container.name, container.id),
            None => {
                let api::PodSandbox {
                    namespace,
                    name,
                    id,
                    ..
                } = &self.pod;
                format!("pod {namespace}/{name} ({id:?})")
            }
        }
    }
}
