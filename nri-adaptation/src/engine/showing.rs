//! Reading what a plugin is shown, when it is its turn: from the lists where they have it whole,
//! from its domain where they have its key. What others were just shown is not read again.
//!
//! No lock of the scheduler's is held while a domain is asked, and for all that a plugin is shown
//! of its pods, or of its containers, a domain has no more time than for listing them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_core::Subject;
use nri_core::api::ContainerState;
use nri_core::flow::{EncodedObject, ObjectEncoder};
use nri_core::lifecycle::ObjectKey;
use nri_core::model::{Container, PodSandbox};
use nri_proto::transport::Code;
use tokio::time::Instant;

use crate::engine::domains::Domains;
use crate::engine::recent::{Recent, ShownAs};
use crate::engine::state::Dispatch;
use crate::plugin::end_reason::ListingError;
use crate::plugin::failure::Failure;
use crate::plugin::inventory::Inventory;

/// The most pods or containers that are read at once: after them others have their turn.
const AT_ONCE: usize = 16;
/// How many bytes they are to have about, encoded: fewer are read at once if they are larger.
const BYTES_AT_ONCE: usize = 128 << 10;

/// Something that a plugin is to be shown.
pub(crate) struct Due {
    key: ObjectKey,
    shown_as: ShownAs,
    /// The object, if it need not be looked up. Few have one, or all.
    object: Option<Box<Object>>,
}

/// A pod or container.
pub(crate) enum Object {
    Pod(Arc<dyn PodSandbox>),
    Container(Arc<dyn Container>),
}

/// What a plugin is shown, as far as it is not read yet.
pub(crate) struct Showing {
    dispatch: Arc<Dispatch>,
    domains: Arc<Domains>,
    recent: Arc<Recent>,
    due: VecDeque<Due>,
    encoder: ObjectEncoder,
    at_once: usize,
    /// Of what a domain was asked last, and how long it may take for the rest of that.
    asked: Option<(ObjectKey, Duration)>,
    /// What was to be shown and is gone, or has begun another life.
    pub(crate) left_out: BTreeSet<ObjectKey>,
    /// Why it was not read to its end.
    pub(crate) failed: Option<ListingError>,
    /// How many pods and containers were read.
    pub(crate) shown: (usize, usize),
}

impl Object {
    pub(crate) fn pod(pod: Arc<dyn PodSandbox>) -> Self {
        Self::Pod(pod)
    }

    pub(crate) fn container(container: Arc<dyn Container>) -> Self {
        Self::Container(container)
    }
}

impl Due {
    pub(crate) fn new(key: ObjectKey, shown_as: ShownAs, object: Option<Object>) -> Self {
        Self {
            key,
            shown_as,
            object: object.map(Box::new),
        }
    }
}

/// Whether both are of one kind in one domain.
fn are_beside(one: &ObjectKey, other: &ObjectKey) -> bool {
    (one.subject(), one.domain()) == (other.subject(), other.domain())
}

impl Showing {
    /// Pods come before containers.
    pub(crate) fn new(
        dispatch: &Arc<Dispatch>,
        domains: &Arc<Domains>,
        recent: Arc<Recent>,
        due: Vec<Due>,
    ) -> Self {
        Self {
            dispatch: Arc::clone(dispatch),
            domains: Arc::clone(domains),
            recent,
            due: due.into(),
            encoder: ObjectEncoder::new(),
            at_once: 1,
            asked: None,
            left_out: BTreeSet::new(),
            failed: None,
            shown: (0, 0),
        }
    }

    /// The next few; none if they have gone, too.
    async fn read_on(&mut self) -> Result<Vec<EncodedObject>, ListingError> {
        let mut objects = self.read_by_others();
        if objects.is_empty() {
            let recent = Arc::clone(&self.recent);
            let _turn = recent.turn.lock().await;
            // Somebody else had it before.
            objects = self.read_by_others();
            if objects.is_empty() {
                objects = self.read().await?;
            }
        }
        Ok(objects)
    }

    /// Of the next few those that were read for another plugin.
    fn read_by_others(&mut self) -> Vec<EncodedObject> {
        let mut objects = Vec::new();
        while objects.len() < self.at_once {
            let next = self.due.front();
            let Some(object) = next.and_then(|due| self.recent.get(&due.key, due.shown_as)) else {
                break;
            };
            objects.extend(self.due.pop_front().and_then(|due| self.taken(due, object)));
        }
        objects
    }

    /// Reads the next few of one kind in one domain.
    async fn read(&mut self) -> Result<Vec<EncodedObject>, ListingError> {
        let Some(first) = self.due.front() else {
            return Ok(Vec::new());
        };
        let is_whole = first.object.is_some();
        let beside =
            |due: &&Due| are_beside(&due.key, &first.key) && due.object.is_some() == is_whole;
        let count = self
            .due
            .iter()
            .take(self.at_once)
            .take_while(beside)
            .count();
        let mut next: Vec<Due> = self.due.drain(..count).collect();
        if self.due.len() < self.due.capacity() / 2 {
            self.due.shrink_to_fit();
        }
        if !is_whole {
            self.look_up(&mut next).await?;
        }
        // Nobody else looks there if nobody else is shown the list: one is here, one with the turn.
        let shared = Arc::strong_count(&self.recent) > 2;
        let mut objects = Vec::new();
        for due in next {
            let object = self.encoded(&due);
            if shared {
                let key = due.key.clone();
                self.recent.keep(key, due.shown_as, object.clone());
            }
            objects.extend(self.taken(due, object));
        }
        Ok(objects)
    }

