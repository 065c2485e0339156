//! Relaying: gates, errors, undoing, old plugins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nri_adaptation::{CallOutcome, Ctx, RuntimeApi};
use nri_core::{Error, Event, EventMask, Request, api};
use nri_proto::transport::{Code, Status};
use prost::Message as _;
use tokio::sync::Notify;

use crate::support::*;

/// The whole life of a pod with a container.
async fn whole_life(world: &World) {
    let (nri, cx) = (&world.nri, Ctx::new());
    let pod = world.pod("p").await;
    nri.update_pod_sandbox(&cx, &pod, None, None).await.unwrap();
    nri.post_update_pod_sandbox(&cx, &pod).await.unwrap();
    let c = world.container(&pod, "c").await;
    nri.post_create_container(&cx, &pod, &c).await.unwrap();
    nri.start_container(&cx, &pod, &c).await.unwrap();
    nri.post_start_container(&cx, &pod, &c).await.unwrap();
    nri.update_container(&cx, &pod, &c, None).await.unwrap();
    nri.post_update_container(&cx, &pod, &c).await.unwrap();
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
    nri.stop_pod_sandbox(&cx, &pod).await.unwrap();
    nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
    nri.remove_pod_sandbox(&cx, &pod).await.unwrap();
}

const WHOLE_LIFE: [&str; 13] = [
    "RunPodSandbox p",
    "UpdatePodSandbox p",
    "PostUpdatePodSandbox p",
    "CreateContainer c",
    "PostCreateContainer c",
    "StartContainer c",
    "PostStartContainer c",
    "UpdateContainer c",
    "PostUpdateContainer c",
    "StopContainer c",
    "RemoveContainer c",
    "StopPodSandbox p",
    "RemovePodSandbox p",
];

#[tokio::test]
async fn every_event_reaches_every_subscriber_once_and_in_order() {
    let world = World::started().await;
    let fakes: Vec<Fake> = ["20-b", "10-z", "20-a", "99-last"]
        .iter()
        .map(|id| Fake::all_events(id))
        .collect();
    let mut peers = Vec::new();
    for fake in &fakes {
        peers.push(fake.join(&world).await);
    }
    let narrow = Fake::new("50-narrow", &[Event::StartContainer]);
    let _narrow = narrow.join(&world).await;
    whole_life(&world).await;
    for fake in &fakes {
        assert_eq!(fake.events_seen(), WHOLE_LIFE);
    }
    assert_eq!(narrow.events_seen(), ["StartContainer c"]);
    let order: Vec<String> = world
        .observer
        .calls
        .all()
        .into_iter()
        .filter(|(_, event, _)| *event == Event::StartContainer)
        .map(|(plugin, ..)| plugin)
        .collect();
    assert_eq!(order, ["10-z", "20-a", "20-b", "50-narrow", "99-last"]);
}

#[tokio::test]
async fn adjustments_are_merged_and_owned() {
    let world = World::started().await;
    let one = Fake::all_events("10-one").on("CreateContainer", |_| async {
        Some(Ok(annotate("a", "1")))
    });
    let two = Fake::all_events("20-two").on("CreateContainer", |got| async move {
        let request = api::CreateContainerRequest::decode(&*got.payload).unwrap();
        assert_eq!(request.container.unwrap().annotations["a"], "1");
        Some(Ok(annotate("b", "2")))
    });
    let (_one, _two) = (one.join(&world).await, two.join(&world).await);
    let pod = world.pod("p").await;
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    let annotations = &creation.adjustment().unwrap().annotations;
    assert_eq!(
        (annotations["a"].as_str(), annotations["b"].as_str()),
        ("1", "2")
    );
    assert_eq!(creation.outcomes().len(), 2);
    creation.commit();

    let rival = Fake::all_events("30-rival").on("CreateContainer", |_| async {
        Some(Ok(annotate("a", "3")))
    });
    let _rival = rival.join(&world).await;
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "d"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Merge(_)), "{text}");
    assert!(
        text.contains("30-rival") && text.contains("10-one"),
        "{text}"
    );
}

