//! What a plugin says is to happen when it does not answer (protocol v0.12.4), over connections and
//! in the runtime's program. That it holds for every event and every row of the table is for the
//! core's scenes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_adaptation::config::{AfterLate, FailureAction, PluginConfig};
use nri_adaptation::{Config, Ctx, RuntimeApi as _};
use nri_core::{Error, Event, EventMask, HandlerError, Plugin, PluginCtx, api};
use tokio::sync::Notify;

use crate::support::*;

const TIME: Duration = Duration::from_millis(100);

/// What the operator says of the one plugin that does not answer; it alone has little time.
fn hasty(config: &mut Config, operator: impl FnOnce(&mut PluginConfig)) {
    config.plugin_request_timeout = Duration::from_secs(3600);
    let mut own = PluginConfig::default();
    own.request_timeout = Some(TIME);
    operator(&mut own);
    config.plugins.insert("wishes".into(), own);
}

/// Answers `RunPodSandbox` when it is released.
fn hanging(release: &Arc<Notify>) -> Fake {
    let release = Arc::clone(release);
    Fake::all_events("10-wishes").on("RunPodSandbox", move |_| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            None
        }
    })
}

/// The four rows of the table that are about time.
#[tokio::test]
async fn lateness_over_a_connection_is_what_the_plugin_says() {
    for (fail_request, keep_connected) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let world = World::started_with(|config| hasty(config, |_| {})).await;
        let release = Arc::new(Notify::new());
        let wishes = hanging(&release).wishing(fail_request, keep_connected);
        let other = Fake::all_events("20-other");
        let peer = wishes.join(&world).await;
        let _other = other.join(&world).await;
        let result = world.nri.run_pod_sandbox(&Ctx::new(), &pod("a")).await;
        match fail_request {
            true => {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Late { .. }), "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("10-wishes") && text.contains("RunPodSandbox"),
                    "{text}"
                );
                assert_eq!(other.events_seen(), [] as [&str; 0]);
            }
            false => {
                result.unwrap();
                assert_eq!(other.events_seen(), ["RunPodSandbox a"]);
            }
        }
        if keep_connected {
            release.notify_one();
            release.notify_one();
            // It gets requests again, as soon as its answer has come.
            for next in 0.. {
                let pod = pod(&format!("next-{next}"));
                let _ = world.nri.run_pod_sandbox(&Ctx::new(), &pod).await;
                if wishes.events_seen().len() > 1 {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(world.nri.plugins().len(), 2);
        } else {
            peer.closed().await;
            world.observer.wait_for("gone 10-wishes").await;
            world.pod("b").await;
        }
        world.nri.stop().await;
    }
}

/// The rows about lost connections: it is gone, whatever it wished.
#[tokio::test]
async fn a_connection_lost_in_a_call_fails_the_request_if_the_plugin_says_so() {
    for (fail_request, keep_connected) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let world =
            World::started_with(|config| config.plugin_request_timeout = Duration::from_secs(3600))
                .await;
        let never = Arc::new(Notify::new());
        let wishes = hanging(&never).wishing(fail_request, keep_connected);
        let peer = wishes.join(&world).await;
        let running = tokio::spawn({
            let nri = world.nri.clone();
            async move { nri.run_pod_sandbox(&Ctx::new(), &pod("a")).await }
        });
        world.seen(&wishes, "RunPodSandbox a").await;
        drop(peer);
        let result = running.await.unwrap();
        match fail_request {
            true => {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Gone { .. }), "{error}");
            }
            false => result.unwrap(),
        }
        world.observer.wait_for("gone 10-wishes").await;
        world.pod("b").await;
        world.nri.stop().await;
    }
}

#[tokio::test]
async fn a_plugin_that_went_between_requests_fails_none() {
    let world = World::started_with(|_| {}).await;
    let release = Arc::new(Notify::new());
    let hold = Arc::clone(&release);
    let first = Fake::all_events("05-first").on("RunPodSandbox", move |_| {
        let hold = Arc::clone(&hold);
        async move {
            hold.notified().await;
            None
        }
    });
    let _first = first.join(&world).await;
    let wishes = Fake::all_events("10-wishes").wishing(true, true);
    let peer = wishes.join(&world).await;
    let running = tokio::spawn({
        let nri = world.nri.clone();
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod("a")).await }
    });
    world.seen(&first, "RunPodSandbox a").await;
    drop(peer);
    world.observer.wait_for("gone 10-wishes").await;
    release.notify_one();
    running.await.unwrap().unwrap();
    release.notify_one();
    world.pod("b").await;
    world.nri.stop().await;
}

