//! Deadlines: of plugins, which are late then and not dead, and of callers, for which no plugin is
//! to blame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nri_adaptation::config::{AfterLate, FailureAction, PluginConfig};
use nri_adaptation::{CallOutcome, Ctx, PluginState, RuntimeApi};
use nri_core::{Error, Event};
use tokio::sync::Notify;

use crate::support::*;

const TIME: Duration = Duration::from_millis(250);

/// Hangs in `RunPodSandbox` until it is released.
fn hanging(id: &str, release: &Arc<Notify>) -> Fake {
    let release = Arc::clone(release);
    Fake::all_events(id).on("RunPodSandbox", move |_| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            None
        }
    })
}

#[tokio::test]
async fn a_late_plugin_is_skipped_and_kept_and_gets_its_turn_back() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.plugin_strikes = 1000;
    })
    .await;
    let release = Arc::new(Notify::new());
    let late = hanging("10-late", &release);
    let other = Fake::all_events("20-other");
    let (_late, _other) = (late.join(&world).await, other.join(&world).await);

    let begun = Instant::now();
    world.pod("a").await;
    assert!(begun.elapsed() >= TIME);
    assert_eq!(world.nri.plugins()[0].state, PluginState::Late);
    // Nobody waits for it now.
    world.pod("b").await;
    world.pod("c").await;
    assert_eq!(
        other.events_seen(),
        ["RunPodSandbox a", "RunPodSandbox b", "RunPodSandbox c"]
    );
    assert_eq!(late.events_seen(), ["RunPodSandbox a"]);
    let outcomes: Vec<_> = world
        .observer
        .calls
        .all()
        .into_iter()
        .filter(|(plugin, ..)| plugin == "10-late")
        .map(|(_, _, outcome)| outcome)
        .collect();
    assert_eq!(
        outcomes,
        [CallOutcome::Late, CallOutcome::Busy, CallOutcome::Busy]
    );
    // Its reply comes, and is dropped.
    release.notify_one();
    while world.nri.plugins()[0].state != PluginState::Ready {
        tokio::task::yield_now().await;
    }
    release.notify_one();
    world.pod("d").await;
    assert_eq!(late.events_seen(), ["RunPodSandbox a", "RunPodSandbox d"]);
}

#[tokio::test]
async fn policies_say_what_lateness_errors_and_absence_mean() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        let mut strict = PluginConfig::default();
        strict.on_late = Some(FailureAction::Fail);
        strict.on_absent = Some(FailureAction::Fail);
        config.plugins.insert("strict".into(), strict);
    })
    .await;
    let release = Arc::new(Notify::new());
    let strict = hanging("10-strict", &release);
    let peer = strict.join(&world).await;
    let error = world
        .nri
        .run_pod_sandbox(&Ctx::new(), &pod("a"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Late { after, .. } if *after == TIME),
        "{error}"
    );
    release.notify_one();
    while world.nri.plugins()[0].state != PluginState::Ready {
        tokio::task::yield_now().await;
    }
    let running = tokio::spawn({
        let nri = world.nri.clone();
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod("b")).await }
    });
    world.seen(&strict, "RunPodSandbox b").await;
    drop(peer);
    assert!(matches!(running.await.unwrap(), Err(Error::Gone { .. })));
}

#[tokio::test]
async fn a_plugin_that_hangs_for_long_is_closed() {
    let world = World::started_with(|config| config.plugin_request_timeout = TIME).await;
    let never = Arc::new(Notify::new());
    let hung = hanging("10-hung", &never);
    let peer = hung.join(&world).await;
    let begun = Instant::now();
    world.pod("a").await;
    peer.closed().await;
    assert!(begun.elapsed() >= TIME * 3, "{:?}", begun.elapsed());
    let notices = world.observer.wait_for("gone 10-hung").await;
    assert!(
        notices
            .last()
            .unwrap()
            .contains("owed an answer for too long"),
        "{notices:?}"
    );
    world.pod("b").await;
}

#[tokio::test]
async fn strikes_count_only_in_a_row() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.plugin_strikes = 2;
    })
    .await;
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, release) = (Arc::clone(&calls), Arc::new(Notify::new()));
    let hold = Arc::clone(&release);
    // Late, in time, late, late.
    let fake = Fake::all_events("10-sloppy").on("RunPodSandbox", move |_| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        let hold = Arc::clone(&hold);
        async move {
            if call != 1 {
                hold.notified().await;
            }
            None
        }
    });
    let _peer = fake.join(&world).await;
    for pod in ["a", "b", "c", "d"] {
        world.pod(pod).await;
        if pod != "b" {
            release.notify_one();
        }
        while !world.nri.plugins().is_empty() && world.nri.plugins()[0].state == PluginState::Late {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.nri.plugins().is_empty(), pod == "d", "{pod}");
    }
}

#[tokio::test]
async fn a_plugin_can_be_closed_as_soon_as_it_is_late() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.after_late = AfterLate::Close;
    })
    .await;
    let release = Arc::new(Notify::new());
    let peer = hanging("10-late", &release).join(&world).await;
    world.pod("a").await;
    peer.closed().await;
    world.observer.wait_for("gone 10-late").await;
}

