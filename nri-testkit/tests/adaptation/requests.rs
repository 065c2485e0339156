//! Relaying: gates, errors, undoing, old plugins.

use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{
    CallOutcome, Ctx, Event, EventError as Error, EventMask, RuntimeApi as _, api,
};
use nri_core::Request;
use nri_proto::transport::Code;
use nri_testkit::{Behavior, Describe as _, FakePlugin, Gate, TestRuntime, When};
use tokio::sync::Barrier;

use crate::values::{annotate, patient};

/// The whole life of a pod with a container, with ends that are told again.
async fn whole_life(runtime: &TestRuntime) {
    runtime.whole_life("p", "c").await;
    let (nri, cx) = (runtime.nri(), Ctx::new());
    let pod = runtime.pod("p");
    let c = runtime.container(&pod, "c");
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
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
    let runtime = patient().start().await;
    let plugins = ["20-b", "10-z", "20-a", "99-last"].map(FakePlugin::new);
    let mut connected = Vec::new();
    for plugin in &plugins {
        connected.push(runtime.join(plugin).await);
    }
    let narrow = FakePlugin::new("50-narrow").subscribe(Event::StartContainer);
    let _narrow = runtime.join(&narrow).await;
    whole_life(&runtime).await;
    for plugin in &plugins {
        plugin.assert_events(&WHOLE_LIFE);
    }
    narrow.assert_events(&["StartContainer c"]);
    let calls = runtime.watcher().calls().all().into_iter();
    let order = calls.filter(|call| call.event == Event::StartContainer);
    let order: Vec<String> = order.map(|call| call.plugin).collect();
    assert_eq!(order, ["10-z", "20-a", "20-b", "50-narrow", "99-last"]);
}

#[tokio::test]
async fn adjustments_are_merged_and_owned() {
    let runtime = patient().start().await;
    let annotates = |id: &str, key: &str, value: &str| {
        FakePlugin::new(id).on(Event::CreateContainer, annotate(key, value))
    };
    let one = annotates("10-one", "a", "1");
    let two = annotates("20-two", "b", "2");
    let _connected = (runtime.join(&one).await, runtime.join(&two).await);
    let pod = runtime.run_pod("p").await;
    let c = runtime.container(&pod, "c");
    let creation = runtime.ask_to_create(&pod, &c).await.unwrap();
    let annotations = &creation.adjustment().unwrap().annotations;
    assert_eq!(
        (annotations["a"].as_str(), annotations["b"].as_str()),
        ("1", "2")
    );
    assert_eq!(creation.outcomes().len(), 2);
    creation.commit();
    // The second one has seen what the first one asked for.
    let seen = two.wait_for("CreateContainer c").await.request().unwrap();
    assert_eq!(seen.container().unwrap().annotations["a"], "1");

    let _rival = runtime.join(&annotates("30-rival", "a", "3")).await;
    let error = runtime.try_create(&pod, "d").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Merge(_)), "{text}");
    assert!(
        text.contains("30-rival") && text.contains("10-one"),
        "{text}"
    );
}

