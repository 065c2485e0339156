//! Validators see every mutation, updates included, and one is enough to keep it from being
//! applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use nri_adaptation::config::PluginConfig;
use nri_adaptation::{
    Ctx, Event, EventError as Error, EventMask, HandlerError, Plugin, PluginCtx, RuntimeApi as _,
    api,
};
use nri_proto::transport::Code;
use nri_testkit::{
    Behavior, Describe as _, FakePlugin, Journal, ReceivedCall, TestRuntime, TestRuntimeBuilder,
    When,
};
use tokio::sync::Barrier;

use crate::values::{memory, patient};

/// A validator that is part of the runtime, and accepts no memory limit above 100.
#[derive(Default)]
struct Frugal(Journal<api::ValidateContainerAdjustmentRequest>);

#[async_trait]
impl Plugin for Frugal {
    fn events(&self) -> EventMask {
        Event::ValidateContainerAdjustment.into()
    }

    async fn validate_container_adjustment(
        &self,
        _: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        self.0.push(request.clone());
        let too_much = request.update.iter().find(|update| limit(update) > 100);
        Ok(api::ValidateContainerAdjustmentResponse {
            reject: too_much.is_some(),
            reason: too_much.map_or_else(String::new, |u| format!("{} too much", limit(u))),
        })
    }
}

fn limit(update: &api::ContainerUpdate) -> i64 {
    let linux = update.linux.clone().unwrap_or_default();
    let memory = linux.resources.unwrap_or_default().memory;
    memory.and_then(|m| m.limit).map_or(0, |limit| limit.value)
}

async fn frugal_runtime() -> (TestRuntime, Arc<Frugal>) {
    let frugal = Arc::new(Frugal::default());
    let plugin = Arc::clone(&frugal);
    let builder = patient()
        .config(|config| {
            config.default_validator.enable = true;
            config.default_validator.required_plugins = vec!["10-asks".into()];
        })
        .with(|builder| builder.plugin("90-frugal".parse().unwrap(), plugin));
    (builder.start().await, frugal)
}

/// Has remote plugins of these names judge updates.
fn judging(names: &'static [&str]) -> TestRuntimeBuilder {
    patient().config(move |config| {
        for name in names {
            let mut judges = PluginConfig::default();
            judges.validate_updates = Some(true);
            config.plugins.insert((*name).into(), judges);
        }
    })
}

/// Answers events with an update of a memory limit that is in an annotation of the pod.
fn asks() -> FakePlugin {
    fn answer(seen: &ReceivedCall) -> Option<Behavior> {
        let request = seen.request()?;
        let annotations = &request.pod()?.annotations;
        let limit = annotations.get("limit")?.parse().ok()?;
        let update = vec![memory(annotations.get("of")?, limit)];
        Some(match request.event() {
            Event::CreateContainer => Behavior::answer(api::CreateContainerResponse {
                update,
                ..Default::default()
            }),
            Event::UpdateContainer => Behavior::answer(api::UpdateContainerResponse {
                update,
                ..Default::default()
            }),
            _ => Behavior::answer(api::StopContainerResponse { update }),
        })
    }
    let mut plugin = FakePlugin::new("10-asks");
    for event in [
        Event::CreateContainer,
        Event::UpdateContainer,
        Event::StopContainer,
    ] {
        let as_annotated =
            Behavior::decide(|seen| async move { answer(&seen).unwrap_or_else(Behavior::usual) });
        plugin = plugin.on(event, as_annotated);
    }
    plugin
}

fn asking_for(pod: &api::PodSandbox, of: &str, limit: i64) -> api::PodSandbox {
    let pod = pod.clone().annotated("of", of);
    pod.annotated("limit", limit.to_string())
}

fn is_rejected(error: &Error) {
    let text = error.to_string();
    assert!(
        matches!(error, Error::Rejected { .. })
            && text.contains("90-frugal")
            && text.contains("101 too much"),
        "{text}"
    );
}

#[tokio::test]
async fn updates_in_the_answer_to_any_event_are_judged_before_they_are_applied() {
    let (runtime, frugal) = frugal_runtime().await;
    let _connected = runtime.join(&asks()).await;
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let pod = runtime.run_pod("p").await;
    let c = runtime.try_create(&pod, "c").await.unwrap();
    let other = runtime.try_create(&pod, "other").await.unwrap();
    let (modest, greedy) = (asking_for(&pod, "other", 7), asking_for(&pod, "other", 101));
    let own = asking_for(&pod, "c", 101);

    // A creation.
    is_rejected(&runtime.try_create(&greedy, "new").await.unwrap_err());
    // An update: of another container, and of the container that is updated.
    for greedy in [&greedy, &own] {
        let updated = nri.update_container(&cx, greedy, &c, None).await;
        is_rejected(&updated.unwrap_err());
    }
    assert!(runtime.domain().updates().is_empty());
    nri.update_container(&cx, &modest, &c, None).await.unwrap();
    assert_eq!(runtime.domain().updates(), [memory("other", 7)]);
    let judged = frugal.0.all().pop().unwrap();
    assert_eq!(judged.adjust, None);
    assert_eq!(judged.container.unwrap().id, "c");
    assert_eq!(judged.update, [memory("other", 7)]);
    assert!(judged.owners.unwrap().owners.contains_key("other"));
    assert_eq!(judged.plugins.len(), 3);
    // A stop: the container is stopped all the same.
    let stopped = nri.stop_container(&cx, &greedy, &other).await;
    is_rejected(&stopped.unwrap_err());
    nri.stop_container(&cx, &modest, &c).await.unwrap();
    assert_eq!(runtime.domain().updates().len(), 2);
    // An event that asks for nothing is not judged.
    let count = frugal.0.len();
    nri.update_container(&cx, &pod, &c, None).await.unwrap();
    assert_eq!(frugal.0.len(), count);
}

