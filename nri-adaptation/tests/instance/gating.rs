//! Plugins that hang or die at any step, and what that means for the request: nothing, by default;
//! a refusal where a validator or a requirement says so, and of that request, not of the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{Ctx, RuntimeApi};
use nri_core::validate::required::REQUIRED_PLUGINS_ANNOTATION;
use nri_core::{Error, Event, EventMask, api};
use nri_proto::transport::{Connection, Status};
use tokio::sync::Notify;

use crate::support::*;

const TIME: Duration = Duration::from_millis(250);

/// Closes its connection when it is asked about an event.
fn dying(id: &str, event: &str) -> (Fake, Arc<std::sync::Mutex<Option<Connection>>>) {
    let connection: Arc<std::sync::Mutex<Option<Connection>>> = Arc::default();
    let mine = Arc::clone(&connection);
    // One that judges is heard or rejects, whatever it hangs in.
    let judges = event == Event::ValidateContainerAdjustment.name();
    let mut fake = Fake::all_events(id);
    if judges {
        fake.events |= EventMask::from(Event::ValidateContainerAdjustment).bits();
    }
    let fake = fake.on(event, move |_| {
        let mine = mine.lock().unwrap().clone();
        async move {
            if let Some(connection) = mine {
                connection.close();
            }
            std::future::pending().await
        }
    });
    (fake, connection)
}

/// The whole life of a pod and a container, with what each step came to, without the reasons.
async fn life(world: &World) -> Vec<(&'static str, bool)> {
    let (cx, p) = (Ctx::new(), pod("p"));
    let c = container(&p, "c");
    let nri = &world.nri;
    let mut steps = vec![("run", nri.run_pod_sandbox(&cx, &p).await.is_ok())];
    let created = nri.create_container(&cx, &p, &c).await;
    steps.push(("create", created.is_ok()));
    if let Ok(creation) = created {
        creation.commit();
    }
    steps.push(("start", nri.start_container(&cx, &p, &c).await.is_ok()));
    let updated = nri.update_container(&cx, &p, &c, None).await;
    steps.push(("update", updated.is_ok()));
    steps.push(("stop", nri.stop_container(&cx, &p, &c).await.is_ok()));
    steps.push(("remove", nri.remove_container(&cx, &p, &c).await.is_ok()));
    steps.push(("remove pod", nri.remove_pod_sandbox(&cx, &p).await.is_ok()));
    steps
}

#[tokio::test]
async fn a_plugin_that_dies_or_hangs_at_any_step_delays_nobody_past_its_deadline() {
    let events = [
        Event::RunPodSandbox,
        Event::CreateContainer,
        Event::StartContainer,
        Event::UpdateContainer,
        Event::StopContainer,
        Event::RemoveContainer,
        Event::RemovePodSandbox,
        Event::ValidateContainerAdjustment,
    ];
    for event in events {
        for dies in [true, false] {
            let world = World::started_with(|config| config.plugin_request_timeout = TIME).await;
            let before = Fake::all_events("10-before");
            let after = Fake::all_events("30-after");
            let (bad, connection) = dying("20-bad", event.name());
            let mut peers = Vec::new();
            for fake in [&before, &bad, &after] {
                peers.push(fake.join(&world).await);
            }
            if dies {
                *connection.lock().unwrap() = Some(peers[1].connection.clone());
            }
            let begun = Instant::now();
            let steps = life(&world).await;
            let took = begun.elapsed();
            assert!(took < TEST_TIMEOUT, "{event}: {took:?}");
            for (step, ok) in steps {
                // A validator that is not heard does not accept; then there is nothing to be
                // started.
                let rejected = event == Event::ValidateContainerAdjustment;
                let expected = !(rejected && ["create", "start"].contains(&step));
                assert_eq!(ok, expected, "{step}, when {event} goes wrong");
            }
            assert_eq!(before.events_seen(), after.events_seen());
        }
    }
}