#[tokio::test]
async fn validators_are_asked_at_the_same_time_and_can_reject() {
    let runtime = patient().start().await;
    let both = Arc::new(Barrier::new(2));
    let mut connected = Vec::new();
    for id in ["10-one", "20-two"] {
        let both = Arc::clone(&both);
        let verdict = Behavior::decide(move |seen| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                Behavior::answer(api::ValidateContainerAdjustmentResponse {
                    reject: seen.id().as_deref() == Some("bad"),
                    reason: "I do not like it".to_owned(),
                })
            }
        });
        let validation = Event::ValidateContainerAdjustment;
        let validator = FakePlugin::new(id).subscribe(validation);
        connected.push(runtime.join(&validator.on(validation, verdict)).await);
    }
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "good").await;
    let error = runtime.try_create(&pod, "bad").await.unwrap_err();
    let text = error.to_string();
    for part in ["10-one", "20-two", "I do not like it"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn an_error_refuses_what_can_be_refused_and_ends_the_chain() {
    let runtime = patient().start().await;
    let first = FakePlugin::new("10-first");
    let mut refuses = FakePlugin::new("20-refuses");
    for event in [
        Event::RunPodSandbox,
        Event::StopPodSandbox,
        Event::RemovePodSandbox,
    ] {
        refuses = refuses.on(event, Behavior::fail(Code::Unknown, "no way"));
    }
    let last = FakePlugin::new("30-last");
    let mut connected = Vec::new();
    for plugin in [&first, &refuses, &last] {
        connected.push(runtime.join(plugin).await);
    }
    let (nri, cx, pod) = (runtime.nri(), Ctx::new(), runtime.pod("p"));
    let error = nri.run_pod_sandbox(&cx, &pod).await.unwrap_err();
    let text = error.to_string();
    for part in ["20-refuses", "RunPodSandbox", "default/p-name", "no way"] {
        assert!(text.contains(part), "{text}");
    }
    last.assert_events(&[]);
    // Its end reaches those that heard of it, and no others.
    assert!(nri.remove_pod_sandbox(&cx, &pod).await.is_err());
    last.assert_events(&[]);
    let whole = ["RunPodSandbox p", "StopPodSandbox p", "RemovePodSandbox p"];
    first.assert_events(&whole);
    // What has happened reaches all of them, and the errors are told nevertheless.
    refuses.change(Event::RunPodSandbox, Behavior::usual());
    nri.run_pod_sandbox(&cx, &pod).await.unwrap();
    assert!(nri.remove_pod_sandbox(&cx, &pod).await.is_err());
    last.assert_events(&whole);
    let failed = CallOutcome::Failed {
        code: Code::Unknown.value(),
        message: "no way".into(),
    };
    let outcomes = runtime
        .watcher()
        .outcomes("20-refuses", Event::RunPodSandbox);
    assert_eq!(outcomes[0], failed);
}

#[tokio::test]
async fn a_failed_creation_is_undone_towards_those_that_saw_it() {
    let runtime = patient().start().await;
    let saw = FakePlugin::new("10-saw");
    let refusal = Behavior::fail(Code::Unknown, "no");
    let refuses = FakePlugin::new("20-refuses").on(Event::CreateContainer, refusal);
    let did_not = FakePlugin::new("30-did-not");
    let mut connected = Vec::new();
    for plugin in [&saw, &refuses, &did_not] {
        connected.push(runtime.join(plugin).await);
    }
    let pod = runtime.run_pod("p").await;
    assert!(runtime.try_create(&pod, "c").await.is_err());
    saw.wait_for("RemoveContainer c").await;
    refuses.wait_for("RemoveContainer c").await;
    // The runtime's own undoing changes nothing any more.
    let (nri, cx, c) = (runtime.nri(), Ctx::new(), runtime.container(&pod, "c"));
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
    let undone = [
        "RunPodSandbox p",
        "CreateContainer c",
        "StopContainer c",
        "RemoveContainer c",
    ];
    saw.assert_events(&undone);
    refuses.assert_events(&undone);
    did_not.assert_events(&["RunPodSandbox p"]);
}

#[tokio::test]
async fn a_creation_that_is_dropped_at_any_point_is_undone() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let first = FakePlugin::new("10-first");
    let held = When::from(Event::CreateContainer).of("held");
    let second = FakePlugin::new("20-second").on(held, Behavior::usual().behind(&gate));
    let third = FakePlugin::new("30-third");
    let mut connected = Vec::new();
    for plugin in [&first, &second, &third] {
        connected.push(runtime.join(plugin).await);
    }
    let pod = runtime.run_pod("p").await;
    // Half-way.
    let task = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), pod.clone());
        let held = runtime.container(&pod, "held");
        async move { nri.create_container(&Ctx::new(), &pod, &held).await }
    });
    gate.visitors(1).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    gate.open();
    first.wait_for("RemoveContainer held").await;
    second.wait_for("RemoveContainer held").await;
    // Afterwards.
    let c = runtime.container(&pod, "c");
    drop(runtime.ask_to_create(&pod, &c).await.unwrap());
    third.wait_for("RemoveContainer c").await;
    let stopped = "StopContainer held".to_owned();
    assert!(!third.events().contains(&stopped));
    assert_eq!(
        first.events()[1..],
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
    runtime.create(&pod, "c").await;
}