#[tokio::test]
async fn validators_are_asked_at_the_same_time_and_can_reject() {
    let world = World::started().await;
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let mut peers = Vec::new();
    for id in ["10-one", "20-two"] {
        let both = Arc::clone(&both);
        let validator = Fake::new(id, &[Event::ValidateContainerAdjustment]).on(
            "ValidateContainerAdjustment",
            move |got| {
                let both = Arc::clone(&both);
                async move {
                    both.wait().await;
                    let request = got.request();
                    let reject = request.container().unwrap().id == "bad";
                    let reason = "I do not like it".to_owned();
                    let verdict = api::ValidateContainerAdjustmentResponse { reject, reason };
                    Some(Ok(verdict.encode_to_vec()))
                }
            },
        );
        peers.push(validator.join(&world).await);
    }
    let pod = world.pod("p").await;
    world.container(&pod, "good").await;
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "bad"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("10-one") && text.contains("20-two"), "{text}");
    assert!(text.contains("I do not like it"), "{text}");
}

#[tokio::test]
async fn an_error_refuses_what_can_be_refused_and_ends_the_chain() {
    let world = World::started().await;
    let first = Fake::all_events("10-first");
    let runs = Arc::new(AtomicBool::new(false));
    let lets = Arc::clone(&runs);
    let refuses = Fake::all_events("20-refuses").acting(Arc::new(move |got: Got| {
        let let_run = got.method.ends_with("RunPodSandbox") && lets.load(Ordering::Relaxed);
        Box::pin(async move {
            (got.method.ends_with("Sandbox") && !let_run).then(|| Err(Status::unknown("no way")))
        })
    }));
    let last = Fake::all_events("30-last");
    let mut peers = Vec::new();
    for fake in [&first, &refuses, &last] {
        peers.push(fake.join(&world).await);
    }
    let (nri, cx, pod) = (&world.nri, Ctx::new(), pod("p"));
    let error = nri.run_pod_sandbox(&cx, &pod).await.unwrap_err();
    let text = error.to_string();
    for part in ["20-refuses", "RunPodSandbox", "default/p-name", "no way"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(last.events_seen(), [] as [&str; 0]);
    // Its end reaches those that heard of it, and no others.
    assert!(nri.remove_pod_sandbox(&cx, &pod).await.is_err());
    assert_eq!(last.events_seen(), [] as [&str; 0]);
    let whole = ["RunPodSandbox p", "StopPodSandbox p", "RemovePodSandbox p"];
    assert_eq!(first.events_seen(), whole);
    // What has happened reaches all of them, and the errors are told nevertheless.
    runs.store(true, Ordering::Relaxed);
    nri.run_pod_sandbox(&cx, &pod).await.unwrap();
    assert!(nri.remove_pod_sandbox(&cx, &pod).await.is_err());
    assert_eq!(last.events_seen(), whole);
    let failed = CallOutcome::Failed {
        code: Code::Unknown.value(),
        message: "no way".into(),
    };
    let reported = world.observer.calls.all();
    assert!(reported.contains(&("20-refuses".into(), Event::RunPodSandbox, failed)));
}

#[tokio::test]
async fn a_failed_creation_is_undone_towards_those_that_saw_it() {
    let world = World::started().await;
    let saw = Fake::all_events("10-saw");
    let refuses = Fake::all_events("20-refuses").on("CreateContainer", |_| async {
        Some(Err(Status::unknown("no")))
    });
    let did_not = Fake::all_events("30-did-not");
    let mut peers = Vec::new();
    for fake in [&saw, &refuses, &did_not] {
        peers.push(fake.join(&world).await);
    }
    let pod = world.pod("p").await;
    let created = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await;
    assert!(created.is_err());
    let undone = [
        "RunPodSandbox p",
        "CreateContainer c",
        "StopContainer c",
        "RemoveContainer c",
    ];
    world.seen(&saw, "RemoveContainer c").await;
    world.seen(&refuses, "RemoveContainer c").await;
    // The runtime's own undoing changes nothing any more.
    world
        .nri
        .stop_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    world
        .nri
        .remove_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    assert_eq!(saw.events_seen(), undone);
    assert_eq!(refuses.events_seen(), undone);
    assert_eq!(did_not.events_seen(), ["RunPodSandbox p"]);
}

#[tokio::test]
async fn a_creation_that_is_dropped_at_any_point_is_undone() {
    let world = World::started().await;
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, hold) = (Arc::clone(&asked), Arc::clone(&go));
    let first = Fake::all_events("10-first");
    let second = Fake::all_events("20-second").on("CreateContainer", move |got| {
        let (tell, hold) = (Arc::clone(&tell), Arc::clone(&hold));
        async move {
            if got.brief() == "CreateContainer held" {
                tell.notify_one();
                hold.notified().await;
            }
            None
        }
    });
    let third = Fake::all_events("30-third");
    let mut peers = Vec::new();
    for fake in [&first, &second, &third] {
        peers.push(fake.join(&world).await);
    }
    let pod = world.pod("p").await;
    // Half-way.
    let (nri, held) = (world.nri.clone(), container(&pod, "held"));
    let task = tokio::spawn({
        let (pod, held) = (pod.clone(), held.clone());
        async move { nri.create_container(&Ctx::new(), &pod, &held).await }
    });
    asked.notified().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    go.notify_one();
    world.seen(&first, "RemoveContainer held").await;
    world.seen(&second, "RemoveContainer held").await;
    // Afterwards.
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap();
    drop(creation);
    world.seen(&third, "RemoveContainer c").await;
    assert!(
        !third
            .events_seen()
            .contains(&"StopContainer held".to_owned())
    );
    assert_eq!(
        first.events_seen()[1..],
        [
            "CreateContainer held",
            "StopContainer held",
            "RemoveContainer held",
            "CreateContainer c",
            "StopContainer c",
            "RemoveContainer c"
        ]
    );
    // The id is free again.
    world.container(&pod, "c").await;
}

