//! Plugins that only watch: the runtime gets its answer at once, and the handlers run afterwards.
//! What may not enter: what is watched for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nri_core::{
    Configuration, EventMask, HandlerError, Plugin, PluginCtx, Request, Response, SyncPart, api,
    dispatch,
};
use prost::Message;
use tokio::sync::Notify;

use crate::event_table::handled_events;

/// Makes a plugin an observer: every event is acknowledged at once, and handled after those before
/// it, from a queue that is bounded. So a slow observer never holds a pod up, and may take as long
/// as it likes: its context has no deadline.
///
/// * If the queue is full, the event is dropped and [counted](Observed::dropped).
/// * A synchronisation drops what waits, since it brings all that exists, and waits itself. The
///   events that it drops are counted as well.
/// * What a handler answers has no effect, other than that of `configure`: an error or an
///   adjustment is logged as a warning.
/// * At the end all that waits is handled first: at the runtime's good-bye within the time that it
///   gives, and when the runner is stopped, as by SIGTERM, within a second.
///
/// ```
/// use nri_plugin::prelude::*;
/// use nri_plugin::observe;
///
/// let slow = handlers()
///     .on_start_container(|_cx, _pod, container| async move {
///         println!("{} starts", container.name); // or sends it to somewhere that is slow
///         Ok(())
///     })
///     .build();
/// let observer = observe(slow).queue(10_000);
/// let observed = observer.observed();
/// let runner = Runner::builder(observer).identity("90-watch").build()?;
/// // ... and now and then:
/// println!("{} events were dropped, {} wait", observed.dropped(), observed.waiting());
/// # drop(runner);
/// # Ok::<(), nri_plugin::Error>(())
/// ```
pub fn observe(plugin: impl Plugin) -> Observer {
    Observer {
        plugin: Arc::new(plugin),
        observed: Observed {
            queue: Arc::new(Queue {
                waiting: Mutex::default(),
                changed: Notify::new(),
            }),
        },
        most: 4096,
        most_bytes: 64 << 20,
    }
}

/// A plugin that answers at once; see [`observe`].
pub struct Observer {
    plugin: Arc<dyn Plugin>,
    observed: Observed,
    most: usize,
    most_bytes: usize,
}

/// What waits in an observer's queue and what was dropped; cheap to clone.
#[derive(Debug, Clone)]
pub struct Observed {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something came or went, or it was closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// A job is being done.
    busy: bool,
    dropped: u64,
    /// Events are being dropped, and it was said.
    overflows: bool,
    /// There is a task that does the jobs.
    served: bool,
    closed: bool,
}

#[derive(Debug)]
struct Job {
    cx: PluginCtx,
    work: Work,
    bytes: usize,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
enum Work {
    Event(Request),
    Synchronize(Vec<api::PodSandbox>, Vec<api::Container>),
    Part(SyncPart),
}

impl Observer {
    /// How many events may wait; default 4096. Zero drops all of them.
    #[must_use]
    pub fn queue(mut self, events: usize) -> Self {
        self.most = events;
        self
    }

    /// How many bytes the events that wait may have together, as they are on the wire; default
    /// 64 MiB.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// What waits and what was dropped, to keep beside the plugin.
    pub fn observed(&self) -> Observed {
        self.observed.clone()
    }

    /// Queues an event, or drops it.
    fn note(&self, cx: &PluginCtx, request: Request) {
        let bytes = size(request.pod()) + size(request.container());
        let mut waiting = self.observed.queue.lock();
        if waiting.jobs.len() >= self.most || waiting.bytes.saturating_add(bytes) > self.most_bytes
        {
            waiting.dropped += 1;
            if !std::mem::replace(&mut waiting.overflows, true) {
                let (waits, dropped) = (waiting.jobs.len(), waiting.dropped);
                drop(waiting);
                tracing::warn!(
                    waits,
                    dropped,
                    "the observer cannot keep up: events are dropped"
                );
            }
            return;
        }
        self.push(waiting, cx, Work::Event(request), bytes);
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, cx: &PluginCtx, work: Work, bytes: usize) {
        waiting.bytes += bytes;
        waiting.jobs.push_back(Job {
            cx: cx.clone().with_deadline(None),
            work,
            bytes,
        });
        // Here, since here is a tokio runtime.
        if !std::mem::replace(&mut waiting.served, true) {
            let (plugin, queue) = (Arc::clone(&self.plugin), Arc::clone(&self.observed.queue));
            tokio::spawn(async move { queue.serve(plugin).await });
        }
        drop(waiting);
        self.observed.queue.changed.notify_waiters();
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("events", &self.plugin.events())
            .field("dropped", &self.observed.dropped())
            .field("waiting", &self.observed.waiting())
            .finish_non_exhaustive()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.observed.queue.lock().closed = true;
        self.observed.queue.changed.notify_waiters();
    }
}

impl Observed {
    /// How many events were dropped since the start, since the queue was full or a synchronisation
    /// came.
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }

    /// How many events wait to be handled.
    pub fn waiting(&self) -> usize {
        self.queue.lock().jobs.len()
    }

    /// Waits until all that has come was handled.
    pub async fn caught_up(&self) {
        let is_idle =
            |waiting: &mut Waiting| (waiting.jobs.is_empty() && !waiting.busy).then_some(());
        self.queue.wait_for(is_idle).await;
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for<T>(&self, mut is_there: impl FnMut(&mut Waiting) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on nothing is missed.
            changed.as_mut().enable();
            if let Some(there) = is_there(&mut self.lock()) {
                return there;
            }
            changed.await;
        }
    }

    /// Does one job after the other, until there are no more to come.
    async fn serve(&self, plugin: Arc<dyn Plugin>) {
        loop {
            let next = self.wait_for(|waiting| match waiting.jobs.pop_front() {
                Some(job) => {
                    waiting.bytes -= job.bytes;
                    waiting.busy = true;
                    waiting.overflows &= !waiting.jobs.is_empty();
                    Some(Some(job))
                }
                None => waiting.closed.then_some(None),
            });
            let Some(job) = next.await else {
                return;
            };
            self.changed.notify_waiters();
            // In a task of its own, so that a handler that panics takes nothing with it.
            let done = tokio::spawn(job.run(Arc::clone(&plugin))).await;
            if let Err(error) = done {
                tracing::warn!(%error, "a handler of an observer panicked");
            }
            self.lock().busy = false;
            self.changed.notify_waiters();
        }
    }
}

impl Job {
    async fn run(self, plugin: Arc<dyn Plugin>) {
        let Self { cx, work, .. } = self;
        match work {
            Work::Event(request) => {
                let (event, subject) = (request.event(), request.subject());
                match dispatch(&*plugin, &cx, request).await {
                    Ok(response) if response == Response::empty(event) => {}
                    Ok(_) => {
                        tracing::warn!(%event, subject, "an observer's answer has no effect");
                    }
                    Err(error) => tracing::warn!(%event, subject, %error, "a handler failed"),
                }
            }
            Work::Synchronize(pods, containers) => {
                synchronized(plugin.synchronize(&cx, pods, containers).await);
            }
            Work::Part(part) => synchronized(plugin.synchronize_part(&cx, part).await),
        }
    }
}

fn synchronized(answer: Result<Vec<api::ContainerUpdate>, HandlerError>) {
    match answer {
        Ok(updates) if updates.is_empty() => {}
        Ok(_) => tracing::warn!("an observer's updates have no effect"),
        Err(error) => tracing::warn!(%error, "the handler of Synchronize failed"),
    }
}

fn size(message: Option<&impl Message>) -> usize {
    message.map_or(0, Message::encoded_len)
}

/// Makes a method of every event note it.
macro_rules! define {
    ($($kind:ident $event:ident $setter:ident $handler:ident($request:ident: $($part:ident)+) -> $answer:ty;)*) => {
        #[async_trait]
        impl Plugin for Observer {
            fn events(&self) -> EventMask {
                self.plugin.events()
            }

            fn failure_policy(&self) -> Option<api::FailurePolicy> {
                self.plugin.failure_policy()
            }

            async fn configure(
                &self,
                cx: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                self.plugin.configure(cx, configuration).await
            }

            async fn synchronize(
                &self,
                cx: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                let mut waiting = self.observed.queue.lock();
                let events = waiting.jobs.iter().filter(|job| matches!(job.work, Work::Event(_)));
                waiting.dropped += events.count() as u64;
                waiting.jobs.clear();
                waiting.bytes = 0;
                // It is in addition to the bounds of the queue; its own are the runner's.
                self.push(waiting, cx, Work::Synchronize(pods, containers), 0);
                Ok(Vec::new())
            }

            fn takes_parts(&self) -> bool {
                self.plugin.takes_parts()
            }

            /// One part waits at most: what comes in parts need not be in memory at once.
            async fn synchronize_part(
                &self,
                cx: &PluginCtx,
                part: SyncPart,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                let queue = &self.observed.queue;
                if part.first {
                    let mut waiting = queue.lock();
                    waiting.jobs.clear();
                    waiting.bytes = 0;
                }
                let is_part = |job: &Job| matches!(job.work, Work::Part(_));
                let none_waits =
                    |waiting: &mut Waiting| (!waiting.jobs.iter().any(is_part)).then_some(());
                queue.wait_for(none_waits).await;
                self.push(queue.lock(), cx, Work::Part(part), 0);
                Ok(Vec::new())
            }

            async fn shutdown(&self, cx: &PluginCtx) {
                self.observed.caught_up().await;
                self.plugin.shutdown(cx).await;
            }

            async fn finish(&self) {
                self.observed.caught_up().await;
                self.plugin.finish().await;
            }

            $(
                async fn $handler(
                    &self,
                    cx: &PluginCtx,
                    request: api::$request,
                ) -> Result<observer_answer!($event $answer), HandlerError> {
                    self.note(cx, Request::$event(request));
                    Ok(Default::default())
                }
            )*
        }
    };
}

