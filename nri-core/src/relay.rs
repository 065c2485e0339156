//! The one table of relayed events: which request and response messages an event has and which
//! handler takes it. What treats all events alike is generated from it: encoding and decoding here,
//! calling a plugin beside the trait of plugins.

use nri_proto::items::{Limits, Tally, TooMany};
use nri_proto::{Method as _, Wire as _, api, rpc};
use prost::DecodeError;

use crate::Event;

/// Calls `$then!` with a row per event: how it answers, what it is about (a `pod`, or a `container`
/// of one), its form before v0.12 (`old` for a `StateChange`, `own` if it had a method of its own),
/// its name, its handler, its messages.
macro_rules! relayed_events {
    ($then:ident) => {
        $then! {
            tells pod old RunPodSandbox run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
            tells pod old StopPodSandbox stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
            tells pod old RemovePodSandbox remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
            asks container own CreateContainer create_container(CreateContainerRequest) -> CreateContainerResponse;
            tells container old PostCreateContainer post_create_container(PostCreateContainerRequest) -> PostCreateContainerResponse;
            tells container old StartContainer start_container(StartContainerRequest) -> StartContainerResponse;
            tells container old PostStartContainer post_start_container(PostStartContainerRequest) -> PostStartContainerResponse;
            asks container own UpdateContainer update_container(UpdateContainerRequest) -> UpdateContainerResponse;
            tells container old PostUpdateContainer post_update_container(PostUpdateContainerRequest) -> PostUpdateContainerResponse;
            asks container own StopContainer stop_container(StopContainerRequest) -> StopContainerResponse;
            tells container old RemoveContainer remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
            tells pod own UpdatePodSandbox update_pod_sandbox(UpdatePodSandboxRequest) -> UpdatePodSandboxResponse;
            tells pod old PostUpdatePodSandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest) -> PostUpdatePodSandboxResponse;
            judges container own ValidateContainerAdjustment validate_container_adjustment(ValidateContainerAdjustmentRequest) -> ValidateContainerAdjustmentResponse;
        }
    };
}

macro_rules! container_of {
    (pod $request:ident) => {{
        let _ = $request;
        None
    }};
    (container $request:ident) => {
        $request.container.as_ref()
    };
}

macro_rules! subject_of {
    (pod $request:ident) => {
        ($request.pod, None)
    };
    (container $request:ident) => {
        ($request.pod, $request.container)
    };
}

macro_rules! is_old {
    (own) => {
        false
    };
    (old) => {
        true
    };
}

macro_rules! of_state_change {
    (own $about:ident $event:ident($request:ident) $change:ident) => {
        None
    };
    (old pod $event:ident($request:ident) $change:ident) => {
        Some(Self::$event(api::$request { pod: $change.pod }))
    };
    (old container $event:ident($request:ident) $change:ident) => {
        Some(Self::$event(api::$request {
            pod: $change.pod,
            container: $change.container,
        }))
    };
}

