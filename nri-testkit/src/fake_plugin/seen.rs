//! What a plugin was asked.

use std::fmt;

use bytes::Bytes;
use nri_core::{Event, Request, api};

/// One request that a plugin got. It displays as method and subject: `CreateContainer c1`,
/// `RunPodSandbox p1`, `Configure`.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedCall {
    method: String,
    payload: Bytes,
}

impl ReceivedCall {
    pub(super) fn new(method: &str, payload: Bytes) -> Self {
        Self {
            method: method.to_owned(),
            payload,
        }
    }

    /// Bare name of the method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The message as it came.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The event, if its own method was called.
    pub fn event(&self) -> Option<Event> {
        self.method
            .parse()
            .ok()
            .filter(|event: &Event| event.name() == self.method)
    }

    /// The request of an event, in its own form or the old one (`StateChange`). `None` for other
    /// methods, and for what is no such message.
    pub fn request(&self) -> Option<Request> {
        match self.event() {
            Some(event) => Request::decode(event, &self.payload).ok(),
            None => Request::from_state_change(self.message("StateChange")?),
        }
    }

    /// What the plugin was shown when it joined, if this was that (one part of it).
    pub fn synchronization(&self) -> Option<api::SynchronizeRequest> {
        self.message("Synchronize")
    }

    /// What the plugin was told at first, if this was that.
    pub fn configuration(&self) -> Option<api::ConfigureRequest> {
        self.message("Configure")
    }

    fn message<M: prost::Message + Default>(&self, method: &str) -> Option<M> {
        (self.method == method)
            .then(|| M::decode(&*self.payload).ok())
            .flatten()
    }

    /// The id of the container that it is about, else of the pod.
    pub fn id(&self) -> Option<String> {
        let request = self.request()?;
        let container = request.container().map(|container| container.id.clone());
        container.or_else(|| request.pod().map(|pod| pod.id.clone()))
    }

    /// Whether it belongs to a connection's beginning and end and is no event.
    pub fn is_handshake(&self) -> bool {
        matches!(&*self.method, "Configure" | "Synchronize" | "Shutdown")
    }
}

impl fmt::Display for ReceivedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        match self.request() {
            Some(request) if self.event().is_none() => write!(f, " {}", request.event())?,
            _ => {}
        }
        match self.id() {
            Some(id) => write!(f, " {id}"),
            None => Ok(()),
        }
    }
}

/// As it displays: payloads are too long to be of help.
impl fmt::Debug for ReceivedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
