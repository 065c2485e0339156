//! What plugins ask for other containers, in answers and on their own account.

use std::sync::Arc;

use nri_adaptation::config::SideUpdateFailure;
use nri_adaptation::{CallOutcome, Ctx, DomainError, RuntimeApi};
use nri_core::{Error, api};
use prost::Message as _;

use crate::support::*;

fn evict(id: &str, reason: &str) -> api::ContainerEviction {
    api::ContainerEviction {
        container_id: id.into(),
        reason: reason.into(),
    }
}

/// Answers the creation of `new` with an update and an eviction of others.
fn greedy(id: &str, update: api::ContainerUpdate) -> Fake {
    Fake::all_events(id).on("CreateContainer", move |got| {
        let update = update.clone();
        async move {
            (got.brief() == "CreateContainer new").then(|| {
                let response = api::CreateContainerResponse {
                    update: vec![update],
                    evict: vec![evict("victim", "needed the room")],
                    ..Default::default()
                };
                Ok(response.encode_to_vec())
            })
        }
    })
}

#[tokio::test]
async fn evictions_come_before_updates_and_before_the_creation_returns() {
    let world = World::started().await;
    let _peer = greedy("10-greedy", memory("other", 42)).join(&world).await;
    let pod = world.pod("p").await;
    for id in ["victim", "other"] {
        world.container(&pod, id).await;
    }
    world.container(&pod, "new").await;
    assert_eq!(world.domain.updates.all(), [memory("other", 42)]);
    let evictions = world.domain.evictions.all();
    assert_eq!(evictions.len(), 1);
    assert!(
        evictions[0].reason.contains("10-greedy")
            && evictions[0].reason.contains("needed the room")
    );
    for notice in [
        r#"evicted victim for [(PluginId(10-greedy), "needed the room")]: Ok(())"#,
        "updated other for [PluginId(10-greedy)]: Ok(())",
    ] {
        world.observer.wait_for(notice).await;
    }
}

fn refuse_updates(world: &World) {
    let refuse: OnUpdate =
        Arc::new(|_| Box::pin(async { Err(DomainError::Failed("out of memory".into())) }));
    *world.domain.on_update.lock().unwrap() = Some(refuse);
}

#[tokio::test]
async fn a_failed_side_update_can_fail_the_creation_which_is_undone() {
    let world =
        World::started_with(|config| config.side_update_failure = SideUpdateFailure::Fail).await;
    let fake = greedy("10-greedy", memory("other", 42));
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    for id in ["victim", "other"] {
        world.container(&pod, id).await;
    }
    refuse_updates(&world);
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "new"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::SideEffect { .. }), "{text}");
    for part in ["10-greedy", "update", "other", "out of memory"] {
        assert!(text.contains(part), "{text}");
    }
    world.seen(&fake, "RemoveContainer new").await;
}

#[tokio::test]
async fn a_failed_side_update_keeps_nothing_from_starting_unless_it_is_to_and_is_always_told() {
    for lenient in [true, false] {
        let world = World::started_with(|config| {
            if !lenient {
                config.side_update_failure = SideUpdateFailure::Fail;
            }
        })
        .await;
        let mut update = memory("other", 42);
        update.ignore_failure = !lenient;
        let _peer = greedy("10-greedy", update).join(&world).await;
        let pod = world.pod("p").await;
        for id in ["victim", "other"] {
            world.container(&pod, id).await;
        }
        refuse_updates(&world);
        world.container(&pod, "new").await;
        assert_eq!(world.domain.updates.all().len(), 1);
        let told = world.observer.wait_for("updated other").await;
        assert!(told.last().unwrap().contains("out of memory"), "{told:?}");
    }
}

#[tokio::test]
async fn a_container_that_is_gone_is_no_failure() {
    let world = World::started().await;
    let _peer = greedy("10-greedy", memory("gone", 42)).join(&world).await;
    let pod = world.pod("p").await;
    world.container(&pod, "new").await;
    assert!(world.domain.updates.all().is_empty());
}