#[tokio::test]
async fn the_callers_deadline_is_not_the_plugins_fault() {
    let world = World::started_with(|config| config.plugin_request_timeout = TEST_TIMEOUT).await;
    let release = Arc::new(Notify::new());
    let slow = hanging("10-slow", &release);
    let other = Fake::all_events("20-other");
    let (_slow, _other) = (slow.join(&world).await, other.join(&world).await);
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    let error = world.nri.run_pod_sandbox(&cx, &pod("a")).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutOfTime {
                event: Event::RunPodSandbox,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("default/a-name"), "{error}");
    // The one that waits for its turn has the same limit.
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    assert!(world.nri.run_pod_sandbox(&cx, &pod("b")).await.is_err());
    assert_eq!(slow.events_seen(), ["RunPodSandbox a"]);
    assert_eq!(world.nri.plugins()[0].state, PluginState::Ready);
    release.notify_one();
    release.notify_one();
    world.pod("c").await;
    assert_eq!(slow.events_seen(), ["RunPodSandbox a", "RunPodSandbox c"]);
}

#[tokio::test]
async fn notifications_go_on_without_their_caller() {
    let world = World::started_with(|config| config.plugin_request_timeout = TEST_TIMEOUT).await;
    let release = Arc::new(Notify::new());
    let hold = Arc::clone(&release);
    let slow = Fake::all_events("10-slow").on("StopPodSandbox", move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.notified().await;
            None
        }
    });
    let other = Fake::all_events("20-other");
    let (_slow, _other) = (slow.join(&world).await, other.join(&world).await);
    let pod = world.pod("p").await;
    let cx = Ctx::new().with_deadline(Instant::now() + TIME);
    assert!(matches!(
        world.nri.stop_pod_sandbox(&cx, &pod).await,
        Err(Error::OutOfTime { .. })
    ));
    release.notify_one();
    world.seen(&other, "StopPodSandbox p").await;
    // It was told; a repetition has no effect.
    world.nri.stop_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
    assert_eq!(slow.events_seen(), ["RunPodSandbox p", "StopPodSandbox p"]);
}

#[tokio::test]
async fn a_plugin_that_stops_reading_holds_nobody_up_for_long() {
    let world = World::started_with(|config| config.plugin_request_timeout = TIME).await;
    // A peer by hand that registers, is configured and synchronised, and then reads no more.
    let fake = Fake::all_events("10-deaf");
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let peer = fake.over(ours);
    let valve = Arc::new(AtomicUsize::new(1));
    let open = Arc::clone(&valve);
    let mut runtime = tokio::net::UnixStream::connect(world.socket())
        .await
        .unwrap();
    let mut theirs = theirs;
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut runtime_read, mut runtime_write) = runtime.split();
        let (mut peer_read, mut peer_write) = theirs.split();
        let up = tokio::io::copy(&mut peer_read, &mut runtime_write);
        let down = async {
            let mut buffer = [0; 4096];
            while open.load(Ordering::SeqCst) == 1 {
                let count = runtime_read.read(&mut buffer).await.unwrap();
                if count == 0 || open.load(Ordering::SeqCst) == 0 {
                    break;
                }
                peer_write.write_all(&buffer[..count]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { _ = up => {}, () = down => {} }
    });
    peer.register().await.unwrap();
    world.observer.wait_for("synchronized 10-deaf").await;
    valve.store(0, Ordering::SeqCst);
    let mut large = pod("large");
    large.annotations.insert("a".into(), "x".repeat(3 << 20));
    let begun = Instant::now();
    world
        .nri
        .run_pod_sandbox(&Ctx::new(), &large)
        .await
        .unwrap();
    world.pod("b").await;
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
    world.observer.wait_for("gone 10-deaf").await;
    world.pod("c").await;
}

#[tokio::test]
async fn a_plugin_can_be_synchronised_again_after_it_was_late() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = TIME;
        config.plugin_strikes = 1000;
        config.after_late = AfterLate::Resync;
    })
    .await;
    let release = Arc::new(Notify::new());
    let late = hanging("10-late", &release);
    let peer = late.join(&world).await;
    world.pod("a").await;
    // What it misses meanwhile it learns from what it is shown.
    world.pod("b").await;
    assert_eq!(world.nri.plugins()[0].state, PluginState::Late);
    assert_eq!(late.shown().0, [] as [&str; 0]);
    release.notify_one();
    let shown = |got: &Vec<Got>| got.iter().filter(|g| g.method == "Synchronize").count() == 2;
    late.got.wait("the second synchronisation", shown).await;
    assert_eq!(late.shown().0, ["a", "b"]);
    release.notify_one();
    world.pod("c").await;
    assert_eq!(late.events_seen(), ["RunPodSandbox a", "RunPodSandbox c"]);
    assert_eq!(world.nri.plugins()[0].state, PluginState::Ready);
    // It took part all the time.
    let notices = world.observer.notices.all();
    let synchronized = notices.iter().filter(|n| n.starts_with("synchronized"));
    assert_eq!(synchronized.count(), 1, "{notices:?}");
    drop(peer);
}
