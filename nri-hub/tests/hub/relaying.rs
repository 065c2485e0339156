//! What plugins behind a hub see, ask for and achieve.

use nri_adaptation::{Event, EventMask, api};
use nri_core::build::{Adjust as _, SetResources as _, Update as _};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, DomainOperation, FakePlugin, TestRuntime, When};

use crate::stage::Stage;

const LIFE: [&str; 13] = [
    "RunPodSandbox p1",
    "UpdatePodSandbox p1",
    "PostUpdatePodSandbox p1",
    "CreateContainer c1",
    "PostCreateContainer c1",
    "StartContainer c1",
    "PostStartContainer c1",
    "UpdateContainer c1",
    "PostUpdateContainer c1",
    "StopContainer c1",
    "RemoveContainer c1",
    "StopPodSandbox p1",
    "RemovePodSandbox p1",
];

fn env(name: &str, value: &str) -> Behavior {
    let mut adjustment = api::ContainerAdjustment::default();
    adjustment.add_env(name, value).unwrap();
    Behavior::adjust(adjustment)
}

fn update(id: &str, limit: i64) -> api::ContainerUpdate {
    let mut update = api::ContainerUpdate::of_container(id).unwrap();
    update.set_memory_limit(limit);
    update
}

#[tokio::test]
async fn plugins_behind_the_hub_see_all_of_a_life_in_order() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let (first, second) = (FakePlugin::new("10-first"), FakePlugin::new("20-second"));
    let _first = hub.join(&first).await;
    let _second = hub.join(&second).await;
    runtime.whole_life("p1", "c1").await;
    first.assert_events(&LIFE);
    second.assert_events(&LIFE);
    let status = hub.handle.status();
    assert_eq!((status.pods, status.containers), (0, 0));
    hub.stop().await;
}

#[tokio::test]
async fn what_plugins_ask_for_is_one_answer_above() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let first = FakePlugin::new("10-first").on(Event::CreateContainer, env("A", "1"));
    let second = FakePlugin::new("20-second").on(Event::CreateContainer, env("B", "2"));
    let _first = hub.join(&first).await;
    let _second = hub.join(&second).await;
    let pod = runtime.run_pod("p1").await;
    let container = runtime.create(&pod, "c1").await;
    assert!(container.env.contains(&"A=1".to_owned()) && container.env.contains(&"B=2".to_owned()));
    hub.stop().await;
}

/// Law: a plugin below that takes the command line over does so beside the hub too, also if it
/// gives none, or one whose first argument is empty.
#[tokio::test]
async fn a_command_line_that_is_taken_over_below_is_so_above() {
    let args = |args: &[&str]| {
        Behavior::adjust(api::ContainerAdjustment {
            args: args.iter().map(ToString::to_string).collect(),
            ..Default::default()
        })
    };
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let beside = FakePlugin::new("10-beside").on(Event::CreateContainer, args(&["beside"]));
    let below = FakePlugin::new("10-below");
    let _beside = runtime.join(&beside).await;
    let _below = hub.join(&below).await;
    let pod = runtime.run_pod("p1").await;
    for (id, asked, made) in [
        ("c1", &["", "below"][..], &["below"][..]),
        ("c2", &["", "", "below"], &["", "below"]),
        ("c3", &[""], &[]),
    ] {
        below.change(Event::CreateContainer, args(asked));
        let container = runtime.create(&pod, id).await;
        assert_eq!(container.args, made, "{asked:?}");
    }
    // Without that it is a conflict, as everywhere.
    below.change(Event::CreateContainer, args(&["below"]));
    let error = runtime.try_create(&pod, "c4").await.unwrap_err();
    assert!(error.to_string().contains("already set by"), "{error}");
    // What the hub knows of it is no marker.
    let later = FakePlugin::new("20-later");
    let _later = hub.join(&later).await;
    let calls = later.seen();
    let listed = calls.iter().find_map(|call| call.synchronization());
    let listed = listed.unwrap().containers;
    let listed = listed.iter().find(|container| container.id == "c3");
    assert!(!listed.unwrap().args.contains(&String::new()), "{listed:?}");
    hub.stop().await;
}

#[tokio::test]
async fn updates_that_come_with_an_answer_go_up_with_the_answer() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let answer = api::CreateContainerResponse {
        update: vec![update("c1", 77)],
        evict: vec![api::ContainerEviction {
            container_id: "c0".into(),
            reason: "room".into(),
        }],
        ..Default::default()
    };
    let plugin = FakePlugin::new("10-first").on(
        When::method("CreateContainer").of("c2"),
        Behavior::answer(answer),
    );
    let _plugin = hub.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c0").await;
    runtime.create(&pod, "c1").await;
    let container = runtime.container(&pod, "c2");
    let creation = runtime.ask_to_create(&pod, &container).await.unwrap();
    assert_eq!(creation.updates().len(), 1);
    assert_eq!(creation.updates()[0].plugins[0].to_string(), "50-hub");
    creation.commit();
    assert_eq!(runtime.domain().updates(), [update("c1", 77)]);
    assert_eq!(runtime.domain().evictions()[0].container_id, "c0");
    hub.stop().await;
}