/// The same for the empty id, which nobody has: in every answer that may ask for something.
/// koordinator's plugin answers each UpdateContainer so.
#[tokio::test]
async fn an_update_or_eviction_without_an_id_is_told_and_no_failure() {
    // Merged answers leave out what says nothing at all.
    for (update, merged) in [(memory("", 42), 1), (api::ContainerUpdate::default(), 0)] {
        let world = World::started_with(|config| {
            config.side_update_failure = SideUpdateFailure::Fail;
        })
        .await;
        let asked = update.clone();
        let act: Act = Arc::new(move |got| {
            let update = vec![asked.clone()];
            let evict = vec![evict("", "gone")];
            let answer = match got.method.as_str() {
                "CreateContainer" => Some(
                    api::CreateContainerResponse {
                        update,
                        evict,
                        ..Default::default()
                    }
                    .encode_to_vec(),
                ),
                "UpdateContainer" => {
                    Some(api::UpdateContainerResponse { update, evict }.encode_to_vec())
                }
                "StopContainer" => Some(api::StopContainerResponse { update }.encode_to_vec()),
                "Synchronize" => Some(
                    api::SynchronizeResponse {
                        update,
                        more: false,
                    }
                    .encode_to_vec(),
                ),
                _ => None,
            };
            Box::pin(async move { answer.map(Ok) })
        });
        let fake = Fake::all_events("10-koordinates").acting(act);
        let peer = fake.join(&world).await;
        let told = |updates: usize, evictions: usize| {
            let world = &world;
            async move {
                world.observer.wait_for_count("updated  for", updates).await;
                world
                    .observer
                    .wait_for_count("evicted  for", evictions)
                    .await;
            }
        };
        told(1, 0).await;
        let cx = Ctx::new();
        let pod = world.pod("p").await;
        let c = world.container(&pod, "c").await;
        told(1 + merged, 1).await;
        let changes = memory("c", 7).linux.unwrap().resources;
        world
            .nri
            .update_container(&cx, &pod, &c, changes)
            .await
            .unwrap();
        told(1 + 2 * merged, 2).await;
        world.nri.stop_container(&cx, &pod, &c).await.unwrap();
        told(1 + 3 * merged, 2).await;
        // Unsolicited, it is in the list of what failed, like any that nobody knows.
        let failed = peer.update(vec![update.clone()], vec![]).await.unwrap();
        assert_eq!(failed, [update]);
        told(2 + 3 * merged, 2).await;
        let notices = world.observer.notices.all();
        let mut told = notices.iter().filter(|n| n.starts_with("updated"));
        assert!(told.all(|n| n.contains("NotFound")), "{notices:?}");
        world.nri.stop().await;
    }
}

#[tokio::test]
async fn an_update_returns_what_to_apply_instead() {
    let world = World::started().await;
    let fake = Fake::all_events("10-tunes").on("UpdateContainer", |_| async {
        let update = vec![memory("other", 1), memory("c", 2)];
        let response = api::UpdateContainerResponse {
            update,
            evict: vec![evict("victim", "")],
        };
        Some(Ok(response.encode_to_vec()))
    });
    let pod = world.pod("p").await;
    for id in ["c", "other", "victim"] {
        world.container(&pod, id).await;
    }
    let cx = Ctx::new();
    let asked = memory("c", 7).linux.unwrap().resources;
    let untouched = world
        .nri
        .update_container(&cx, &pod, &container(&pod, "c"), asked.clone())
        .await
        .unwrap();
    assert_eq!(untouched.resources, None);
    let _peer = fake.join(&world).await;
    let result = world
        .nri
        .update_container(&cx, &pod, &container(&pod, "c"), asked)
        .await
        .unwrap();
    let limit = result
        .resources
        .unwrap()
        .memory
        .unwrap()
        .limit
        .unwrap()
        .value;
    assert_eq!(limit, 2);
    assert_eq!(result.outcomes.len(), 1);
    assert_eq!(world.domain.updates.all(), [memory("other", 1)]);
    assert_eq!(world.domain.evictions.all()[0].container_id, "victim");
}

#[tokio::test]
async fn what_a_stop_frees_is_given_to_others() {
    let world = World::started().await;
    let fake = Fake::all_events("10-balances").on("StopContainer", |_| async {
        Some(Ok(api::StopContainerResponse {
            update: vec![memory("other", 9)],
        }
        .encode_to_vec()))
    });
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    for id in ["c", "d", "other"] {
        world.container(&pod, id).await;
    }
    world
        .nri
        .stop_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    assert_eq!(world.domain.updates.all().len(), 1);
    world.nri.notify_container_exit(&pod, &container(&pod, "d"));
    world
        .domain
        .updates
        .wait("the second update", |updates| updates.len() == 2)
        .await;
}

