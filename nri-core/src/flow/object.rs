//! Pods and containers as they are in the messages that show a plugin what exists: encoded once,
//! for all plugins that are shown the same.
//!
//! What may not enter: which plugin is shown what, and messages as a whole.

use std::fmt;

use bytes::Bytes;
use nri_proto::api::{self, ContainerState};
use nri_proto::{Wire as _, Writer};

use crate::encoded::{put_container, put_pod};
use crate::model::{Container, PodSandbox};

/// Of the lists of pods and of containers in an [`api::SynchronizeRequest`].
const PODS: u32 = 1;
const CONTAINERS: u32 = 2;

/// A pod or container, as a field of an encoded [`api::SynchronizeRequest`]. Cheap to clone.
///
/// Objects one behind the other, pods before containers, are such a message.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedObject(Bytes);

impl EncodedObject {
    /// Its bytes, with what says which list it is in and how long it is.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it is called where it cannot be shown.
    pub(super) fn kind_name_and_id(&self) -> (&'static str, String, String) {
        let message = api::SynchronizeRequest::from_wire(&self.0).unwrap_or_default();
        match (
            message.pods.into_iter().next(),
            message.containers.into_iter().next(),
        ) {
            (Some(pod), _) => ("pod", pod.name, pod.id),
            (None, container) => {
                let container = container.unwrap_or_default();
                ("container", container.name, container.id)
            }
        }
    }
}

impl fmt::Debug for EncodedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name, id) = self.kind_name_and_id();
        write!(f, "EncodedObject({kind} {name:?} ({id:?}))")
    }
}

/// Encodes objects, one after the other in the same memory.
///
/// ```
/// use nri_core::api::{self, ContainerState};
/// use nri_core::flow::ObjectEncoder;
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let container = api::Container { id: "c1".into(), ..Default::default() };
/// let mut encoder = ObjectEncoder::new();
/// let pod = encoder.pod(&pod);
/// let container = encoder.container(&container, ContainerState::ContainerRunning);
/// assert!(format!("{pod:?}").contains("p1") && container.bytes().len() > 4);
/// ```
#[derive(Debug)]
pub struct ObjectEncoder(Writer);

impl Default for ObjectEncoder {
    fn default() -> Self {
        Self(Writer::with_room(0))
    }
}

impl ObjectEncoder {
    /// An encoder that has encoded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod as plugins see it: it always has a Linux part, if only an empty one.
    pub fn pod(&mut self, pod: &dyn PodSandbox) -> EncodedObject {
        self.object(PODS, |to| put_pod(&pod.message(), to))
    }

    /// A container as plugins see it, in the state in which it is shown. It always has a Linux
    /// part, if only an empty one.
    pub fn container(&mut self, container: &dyn Container, state: ContainerState) -> EncodedObject {
        self.object(CONTAINERS, |to| {
            put_container(&container.message(), state, to)
        })
    }

    /// A pod just as it is.
    pub(super) fn pod_message(&mut self, pod: &api::PodSandbox) -> EncodedObject {
        self.object(PODS, |to| to.fields_of(pod))
    }

    /// A container just as it is.
    pub(super) fn container_message(&mut self, container: &api::Container) -> EncodedObject {
        self.object(CONTAINERS, |to| to.fields_of(container))
    }

    fn object(&mut self, list: u32, put: impl FnOnce(&mut Writer)) -> EncodedObject {
        self.0.clear();
        self.0.field(list, put);
        EncodedObject(Bytes::copy_from_slice(self.0.bytes()))
    }
}
