//! After a gap in what a runtime above has told.

use nri_adaptation::api::{self, ContainerState};
use nri_adaptation::{Ctx, Event, EventError as Error, EventMask};
use nri_testkit::{Connected, FakePlugin, TestRuntime};

use crate::values::patient;

/// A runtime with two pods and their containers, and a plugin that knows them.
async fn known() -> (TestRuntime, FakePlugin, Connected) {
    let runtime = patient().start().await;
    for (pod, containers) in [("p", ["stays", "goes"]), ("q", ["ends", "goes too"])] {
        let pod = runtime.run_pod(pod).await;
        for container in containers {
            runtime.create(&pod, container).await;
        }
    }
    let plugin = FakePlugin::new("10-plugin").subscribe(EventMask::PODS | EventMask::CONTAINERS);
    let connected = runtime.join(&plugin).await;
    (runtime, plugin, connected)
}

fn contents(runtime: &TestRuntime) -> (Vec<api::PodSandbox>, Vec<api::Container>) {
    let domain = runtime.domain();
    let pods = ["p", "q"].iter().filter_map(|id| domain.pod(id));
    let containers = ["stays", "goes", "ends", "goes too"];
    let containers = containers.iter().filter_map(|id| domain.container(id));
    (pods.collect(), containers.collect())
}

#[tokio::test]
async fn where_nothing_differs_nobody_notices() {
    let (runtime, plugin, _connected) = known().await;
    let (pods, containers) = contents(&runtime);
    let before = plugin.seen().len();
    let mut put = false;
    let reconciled = runtime
        .nri()
        .reconcile(&Ctx::new(), &pods, &containers, || put = true)
        .await
        .unwrap();
    assert!(put);
    assert_eq!(reconciled, Default::default());
    assert_eq!(plugin.seen().len(), before);
}

#[tokio::test]
async fn what_is_gone_ends_what_has_stopped_stops_and_what_is_new_is_shown() {
    let (runtime, plugin, _connected) = known().await;
    let (mut pods, mut containers) = contents(&runtime);
    pods.retain(|pod| pod.id != "p");
    pods.push(runtime.pod("new pod"));
    containers.retain(|container| container.id == "ends");
    containers[0].set_state(ContainerState::ContainerStopped);
    let new = runtime.container(&pods[1], "new");
    containers.push(new);

    let domain = runtime.domain().clone();
    let (now_pods, now_containers) = (pods.clone(), containers.clone());
    let put = move || {
        domain.remove_pod("p");
        for id in ["stays", "goes", "goes too"] {
            domain.remove_container(id);
        }
        now_pods.into_iter().for_each(|pod| domain.put_pod(pod));
        for container in now_containers {
            domain.put_container(container);
        }
    };
    let cx = Ctx::new();
    let reconciled = runtime.nri().reconcile(&cx, &pods, &containers, put).await;
    let mut reconciled = reconciled.unwrap();
    reconciled.gone_containers.sort();
    assert_eq!(reconciled.gone_containers, ["goes", "goes too", "stays"]);
    assert_eq!(reconciled.gone_pods, ["p"]);
    assert_eq!(reconciled.resynchronized.len(), 1);

    for heard in [
        "RemoveContainer goes",
        "RemoveContainer stays",
        "RemoveContainer goes too",
        "StopPodSandbox p",
        "RemovePodSandbox p",
        "StopContainer ends",
    ] {
        plugin.wait_for(heard).await;
    }
    plugin.wait_for_nth("Synchronize", 2).await;
    let events = plugin.events();
    let at = |what: &str| events.iter().position(|event| event == what);
    assert!(
        at("RemoveContainer goes") < at("StopPodSandbox p"),
        "{events:?}"
    );
    // What has ended is told as an event, and is not shown; the rest is.
    let shown = plugin.seen();
    let mut shown = shown.iter().rev().filter_map(|call| call.synchronization());
    let shown = shown.next().unwrap();
    let ids: Vec<&str> = shown.containers.iter().map(|c| c.id.as_str()).collect();
    assert!(ids.contains(&"new") && !ids.contains(&"goes"), "{ids:?}");
    runtime.create(&runtime.pod("q"), "later").await;
    plugin.wait_for("CreateContainer later").await;
}

#[tokio::test]
async fn without_a_domain_nothing_can_be_reconciled() {
    let config = nri_adaptation::Config::default().with(|config| config.disable_connections = true);
    let nri = nri_adaptation::Nri::builder(config).build().unwrap();
    let mut put = false;
    let refused = nri.reconcile(&Ctx::new(), &[], &[], || put = true).await;
    assert!(matches!(refused, Err(Error::Invalid(_))) && !put);
}

#[tokio::test]
async fn the_events_that_plugins_want_can_be_waited_for() {
    let runtime = patient().start().await;
    let mut events = runtime.nri().watch_events();
    assert_eq!(*events.borrow_and_update(), EventMask::NONE);
    let plugin = FakePlugin::new("10-plugin").subscribe(Event::StopContainer);
    let connected = runtime.join(&plugin).await;
    let wanted = events.wait_for(|events| *events == Event::StopContainer.into());
    wanted.await.unwrap();
    drop(connected);
    let nothing = events.wait_for(|events| *events == EventMask::NONE);
    nothing.await.unwrap();
}
