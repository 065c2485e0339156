//! What plugins ask for other containers, in answers and on their own account.

use nri_adaptation::config::SideUpdateFailure;
use nri_adaptation::{
    CallOutcome, Config, Ctx, DomainError, Event, EventError as Error, RuntimeApi as _, api,
};
use nri_testkit::{Behavior, FakePlugin, TEST_TIMEOUT, TestRuntime, When};

use crate::values::{memory, patient};

fn evict(id: &str, reason: &str) -> api::ContainerEviction {
    api::ContainerEviction {
        container_id: id.into(),
        reason: reason.into(),
    }
}

/// An answer to a synchronisation with updates.
fn synchronized(update: Vec<api::ContainerUpdate>) -> Behavior {
    Behavior::answer(api::SynchronizeResponse {
        update,
        more: false,
    })
}

/// Answers the creation of `new` with an update and an eviction of others.
fn greedy(update: api::ContainerUpdate) -> FakePlugin {
    let answer = Behavior::answer(api::CreateContainerResponse {
        update: vec![update],
        evict: vec![evict("victim", "needed the room")],
        ..Default::default()
    });
    let new = When::from(Event::CreateContainer).of("new");
    FakePlugin::new("10-greedy").on(new, answer)
}

fn refuse_updates(runtime: &TestRuntime) {
    let failed = || DomainError::Failed("out of memory".into());
    runtime
        .domain()
        .on_update(move |_| async move { Err(failed()) });
}

fn failing(config: &mut Config) {
    config.side_update_failure = SideUpdateFailure::Fail;
}

/// A pod with containers.
async fn pod_with(runtime: &TestRuntime, containers: &[&str]) -> api::PodSandbox {
    let pod = runtime.run_pod("p").await;
    for id in containers {
        runtime.try_create(&pod, id).await.unwrap();
    }
    pod
}

#[tokio::test]
async fn evictions_come_before_updates_and_before_the_creation_returns() {
    let runtime = patient().start().await;
    let _connected = runtime.join(&greedy(memory("other", 42))).await;
    let pod = pod_with(&runtime, &["victim", "other"]).await;
    runtime.create(&pod, "new").await;
    assert_eq!(runtime.domain().updates(), [memory("other", 42)]);
    let evictions = runtime.domain().evictions();
    assert_eq!(evictions.len(), 1);
    assert!(
        evictions[0].reason.contains("10-greedy")
            && evictions[0].reason.contains("needed the room")
    );
    for notice in [
        r#"evicted victim for [(PluginId(10-greedy), "needed the room")]: Ok(())"#,
        "updated other for [PluginId(10-greedy)]: Ok(())",
    ] {
        runtime.watcher().wait_for(notice).await;
    }
}

#[tokio::test]
async fn a_failed_side_update_can_fail_the_creation_which_is_undone() {
    let runtime = patient().config(failing).start().await;
    let plugin = greedy(memory("other", 42));
    let _connected = runtime.join(&plugin).await;
    let pod = pod_with(&runtime, &["victim", "other"]).await;
    refuse_updates(&runtime);
    let error = runtime.try_create(&pod, "new").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::SideEffect { .. }), "{text}");
    for part in ["10-greedy", "update", "other", "out of memory"] {
        assert!(text.contains(part), "{text}");
    }
    plugin.wait_for("RemoveContainer new").await;
}

#[tokio::test]
async fn a_failed_side_update_keeps_nothing_from_starting_unless_it_is_to_and_is_always_told() {
    for lenient in [true, false] {
        let builder = patient();
        let runtime = match lenient {
            true => builder.start().await,
            false => builder.config(failing).start().await,
        };
        let mut update = memory("other", 42);
        update.ignore_failure = !lenient;
        let _connected = runtime.join(&greedy(update)).await;
        let pod = pod_with(&runtime, &["victim", "other"]).await;
        refuse_updates(&runtime);
        runtime.create(&pod, "new").await;
        assert!(runtime.domain().updates().is_empty());
        let told = runtime
            .watcher()
            .wait_for("updated other")
            .await
            .to_string();
        assert!(told.contains("out of memory"), "{told}");
    }
}