macro_rules! define_messages {
    ($($kind:ident $about:ident $form:ident $event:ident $handler:ident($request:ident) -> $response:ident;)*) => {
        /// The request of any event.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Request { $($event(api::$request),)* }

        /// The response to any event.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Response { $($event(api::$response),)* }

        impl Event {
            /// Whether plugins built before v0.12 get the event through the old `StateChange`
            /// method.
            pub fn has_state_change_form(self) -> bool {
                match self { $(Event::$event => is_old!($form),)* }
            }
        }

        impl Request {
            /// The event that is asked about.
            pub fn event(&self) -> Event {
                match self { $(Request::$event(_) => Event::$event,)* }
            }

            /// Bare name of the method that carries the request.
            pub fn method(&self) -> &'static str {
                match self { $(Request::$event(_) => rpc::plugin::$event::NAME,)* }
            }

            /// The message on the wire.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Request::$event(request) => request.to_wire(),)* }
            }

            /// A request about nothing.
            pub(crate) fn empty(event: Event) -> Self {
                match event { $(Event::$event => Request::$event(api::$request::default()),)* }
            }

            /// The request of `event` from the wire.
            ///
            /// # Errors
            /// The bytes are no such message.
            pub fn decode(event: Event, bytes: &[u8]) -> Result<Self, DecodeError> {
                match event { $(Event::$event => api::$request::from_wire(bytes).map(Request::$event),)* }
            }

            /// The pod that the request is about.
            pub fn pod(&self) -> Option<&api::PodSandbox> {
                match self { $(Request::$event(request) => request.pod.as_ref(),)* }
            }

            /// The container that the request is about; `None` for pod events.
            pub fn container(&self) -> Option<&api::Container> {
                match self { $(Request::$event(request) => container_of!($about request),)* }
            }

            /// The pod and the container that the request is about, to be taken apart.
            pub fn into_pod_and_container(self) -> (Option<api::PodSandbox>, Option<api::Container>) {
                match self { $(Request::$event(request) => subject_of!($about request),)* }
            }

            /// The request that an old `StateChange` stands for; `None` for events that have no
            /// such form, unknown ones included.
            pub fn from_state_change(change: api::StateChangeEvent) -> Option<Self> {
                match Event::from_number(change.event)? {
                    $(Event::$event => of_state_change!($form $about $event($request) change),)*
                }
            }
        }

        impl Response {
            /// The event that was answered.
            pub fn event(&self) -> Event {
                match self { $(Response::$event(_) => Event::$event,)* }
            }

            /// What a plugin without a handler answers.
            pub fn empty(event: Event) -> Self {
                match event { $(Event::$event => Response::$event(api::$response::default()),)* }
            }

            /// The message on the wire.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Response::$event(response) => response.to_wire(),)* }
            }

            /// The response to `event` from the wire.
            ///
            /// # Errors
            /// The bytes are no such message.
            pub fn decode(event: Event, bytes: &[u8]) -> Result<Self, DecodeError> {
                match event { $(Event::$event => api::$response::from_wire(bytes).map(Response::$event),)* }
            }

            /// Counts the items of the response to `event` in its bytes, before it is decoded.
            ///
            /// # Errors
            /// There are more than the limits allow.
            pub fn check(event: Event, bytes: &[u8], limits: &Limits) -> Result<Tally, TooMany> {
                match event { $(Event::$event => limits.check::<api::$response>(bytes),)* }
            }
        }
    };
}

pub(crate) use relayed_events;

relayed_events!(define_messages);

impl Request {
    /// The pod or container that the request is about, in words for messages.
    pub fn subject(&self) -> String {
        match (self.container(), self.pod()) {
            (Some(container), _) => format!("container {:?} ({:?})", container.name, container.id),
            (None, Some(pod)) => format!("pod {}/{} ({:?})", pod.namespace, pod.name, pod.id),
            (None, None) => "nothing".to_owned(),
        }
    }

    /// The old form of the nine notification events, for plugins built before v0.12; `None` for the
    /// others.
    pub fn to_state_change(&self) -> Option<api::StateChangeEvent> {
        let event = self.event();
        event
            .has_state_change_form()
            .then(|| api::StateChangeEvent {
                event: event.number(),
                pod: self.pod().cloned(),
                container: self.container().cloned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_decodes_what_it_encodes_and_names_its_method() {
        for event in Event::ALL {
            let request = Request::decode(event, &[]).unwrap();
            assert_eq!(request.event(), event);
            assert_eq!(request.method(), event.name());
            assert_eq!(Request::decode(event, &request.encode()).unwrap(), request);
            let response = Response::empty(event);
            assert_eq!(response.event(), event);
            assert_eq!(request.into_pod_and_container(), (None, None));
            assert_eq!(
                Response::decode(event, &response.encode()).unwrap(),
                response
            );
        }
    }

    #[test]
    fn nine_events_have_an_old_form_that_leads_back_to_them() {
        let mut old = 0;
        for event in Event::ALL {
            let request = Request::decode(event, &[]).unwrap();
            if let Some(change) = request.to_state_change() {
                old += 1;
                assert_eq!(Request::from_state_change(change), Some(request));
            }
        }
        assert_eq!(old, 9);
    }
}
