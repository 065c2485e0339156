//! An instance between a runtime above and plugins below: one plugin to the one, the runtime to the
//! others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_adaptation::api::{self, Field};
use nri_adaptation::merge::{Owner, Owners};
use nri_adaptation::{
    Behind, Ctx, Event, EventError as Error, EventMask, HandlerError, Nri, Plugin, PluginCtx,
    PluginId, Request, Response, RuntimeApi as _,
};
use nri_testkit::{Behavior, FakePlugin, Journal, TestRuntime};

use crate::values::{memory, patient};

const HUB: &str = "50-hub";

/// Hands everything on to the instance below.
struct Hub {
    below: Nri,
    behind: Mutex<BTreeMap<String, Behind>>,
}

#[async_trait]
impl Plugin for Hub {
    fn events(&self) -> EventMask {
        EventMask::ALL
    }

    async fn relay(&self, _: &PluginCtx, mut request: Request) -> Result<Response, HandlerError> {
        let container = request.container().map(|container| container.id.clone());
        let container = container.unwrap_or_default();
        let creates = request.event() == Event::CreateContainer;
        if let Request::ValidateContainerAdjustment(request) = &mut request
            && let Some(behind) = self.behind.lock().unwrap().get(&container)
        {
            behind.expand(&HUB.parse().unwrap(), request);
        }
        let cx = Ctx::new().without_validation();
        let relayed = self.below.relay(&cx, request).await?;
        if creates {
            let mut all = self.behind.lock().unwrap();
            all.insert(container, relayed.behind());
        }
        Ok(relayed.response)
    }
}

/// A runtime above, and one below it.
async fn two() -> (TestRuntime, TestRuntime) {
    let below = patient().start().await;
    let hub = Arc::new(Hub {
        below: below.nri().clone(),
        behind: Mutex::default(),
    });
    let above = patient()
        .with(move |builder| builder.plugin(HUB.parse().unwrap(), hub))
        .start()
        .await;
    (above, below)
}

/// Sets a variable, and asks for something of another container in every answer.
fn tuner() -> FakePlugin {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.env.push(api::KeyValue {
        key: "TUNED".into(),
        value: "1".into(),
    });
    let update = vec![memory("other", 1)];
    FakePlugin::new("10-tuner")
        .on(
            nri_testkit::When::from(Event::CreateContainer).of("new"),
            Behavior::answer(api::CreateContainerResponse {
                adjust: Some(adjust),
                update: update.clone(),
                ..Default::default()
            }),
        )
        .on(
            Event::UpdateContainer,
            Behavior::answer(api::UpdateContainerResponse {
                update: vec![memory("new", 2), memory("other", 3)],
                ..Default::default()
            }),
        )
        .on(
            Event::StopContainer,
            Behavior::answer(api::StopContainerResponse { update }),
        )
}

fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_whole_life_reaches_the_plugins_below_and_what_they_ask_for_the_runtime_above() {
    let (above, below) = two().await;
    let tuner = tuner();
    let _connected = below.join(&tuner).await;
    let pod = above.run_pod("p").await;
    above.create(&pod, "other").await;
    let (nri, cx) = (above.nri(), Ctx::new());
    let new = above.container(&pod, "new");

    let creation = nri.create_container(&cx, &pod, &new).await.unwrap();
    assert_eq!(creation.adjustment().unwrap().env[0].key, "TUNED");
    let owner = creation.owners().owner("new", Field::Env, Some("TUNED"));
    assert_eq!(owner, Some(&Owner::Set(id(HUB))));
    creation.commit();
    nri.post_create_container(&cx, &pod, &new).await.unwrap();
    nri.start_container(&cx, &pod, &new).await.unwrap();
    nri.post_start_container(&cx, &pod, &new).await.unwrap();
    let asked = memory("new", 50).linux.unwrap().resources;
    let updated = nri.update_container(&cx, &pod, &new, asked).await.unwrap();
    let memory_now = updated.resources.unwrap().memory.unwrap();
    assert_eq!(memory_now.limit.unwrap().value, 2);
    nri.post_update_container(&cx, &pod, &new).await.unwrap();
    nri.update_pod_sandbox(&cx, &pod, None, None).await.unwrap();
    nri.post_update_pod_sandbox(&cx, &pod).await.unwrap();
    nri.stop_container(&cx, &pod, &new).await.unwrap();
    nri.remove_container(&cx, &pod, &new).await.unwrap();
    above.stop_pod(&pod).await;
    above.remove_pod(&pod).await;

    let updates = [memory("other", 1), memory("other", 3), memory("other", 1)];
    assert_eq!(above.domain().updates(), updates);
    assert!(below.domain().updates().is_empty());
    for heard in [
        "RunPodSandbox p",
        "PostCreateContainer new",
        "StartContainer new",
        "PostStartContainer new",
        "PostUpdateContainer new",
        "UpdatePodSandbox p",
        "PostUpdatePodSandbox p",
        "RemoveContainer new",
        "StopPodSandbox p",
        "RemovePodSandbox p",
    ] {
        tuner.wait_for(heard).await;
    }
}

/// Accepts nothing that has too much memory, and writes down what it was asked.
#[derive(Default)]
struct Judge(Journal<api::ValidateContainerAdjustmentRequest>);