#[tokio::test]
async fn a_container_that_is_gone_is_no_failure() {
    let runtime = patient().start().await;
    let _connected = runtime.join(&greedy(memory("gone", 42))).await;
    let pod = pod_with(&runtime, &[]).await;
    runtime.create(&pod, "new").await;
    assert!(runtime.domain().updates().is_empty());
}

/// The same for the empty id, which nobody has: in every answer that may ask for something.
/// koordinator's plugin answers each UpdateContainer so.
#[tokio::test]
async fn an_update_or_eviction_without_an_id_is_told_and_no_failure() {
    // Merged answers leave out what says nothing at all.
    for (asked, merged) in [(memory("", 42), 1), (api::ContainerUpdate::default(), 0)] {
        let runtime = patient().config(failing).start().await;
        let update = vec![asked.clone()];
        let evict = vec![evict("", "gone")];
        let plugin = FakePlugin::new("10-koordinates")
            .on(
                Event::CreateContainer,
                Behavior::answer(api::CreateContainerResponse {
                    update: update.clone(),
                    evict: evict.clone(),
                    ..Default::default()
                }),
            )
            .on(
                Event::UpdateContainer,
                Behavior::answer(api::UpdateContainerResponse {
                    update: update.clone(),
                    evict,
                }),
            )
            .on(
                Event::StopContainer,
                Behavior::answer(api::StopContainerResponse {
                    update: update.clone(),
                }),
            )
            .on(When::method("Synchronize"), synchronized(update));
        let connected = runtime.join(&plugin).await;
        let told = async |updates: usize, evictions: usize| {
            let watcher = runtime.watcher();
            for (notice, count) in [("updated  for", updates), ("evicted  for", evictions)] {
                if count > 0 {
                    watcher.wait_for_nth(notice, count).await;
                }
            }
        };
        told(1, 0).await;
        let (nri, cx) = (runtime.nri(), Ctx::new());
        let pod = runtime.run_pod("p").await;
        let c = runtime.try_create(&pod, "c").await.unwrap();
        told(1 + merged, 1).await;
        let changes = memory("c", 7).linux.unwrap().resources;
        nri.update_container(&cx, &pod, &c, changes).await.unwrap();
        told(1 + 2 * merged, 2).await;
        nri.stop_container(&cx, &pod, &c).await.unwrap();
        told(1 + 3 * merged, 2).await;
        // Unsolicited, it is in the list of what failed, like any that nobody knows.
        let failed = connected.update(vec![asked.clone()], vec![]).await;
        assert_eq!(failed.unwrap(), [asked]);
        told(2 + 3 * merged, 2).await;
        let notices = runtime.watcher().notices().all();
        let mut told = notices.iter().map(ToString::to_string);
        assert!(
            told.all(|notice| !notice.starts_with("updated") || notice.contains("NotFound")),
            "{notices:?}"
        );
    }
}

#[tokio::test]
async fn an_update_returns_what_to_apply_instead() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-tunes").on(
        Event::UpdateContainer,
        Behavior::answer(api::UpdateContainerResponse {
            update: vec![memory("other", 1), memory("c", 2)],
            evict: vec![evict("victim", "")],
        }),
    );
    let pod = pod_with(&runtime, &["c", "other", "victim"]).await;
    let asked = memory("c", 7).linux.unwrap().resources.unwrap();
    let untouched = runtime.try_update(&pod, "c", asked.clone()).await.unwrap();
    assert_eq!(untouched.resources, None);
    let _connected = runtime.join(&plugin).await;
    let result = runtime.try_update(&pod, "c", asked).await.unwrap();
    let memory_now = result.resources.unwrap().memory.unwrap();
    assert_eq!(memory_now.limit.unwrap().value, 2);
    assert_eq!(result.outcomes.len(), 1);
    assert_eq!(runtime.domain().updates(), [memory("other", 1)]);
    assert_eq!(runtime.domain().evictions()[0].container_id, "victim");
}

