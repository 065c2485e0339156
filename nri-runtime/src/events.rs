//! What becomes of containers, as it happens, for those who listen: CRI's `GetContainerEvents`.
//! What may not enter: where the events come from.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use crate::cri::ContainerEventResponse;
use crate::error::{Error, Result};

/// The most who listen at a time: one kubelet, and whoever looks on.
const LISTENERS: usize = 16;
/// The most events, and the most bytes of them, that wait for one listener.
const WAITING: usize = 1000;
const WAITING_BYTES: usize = 16 << 20;

/// Who listens, and what they are not told yet.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    listeners: Vec<Listener>,
    /// By the ids of containers that are being started, what is told only once that is.
    starting: BTreeMap<String, Vec<Arc<ContainerEventResponse>>>,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    queue: mpsc::Sender<Arc<ContainerEventResponse>>,
    shared: Arc<Shared>,
}

/// What a listener and its stream both know.
#[derive(Debug, Default)]
struct Shared {
    /// How many bytes wait.
    bytes: AtomicUsize,
    /// Whether more would have had to wait than may.
    fell_behind: AtomicBool,
}

/// The events for one listener, as they come. A listener that is too slow gets those that wait for
/// it, and then an error.
#[derive(Debug)]
pub(crate) struct EventStream {
    queue: mpsc::Receiver<Arc<ContainerEventResponse>>,
    shared: Arc<Shared>,
}

/// Keeps the events of a container back while it is being started.
#[derive(Debug)]
pub(crate) struct Starting<'a> {
    events: &'a Events,
    id: &'a str,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// There are too many who do, or the runtime ends.
    pub(crate) fn listen(&self) -> Result<EventStream> {
        let mut state = self.lock();
        state.listeners.retain(|one| !one.queue.is_closed());
        if state.closed {
            return Err(Error::unavailable("the runtime ends"));
        }
        if state.listeners.len() >= LISTENERS {
            return Err(Error::exhausted(format!(
                "{LISTENERS} clients get the events of containers already"
            )));
        }
        let (queue, waiting) = mpsc::channel(WAITING);
        let shared = Arc::<Shared>::default();
        state.listeners.push(Listener {
            queue,
            shared: shared.clone(),
        });
        Ok(EventStream {
            queue: waiting,
            shared,
        })
    }

    /// Tells those who listen. The event is only made if there is one.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Option<ContainerEventResponse>) {
        let mut state = self.lock();
        state.listeners.retain(|one| !one.queue.is_closed());
        if state.listeners.is_empty() {
            return;
        }
        let Some(event) = event().map(Arc::new) else {
            return;
        };
        match state.starting.get_mut(&event.container_id) {
            Some(later) => later.push(event),
            None => state.send(&event),
        }
    }

    /// Keeps what happens to a container back until the guard is [done](Starting::done) or dropped,
    /// so that nobody hears of its end first.
    pub(crate) fn starting<'a>(&'a self, id: &'a str) -> Starting<'a> {
        self.lock().starting.insert(id.to_owned(), Vec::new());
        Starting { events: self, id }
    }

    /// Ends the streams, once they have given what waits.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.listeners.clear();
    }
}

impl Starting<'_> {
    /// Tells of the start, and of what has happened since.
    pub(crate) fn done(self, event: impl FnOnce() -> Option<ContainerEventResponse>) {
        let mut state = self.events.lock();
        if !state.listeners.is_empty()
            && let Some(event) = event()
        {
            state.send(&Arc::new(event));
        }
        state.flush(self.id);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.events.lock().flush(self.id);
    }
}

impl State {
    /// Sends what was kept back of a container.
    fn flush(&mut self, id: &str) {
        let later = self.starting.remove(id).unwrap_or_default();
        later.iter().for_each(|event| self.send(event));
    }

    fn send(&mut self, event: &Arc<ContainerEventResponse>) {
        let bytes = event.encoded_len();
        self.listeners.retain(|Listener { queue, shared }| {
            let waiting = shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            // An event alone may be as large as it likes.
            let fits = waiting == 0 || waiting.saturating_add(bytes) <= WAITING_BYTES;
            let sent = fits && queue.try_send(event.clone()).is_ok();
            if !sent {
                shared.fell_behind.store(true, Ordering::Relaxed);
            }
            sent
        });
    }
}