#[async_trait]
impl Plugin for Judge {
    fn events(&self) -> EventMask {
        Event::ValidateContainerAdjustment.into()
    }

    async fn validate_container_adjustment(
        &self,
        _: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        let refused = request
            .container
            .as_ref()
            .is_some_and(|c| c.id == "refused");
        self.0.push(request);
        Ok(api::ValidateContainerAdjustmentResponse {
            reject: refused,
            reason: "not this one".to_owned(),
        })
    }
}

#[tokio::test]
async fn validators_below_judge_once_what_the_runtime_above_has_merged_and_know_the_owners() {
    let judge = Arc::new(Judge::default());
    let built_in = Arc::clone(&judge);
    let below = patient()
        .with(move |builder| builder.plugin(id("90-judge"), built_in))
        .start()
        .await;
    let hub = Arc::new(Hub {
        below: below.nri().clone(),
        behind: Mutex::default(),
    });
    let above = patient()
        .with(move |builder| builder.plugin(id(HUB), hub))
        .start()
        .await;
    let _tuner = below.join(&tuner()).await;
    let mut other = api::ContainerAdjustment::default();
    other.annotations.insert("by".into(), "another".into());
    let outside = FakePlugin::new("05-outside").on(Event::CreateContainer, Behavior::adjust(other));
    let _outside = above.join(&outside).await;
    let pod = above.run_pod("p").await;

    above.create(&pod, "new").await;
    let asked = judge.0.all();
    let [asked] = &asked[..] else {
        panic!("it judges once: {asked:?}");
    };
    let owners = Owners::from_message(asked.owners.as_ref().unwrap());
    let set_by = |field, key| owners.owner("new", field, Some(key)).cloned();
    assert_eq!(
        set_by(Field::Env, "TUNED"),
        Some(Owner::Set(id("10-tuner")))
    );
    assert_eq!(
        set_by(Field::Annotations, "by"),
        Some(Owner::Set(id("05-outside")))
    );
    assert_eq!(
        owners.owner("other", Field::MemLimit, None),
        Some(&Owner::Set(id("10-tuner")))
    );
    let consulted: Vec<String> = asked
        .plugins
        .iter()
        .map(|plugin| format!("{}-{}", plugin.index, plugin.name))
        .collect();
    assert_eq!(consulted, ["05-outside", "10-tuner", "90-judge"]);

    let error = above.try_create(&pod, "refused").await.unwrap_err();
    assert!(error.to_string().contains("not this one"), "{error}");
    assert!(matches!(error, Error::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn a_validation_is_judged_by_all_and_by_those_who_judge_updates_without_an_adjustment() {
    let judge = Arc::new(Judge::default());
    let built_in = Arc::clone(&judge);
    let runtime = patient()
        .with(move |builder| builder.plugin(id("90-judge"), built_in))
        .start()
        .await;
    let remote = FakePlugin::new("80-remote").subscribe(Event::ValidateContainerAdjustment);
    let _connected = runtime.join(&remote).await;
    let pod = runtime.run_pod("p").await;
    let request = |id: &str, adjust| api::ValidateContainerAdjustmentRequest {
        pod: Some(pod.clone()),
        container: Some(runtime.container(&pod, id)),
        adjust,
        update: vec![memory("other", 1)],
        ..Default::default()
    };
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let all = Some(api::ContainerAdjustment::default());
    nri.validate(&cx, request("c", all.clone())).await.unwrap();
    remote.wait_for("ValidateContainerAdjustment c").await;
    // Built-in validators judge updates, remote ones only if they are to.
    nri.validate(&cx, request("d", None)).await.unwrap();
    assert_eq!(judge.0.all().len(), 2);
    remote.assert_events(&["ValidateContainerAdjustment c"]);
    let refused = nri.validate(&cx, request("refused", all)).await;
    assert!(
        matches!(refused, Err(Error::Rejected { .. })),
        "{refused:?}"
    );
    let nothing = api::ValidateContainerAdjustmentRequest::default();
    let refused = nri.validate(&cx, nothing).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn what_failed_above_is_forgotten_below_or_ends_when_it_comes_again() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-plugin").subscribe(EventMask::PODS | EventMask::CONTAINERS);
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.pod("p");
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let run = || {
        Request::RunPodSandbox(api::RunPodSandboxRequest {
            pod: Some(pod.clone()),
        })
    };
    let create = || {
        Request::CreateContainer(api::CreateContainerRequest {
            pod: Some(pod.clone()),
            container: Some(runtime.container(&pod, "c")),
        })
    };
    nri.relay(&cx, run()).await.unwrap();
    nri.relay(&cx, create()).await.unwrap();
    nri.relay(&cx, create()).await.unwrap();
    assert!(nri.forget(&cx, "c").await.unwrap());
    assert!(!nri.forget(&cx, "c").await.unwrap());
    assert!(!nri.forget(&cx, "nobody").await.unwrap());
    nri.relay(&cx, run()).await.unwrap();
    plugin.assert_events(&[
        "RunPodSandbox p",
        "CreateContainer c",
        "StopContainer c",
        "RemoveContainer c",
        "CreateContainer c",
        "StopContainer c",
        "RemoveContainer c",
        "StopPodSandbox p",
        "RemovePodSandbox p",
        "RunPodSandbox p",
    ]);
}
