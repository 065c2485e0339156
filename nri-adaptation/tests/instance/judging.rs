//! Validators see every mutation, updates included, and one is enough to keep it from being
//! applied.

use std::sync::Arc;

use async_trait::async_trait;
use nri_adaptation::config::PluginConfig;
use nri_adaptation::{Ctx, RuntimeApi};
use nri_core::{Error, Event, EventMask, HandlerError, Plugin, PluginCtx, api};
use nri_proto::transport::Status;
use prost::Message as _;

use crate::support::*;

/// A validator that is part of the runtime, and accepts no memory limit above 100.
#[derive(Default)]
struct Frugal(Log<api::ValidateContainerAdjustmentRequest>);

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

async fn frugal_world() -> (World, Arc<Frugal>) {
    let frugal = Arc::new(Frugal::default());
    let plugin = Arc::clone(&frugal);
    let world = World::with(
        |config| {
            config.default_validator.enable = true;
            config.default_validator.required_plugins = vec!["10-asks".into()];
        },
        |builder| builder.plugin("90-frugal".parse().unwrap(), plugin),
    );
    world.nri.start().await.unwrap();
    (world, frugal)
}

/// Answers events with an update of a memory limit that is in an annotation of the pod.
fn asks() -> Fake {
    Fake::all_events("10-asks").acting(Arc::new(|got: Got| {
        Box::pin(async move {
            let wanted = |request: &nri_core::Request| {
                let pod = request.pod().unwrap();
                let limit = pod.annotations.get("limit")?.parse().ok()?;
                Some(vec![memory(pod.annotations.get("of")?, limit)])
            };
            match got.method.as_str() {
                "CreateContainer" => {
                    let update = wanted(&got.request())?;
                    let response = api::CreateContainerResponse {
                        update,
                        ..Default::default()
                    };
                    Some(Ok(response.encode_to_vec()))
                }
                "UpdateContainer" => {
                    let update = wanted(&got.request())?;
                    let response = api::UpdateContainerResponse {
                        update,
                        ..Default::default()
                    };
                    Some(Ok(response.encode_to_vec()))
                }
                "StopContainer" => {
                    let update = wanted(&got.request())?;
                    Some(Ok(api::StopContainerResponse { update }.encode_to_vec()))
                }
                _ => None,
            }
        })
    }))
}

fn asking_for(pod: &api::PodSandbox, of: &str, limit: i64) -> api::PodSandbox {
    let mut pod = pod.clone();
    pod.annotations.insert("of".into(), of.into());
    pod.annotations.insert("limit".into(), limit.to_string());
    pod
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
    let (world, frugal) = frugal_world().await;
    let _peer = asks().join(&world).await;
    let pod = world.pod("p").await;
    let (c, other) = (
        world.container(&pod, "c").await,
        world.container(&pod, "other").await,
    );
    let cx = Ctx::new();
    let (modest, greedy) = (asking_for(&pod, "other", 7), asking_for(&pod, "other", 101));
    let own = asking_for(&pod, "c", 101);

    // A creation.
    let error = world
        .nri
        .create_container(&cx, &greedy, &container(&pod, "new"))
        .await
        .unwrap_err();
    is_rejected(&error);
    // An update: of another container, and of the container that is updated.
    for greedy in [&greedy, &own] {
        let updated = world.nri.update_container(&cx, greedy, &c, None).await;
        is_rejected(&updated.unwrap_err());
    }
    assert!(world.domain.updates.all().is_empty());
    world
        .nri
        .update_container(&cx, &modest, &c, None)
        .await
        .unwrap();
    assert_eq!(world.domain.updates.all(), [memory("other", 7)]);
    let judged = frugal.0.all().pop().unwrap();
    assert_eq!(judged.adjust, None);
    assert_eq!(judged.container.unwrap().id, "c");
    assert_eq!(judged.update, [memory("other", 7)]);
    assert!(judged.owners.unwrap().owners.contains_key("other"));
    assert_eq!(judged.plugins.len(), 3);
    // A stop: the container is stopped all the same.
    let stopped = world.nri.stop_container(&cx, &greedy, &other).await;
    is_rejected(&stopped.unwrap_err());
    world.nri.stop_container(&cx, &modest, &c).await.unwrap();
    assert_eq!(world.domain.updates.all().len(), 2);
    // An event that asks for nothing is not judged.
    let count = frugal.0.all().len();
    world
        .nri
        .update_container(&cx, &pod, &c, None)
        .await
        .unwrap();
    assert_eq!(frugal.0.all().len(), count);
}