#[tokio::test]
async fn unsolicited_updates_are_applied_and_failures_listed() {
    let world = World::started().await;
    let fake = Fake::all_events("10-plugin");
    let peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    for id in ["good", "bad", "ignored", "victim"] {
        world.container(&pod, id).await;
    }
    let refuse: OnUpdate = Arc::new(|update: api::ContainerUpdate| {
        Box::pin(async move {
            match update.container_id.as_str() {
                "good" => Ok(()),
                _ => Err(DomainError::Failed("no".into())),
            }
        })
    });
    *world.domain.on_update.lock().unwrap() = Some(refuse);
    let mut ignored = memory("ignored", 1);
    ignored.ignore_failure = true;
    let updates = vec![
        memory("good", 1),
        memory("bad", 2),
        ignored,
        memory("unknown", 3),
        memory("", 4),
        api::ContainerUpdate {
            container_id: "good".into(),
            ..Default::default()
        },
    ];
    let failed = peer
        .update(
            updates,
            vec![evict("victim", "why not"), evict("unknown", "")],
        )
        .await
        .unwrap();
    let failed: Vec<String> = failed
        .into_iter()
        .map(|update| update.container_id)
        .collect();
    assert_eq!(failed, ["bad", "unknown", ""]);
    let evicted: Vec<String> = world
        .domain
        .evictions
        .all()
        .into_iter()
        .map(|e| e.container_id)
        .collect();
    assert_eq!(evicted, ["victim"]);
    assert_eq!(world.domain.updates.all().len(), 3);
}

#[tokio::test]
async fn updates_asked_for_when_joining_are_applied() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    world.container(&pod, "c").await;
    let fake = Fake::all_events("10-tunes").on("Synchronize", |_| async {
        let update = vec![memory("c", 5), memory("unknown", 6)];
        Some(Ok(api::SynchronizeResponse {
            update,
            more: false,
        }
        .encode_to_vec()))
    });
    let _peer = fake.join(&world).await;
    world
        .domain
        .updates
        .wait("the update", |updates| *updates == [memory("c", 5)])
        .await;
}

#[tokio::test]
async fn a_plugin_may_wait_for_its_updates_inside_a_handler() {
    let world = World::started().await;
    let slot: Arc<std::sync::Mutex<Option<nri_proto::transport::RuntimeClient>>> = Arc::default();
    let client = Arc::clone(&slot);
    let fake = Fake::all_events("10-eager").on("StartContainer", move |_| {
        let client = client.lock().unwrap().clone().unwrap();
        async move {
            let request = api::UpdateContainersRequest {
                update: vec![memory("c", 1)],
                evict: vec![],
            };
            client
                .update_containers(&request, Default::default())
                .await
                .unwrap();
            None
        }
    });
    let peer = fake.join(&world).await;
    *slot.lock().unwrap() = Some(peer.runtime.clone());
    let pod = world.pod("p").await;
    let c = world.container(&pod, "c").await;
    world
        .nri
        .start_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap();
    assert_eq!(world.domain.updates.all(), [memory("c", 1)]);
}

/// A domain that updates and stops through the API that calls it, in the same pod and in another
/// one.
#[tokio::test]
async fn a_domain_may_call_back_into_the_api() {
    let world = World::started().await;
    let fake = greedy("10-greedy", memory("other", 42));
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    let (victim, other) = (
        world.container(&pod, "victim").await,
        world.container(&pod, "other").await,
    );
    let (nri, in_pod) = (world.nri.clone(), pod.clone());
    let on_update: OnUpdate = Arc::new(move |update: api::ContainerUpdate| {
        let (nri, pod, other) = (nri.clone(), in_pod.clone(), other.clone());
        Box::pin(async move {
            let cx = Ctx::new();
            let resources = update.linux.and_then(|linux| linux.resources);
            let result = nri.update_container(&cx, &pod, &other, resources).await;
            result
                .map(|_| ())
                .map_err(|error| DomainError::Failed(error.to_string()))
        })
    });
    *world.domain.on_update.lock().unwrap() = Some(on_update);
    let (nri, in_pod) = (world.nri.clone(), pod.clone());
    let on_evict: OnEvict = Arc::new(move |_| {
        let (nri, pod, victim) = (nri.clone(), in_pod.clone(), victim.clone());
        Box::pin(async move {
            let result = nri.stop_container(&Ctx::new(), &pod, &victim).await;
            result
                .map(drop)
                .map_err(|error| DomainError::Failed(error.to_string()))
        })
    });
    *world.domain.on_evict.lock().unwrap() = Some(on_evict);
    let create = world.container(&pod, "new");
    tokio::time::timeout(TEST_TIMEOUT, create)
        .await
        .expect("no dead-lock");
    assert_eq!(
        fake.events_seen()[3..],
        [
            "CreateContainer new",
            "StopContainer victim",
            "UpdateContainer other"
        ]
    );
}

