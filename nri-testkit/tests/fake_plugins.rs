//! Fake plugins do what they are told, whatever that is.

use nri_adaptation::{CallOutcome, RuntimeApi as _};
use nri_core::build::{Adjust as _, Evict as _};
use nri_core::{Ctx, Error, Event, EventMask, api};
use nri_proto::transport::{CallError, Code};
use nri_testkit::{Behavior, FakePlugin, Gate, TestRuntime, When};
use std::time::Duration;

/// A runtime that does not wait long.
async fn brisk() -> TestRuntime {
    TestRuntime::builder()
        .request_timeout(Duration::from_millis(150))
        .start()
        .await
}

#[tokio::test]
async fn without_a_script_it_takes_part_and_says_nothing() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-quiet");
    let _connected = runtime.join(&plugin).await;
    runtime.whole_life("p", "c").await;
    plugin.assert_events(&[
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
    ]);
    let configuration = plugin.wait_for("Configure").await.configuration().unwrap();
    assert_eq!(configuration.runtime_name, "nri-testkit");
    let outcomes = runtime
        .watcher()
        .outcomes("10-quiet", Event::CreateContainer);
    assert_eq!(outcomes, [CallOutcome::Answered]);
}

#[tokio::test]
async fn rules_say_when_and_the_latest_that_holds_counts() {
    let runtime = TestRuntime::start().await;
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env("A", "1").unwrap();
    let plugin = FakePlugin::new("10-picky")
        .on(Event::CreateContainer, Behavior::adjust(adjustment))
        .on(
            When::from(Event::CreateContainer).of("c2"),
            Behavior::fail(Code::NotFound, "no device"),
        )
        .on(
            When::from(Event::RunPodSandbox).nth(2),
            Behavior::decide(
                |seen| async move { Behavior::fail(Code::Unknown, seen.id().unwrap()) },
            ),
        );
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    let error = runtime.try_run_pod("p2").await.unwrap_err().to_string();
    assert!(error.contains("p2"), "{error}");
    runtime.run_pod("p3").await;
    assert_eq!(runtime.create(&pod, "c1").await.env, ["A=1"]);
    let error = runtime.try_create(&pod, "c2").await.unwrap_err();
    assert!(error.to_string().contains("no device (code 5)"), "{error}");
    plugin.change(Event::CreateContainer, Behavior::usual());
    assert!(runtime.create(&pod, "c2").await.env.is_empty());
}

#[tokio::test]
async fn it_waits_at_a_gate() {
    let runtime = TestRuntime::start().await;
    let gate = Gate::new();
    let plugin =
        FakePlugin::new("10-slow").on(Event::RunPodSandbox, Behavior::usual().behind(&gate));
    let _connected = runtime.join(&plugin).await;
    let (nri, pod) = (runtime.nri().clone(), runtime.pod("p"));
    let running = tokio::spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await });
    gate.visitors(1).await;
    assert!(!running.is_finished());
    gate.open();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn it_leaves_without_an_answer_or_after_it() {
    for (act, outcome) in [
        (Behavior::exit(), CallOutcome::Gone),
        (Behavior::answer_and_exit(), CallOutcome::Answered),
        (Behavior::half_close(), CallOutcome::Gone),
        (Behavior::garbage(&[0xff; 64][..]), CallOutcome::Gone),
    ] {
        let runtime = TestRuntime::start().await;
        let plugin = FakePlugin::new("10-leaves").on(Event::RunPodSandbox, act.clone());
        let connected = runtime.join(&plugin).await;
        runtime.run_pod("p").await;
        runtime.watcher().wait_for("gone 10-leaves").await;
        let outcomes = runtime
            .watcher()
            .outcomes("10-leaves", Event::RunPodSandbox);
        assert_eq!(outcomes, [outcome], "{act:?}");
        connected.closed().await;
    }
}

#[tokio::test]
async fn it_hangs_or_reads_no_more() {
    for act in [Behavior::hang(), Behavior::stop_reading()] {
        let runtime = brisk().await;
        let plugin = FakePlugin::new("10-hangs").on(Event::RunPodSandbox, act);
        let _connected = runtime.join(&plugin).await;
        runtime.run_pod("p").await;
        let outcomes = runtime.watcher().outcomes("10-hangs", Event::RunPodSandbox);
        assert_eq!(outcomes, [CallOutcome::Late]);
        assert_eq!(runtime.plugins(), [] as [&str; 0], "it is late");
    }
}

#[tokio::test]
async fn an_answer_can_be_no_message() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-mumbles").on(Event::CreateContainer, Behavior::bad_answer());
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let error = runtime.try_create(&pod, "c").await.unwrap_err();
    assert!(error.to_string().contains("decoded"), "{error}");
}

#[tokio::test]
async fn a_flood_is_survived() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-floods").on(Event::RunPodSandbox, Behavior::flood(2000));
    let _connected = runtime.join(&plugin).await;
    runtime.run_pod("p").await;
    runtime.run_pod("q").await;
    plugin.assert_events(&["RunPodSandbox p", "RunPodSandbox q"]);
}