    /// Asks a domain for what has these keys: not for what has begun another life since it was
    /// listed, of which the plugin is told by events.
    async fn look_up(&mut self, next: &mut [Due]) -> Result<(), ListingError> {
        let ids: Vec<String> = next.iter().map(|due| due.key.id().to_owned()).collect();
        let Some(first) = next.first().map(|due| due.key.clone()) else {
            return Ok(());
        };
        let mut found = self.ask(first, &ids).await?;
        // Whatever begins another life is told of that before its domain has it.
        let goes_on = |due: &Due| {
            let (life, _) = due.shown_as;
            let state = self.dispatch.lock();
            let now = state.scheduler.lifecycles().life(&due.key);
            now.is_none_or(|now| now == life)
        };
        for due in next {
            let object = found.remove(due.key.id()).filter(|_| goes_on(due));
            due.object = object.map(Box::new);
        }
        Ok(())
    }

    /// Asks a domain for what has these ids. Of what it returns, counts what was asked for, once.
    async fn ask(
        &mut self,
        first: ObjectKey,
        ids: &[String],
    ) -> Result<BTreeMap<String, Object>, ListingError> {
        let name = first.domain().to_owned();
        let Some(domain) = self.domains.named(&name) else {
            return Ok(BTreeMap::new());
        };
        let left = match &self.asked {
            Some((before, left)) if are_beside(before, &first) => *left,
            _ => self.domains.time(),
        };
        let begun = Instant::now();
        let found = match first.subject() {
            Subject::Pod => {
                let pods = domain.get_pod_sandboxes(ids);
                let pods = self.domains.within(left, pods).await;
                pods.map(|pods| by_id(pods.into_iter().map(|pod| (pod.id(), Object::Pod(pod)))))
            }
            Subject::Container => {
                let containers = domain.get_containers(ids);
                let containers = self.domains.within(left, containers).await;
                containers.map(|containers| {
                    let containers = containers.into_iter();
                    by_id(containers.map(|it| (it.id(), Object::Container(it))))
                })
            }
        };
        self.asked = Some((first, left.saturating_sub(begun.elapsed())));
        found.map_err(|source| ListingError {
            domain: name,
            source,
        })
    }

    /// A pod or container as it is sent, if it is there, and plugins are shown what is like that.
    fn encoded(&mut self, due: &Due) -> Option<EncodedObject> {
        match due.object.as_deref()? {
            Object::Pod(pod) => {
                pod.ready()?;
                Some(self.encoder.pod(&**pod))
            }
            Object::Container(container) => {
                let (_, state) = due.shown_as;
                let state = state.unwrap_or_else(|| container.status().state);
                let known = state != ContainerState::ContainerUnknown;
                known.then(|| self.encoder.container(&**container, state))
            }
        }
    }

    /// Takes in what was read, or that there is nothing.
    fn taken(&mut self, due: Due, object: Option<EncodedObject>) -> Option<EncodedObject> {
        match (&object, due.key.subject()) {
            (Some(_), Subject::Pod) => self.shown.0 += 1,
            (Some(_), Subject::Container) => self.shown.1 += 1,
            (None, _) => drop(self.left_out.insert(due.key)),
        }
        object
    }

    /// Has as much read at once as is quickly encoded.
    fn keep_pace(&mut self, objects: &[EncodedObject]) {
        let bytes: usize = objects.iter().map(|object| object.bytes().len()).sum();
        self.at_once = match bytes {
            _ if bytes > BYTES_AT_ONCE => self.at_once.div_ceil(2),
            _ if bytes < BYTES_AT_ONCE / 2 => (self.at_once * 2).min(AT_ONCE),
            _ => self.at_once,
        };
    }
}

/// The first of each id.
fn by_id(objects: impl Iterator<Item = (String, Object)>) -> BTreeMap<String, Object> {
    let mut by_id = BTreeMap::new();
    for (id, object) in objects {
        by_id.entry(id).or_insert(object);
    }
    by_id
}

#[async_trait]
impl Inventory for Showing {
    async fn next(&mut self) -> Result<Vec<EncodedObject>, Failure> {
        loop {
            let objects = match self.read_on().await {
                Ok(objects) => objects,
                Err(error) => {
                    let failure = Failure::Status {
                        code: Code::Internal.value(),
                        message: error.to_string(),
                    };
                    self.failed = Some(error);
                    return Err(failure);
                }
            };
            self.keep_pace(&objects);
            if !objects.is_empty() || self.due.is_empty() {
                return Ok(objects);
            }
        }
    }
}