/// A plugin asks for updates inside the creation of a container and waits for them: of another
/// container, and of this one, which the runtime does not have yet.
#[tokio::test]
async fn a_plugin_may_wait_for_its_updates_inside_a_creation() {
    for serial in [false, true] {
        let world = World::started_with(|config| config.serial = serial).await;
        let way = Way::default();
        let back = way.clone();
        let fake = Fake::all_events("10-eager").on("CreateContainer", move |got| {
            let back = back.clone();
            async move {
                if got.brief() == "CreateContainer new" {
                    let updates = vec![memory("other", 1), memory("new", 2)];
                    let failed = back.update(updates).await.unwrap();
                    assert_eq!(failed, [memory("new", 2)]);
                }
                None
            }
        });
        let peer = fake.join(&world).await;
        way.lead_to(&peer);
        let pod = world.pod("p").await;
        world.container(&pod, "other").await;
        world.container(&pod, "new").await;
        assert_eq!(world.domain.updates.all(), [memory("other", 1)]);
        let calls = world.observer.calls.all();
        let answered = |(.., outcome): &(String, _, _)| *outcome == CallOutcome::Answered;
        assert!(calls.iter().all(answered), "{calls:?}");
    }
}

/// A domain that updates through the API that calls it.
fn update_through_the_api(world: &World, pod: &api::PodSandbox, other: &api::Container) {
    let (nri, pod, other) = (world.nri.clone(), pod.clone(), other.clone());
    let on_update: OnUpdate = Arc::new(move |update: api::ContainerUpdate| {
        let (nri, pod, other) = (nri.clone(), pod.clone(), other.clone());
        Box::pin(async move {
            let resources = update.linux.and_then(|linux| linux.resources);
            let result = nri
                .update_container(&Ctx::new(), &pod, &other, resources)
                .await;
            result
                .map(|_| ())
                .map_err(|error| DomainError::Failed(error.to_string()))
        })
    });
    *world.domain.on_update.lock().unwrap() = Some(on_update);
}

#[tokio::test]
async fn a_domain_may_call_back_from_any_update_even_if_requests_go_one_by_one() {
    let world = World::started_with(|config| config.serial = true).await;
    let p = pod("p");
    let other = container(&p, "other");
    world
        .domain
        .pods
        .lock()
        .unwrap()
        .insert("p".into(), p.clone());
    world.list(&other);
    update_through_the_api(&world, &p, &other);
    // When it is synchronised, in the answer to a creation, to a stop, and on its own account.
    let fake = Fake::all_events("10-asks").acting(Arc::new(|got: Got| {
        Box::pin(async move {
            let update = vec![memory("other", 1)];
            let answer = match got.method.as_str() {
                "Synchronize" => api::SynchronizeResponse {
                    update,
                    more: false,
                }
                .encode_to_vec(),
                "CreateContainer" => api::CreateContainerResponse {
                    update,
                    ..Default::default()
                }
                .encode_to_vec(),
                "StopContainer" => api::StopContainerResponse { update }.encode_to_vec(),
                _ => return None,
            };
            Some(Ok(answer))
        })
    }));
    let peer = fake.join(&world).await;
    world.seen(&fake, "UpdateContainer other").await;
    let new = container(&p, "new");
    let creation = world
        .nri
        .create_container(&Ctx::new(), &p, &new)
        .await
        .unwrap();
    creation.commit();
    world
        .nri
        .stop_container(&Ctx::new(), &p, &new)
        .await
        .unwrap();
    assert!(
        peer.update(vec![memory("other", 1)], vec![])
            .await
            .unwrap()
            .is_empty()
    );
    let update = "UpdateContainer other";
    assert_eq!(
        fake.events_seen(),
        [
            update,
            "CreateContainer new",
            update,
            "StopContainer new",
            update,
            update
        ]
    );
}