#[tokio::test]
async fn what_a_stop_frees_is_given_to_others() {
    let runtime = patient().start().await;
    let plugin = FakePlugin::new("10-balances").on(
        Event::StopContainer,
        Behavior::answer(api::StopContainerResponse {
            update: vec![memory("other", 9)],
        }),
    );
    let _connected = runtime.join(&plugin).await;
    let pod = pod_with(&runtime, &["c", "d", "other"]).await;
    runtime.stop_container(&pod, "c").await;
    let updates = runtime.domain().update_journal();
    assert_eq!(updates.len(), 1);
    let d = runtime.container(&pod, "d");
    runtime.nri().notify_container_exit(&pod, &d);
    let second = updates.wait_for("the second update", |all| all.len() == 2);
    second.await;
}

#[tokio::test]
async fn unsolicited_updates_are_applied_and_failures_listed() {
    let runtime = patient().start().await;
    let connected = runtime.join(&FakePlugin::new("10-plugin")).await;
    pod_with(&runtime, &["good", "bad", "ignored", "victim"]).await;
    runtime.domain().on_update(|update| async move {
        match update.container_id.as_str() {
            "good" => Ok(()),
            _ => Err(DomainError::Failed("no".into())),
        }
    });
    let mut ignored = memory("ignored", 1);
    ignored.ignore_failure = true;
    let updates = vec![
        memory("good", 1),
        memory("bad", 2),
        ignored,
        memory("unknown", 3),
        memory("", 4),
        api::ContainerUpdate {
            container_id: "good".into(),
            ..Default::default()
        },
    ];
    let evictions = vec![evict("victim", "why not"), evict("unknown", "")];
    let failed = connected.update(updates, evictions).await.unwrap();
    let failed: Vec<_> = failed.iter().map(|update| &update.container_id).collect();
    assert_eq!(failed, ["bad", "unknown", ""]);
    let evicted = runtime.domain().evictions();
    let evicted: Vec<_> = evicted.iter().map(|evict| &evict.container_id).collect();
    assert_eq!(evicted, ["victim"]);
    assert_eq!(runtime.domain().updates(), [memory("good", 1)]);
    // What is refused is told as well, and so is what nobody has.
    let told = |id: &str| runtime.watcher().count(&format!("updated {id} for"));
    assert_eq!((told("bad"), told("ignored"), told("unknown")), (1, 1, 1));
}

#[tokio::test]
async fn updates_asked_for_when_joining_are_applied() {
    let runtime = patient().start().await;
    pod_with(&runtime, &["c"]).await;
    let asked = synchronized(vec![memory("c", 5), memory("unknown", 6)]);
    let plugin = FakePlugin::new("10-tunes").on(When::method("Synchronize"), asked);
    let _connected = runtime.join(&plugin).await;
    let (updates, applied) = (runtime.domain().update_journal(), [memory("c", 5)]);
    updates.wait_for("the update", |all| *all == applied).await;
}

#[tokio::test]
async fn a_plugin_may_wait_for_its_updates_inside_a_handler() {
    let runtime = patient().start().await;
    let eager = nri_plugin::handlers()
        .on_start_container(|cx, _, _| async move {
            let update = vec![memory("c", 1)];
            let failed = cx.runtime().update_containers(update, vec![]).await?;
            assert!(failed.is_empty());
            Ok(())
        })
        .build();
    let _joined = runtime.join_plugin("10-eager", eager).await;
    let pod = pod_with(&runtime, &["c"]).await;
    runtime.start_container(&pod, "c").await;
    assert_eq!(runtime.domain().updates(), [memory("c", 1)]);
}

/// Has the domain update another container through the API that calls it.
fn update_through_the_api(runtime: &TestRuntime, pod: &api::PodSandbox, other: &api::Container) {
    let (nri, pod, other) = (runtime.nri().clone(), pod.clone(), other.clone());
    runtime.domain().on_update(move |update| {
        let (nri, pod, other) = (nri.clone(), pod.clone(), other.clone());
        async move {
            let resources = update.linux.and_then(|linux| linux.resources);
            let cx = Ctx::new();
            let result = nri.update_container(&cx, &pod, &other, resources);
            let failed = |error: Error| DomainError::Failed(error.to_string());
            result.await.map(drop).map_err(failed)
        }
    });
}