#[tokio::test]
async fn updates_that_no_event_asked_for_are_judged_one_by_one() {
    let (world, frugal) = frugal_world().await;
    let synchronized = api::SynchronizeResponse {
        update: vec![memory("a", 101), memory("b", 1)],
        more: false,
    };
    let fake = Fake::all_events("10-asks").on("Synchronize", move |_| {
        let answer = synchronized.encode_to_vec();
        async move { Some(Ok(answer)) }
    });
    let mut tolerated = pod("p");
    tolerated.annotations.insert("x".into(), "y".into());
    world
        .domain
        .pods
        .lock()
        .unwrap()
        .insert("p".into(), tolerated.clone());
    for id in ["a", "b"] {
        world.list(&container(&tolerated, id));
    }
    let peer = fake.join(&world).await;
    world
        .domain
        .updates
        .wait("the update", |updates| !updates.is_empty())
        .await;
    assert_eq!(world.domain.updates.all(), [memory("b", 1)]);
    let failed = peer
        .update(vec![memory("a", 2), memory("b", 101)], vec![])
        .await
        .unwrap();
    assert_eq!(failed, [memory("b", 101)]);
    assert_eq!(world.domain.updates.all(), [memory("b", 1), memory("a", 2)]);
    let judged = frugal.0.all().pop().unwrap();
    assert_eq!(judged.container.unwrap().id, "b");
    assert_eq!(judged.pod.unwrap().annotations, tolerated.annotations);
    assert_eq!(judged.update, [memory("b", 101)]);
    assert!(judged.owners.unwrap().owners.contains_key("b"));
}

#[tokio::test]
async fn a_remote_validator_judges_updates_only_if_that_is_configured() {
    let world = World::started_with(|config| {
        let mut judges = PluginConfig::default();
        judges.validate_updates = Some(true);
        config.plugins.insert("judges".into(), judges);
    })
    .await;
    let refuse = |_| async { Some(Err(Status::unknown("not now"))) };
    let validate = "ValidateContainerAdjustment";
    let events = [Event::ValidateContainerAdjustment];
    let unasked = Fake::new("80-unasked", &events);
    let judges = Fake::new("90-judges", &events).on(validate, refuse);
    let asks = asks();
    let mut peers = Vec::new();
    for fake in [&asks, &unasked, &judges] {
        peers.push(fake.join(&world).await);
    }
    let pod = world.pod("p").await;
    let c = container(&pod, "c");
    world.list(&c);
    let cx = Ctx::new();
    let asking = asking_for(&pod, "other", 1);
    let updated = world.nri.update_container(&cx, &asking, &c, None).await;
    let error = updated.unwrap_err();
    assert!(
        matches!(&error, Error::Rejected { validator, .. } if validator.to_string() == "90-judges"),
        "{error}"
    );
    let failed = peers[0].update(vec![memory("c", 1)], vec![]).await;
    assert_eq!(failed.unwrap(), [memory("c", 1)]);
    assert!(world.domain.updates.all().is_empty());
    assert_eq!(judges.events_seen().len(), 2);
    assert!(unasked.events_seen().is_empty());
    // It is gone: nobody judges any more what comes later.
    drop(peers.pop());
    world.observer.wait_for("gone 90-judges").await;
    let failed = peers[0].update(vec![memory("c", 1)], vec![]).await;
    assert!(failed.unwrap().is_empty());
}

/// Two validators ask for updates from inside their handlers, and judge each other's.
#[tokio::test]
async fn validators_that_wait_for_each_other_are_not_stuck() {
    let world = World::started_with(|config| {
        for name in ["a", "b"] {
            let mut judges = PluginConfig::default();
            judges.validate_updates = Some(true);
            config.plugins.insert(name.into(), judges);
        }
    })
    .await;
    let pod = world.pod("p").await;
    let c = container(&pod, "c");
    world.list(&c);
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let mut peers = Vec::new();
    let mut ways = Vec::new();
    for (id, event) in [
        ("10-a", Event::RunPodSandbox),
        ("10-b", Event::UpdatePodSandbox),
    ] {
        let way = Way::default();
        let (both, back) = (Arc::clone(&both), way.clone());
        let fake = Fake::new(id, &[Event::ValidateContainerAdjustment, event]).on(
            event.name(),
            move |_| {
                let (both, back) = (Arc::clone(&both), back.clone());
                async move {
                    both.wait().await;
                    assert!(back.update(vec![memory("c", 1)]).await.unwrap().is_empty());
                    None
                }
            },
        );
        let peer = fake.join(&world).await;
        way.lead_to(&peer);
        peers.push(peer);
        ways.push((way, fake));
    }
    // Each is in a request of its own at the same time.
    let one = crate::support::pod("one");
    let cx = Ctx::new();
    let (one, two) = tokio::join!(
        world.nri.run_pod_sandbox(&cx, &one),
        world.nri.update_pod_sandbox(&cx, &pod, None, None)
    );
    one.and(two).unwrap();
    assert_eq!(world.domain.updates.all().len(), 2);
    for (_, fake) in &ways {
        let judged = fake
            .events_seen()
            .iter()
            .filter(|brief| brief.starts_with("Validate"))
            .count();
        assert_eq!(judged, 1);
    }
}