#[tokio::test]
async fn a_live_container_cannot_be_created_again() {
    let runtime = patient().start().await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "c").await;
    let error = runtime.try_create(&pod, "c").await.unwrap_err();
    assert!(matches!(error, Error::Lifecycle(_)), "{error}");
    let nameless = runtime.try_run(api::PodSandbox::default()).await;
    assert!(matches!(nameless, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn old_plugins_get_state_changes() {
    let runtime = patient().start().await;
    let mut old = FakePlugin::new("10-old");
    for event in Event::ALL {
        if event.has_state_change_form() {
            old = old.on(event, Behavior::unimplemented());
        }
    }
    let _connected = runtime.join(&old).await;
    whole_life(&runtime).await;
    let in_its_form = WHOLE_LIFE.iter().map(|told| {
        let (event, _) = told.split_once(' ').unwrap();
        match event.parse::<Event>().unwrap().has_state_change_form() {
            true => format!("StateChange {told}"),
            false => (*told).to_owned(),
        }
    });
    let first = std::iter::once("RunPodSandbox p".to_owned());
    let expected: Vec<String> = first.chain(in_its_form).collect();
    // The first answer "unimplemented" settles it for the rest of the connection.
    assert_eq!(old.events(), expected);
}

#[tokio::test]
async fn unimplemented_is_an_error_where_there_is_no_old_form() {
    let runtime = patient().start().await;
    let odd = FakePlugin::new("10-odd").on(Event::CreateContainer, Behavior::unimplemented());
    let _connected = runtime.join(&odd).await;
    let pod = runtime.run_pod("p").await;
    let error = runtime.try_create(&pod, "c").await.unwrap_err();
    assert!(error.to_string().contains("code 12"), "{error}");
}

#[tokio::test]
async fn nonsense_and_oversized_answers_are_errors_of_the_plugin() {
    let runtime = patient().start().await;
    let creation = When::from(Event::CreateContainer);
    let odd = FakePlugin::new("10-odd")
        .on(
            creation.clone().of("nonsense"),
            Behavior::answer_bytes(vec![0xff; 10]),
        )
        .on(creation.of("large"), annotate("a", "x".repeat(5 << 20)));
    let _connected = runtime.join(&odd).await;
    let pod = runtime.run_pod("p").await;
    for (id, part) in [("nonsense", "cannot be decoded"), ("large", "code 8")] {
        let error = runtime.try_create(&pod, id).await.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let large = runtime.container(&pod, "too-large");
    let large = large.annotated("a", "x".repeat(5 << 20));
    let error = runtime.try_create_as(&pod, large).await.unwrap_err();
    assert!(error.to_string().contains("code 8"), "{error}");
    // It is still there.
    runtime.create(&pod, "fine").await;
    assert_eq!(runtime.nri().plugins().len(), 1);
}

#[tokio::test]
async fn the_default_validator_judges_by_what_really_happened() {
    let builder = patient().request_timeout(Duration::from_millis(250));
    let builder = builder.config(|config| {
        config.default_validator.enable = true;
        config.default_validator.reject_oci_hook_adjustment = true;
        config.default_validator.required_plugins = vec!["must".into()];
        config.default_validator.tolerate_missing_plugins_annotation = "may-miss".into();
    });
    let runtime = builder.start().await;
    let missing = runtime.try_create(&runtime.pod("p"), "c").await;
    assert!(missing.unwrap_err().to_string().contains("must"));
    let tolerant = runtime.pod("tolerant").annotated("may-miss", "true");
    runtime.create(&tolerant, "d").await;

    let hook = api::Hook {
        path: "/bin/true".into(),
        ..Default::default()
    };
    let hooked = Behavior::adjust(api::ContainerAdjustment {
        hooks: Some(api::Hooks {
            prestart: vec![hook],
            ..Default::default()
        }),
        ..Default::default()
    });
    let creation = When::from(Event::CreateContainer);
    let must = FakePlugin::new("10-must")
        .on(creation.clone().of("hooked"), hooked)
        .on(creation.of("late"), Behavior::hang());
    let _connected = runtime.join(&must).await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "fine").await;
    for (id, part) in [("hooked", "hook"), ("late", "must")] {
        let error = runtime.try_create(&pod, id).await.unwrap_err();
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
    let runtime = patient().start().await;
    let pod = |id: &str| api::PodSandbox {
        id: id.into(),
        ..Default::default()
    };
    let container = |id: &str, pod: &str| api::Container {
        id: id.into(),
        pod_sandbox_id: pod.into(),
        state: api::ContainerState::ContainerRunning.into(),
        ..Default::default()
    };
    runtime.domain().put_pod(pod("shown"));
    runtime.domain().put_container(container("listed", "shown"));
    let plugin = FakePlugin::new("10-looks").subscribe(EventMask::ALL);
    let _connected = runtime.join(&plugin).await;

    let (nri, cx) = (runtime.nri(), Ctx::new());
    let (pod, c) = (pod("p"), container("c", "p"));
    nri.run_pod_sandbox(&cx, &pod).await.unwrap();
    nri.update_pod_sandbox(&cx, &pod, None, None).await.unwrap();
    nri.post_update_pod_sandbox(&cx, &pod).await.unwrap();
    let creation = nri.create_container(&cx, &pod, &c).await.unwrap();
    creation.commit();
    nri.post_create_container(&cx, &pod, &c).await.unwrap();
    nri.start_container(&cx, &pod, &c).await.unwrap();
    nri.post_start_container(&cx, &pod, &c).await.unwrap();
    nri.update_container(&cx, &pod, &c, None).await.unwrap();
    nri.post_update_container(&cx, &pod, &c).await.unwrap();
    nri.stop_container(&cx, &pod, &c).await.unwrap();
    nri.remove_container(&cx, &pod, &c).await.unwrap();
    nri.stop_pod_sandbox(&cx, &pod).await.unwrap();
    nri.remove_pod_sandbox(&cx, &pod).await.unwrap();

    let mut events = EventMask::NONE;
    for seen in plugin.seen() {
        if let Some(part) = seen.synchronization() {
            assert_eq!((part.pods.len(), part.containers.len()), (1, 1));
            assert!(part.pods.iter().all(|pod| pod.linux.is_some()));
            assert!(part.containers.iter().all(|c| c.linux.is_some()));
        }
        let (Some(event), Some(request)) = (seen.event(), seen.request()) else {
            continue;
        };
        events |= event.into();
        assert!(request.pod().unwrap().linux.is_some(), "{event}");
        let container = request.container();
        assert!(container.is_none_or(|c| c.linux.is_some()), "{event}");
        if let Request::UpdateContainer(request) = request {
            let empty = api::LinuxResources::default();
            assert_eq!(request.linux_resources, Some(empty));
        }
    }
    assert_eq!(events, EventMask::ALL);
}
