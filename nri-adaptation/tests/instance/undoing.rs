//! Creations that come to nothing: exactly those that saw them hear of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{Ctx, RuntimeApi};
use nri_core::Error;
use tokio::sync::Notify;

use crate::support::*;

const TIME: Duration = Duration::from_millis(250);
const UNDONE: [&str; 3] = ["CreateContainer c", "StopContainer c", "RemoveContainer c"];

/// Holds its answer to the creation of a container back until it is released.
fn holding(id: &str, release: &Arc<Notify>) -> Fake {
    let release = Arc::clone(release);
    Fake::all_events(id).on("CreateContainer", move |_| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            None
        }
    })
}

#[tokio::test]
async fn the_plugin_whose_lateness_failed_a_creation_hears_of_the_undoing_once_it_has_answered() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.plugin_strikes = 1000;
        let mut strict = PluginConfig::default();
        strict.on_late = Some(FailureAction::Fail);
        config.plugins.insert("late".into(), strict);
    })
    .await;
    let release = Arc::new(Notify::new());
    let first = Fake::all_events("10-first");
    let late = holding("20-late", &release);
    let last = Fake::all_events("30-last");
    let mut peers = Vec::new();
    for fake in [&first, &late, &last] {
        peers.push(fake.join(&world).await);
    }
    let p = world.pod("p").await;
    let created = world
        .nri
        .create_container(&Ctx::new(), &p, &container(&p, "c"))
        .await;
    assert!(matches!(created.unwrap_err(), Error::Late { .. }));
    // The others do not wait for it.
    world.seen(&first, "RemoveContainer c").await;
    assert_eq!(late.events_seen()[1..], ["CreateContainer c"]);
    release.notify_one();
    world.seen(&late, "RemoveContainer c").await;
    assert_eq!(first.events_seen()[1..], UNDONE);
    assert_eq!(late.events_seen()[1..], UNDONE);
    assert_eq!(last.events_seen(), ["RunPodSandbox p"]);
}

#[tokio::test]
async fn a_creation_whose_caller_leaves_is_undone_wherever_it_is() {
    let world = World::started().await;
    let release = Arc::new(Notify::new());
    let first = Fake::all_events("10-first");
    let second = holding("20-second", &release);
    let third = Fake::all_events("30-third");
    let mut peers = Vec::new();
    for fake in [&first, &second, &third] {
        peers.push(fake.join(&world).await);
    }
    let p = world.pod("p").await;
    // In the middle of the chain; by its deadline, and by being dropped.
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    let c = container(&p, "c");
    let created = world.nri.create_container(&cx, &p, &c).await;
    assert!(matches!(created.unwrap_err(), Error::OutOfTime { .. }));
    release.notify_one();
    world.seen(&second, "RemoveContainer c").await;
    assert_eq!(first.events_seen()[1..], UNDONE);
    assert_eq!(second.events_seen()[1..], UNDONE);
    assert_eq!(third.events_seen(), ["RunPodSandbox p"]);

    // Before it began, behind another one of the pod: nobody hears of it.
    let held = tokio::spawn({
        let (nri, p) = (world.nri.clone(), p.clone());
        async move {
            let held = container(&p, "held");
            nri.create_container(&Ctx::new(), &p, &held).await
        }
    });
    world.seen(&second, "CreateContainer held").await;
    let queued = tokio::spawn({
        let (nri, p) = (world.nri.clone(), p.clone());
        async move {
            let queued = container(&p, "queued");
            nri.create_container(&Ctx::new(), &p, &queued).await
        }
    });
    tokio::task::yield_now().await;
    queued.abort();
    assert!(queued.await.unwrap_err().is_cancelled());
    release.notify_one();
    held.await.unwrap().unwrap().commit();
    for fake in [&first, &second, &third] {
        let seen = fake.events_seen();
        assert!(
            !seen.iter().any(|brief| brief.ends_with("queued")),
            "{seen:?}"
        );
    }
    // The id was never used.
    release.notify_one();
    world.container(&p, "queued").await;
}

/// The caller leaves while the domain does what the plugins asked for.
#[tokio::test]
async fn a_creation_whose_caller_leaves_during_its_side_effects_is_undone() {
    let world = World::started().await;
    let response = nri_core::api::CreateContainerResponse {
        update: vec![memory("other", 1)],
        ..Default::default()
    };
    let fake = Fake::all_events("10-asks").on("CreateContainer", move |got| {
        let answer = prost::Message::encode_to_vec(&response);
        async move { (got.brief() == "CreateContainer c").then_some(Ok(answer)) }
    });
    let _peer = fake.join(&world).await;
    let p = world.pod("p").await;
    world.container(&p, "other").await;
    let never: OnUpdate = Arc::new(|_| Box::pin(std::future::pending()));
    *world.domain.on_update.lock().unwrap() = Some(never);
    let creating = tokio::spawn({
        let (nri, p) = (world.nri.clone(), p.clone());
        async move {
            let c = container(&p, "c");
            nri.create_container(&Ctx::new(), &p, &c).await
        }
    });
    let asked = |updates: &Vec<_>| !updates.is_empty();
    world.domain.updates.wait("the update", asked).await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    world.seen(&fake, "RemoveContainer c").await;
    assert_eq!(fake.events_seen()[2..], UNDONE);
}