#[tokio::test]
async fn updates_that_no_event_asked_for_are_judged_one_by_one() {
    let (runtime, frugal) = frugal_runtime().await;
    let synchronized = Behavior::answer(api::SynchronizeResponse {
        update: vec![memory("a", 101), memory("b", 1)],
        more: false,
    });
    let plugin = FakePlugin::new("10-asks").on(When::method("Synchronize"), synchronized);
    let tolerated = runtime.pod("p").annotated("x", "y");
    runtime.domain().put_pod(tolerated.clone());
    for id in ["a", "b"] {
        let container = runtime.container(&tolerated, id);
        runtime.domain().put_container(container);
    }
    let connected = runtime.join(&plugin).await;
    let updates = runtime.domain().update_journal();
    updates.wait_for("the update", |all| !all.is_empty()).await;
    assert_eq!(updates.all(), [memory("b", 1)]);
    let asked = vec![memory("a", 2), memory("b", 101)];
    let failed = connected.update(asked, vec![]).await.unwrap();
    assert_eq!(failed, [memory("b", 101)]);
    assert_eq!(updates.all(), [memory("b", 1), memory("a", 2)]);
    let judged = frugal.0.all().pop().unwrap();
    assert_eq!(judged.container.unwrap().id, "b");
    assert_eq!(judged.pod.unwrap().annotations, tolerated.annotations);
    assert_eq!(judged.update, [memory("b", 101)]);
    assert!(judged.owners.unwrap().owners.contains_key("b"));
}

#[tokio::test]
async fn a_remote_validator_judges_updates_only_if_that_is_configured() {
    let runtime = judging(&["judges"]).start().await;
    let validation = Event::ValidateContainerAdjustment;
    let unasked = FakePlugin::new("80-unasked").subscribe(validation);
    let judges = FakePlugin::new("90-judges")
        .subscribe(validation)
        .on(validation, Behavior::fail(Code::Unknown, "not now"));
    let asking = runtime.join(&asks()).await;
    let _unasked = runtime.join(&unasked).await;
    let judging = runtime.join(&judges).await;
    let pod = runtime.run_pod("p").await;
    let c = runtime.container(&pod, "c");
    runtime.domain().put_container(c.clone());
    let asks = asking_for(&pod, "other", 1);
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let updated = nri.update_container(&cx, &asks, &c, None);
    let error = updated.await.unwrap_err();
    assert!(
        matches!(&error, Error::Rejected { validator, .. } if validator.to_string() == "90-judges"),
        "{error}"
    );
    let failed = asking.update(vec![memory("c", 1)], vec![]).await;
    assert_eq!(failed.unwrap(), [memory("c", 1)]);
    assert!(runtime.domain().updates().is_empty());
    assert_eq!(judges.events().len(), 2);
    unasked.assert_events(&[]);
    // It is gone: nobody judges any more what comes later.
    judging.exit();
    runtime.watcher().wait_for("gone 90-judges").await;
    let failed = asking.update(vec![memory("c", 1)], vec![]).await;
    assert!(failed.unwrap().is_empty());
}

/// Asks for an update from inside a handler once another one does so as well, and judges.
struct Both {
    event: Event,
    together: Arc<Barrier>,
    judged: Arc<AtomicUsize>,
}

impl Both {
    async fn ask(&self, cx: &PluginCtx) -> Result<(), HandlerError> {
        self.together.wait().await;
        let update = vec![memory("c", 1)];
        let failed = cx.runtime().update_containers(update, vec![]).await?;
        assert!(failed.is_empty());
        Ok(())
    }
}

#[async_trait]
impl Plugin for Both {
    fn events(&self) -> EventMask {
        [Event::ValidateContainerAdjustment, self.event]
            .into_iter()
            .collect()
    }

    async fn run_pod_sandbox(
        &self,
        cx: &PluginCtx,
        _: api::RunPodSandboxRequest,
    ) -> Result<(), HandlerError> {
        self.ask(cx).await
    }

    async fn update_pod_sandbox(
        &self,
        cx: &PluginCtx,
        _: api::UpdatePodSandboxRequest,
    ) -> Result<(), HandlerError> {
        self.ask(cx).await
    }

    async fn validate_container_adjustment(
        &self,
        _: &PluginCtx,
        _: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        self.judged.fetch_add(1, Ordering::SeqCst);
        Ok(api::ValidateContainerAdjustmentResponse::default())
    }
}

/// Two validators ask for updates from inside their handlers, and judge each other's.
#[tokio::test]
async fn validators_that_wait_for_each_other_are_not_stuck() {
    let runtime = judging(&["a", "b"]).start().await;
    let pod = runtime.run_pod("p").await;
    runtime.domain().put_container(runtime.container(&pod, "c"));
    let (together, judged) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let both = |event| Both {
        event,
        together: Arc::clone(&together),
        judged: Arc::clone(&judged),
    };
    let _a = runtime
        .join_plugin("10-a", both(Event::RunPodSandbox))
        .await;
    let _b = runtime
        .join_plugin("10-b", both(Event::UpdatePodSandbox))
        .await;
    // Each is in a request of its own at the same time.
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let one = runtime.pod("one");
    let (one, two) = tokio::join!(
        nri.run_pod_sandbox(&cx, &one),
        nri.update_pod_sandbox(&cx, &pod, None, None)
    );
    one.and(two).unwrap();
    assert_eq!(runtime.domain().updates().len(), 2);
    // Each judged what the other one asked for, not its own.
    assert_eq!(judged.load(Ordering::SeqCst), 2);
}