/// A domain that updates and stops through the API that calls it, in the same pod and in another
/// one.
#[tokio::test]
async fn a_domain_may_call_back_into_the_api() {
    let runtime = patient().start().await;
    let plugin = greedy(memory("other", 42));
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let victim = runtime.try_create(&pod, "victim").await.unwrap();
    let other = runtime.try_create(&pod, "other").await.unwrap();
    update_through_the_api(&runtime, &pod, &other);
    let (nri, in_pod) = (runtime.nri().clone(), pod.clone());
    runtime.domain().on_evict(move |_| {
        let (nri, pod, victim) = (nri.clone(), in_pod.clone(), victim.clone());
        async move {
            let stopped = nri.stop_container(&Ctx::new(), &pod, &victim).await;
            let failed = |error: Error| DomainError::Failed(error.to_string());
            stopped.map(drop).map_err(failed)
        }
    });
    let create = runtime.try_create(&pod, "new");
    let created = tokio::time::timeout(TEST_TIMEOUT, create).await;
    created.expect("no dead-lock").unwrap();
    assert_eq!(
        plugin.events()[3..],
        [
            "CreateContainer new",
            "StopContainer victim",
            "UpdateContainer other"
        ]
    );
}

/// A plugin asks for updates inside the creation of a container and waits for them: of another
/// container, and of this one, which the runtime does not have yet.
#[tokio::test]
async fn a_plugin_may_wait_for_its_updates_inside_a_creation() {
    for serial in [false, true] {
        let builder = patient().config(move |config| config.serial = serial);
        let runtime = builder.start().await;
        let eager = nri_plugin::handlers()
            .on_create_container(|cx, _, container| async move {
                if container.id == "new" {
                    let updates = vec![memory("other", 1), memory("new", 2)];
                    let failed = cx.runtime().update_containers(updates, vec![]).await?;
                    assert_eq!(failed, [memory("new", 2)]);
                }
                Ok(())
            })
            .build();
        let _joined = runtime.join_plugin("10-eager", eager).await;
        let pod = pod_with(&runtime, &["other"]).await;
        runtime.create(&pod, "new").await;
        assert_eq!(runtime.domain().updates(), [memory("other", 1)]);
        let outcomes = runtime
            .watcher()
            .outcomes("10-eager", Event::CreateContainer);
        assert_eq!(outcomes, [CallOutcome::Answered, CallOutcome::Answered]);
    }
}

#[tokio::test]
async fn a_domain_may_call_back_from_any_update_even_if_requests_go_one_by_one() {
    let builder = patient().config(|config| config.serial = true);
    let runtime = builder.start().await;
    let p = runtime.pod("p");
    let other = runtime.container(&p, "other");
    runtime.domain().put_pod(p.clone());
    runtime.domain().put_container(other.clone());
    update_through_the_api(&runtime, &p, &other);
    // When it is synchronised, in the answer to a creation, to a stop, and on its own account.
    let update = vec![memory("other", 1)];
    let plugin = FakePlugin::new("10-asks")
        .on(When::method("Synchronize"), synchronized(update.clone()))
        .on(
            Event::CreateContainer,
            Behavior::answer(api::CreateContainerResponse {
                update: update.clone(),
                ..Default::default()
            }),
        )
        .on(
            Event::StopContainer,
            Behavior::answer(api::StopContainerResponse {
                update: update.clone(),
            }),
        );
    let connected = runtime.join(&plugin).await;
    plugin.wait_for("UpdateContainer other").await;
    runtime.try_create(&p, "new").await.unwrap();
    runtime.stop_container(&p, "new").await;
    let failed = connected.update(update, vec![]).await.unwrap();
    assert!(failed.is_empty());
    plugin.assert_events(&[
        "UpdateContainer other",
        "CreateContainer new",
        "UpdateContainer other",
        "StopContainer new",
        "UpdateContainer other",
        "UpdateContainer other",
    ]);
}