#[tokio::test]
async fn a_live_container_cannot_be_created_again() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    let c = world.container(&pod, "c").await;
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lifecycle(_)), "{error}");
    let nameless = api::PodSandbox::default();
    assert!(matches!(
        world.nri.run_pod_sandbox(&Ctx::new(), &nameless).await,
        Err(Error::Invalid(_))
    ));
}

#[tokio::test]
async fn old_plugins_get_state_changes() {
    let world = World::started().await;
    let old = Fake::all_events("10-old").acting(Arc::new(|got: Got| {
        let known = [
            "Configure",
            "Synchronize",
            "CreateContainer",
            "UpdateContainer",
            "StopContainer",
        ];
        let newer = !known.contains(&got.method.as_str())
            && got.method != "StateChange"
            && got.method != "UpdatePodSandbox";
        Box::pin(async move { newer.then(|| Err(Status::unknown_method("new"))) })
    }));
    let _old = old.join(&world).await;
    whole_life(&world).await;
    let expected: Vec<String> = std::iter::once("RunPodSandbox p".to_owned())
        .chain(WHOLE_LIFE.iter().map(|brief| {
            let event = Event::ALL
                .into_iter()
                .find(|e| brief.starts_with(&format!("{e} ")))
                .unwrap();
            if event.has_state_change_form() {
                format!("StateChange:{brief}")
            } else {
                (*brief).to_owned()
            }
        }))
        .collect();
    // The first answer "unimplemented" settles it for the rest of the connection.
    assert_eq!(old.events_seen(), expected);
}

#[tokio::test]
async fn unimplemented_is_an_error_where_there_is_no_old_form() {
    let world = World::started().await;
    let fake = Fake::all_events("10-odd").on("CreateContainer", |_| async {
        Some(Err(Status::unknown_method("CreateContainer")))
    });
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &container(&pod, "c"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("code 12"), "{error}");
}

#[tokio::test]
async fn nonsense_and_oversized_answers_are_errors_of_the_plugin() {
    let world = World::started().await;
    let fake = Fake::all_events("10-odd").acting(Arc::new(|got: Got| {
        Box::pin(async move {
            match got.brief().as_str() {
                "CreateContainer nonsense" => Some(Ok(vec![0xff; 10])),
                "CreateContainer large" => Some(Ok(annotate("a", &"x".repeat(5 << 20)))),
                _ => None,
            }
        })
    }));
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    for (id, part) in [("nonsense", "cannot be decoded"), ("large", "code 8")] {
        let error = world
            .nri
            .create_container(&Ctx::new(), &pod, &container(&pod, id))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut large = container(&pod, "too-large");
    large.annotations.insert("a".into(), "x".repeat(5 << 20));
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &large)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("code 8"), "{error}");
    // It is still there.
    world.container(&pod, "fine").await;
    assert_eq!(world.nri.plugins().len(), 1);
}