#[tokio::test]
async fn an_error_of_a_plugin_refuses_above_and_names_the_plugin() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let plugin = FakePlugin::new("10-strict").on(
        Event::CreateContainer,
        Behavior::fail(Code::PermissionDenied, "not here"),
    );
    let _plugin = hub.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    let error = runtime.try_create(&pod, "c1").await.unwrap_err();
    // As the plugin said it.
    assert_eq!(error.code(), Code::PermissionDenied.value());
    let error = error.to_string();
    assert!(
        error.contains("10-strict") && error.contains("not here"),
        "{error}"
    );
    // A runtime would take this for a hub that does not know the request.
    let behavior = Behavior::fail(Code::Unimplemented, "not at all");
    plugin.change(Event::CreateContainer, behavior);
    let error = runtime.try_create(&pod, "c2").await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown.value(), "{error}");
    assert_eq!(hub.handle.status().containers, 0);
    hub.stop().await;
}

#[tokio::test]
async fn an_unsolicited_update_goes_up_and_its_failure_comes_back() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let plugin = FakePlugin::new("10-first");
    let connected = hub.join(&plugin).await;
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c1").await;
    runtime.create(&pod, "c2").await;
    runtime
        .domain()
        .fail_next("c2", DomainOperation::Update, "no");
    let failed = connected
        .update(
            vec![update("c1", 7), update("c2", 8), update("c3", 9)],
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(runtime.domain().updates()[0], update("c1", 7));
    let failed: Vec<_> = failed
        .into_iter()
        .map(|update| update.container_id)
        .collect();
    assert_eq!(failed, ["c2", "c3"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_plugin_that_comes_later_is_shown_what_there_is() {
    let runtime = TestRuntime::start().await;
    let pod = runtime.run_pod("p0").await;
    runtime.create(&pod, "c0").await;
    let hub = Stage::at(runtime.socket()).run().await;
    let pod = runtime.run_pod("p1").await;
    runtime.create(&pod, "c1").await;
    let plugin = FakePlugin::new("10-late");
    let _plugin = hub.join(&plugin).await;
    let (mut pods, mut containers) = plugin.shown();
    pods.sort();
    containers.sort();
    assert_eq!(
        (pods, containers),
        (
            vec!["p0".into(), "p1".into()],
            vec!["c0".to_owned(), "c1".into()]
        )
    );
    runtime.stop_container(&pod, "c1").await;
    plugin.assert_events(&["StopContainer c1"]);
    hub.stop().await;
}

/// Law: whoever joins after a creation was answered is shown the container as plugins want it, and
/// once the runtime tells more of it, that.
#[tokio::test]
async fn a_plugin_that_joins_after_a_creation_is_shown_what_was_asked_for() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let first = FakePlugin::new("10-first").on(Event::CreateContainer, env("A", "1"));
    let _first = hub.join(&first).await;
    let pod = runtime.run_pod("p1").await;
    let container = runtime.container(&pod, "c1");
    let creation = runtime.ask_to_create(&pod, &container).await.unwrap();
    // Nothing else was told of it yet.
    let second = FakePlugin::new("20-second");
    let _second = hub.join(&second).await;
    let listed = |plugin: &FakePlugin, id: &str| {
        let seen = plugin.seen();
        let shown = seen.iter().find_map(|call| call.synchronization());
        let mut containers = shown.unwrap().containers.into_iter();
        containers.find(|container| container.id == id).unwrap()
    };
    assert_eq!(listed(&second, "c1").env, ["A=1"]);
    creation.commit();
    runtime.create(&pod, "c2").await;
    runtime.start_container(&pod, "c2").await;
    let third = FakePlugin::new("30-third");
    let _third = hub.join(&third).await;
    let running = listed(&third, "c2");
    assert_eq!(running.state(), api::ContainerState::ContainerRunning);
    assert_eq!(running.env, ["A=1"], "as the runtime made it");
    hub.stop().await;
}

#[tokio::test]
async fn a_name_that_was_never_removed_can_be_used_again() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let plugin = FakePlugin::new("10-first");
    let _plugin = hub.join(&plugin).await;
    // Somebody beside the hub refuses after it, and the runtime tells of no end.
    let beside = FakePlugin::new("90-beside")
        .subscribe(Event::CreateContainer)
        .on(
            When::method("CreateContainer").nth(1),
            Behavior::fail(Code::Unknown, "no"),
        );
    let _beside = runtime.join(&beside).await;
    let pod = runtime.run_pod("p1").await;
    runtime.try_create(&pod, "c1").await.unwrap_err();
    runtime.create(&pod, "c1").await;
    let events = plugin.events();
    let creations = events.iter().filter(|event| *event == "CreateContainer c1");
    assert_eq!(creations.count(), 2, "{events:?}");
    let removed = events
        .iter()
        .position(|event| event == "RemoveContainer c1")
        .unwrap();
    let again = events
        .iter()
        .rposition(|event| event == "CreateContainer c1")
        .unwrap();
    assert!(removed < again, "{events:?}");
    hub.stop().await;
}

#[tokio::test]
async fn an_old_runtime_that_knows_fewer_events_is_served() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket())
        .with(|config| config.hub.events = EventMask::BEFORE_V0_10)
        .run()
        .await;
    let plugin = FakePlugin::new("10-first");
    let _plugin = hub.join(&plugin).await;
    runtime.whole_life("p1", "c1").await;
    let fewer: Vec<_> = LIFE
        .into_iter()
        .filter(|event| !event.contains("UpdatePod"))
        .collect();
    plugin.assert_events(&fewer);
    hub.stop().await;
}
