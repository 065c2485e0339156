//! Requests of the runtime above, brought to the plugins below: the mirror is kept, the request is
//! relayed, and what plugins ask for is the answer.
//!
//! What may not enter: the connection to the runtime above.

use std::sync::Arc;
use std::time::Instant;

use nri_adaptation::api::{Container, PodSandbox};
use nri_adaptation::{
    Ctx, Event, EventError, Nri, PluginId, ReceivedRequest, Request, Response, RuntimeApi as _,
};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::timeout;

use crate::behind::BehindAnswers;
use crate::mirror::{Mirror, Told};
use crate::records::Records;

/// The way down.
#[derive(Debug, Clone)]
pub(crate) struct Down {
    pub(crate) nri: Nri,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) records: Arc<Records>,
    pub(crate) behind: Arc<BehindAnswers>,
    /// Held by a synchronisation until it is told below; events come after it.
    pub(crate) barrier: Arc<RwLock<()>>,
}

/// How the runtime above has things done.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// When the answer is to be there.
    pub(crate) deadline: Option<Instant>,
    /// Who the hub is to the runtime, if that has validated what it merged.
    pub(crate) validated_as: Option<PluginId>,
}

impl Down {
    /// Has plugins handle a request.
    pub(crate) async fn relay(
        &self,
        request: ReceivedRequest,
        terms: Terms,
    ) -> Result<Response, EventError> {
        let open = self.records.begin(&request);
        let mut cx = Ctx::new().with_tag(open.number());
        if let Some(deadline) = terms.deadline {
            cx = cx.with_budget(deadline);
        }
        if terms.validated_as.is_some() {
            cx = cx.without_validation();
        }
        let _passed = self.pass(terms.deadline).await;
        let result = self.tell(&cx, request, terms.validated_as.as_ref()).await;
        open.end(result.as_ref().err());
        result
    }

    /// Waits while what a synchronisation brought is told, for half of the time that there is.
    async fn pass(&self, deadline: Option<Instant>) -> Option<RwLockReadGuard<'_, ()>> {
        let Some(deadline) = deadline else {
            return Some(self.barrier.read().await);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let passed = timeout(left / 2, self.barrier.read()).await;
        if passed.is_err() {
            tracing::warn!("plugins are still told what has changed: a request goes before that");
        }
        passed.ok()
    }

    /// Whether anybody below validates. If not, what is to be validated need not even be decoded.
    fn validates(&self) -> bool {
        let wanted = *self.nri.watch_events().borrow();
        wanted.contains(Event::ValidateContainerAdjustment)
    }

    /// What is to be validated, with the plugins named in place of the hub.
    fn naming_who_is_behind(
        &self,
        request: &ReceivedRequest,
        hub: Option<&PluginId>,
    ) -> Result<Request, EventError> {
        let mut decoded = request.decode().map_err(|error| {
            EventError::Invalid(format!("{} cannot be decoded: {error}", request.event()))
        })?;
        if let (Request::ValidateContainerAdjustment(decoded), Some(hub)) = (&mut decoded, hub)
            && let Some(behind) = self.behind.take(request.container().id())
        {
            behind.expand(hub, decoded);
        }
        Ok(decoded)
    }

    /// Keeps the mirror, and asks the plugins. `hub` is who the hub is, if the runtime above has
    /// validated what it merged.
    async fn tell(
        &self,
        cx: &Ctx,
        request: ReceivedRequest,
        hub: Option<&PluginId>,
    ) -> Result<Response, EventError> {
        let event = request.event();
        if event == Event::ValidateContainerAdjustment && !self.validates() {
            self.behind.take(request.container().id());
            return Ok(Response::empty(event));
        }
        self.note_before(cx, &request).await;
        let relayed = match event {
            Event::ValidateContainerAdjustment => {
                let request = self.naming_who_is_behind(&request, hub)?;
                Box::pin(self.nri.relay(cx, request)).await
            }
            _ => self.nri.relay_received(cx, request.clone()).await,
        };
        let mut relayed = match relayed {
            // A step that comes twice, or late, is none; the runtime above knows what it does.
            Err(EventError::Lifecycle(reason)) => {
                tracing::warn!(%event, reason, "the runtime above tells another story than before");
                return Ok(Response::empty(event));
            }
            other => other?,
        };
        if event == Event::RunPodSandbox {
            self.put_pod(&request, true);
        }
        if let Response::CreateContainer(answer) = &mut relayed.response {
            let id = request.container().id().to_owned();
            let told = Told::of(request, answer.adjust.as_ref());
            self.mirror.put_container(&id, told);
            if relayed.takes_over_args {
                // Whoever is beside the hub, before it or after it, has to see that. What follows
                // is what plugins below see: the mirror has it without.
                let adjust = answer.adjust.get_or_insert_default();
                adjust.args.insert(0, String::new());
            }
            if hub.is_some() {
                self.behind.put(&id, relayed.behind());
            }
        }
        Ok(relayed.response)
    }

    /// The pod of a request; one that cannot be read is not kept.
    fn pod(request: &ReceivedRequest) -> Option<PodSandbox> {
        let pod = request.pod();
        let decoded = pod.decode().inspect_err(|error| {
            let id = pod.id();
            tracing::warn!(%error, id, "the runtime tells of a pod that cannot be read");
        });
        decoded.ok().filter(|pod| !pod.id.is_empty())
    }

    fn put_pod(&self, request: &ReceivedRequest, ready: bool) {
        if let Some(pod) = Self::pod(request) {
            self.mirror.put_pod(pod, ready);
        }
    }

    async fn note_before(&self, cx: &Ctx, request: &ReceivedRequest) {
        match request.event() {
            Event::PostUpdatePodSandbox => {
                if let Some(pod) = Self::pod(request) {
                    self.mirror.update_pod(pod);
                }
            }
            Event::StopPodSandbox => self.put_pod(request, false),
            Event::RemovePodSandbox => {
                let left = self.mirror.remove_pod(request.pod().id());
                let pod = left.first().and_then(|_| Self::pod(request));
                for (container, pod) in left.iter().zip(pod.iter().cycle()) {
                    self.removed(cx, pod, container).await;
                }
            }
            Event::RemoveContainer => self.mirror.remove_container(request.container().id()),
            Event::CreateContainer
            | Event::ValidateContainerAdjustment
            | Event::RunPodSandbox
            | Event::UpdatePodSandbox => {}
            _ => {
                let id = request.container().id();
                if !id.is_empty() {
                    self.mirror
                        .put_container(id, Told::of(request.clone(), None));
                }
            }
        }
    }

    async fn removed(&self, cx: &Ctx, pod: &PodSandbox, container: &Container) {
        if let Err(error) = self.nri.remove_container(cx, pod, container).await {
            tracing::warn!(%error, container = container.id, "a removal that the runtime did not tell of");
        }
    }

    /// Tells of what has changed while the runtime was away: what is gone ends, and who has missed
    /// something is synchronised again.
    pub(crate) async fn reconcile(&self, pods: &[PodSandbox], containers: &[Container]) {
        let put = || self.mirror.replace(pods, containers);
        match self.nri.reconcile(&Ctx::new(), pods, containers, put).await {
            Ok(reconciled) => tracing::info!(
                gone_pods = reconciled.gone_pods.len(),
                gone_containers = reconciled.gone_containers.len(),
                synchronized_again = reconciled.resynchronized.len(),
                "plugins know what the runtime has now"
            ),
            Err(error) => {
                tracing::error!(%error, "plugins are not told what has changed meanwhile");
                self.mirror.replace(pods, containers);
            }
        }
    }
}
