//! What a request is about: the pod and the container, read once when the API is entered.

use nri_core::api::ContainerState;
use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, EncodedRequest, EncodedTarget, Error, Event};
use tracing::Span;

use crate::engine::domains::Domains;

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

/// A pod, and the container of it that a request is about, if it is about one: by what they are
/// known, and as plugins are told of them.
#[derive(Debug)]
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
        let message = pod.message();
        let id = identified("pod", &message.name, &message.id)?;
        let domain = domains.name_of(&pod.domain(), &format!("pod {id:?}"))?;
        let pod_key = ObjectKey::pod(domain, id);
        let Some(container) = container else {
            return Ok(Self {
                keys: Keys {
                    pod: pod_key,
                    container: None,
                },
                encoded: EncodedTarget::new(&message, None),
            });
        };
        let of_container = container.message();
        let id = identified("container", &of_container.name, &of_container.id)?;
        let said = container.domain();
        let domain = match said.as_str() {
            "" => pod_key.domain(),
            said => said,
        };
        let key = ObjectKey::container(domain, id);
        let state = state(of_container.state());
        Ok(Self {
            keys: Keys {
                pod: pod_key,
                container: Some(key),
            },
            encoded: EncodedTarget::new(&message, Some((&of_container, state))),
        })
    }
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
