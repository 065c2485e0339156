//! Which requests are in order, and which overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_adaptation::config::PluginConfig;
use nri_adaptation::{CallOutcome, Config, Ctx, Event, RuntimeApi as _, api};
use nri_testkit::{Behavior, Connected, FakePlugin, Gate, TestRuntime, When};
use tokio::sync::Barrier;

use crate::values::patient;

/// Lets a plugin get so many requests at a time.
fn give_room(config: &mut Config, name: &str, places: usize) {
    let mut roomy = PluginConfig::default();
    roomy.max_in_flight = Some(places);
    config.plugins.insert(name.into(), roomy);
}

/// Runs so many pods at once.
async fn run_pods(runtime: &TestRuntime, count: usize) {
    let runs: Vec<_> = (0..count)
        .map(|n| {
            let (nri, pod) = (runtime.nri().clone(), runtime.pod(&format!("p{n}")));
            tokio::spawn(async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await })
        })
        .collect();
    for run in runs {
        run.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn events_of_a_pod_are_in_order_and_pods_overlap() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let held = Behavior::usual().behind(&gate);
    let slow = FakePlugin::new("10-slow").on(When::from(Event::StartContainer).nth(1), held);
    let other = FakePlugin::new("20-other");
    let _connected = (runtime.join(&slow).await, runtime.join(&other).await);
    let (pod_a, pod_b) = (runtime.run_pod("a").await, runtime.run_pod("b").await);
    let c = runtime.try_create(&pod_a, "c").await.unwrap();
    let start = tokio::spawn({
        let (nri, pod, c) = (runtime.nri().clone(), pod_a.clone(), c.clone());
        async move { nri.start_container(&Ctx::new(), &pod, &c).await }
    });
    slow.wait_for("StartContainer c").await;
    // It ends while its start is being told: the exit comes after it, the removal after the exit.
    runtime.nri().notify_container_exit(&pod_a, &c);
    let remove = tokio::spawn({
        let (nri, pod, c) = (runtime.nri().clone(), pod_a.clone(), c.clone());
        async move { nri.remove_container(&Ctx::new(), &pod, &c).await }
    });
    // Meanwhile the other pod gets as far as the plugin that is busy.
    let d = runtime.container(&pod_b, "d");
    let create = tokio::spawn({
        let (nri, pod) = (runtime.nri().clone(), pod_b.clone());
        async move {
            let created = nri.create_container(&Ctx::new(), &pod, &d).await;
            created.map(|creation| creation.commit())
        }
    });
    tokio::task::yield_now().await;
    gate.open();
    start.await.unwrap().unwrap();
    remove.await.unwrap().unwrap();
    create.await.unwrap().unwrap();
    let of_c: Vec<String> = other
        .events()
        .into_iter()
        .filter(|event| event.ends_with(" c"))
        .collect();
    assert_eq!(
        of_c,
        [
            "CreateContainer c",
            "StartContainer c",
            "StopContainer c",
            "RemoveContainer c"
        ]
    );
    let stop = other.wait_for("StopContainer c").await.request().unwrap();
    let state = stop.container().unwrap().state();
    assert_eq!(state, api::ContainerState::ContainerStopped);
}

#[tokio::test]
async fn many_pods_overlap_a_slow_plugin_with_room() {
    const PLACES: usize = 16;
    let builder = patient().config(|config| give_room(config, "slow", PLACES));
    let runtime = builder.start().await;
    // It answers none before as many as it has places for are there, so fewer at a time would all
    // be late.
    let all_there = Arc::new(Barrier::new(PLACES));
    let inside = Inside::default();
    let counted = inside.clone();
    let together = Behavior::decide(move |_| {
        let all_there = Arc::clone(&all_there);
        let inside = counted.enter();
        async move {
            all_there.wait().await;
            inside.leave();
            Behavior::usual()
        }
    });
    let slow = FakePlugin::new("10-slow").on(Event::RunPodSandbox, together);
    let _connected = runtime.join(&slow).await;
    run_pods(&runtime, 3 * PLACES).await;
    let outcomes = runtime.watcher().outcomes("10-slow", Event::RunPodSandbox);
    assert_eq!(outcomes, vec![CallOutcome::Answered; 3 * PLACES]);
    assert_eq!(inside.most(), PLACES);
}

/// How many are inside at a time.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

impl Inside {
    /// One more is inside until it [leaves](Self::leave).
    fn enter(&self) -> Self {
        let (now, most) = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.clone()
    }