async fn requiring() -> World {
    World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.plugin_strikes = 1000;
        config.default_validator.enable = true;
        config.default_validator.required_plugins = vec!["must".into()];
        config.default_validator.tolerate_missing_plugins_annotation = "may-miss".into();
        let mut lenient = PluginConfig::default();
        lenient.on_error = Some(FailureAction::Skip);
        config.plugins.insert("must".into(), lenient);
    })
    .await
}

fn names_the_missing(error: &Error) {
    let text = error.to_string();
    assert!(
        text.contains("default-validator") && text.contains("\"must\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_required_plugin_that_was_late_or_failed_refuses_that_very_pod_and_container() {
    let world = requiring().await;
    let cx = Ctx::new();
    // It is not there.
    let error = world.nri.run_pod_sandbox(&cx, &pod("absent")).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { pod, .. } if pod == "pod default/absent-name (\"absent\")"),
        "{error}"
    );
    names_the_missing(&error);

    let release = Arc::new(Notify::new());
    let hold = Arc::clone(&release);
    let must = Fake::all_events("10-must").acting(Arc::new(move |got: Got| {
        let hold = Arc::clone(&hold);
        Box::pin(async move {
            match got.brief().as_str() {
                "RunPodSandbox late" | "CreateContainer late" => {
                    hold.notified().await;
                    None
                }
                "RunPodSandbox failed" | "CreateContainer failed" => {
                    Some(Err(Status::unknown("no")))
                }
                _ => None,
            }
        })
    }));
    let _peer = must.join(&world).await;
    let fine = world.pod("fine").await;
    for id in ["failed", "late"] {
        let error = world.nri.run_pod_sandbox(&cx, &pod(id)).await.unwrap_err();
        names_the_missing(&error);
        let answer = || (id == "late").then(|| release.notify_one());
        answer();
        settled(&world).await;
        world.pod(&format!("after-{id}")).await;
        let refused = world
            .nri
            .create_container(&cx, &fine, &container(&fine, id))
            .await;
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
        names_the_missing(&error);
        answer();
        settled(&world).await;
        world.container(&fine, &format!("c-after-{id}")).await;
    }
}

/// Waits until no plugin owes an answer.
async fn settled(world: &World) {
    use nri_adaptation::PluginState;
    while world.nri.plugins()[1].state != PluginState::Ready {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pod_says_itself_what_it_requires_and_what_it_can_do_without() {
    let world = requiring().await;
    let cx = Ctx::new();
    let annotated = |id: &str, key: &str, value: &str| -> api::PodSandbox {
        let mut pod = pod(id);
        pod.annotations.insert(key.into(), value.into());
        pod
    };
    // What a plugin's own pod needs: else no required plugin could ever come in a pod.
    for (n, key) in ["may-miss", "may-miss/pod", "may-miss/container.any"]
        .into_iter()
        .enumerate()
    {
        let tolerant = annotated(&format!("tolerant{n}"), key, "true");
        world.nri.run_pod_sandbox(&cx, &tolerant).await.unwrap();
    }
    let nonsense = annotated("nonsense", "may-miss", "perhaps");
    let error = world.nri.run_pod_sandbox(&cx, &nonsense).await.unwrap_err();
    assert!(error.to_string().contains("perhaps"), "{error}");

    let _peer = Fake::all_events("10-must").join(&world).await;
    let more = annotated("more", REQUIRED_PLUGINS_ANNOTATION, "[other]");
    let error = world.nri.run_pod_sandbox(&cx, &more).await.unwrap_err();
    assert!(error.to_string().contains("\"other\""), "{error}");
    let of_container = format!("{REQUIRED_PLUGINS_ANNOTATION}/container.c-name");
    let partly = annotated("partly", &of_container, "[other]");
    world.nri.run_pod_sandbox(&cx, &partly).await.unwrap();
    let refused = world
        .nri
        .create_container(&cx, &partly, &container(&partly, "c"))
        .await;
    assert!(refused.unwrap_err().to_string().contains("\"other\""));
    // There is nothing to require where the validator is off.
    let world = World::started().await;
    world.nri.run_pod_sandbox(&cx, &more).await.unwrap();
}