impl Stream for EventStream {
    type Item = std::result::Result<ContainerEventResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(cx).map(|event| match event {
            Some(event) => {
                let bytes = event.encoded_len();
                self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Some(Ok(Arc::unwrap_or_clone(event)))
            }
            None => self
                .shared
                .fell_behind
                .swap(false, Ordering::Relaxed)
                .then(|| {
                    let why = "events are lost, since this client does not take them as they come: \
                               list containers, then listen again";
                    Err(Error::exhausted(why).into())
                }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::ContainerEventType;
    use std::future::poll_fn;

    fn event(id: &str, kind: ContainerEventType) -> Option<ContainerEventResponse> {
        Some(ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            ..Default::default()
        })
    }

    async fn next(stream: &mut EventStream) -> Option<std::result::Result<String, String>> {
        let item = poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await;
        item.map(|item| match item {
            Ok(event) => Ok(format!(
                "{} {}",
                event.container_event_type().as_str_name(),
                event.container_id
            )),
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        })
    }

    #[tokio::test]
    async fn each_listener_hears_what_happens_from_then_on() {
        let events = Events::default();
        events.tell(|| unreachable!("nobody listens"));
        let mut one = events.listen().unwrap();
        events.tell(|| event("a", ContainerEventType::ContainerCreatedEvent));
        let mut other = events.listen().unwrap();
        events.tell(|| event("a", ContainerEventType::ContainerDeletedEvent));
        events.close();
        let (created, deleted) = ("CONTAINER_CREATED_EVENT a", "CONTAINER_DELETED_EVENT a");
        assert_eq!(next(&mut one).await, Some(Ok(created.into())));
        assert_eq!(next(&mut one).await, Some(Ok(deleted.into())));
        assert_eq!(next(&mut one).await, None);
        assert_eq!(next(&mut other).await, Some(Ok(deleted.into())));
        assert_eq!(next(&mut other).await, None);
        assert_eq!(
            events.listen().unwrap_err().code(),
            tonic::Code::Unavailable
        );
    }

    #[tokio::test]
    async fn nobody_hears_of_an_end_before_the_start() {
        let events = Events::default();
        let mut stream = events.listen().unwrap();
        let starting = events.starting("a");
        events.tell(|| event("a", ContainerEventType::ContainerStoppedEvent));
        events.tell(|| event("b", ContainerEventType::ContainerDeletedEvent));
        starting.done(|| event("a", ContainerEventType::ContainerStartedEvent));
        // One that is not started after all.
        let starting = events.starting("c");
        events.tell(|| event("c", ContainerEventType::ContainerStoppedEvent));
        drop(starting);
        events.close();
        let mut heard = Vec::new();
        while let Some(event) = next(&mut stream).await {
            heard.push(event.unwrap());
        }
        assert_eq!(
            heard,
            [
                "CONTAINER_DELETED_EVENT b",
                "CONTAINER_STARTED_EVENT a",
                "CONTAINER_STOPPED_EVENT a",
                "CONTAINER_STOPPED_EVENT c",
            ]
        );
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_gets_what_waits_and_an_error() {
        let events = Events::default();
        let (mut slow, mut quick) = (events.listen().unwrap(), events.listen().unwrap());
        for number in 0..WAITING + 5 {
            let id = number.to_string();
            events.tell(|| event(&id, ContainerEventType::ContainerCreatedEvent));
            next(&mut quick).await.unwrap().unwrap();
        }
        for _ in 0..WAITING {
            next(&mut slow).await.unwrap().unwrap();
        }
        let error = next(&mut slow).await.unwrap().unwrap_err();
        assert!(
            error.starts_with("ResourceExhausted: events are lost"),
            "{error}"
        );
        assert_eq!(next(&mut slow).await, None);
    }

    #[tokio::test]
    async fn what_waits_has_a_limit_in_bytes_but_for_one_event() {
        let events = Events::default();
        let mut stream = events.listen().unwrap();
        let large = "x".repeat(WAITING_BYTES);
        for _ in 0..2 {
            events.tell(|| event(&large, ContainerEventType::ContainerCreatedEvent));
            assert!(next(&mut stream).await.unwrap().is_ok());
        }
        events.tell(|| event(&large, ContainerEventType::ContainerCreatedEvent));
        events.tell(|| event("a", ContainerEventType::ContainerCreatedEvent));
        assert!(next(&mut stream).await.unwrap().is_ok());
        assert!(next(&mut stream).await.unwrap().is_err());
    }

    #[test]
    fn so_many_may_listen_and_those_who_left_do_not_count() {
        let events = Events::default();
        let mut streams: Vec<_> = (0..LISTENERS).map(|_| events.listen().unwrap()).collect();
        let error = events.listen().unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        streams.pop();
        events.listen().unwrap();
    }
}