    fn leave(self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many were inside at most.
    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A plugin that is counted while it runs a pod.
fn counted(id: &str, inside: &Inside) -> FakePlugin {
    let inside = inside.clone();
    let behavior = Behavior::decide(move |_| {
        let inside = inside.enter();
        async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            inside.leave();
            Behavior::usual()
        }
    });
    FakePlugin::new(id).on(Event::RunPodSandbox, behavior)
}

#[tokio::test]
async fn serial_instances_handle_one_request_at_a_time() {
    let builder = patient().config(|config| {
        config.serial = true;
        give_room(config, "10-one", 16);
    });
    let runtime = builder.start().await;
    let inside = Inside::default();
    let _connected = runtime.join(&counted("10-one", &inside)).await;
    run_pods(&runtime, 20).await;
    assert_eq!(inside.most(), 1);
}

/// Has the plugins join, and runs 50 pods at once.
async fn fifty_pods(runtime: &TestRuntime, plugins: [&FakePlugin; 3]) -> Vec<Connected> {
    let mut connected = Vec::new();
    for plugin in plugins {
        connected.push(runtime.join(plugin).await);
    }
    run_pods(runtime, 50).await;
    connected
}

#[tokio::test]
async fn the_work_of_other_plugins_overlaps_that_of_a_slow_one() {
    let runtime = patient().start().await;
    // The first plugin, and one after the slow one. What matters is who was where when.
    let first = FakePlugin::new("05-first");
    let last = FakePlugin::new("90-last");
    let (seen_by_first, seen_by_last) = (first.clone(), last.clone());
    let handshake = 2;
    let overlaps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&overlaps);
    let behind = Behavior::decide(move |_| {
        let (first, last) = (seen_by_first.clone(), seen_by_last.clone());
        let count = Arc::clone(&count);
        async move {
            // It answers its n-th request when the first plugin has got far ahead of it, or is
            // through, and the last one has all that went before. With one request at a
            // time in all, neither would ever happen.
            let mine = count.fetch_add(1, Ordering::SeqCst);
            let ahead = (mine + 10).min(50) + handshake;
            let (first, last) = (first.record(), last.record());
            first
                .wait_for("the first one", |seen| seen.len() >= ahead)
                .await;
            let before = mine + handshake;
            last.wait_for("the last one", |seen| seen.len() >= before)
                .await;
            Behavior::usual()
        }
    });
    let slow = FakePlugin::new("50-slow").on(Event::RunPodSandbox, behind);
    let _connected = fifty_pods(&runtime, [&slow, &first, &last]).await;
    assert_eq!(overlaps.load(Ordering::SeqCst), 50);
    for plugin in [&first, &slow, &last] {
        assert_eq!(plugin.events().len(), 50);
    }
    // Each plugin got one at a time, in the order in which the one before had answered.
    assert_eq!(slow.events(), last.events());
}

#[tokio::test]
async fn one_request_in_the_whole_instance_when_serial() {
    let builder = patient().config(|config| {
        config.serial = true;
        for name in ["first", "slow", "last"] {
            give_room(config, name, 16);
        }
    });
    let runtime = builder.start().await;
    let inside = Inside::default();
    let [first, slow, last] = ["05-first", "50-slow", "90-last"].map(|id| counted(id, &inside));
    let _connected = fifty_pods(&runtime, [&slow, &first, &last]).await;
    assert_eq!(inside.most(), 1);
    assert_eq!(first.events(), last.events());
}

#[tokio::test]
async fn a_pods_stop_waits_for_the_exits_of_its_containers_and_a_removal_drains_them() {
    let runtime = patient().start().await;
    let gate = Gate::new();
    let held = Behavior::usual().behind(&gate);
    let slow = FakePlugin::new("10-slow").on(When::from(Event::PostStartContainer).nth(1), held);
    let _connected = runtime.join(&slow).await;
    let p = runtime.run_pod("p").await;
    let a = runtime.try_create(&p, "a").await.unwrap();
    let b = runtime.try_create(&p, "b").await.unwrap();
    let held = tokio::spawn({
        let (nri, p, a) = (runtime.nri().clone(), p.clone(), a.clone());
        async move { nri.post_start_container(&Ctx::new(), &p, &a).await }
    });
    slow.wait_for("PostStartContainer a").await;
    // Both exits are queued behind what is held; then everything ends at once.
    runtime.nri().notify_container_exit(&p, &a);
    runtime.nri().notify_container_exit(&p, &b);
    let mut stop = tokio::spawn({
        let (nri, p, a) = (runtime.nri().clone(), p.clone(), a.clone());
        async move {
            let cx = Ctx::new();
            // The exit was first, so this has no effect; but it ends after the exit is told.
            let stopped = nri.stop_container(&cx, &p, &a).await.unwrap();
            assert!(stopped.outcomes.is_empty());
            nri.stop_pod_sandbox(&cx, &p).await
        }
    });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_finished());
    gate.open();
    held.await.unwrap().unwrap();
    (&mut stop).await.unwrap().unwrap();
    assert_eq!(
        slow.events()[3..],
        [
            "PostStartContainer a",
            "StopContainer a",
            "StopContainer b",
            "StopPodSandbox p"
        ]
    );
    runtime.remove_container(&p, "b").await;
    runtime.remove_container(&p, "a").await;
    runtime.remove_pod(&p).await;
    assert_eq!(
        slow.events()[7..],
        [
            "RemoveContainer b",
            "RemoveContainer a",
            "RemovePodSandbox p"
        ]
    );
}