macro_rules! observer_answer {
    (ValidateContainerAdjustment $answer:ty) => {
        api::ValidateContainerAdjustmentResponse
    };
    ($event:ident $answer:ty) => {
        $answer
    };
}

handled_events!(define);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured::captured;
    use crate::handlers::handlers;
    use crate::link::RuntimeLink;
    use nri_core::RuntimeInfo;
    use std::time::Duration;
    use tokio::sync::{Semaphore, mpsc};

    fn cx() -> PluginCtx {
        let link = RuntimeLink::new(Duration::from_secs(1));
        PluginCtx::new(Arc::new(RuntimeInfo::default()), Arc::new(link))
    }

    fn run(name: &str) -> api::RunPodSandboxRequest {
        let pod = api::PodSandbox {
            name: name.into(),
            ..Default::default()
        };
        api::RunPodSandboxRequest { pod: Some(pod) }
    }

    /// An observer that tells what it handles, one thing per permit.
    fn gated() -> (Observer, Arc<Semaphore>, mpsc::UnboundedReceiver<String>) {
        let gate = Arc::new(Semaphore::new(0));
        let (tell, told) = mpsc::unbounded_channel();
        let (pass, say) = (Arc::clone(&gate), tell.clone());
        let plugin = handlers()
            .on_run_pod_sandbox(move |cx, pod| {
                let (pass, say) = (Arc::clone(&pass), say.clone());
                async move {
                    assert_eq!(cx.deadline(), None);
                    pass.acquire().await?.forget();
                    say.send(pod.name.clone())?;
                    match pod.name.as_str() {
                        "panics" => panic!("a defect"),
                        "fails" => Err("no".into()),
                        _ => Ok(()),
                    }
                }
            })
            .on_synchronize(move |_, pods, _| {
                let tell = tell.clone();
                async move {
                    tell.send(format!("{} pods", pods.len()))?;
                    Ok(())
                }
            })
            .build();
        (observe(plugin), gate, told)
    }

    /// Law: an answer never waits for a handler, and what there is no room for is counted.
    #[tokio::test]
    async fn events_are_answered_at_once_and_handled_in_order() {
        let (observer, gate, mut told) = gated();
        let (observer, observed) = {
            let observer = observer.queue(3);
            let observed = observer.observed();
            (observer, observed)
        };
        let log = captured(async {
            observer.run_pod_sandbox(&cx(), run("a")).await.unwrap();
            // It is taken out of the queue.
            observed
                .queue
                .wait_for(|waiting| waiting.busy.then_some(()))
                .await;
            for name in ["panics", "fails", "b", "too many", "and more"] {
                observer.run_pod_sandbox(&cx(), run(name)).await.unwrap();
            }
        });
        assert_eq!(log.await.matches("events are dropped").count(), 1);
        assert_eq!((observed.dropped(), observed.waiting()), (2, 3));
        gate.add_permits(4);
        observed.caught_up().await;
        let mut handled = Vec::new();
        while let Ok(name) = told.try_recv() {
            handled.push(name);
        }
        assert_eq!(handled, ["a", "panics", "fails", "b"]);
        assert_eq!((observed.dropped(), observed.waiting()), (2, 0));
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let (observer, ..) = gated();
        let observer = observer.queue_bytes(100);
        let large = run(&"x".repeat(60));
        for _ in 0..3 {
            observer
                .run_pod_sandbox(&cx(), large.clone())
                .await
                .unwrap();
        }
        assert_eq!(observer.observed().dropped(), 2);
    }

    /// Law: a synchronisation is never dropped, and what it makes out of date is.
    #[tokio::test]
    async fn a_synchronisation_replaces_what_waits() {
        let (observer, gate, mut told) = gated();
        let observer = observer.queue(1);
        let observed = observer.observed();
        observer.run_pod_sandbox(&cx(), run("a")).await.unwrap();
        observed
            .queue
            .wait_for(|waiting| waiting.busy.then_some(()))
            .await;
        observer.run_pod_sandbox(&cx(), run("old")).await.unwrap();
        let pods = vec![api::PodSandbox::default(); 2];
        observer.synchronize(&cx(), pods, vec![]).await.unwrap();
        gate.add_permits(9);
        observer.shutdown(&cx()).await;
        assert_eq!(told.recv().await.unwrap(), "a");
        assert_eq!(told.recv().await.unwrap(), "2 pods");
        assert!(told.try_recv().is_err());
        assert_eq!(observed.dropped(), 1);
    }

    /// Law: without the observer nothing of it stays.
    #[tokio::test]
    async fn its_task_ends_with_it() {
        let (observer, gate, mut told) = gated();
        gate.add_permits(1);
        observer.run_pod_sandbox(&cx(), run("a")).await.unwrap();
        drop(observer);
        assert_eq!(told.recv().await.unwrap(), "a");
        assert_eq!(told.recv().await, None);
    }
}