/// The operator's key goes before the plugin's wish, each on its own.
#[tokio::test]
async fn the_operator_has_the_last_word() {
    let release = Arc::new(Notify::new());

    // A plugin that would fail requests, and be kept, is neither.
    let world = World::started_with(|config| {
        hasty(config, |own| {
            own.on_late = Some(FailureAction::Skip);
            own.after_late = Some(AfterLate::Close);
        });
    })
    .await;
    let peer = hanging(&release).wishing(true, true).join(&world).await;
    world.pod("a").await;
    peer.closed().await;
    world.nri.stop().await;

    // And the other way round: it stays for its three times.
    let world = World::started_with(|config| {
        hasty(config, |own| {
            own.on_late = Some(FailureAction::Fail);
            own.after_late = Some(AfterLate::Keep);
        });
    })
    .await;
    let peer = hanging(&release).wishing(false, false).join(&world).await;
    let error = world
        .nri
        .run_pod_sandbox(&Ctx::new(), &pod("a"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    peer.closed().await;
    let gone = world.observer.wait_for("gone 10-wishes").await;
    let reason = gone.last().unwrap();
    assert!(reason.contains("owed an answer for too long"), "{reason}");
    world.nri.stop().await;
}

/// What holds for all plugins holds for those that wish nothing; a wish is kept when that changes.
#[tokio::test]
async fn a_wish_outlives_another_configuration() {
    let world = World::started_with(|config| hasty(config, |_| {})).await;
    let release = Arc::new(Notify::new());
    let wishes = hanging(&release).wishing(true, true);
    let _peer = wishes.join(&world).await;
    assert_eq!(world.nri.plugins()[0].failure_policy, wishes.wish);
    let mut config = Config::clone(&world.nri.config());
    config.after_late = AfterLate::Close;
    config.plugin_strikes = 1;
    world.nri.reconfigure(config.clone()).await.unwrap();
    let error = world
        .nri
        .run_pod_sandbox(&Ctx::new(), &pod("a"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    assert_eq!(world.nri.plugins().len(), 1);
    // A word of the operator about it is heard at once.
    hasty(&mut config, |own| own.on_late = Some(FailureAction::Skip));
    world.nri.reconfigure(config).await.unwrap();
    world.pod("b").await;
    world.nri.stop().await;
}

/// Hangs, and says that this fails the request.
struct BuiltIn(api::FailurePolicy);

#[async_trait]
impl Plugin for BuiltIn {
    fn events(&self) -> EventMask {
        Event::RunPodSandbox.into()
    }

    fn failure_policy(&self) -> Option<api::FailurePolicy> {
        Some(self.0)
    }

    async fn run_pod_sandbox(
        &self,
        _: &PluginCtx,
        _: api::RunPodSandboxRequest,
    ) -> Result<(), HandlerError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn plugins_in_the_runtimes_program_have_wishes_too() {
    for keep_connected in [false, true] {
        let policy = api::FailurePolicy {
            fail_request: true,
            keep_connected,
        };
        let id = "10-wishes".parse().unwrap();
        let world = World::with(
            |config| hasty(config, |_| {}),
            |builder| builder.plugin(id, Arc::new(BuiltIn(policy))),
        );
        world.nri.start().await.unwrap();
        let error = world
            .nri
            .run_pod_sandbox(&Ctx::new(), &pod("a"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        if !keep_connected {
            world.observer.wait_for("gone 10-wishes").await;
        }
        assert_eq!(world.nri.plugins().len(), usize::from(keep_connected));
        world.nri.stop().await;
    }
}

/// A plugin that is kept and never answers is asked again all the same, and its calls are not kept
/// for ever.
#[tokio::test]
async fn a_kept_plugin_that_never_answers_is_asked_again() {
    let world = World::started_with(|config| hasty(config, |_| {})).await;
    let never = Arc::new(Notify::new());
    let wishes = hanging(&never).wishing(false, true);
    let _peer = wishes.join(&world).await;
    for n in 0.. {
        world.pod(&format!("p{n}")).await;
        if wishes.events_seen().len() == 3 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.nri.plugins().len(), 1);
    world.nri.stop().await;
}