#[tokio::test]
async fn it_registers_again_under_another_name() {
    let runtime = TestRuntime::start().await;
    let plugin =
        FakePlugin::new("10-nobody").on(Event::RunPodSandbox, Behavior::register("10-trusted"));
    let connected = runtime.join(&plugin).await;
    runtime.run_pod("p").await;
    connected.closed().await;
    runtime.watcher().wait_for("gone 10-nobody").await;
    // And by the test's own hand.
    let again = runtime.join(&FakePlugin::new("10-nobody")).await;
    match again.register_as("10-trusted").await {
        Err(CallError::Status(status)) => assert_eq!(status.code, Code::FailedPrecondition),
        other => panic!("{other:?}"),
    }
    again.closed().await;
}

#[tokio::test]
async fn an_old_one_gets_events_as_state_changes() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-old").old_protocol();
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "c").await;
    plugin.assert_events(&[
        "StateChange RunPodSandbox p",
        "CreateContainer c",
        "StateChange PostCreateContainer c",
    ]);
}

#[tokio::test]
async fn an_old_one_does_not_know_of_synchronisation_in_parts() {
    let builder = TestRuntime::builder();
    let large = |id: usize| api::Container {
        id: format!("c{id}"),
        pod_sandbox_id: "p".into(),
        state: api::ContainerState::ContainerRunning.into(),
        env: vec!["x".repeat(1 << 20)],
        ..Default::default()
    };
    builder.domain().put_pod(api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    });
    for id in 0..5 {
        builder.domain().put_container(large(id));
    }
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-old").old_protocol();
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    let gone = runtime.watcher().wait_for("gone 10-old").await.to_string();
    assert!(gone.contains("synchronis"), "{gone}");
    // A current one does.
    let plugin = FakePlugin::new("10-new");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1.len(), 5);
}

#[tokio::test]
async fn a_mask_of_zero_stands_for_all_events() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-all").subscribe_bits(0);
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "c").await;
    plugin.wait_for("ValidateContainerAdjustment c").await;
    // And bits that no event has are refused.
    let plugin = FakePlugin::new("20-odd").subscribe_bits(1 << 20);
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    runtime.watcher().wait_for("refused 20-odd").await;
}

#[tokio::test]
async fn it_updates_and_evicts_on_its_own_account() {
    let runtime = TestRuntime::start().await;
    let pod = runtime.run_pod("p").await;
    runtime.create(&pod, "c").await;
    let connected = runtime.join(&FakePlugin::new("10-evicts")).await;
    let eviction = api::ContainerEviction::of_container("c", "pressure").unwrap();
    let failed = connected.update(Vec::new(), vec![eviction]).await.unwrap();
    assert!(failed.is_empty());
    assert_eq!(runtime.domain().evictions().len(), 1);
}

#[tokio::test]
async fn built_in_it_keeps_to_the_script_and_says_what_it_cannot_do() {
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env("A", "1").unwrap();
    let plugin = FakePlugin::new("10-inside")
        .subscribe(EventMask::from_iter([
            Event::RunPodSandbox,
            Event::CreateContainer,
        ]))
        .on(Event::CreateContainer, Behavior::adjust(adjustment))
        .on(
            When::from(Event::RunPodSandbox).of("exit"),
            Behavior::exit(),
        )
        .on(
            When::from(Event::RunPodSandbox).of("fail"),
            Behavior::fail(Code::Unknown, "no"),
        );
    let runtime = TestRuntime::builder().built_in(&plugin).start().await;
    let pod = runtime.run_pod("p").await;
    assert_eq!(runtime.create(&pod, "c").await.env, ["A=1"]);
    for (id, says) in [("exit", "cannot exit"), ("fail", "no")] {
        let error = runtime.try_run_pod(id).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    plugin.assert_events(&[
        "RunPodSandbox p",
        "CreateContainer c",
        "RunPodSandbox exit",
        "RunPodSandbox fail",
    ]);
}

#[tokio::test]
#[should_panic(expected = "was to see")]
async fn what_came_instead_is_said() {
    let runtime = TestRuntime::start().await;
    let plugin = FakePlugin::new("10-a");
    let _connected = runtime.join(&plugin).await;
    runtime.run_pod("p").await;
    plugin.assert_events(&["RunPodSandbox q"]);
}

#[tokio::test]
async fn the_directory_goes_with_a_test_that_panics() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async move {
        let runtime = TestRuntime::start().await;
        tell.send(runtime.directory().to_owned()).unwrap();
        assert!(runtime.socket().exists());
        panic!("as planned");
    });
    assert!(test.await.unwrap_err().is_panic());
    assert!(!told.await.unwrap().exists());
}

/// What it says of requests that it does not answer is heeded, over a connection and as a built-in
/// plugin.
#[tokio::test]
async fn it_says_what_is_to_happen_when_it_does_not_answer() {
    for built_in in [false, true] {
        let plugin = FakePlugin::new("10-wishes").failure_policy(true, true).on(
            When::from(Event::RunPodSandbox).of("lost"),
            Behavior::hang(),
        );
        let builder = TestRuntime::builder().request_timeout(Duration::from_millis(150));
        let builder = match built_in {
            true => builder.built_in(&plugin),
            false => builder,
        };
        let runtime = builder.start().await;
        let _connected = match built_in {
            true => None,
            false => Some(runtime.join(&plugin).await),
        };
        let error = runtime.try_run_pod("lost").await.unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        runtime.wait_for_plugins(&["10-wishes"]).await;
    }
}