#[tokio::test]
async fn the_default_validator_judges_by_what_really_happened() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = Duration::from_millis(250);
        config.default_validator.enable = true;
        config.default_validator.reject_oci_hook_adjustment = true;
        config.default_validator.required_plugins = vec!["must".into()];
        config.default_validator.tolerate_missing_plugins_annotation = "may-miss".into();
    })
    .await;
    let cx = Ctx::new();
    let missing = world
        .nri
        .create_container(&cx, &pod("p"), &container(&pod("p"), "c"))
        .await;
    assert!(missing.unwrap_err().to_string().contains("must"));
    let mut tolerant = pod("tolerant");
    tolerant
        .annotations
        .insert("may-miss".into(), "true".into());
    world.container(&tolerant, "d").await;

    let must = Fake::all_events("10-must").on("CreateContainer", |got| async move {
        match got.brief().as_str() {
            "CreateContainer late" => std::future::pending().await,
            "CreateContainer hooked" => {
                let hook = api::Hook {
                    path: "/bin/true".into(),
                    ..Default::default()
                };
                let hooks = api::Hooks {
                    prestart: vec![hook],
                    ..Default::default()
                };
                let adjust = api::ContainerAdjustment {
                    hooks: Some(hooks),
                    ..Default::default()
                };
                let response = api::CreateContainerResponse {
                    adjust: Some(adjust),
                    ..Default::default()
                };
                Some(Ok(response.encode_to_vec()))
            }
            _ => None,
        }
    });
    let _must = must.join(&world).await;
    let pod = world.pod("p").await;
    world.container(&pod, "fine").await;
    for (id, part) in [("hooked", "hook"), ("late", "must")] {
        let error = world
            .nri
            .create_container(&cx, &pod, &container(&pod, id))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Rejected { .. }) && text.contains(part),
            "{text}"
        );
    }
}

/// Law: what plugins see always has its Linux part, and an update its resources, if only empty
/// ones: plugins in Go look into them without asking.
#[tokio::test]
async fn plugins_find_what_they_look_into_without_asking() {
    let world = World::started().await;
    let bare = api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    };
    let unlisted = api::Container {
        id: "c".into(),
        pod_sandbox_id: "p".into(),
        ..Default::default()
    };
    let shown = api::PodSandbox {
        id: "shown".into(),
        ..Default::default()
    };
    let listed = api::Container {
        id: "listed".into(),
        pod_sandbox_id: "shown".into(),
        state: api::ContainerState::ContainerRunning.into(),
        ..Default::default()
    };
    let pods = &world.domain.pods;
    pods.lock().unwrap().insert("shown".into(), shown);
    world.list(&listed);
    let fake = Fake::new("10-looks", &Event::ALL);
    let _peer = fake.join(&world).await;

    let (nri, cx) = (&world.nri, Ctx::new());
    nri.run_pod_sandbox(&cx, &bare).await.unwrap();
    nri.update_pod_sandbox(&cx, &bare, None, None)
        .await
        .unwrap();
    nri.post_update_pod_sandbox(&cx, &bare).await.unwrap();
    let creation = nri.create_container(&cx, &bare, &unlisted).await.unwrap();
    creation.commit();
    nri.post_create_container(&cx, &bare, &unlisted)
        .await
        .unwrap();
    nri.start_container(&cx, &bare, &unlisted).await.unwrap();
    nri.post_start_container(&cx, &bare, &unlisted)
        .await
        .unwrap();
    nri.update_container(&cx, &bare, &unlisted, None)
        .await
        .unwrap();
    nri.post_update_container(&cx, &bare, &unlisted)
        .await
        .unwrap();
    nri.stop_container(&cx, &bare, &unlisted).await.unwrap();
    nri.remove_container(&cx, &bare, &unlisted).await.unwrap();
    nri.stop_pod_sandbox(&cx, &bare).await.unwrap();
    nri.remove_pod_sandbox(&cx, &bare).await.unwrap();

    let mut seen = EventMask::NONE;
    for got in fake.got.all() {
        if got.method == "Synchronize" {
            let part = api::SynchronizeRequest::decode(&*got.payload).unwrap();
            assert_eq!((part.pods.len(), part.containers.len()), (1, 1));
            assert!(part.pods.iter().all(|pod| pod.linux.is_some()));
            assert!(part.containers.iter().all(|c| c.linux.is_some()));
        }
        let Ok(event) = got.method.parse::<Event>() else {
            continue;
        };
        seen |= event.into();
        let request = Request::decode(event, &got.payload).unwrap();
        assert!(request.pod().unwrap().linux.is_some(), "{event}");
        assert!(
            request.container().is_none_or(|c| c.linux.is_some()),
            "{event}"
        );
        if let Request::UpdateContainer(request) = request {
            assert_eq!(
                request.linux_resources,
                Some(api::LinuxResources::default())
            );
        }
    }
    assert_eq!(seen, EventMask::ALL);
    world.nri.stop().await;
}
