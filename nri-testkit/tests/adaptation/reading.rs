//! What exists is read when it is a plugin's turn to be shown it: what is gone by then, what has
//! begun another life, and domains that fail, hang or lie.

use std::collections::BTreeMap;
use std::future::{Future as _, pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{
    ContainerOutline, Ctx, Domain, DomainError, Event, EventMask, Outline, PodOutline,
    RuntimeApi as _, api,
};
use nri_testkit::{Connected, FakePlugin, Gate, TestRuntime};

use crate::values::patient;

/// A pod `p` with containers of these names that run, as the runtime's books have them.
async fn running(containers: &[&str]) -> (Arc<TestRuntime>, api::PodSandbox) {
    let runtime = Arc::new(patient().start().await);
    let pod = runtime.run_pod("p").await;
    for id in containers {
        runtime.create(&pod, id).await;
        runtime.start_container(&pod, id).await;
    }
    (runtime, pod)
}

/// Why a plugin is closed that wants to join.
async fn refused(runtime: &TestRuntime, plugin: &FakePlugin) -> String {
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    connected.closed().await;
    let gone = format!("gone {}", plugin.identity());
    runtime.watcher().wait_for(&gone).await.to_string()
}

/// Law: what is gone when it is read is left out, and the plugin hears nothing of its end; of what
/// it was shown it hears everything.
#[tokio::test]
async fn what_is_gone_when_it_is_read_is_left_out_with_its_end() {
    let (runtime, pod) = running(&["gone", "stays"]).await;
    let domain = Arc::downgrade(runtime.domain());
    runtime.domain().on_read(move |ids| {
        let domain = domain.upgrade().unwrap();
        async move {
            if ids.iter().any(|id| id == "gone") {
                domain.remove_container("gone");
            }
            Ok(())
        }
    });
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().1, ["stays"]);
    let (nri, cx) = (runtime.nri(), Ctx::new());
    for id in ["gone", "stays"] {
        let container = runtime.container(&pod, id);
        nri.stop_container(&cx, &pod, &container).await.unwrap();
        nri.remove_container(&cx, &pod, &container).await.unwrap();
    }
    plugin.assert_events(&["StopContainer stays", "RemoveContainer stays"]);
}

/// Law: a container whose id begins another life while a plugin joins reaches it by the event of
/// its creation alone.
#[tokio::test]
async fn what_begins_another_life_meanwhile_is_told_by_its_creation_alone() {
    let (runtime, pod) = running(&["again"]).await;
    let (weak, at, of) = (Arc::downgrade(&runtime), Gate::new(), pod.clone());
    let came_to = at.clone();
    runtime.domain().on_read(move |ids| {
        let (runtime, pod, at) = (weak.upgrade().unwrap(), of.clone(), came_to.clone());
        async move {
            if !ids.iter().any(|id| id == "again") {
                return Ok(());
            }
            let container = runtime.container(&pod, "again");
            let cx = Ctx::new();
            // No plugin wants to hear of that.
            let removed = runtime.nri().remove_container(&cx, &pod, &container).await;
            removed.map_err(|error| DomainError::Failed(error.to_string()))?;
            let mut creation = Box::pin(async move {
                let (pod, cx) = (&pod, Ctx::new());
                let creation = runtime.nri().create_container(&cx, pod, &container).await;
                creation.unwrap().commit();
            });
            // It has begun, and waits for the plugin.
            poll_fn(|cx| {
                assert!(creation.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            tokio::spawn(async move {
                creation.await;
                at.pass().await;
            });
            Ok(())
        }
    });
    let plugin = FakePlugin::new("10-joins").subscribe(EventMask::from(Event::CreateContainer));
    let _connected = runtime.join(&plugin).await;
    at.visitors(1).await;
    assert_eq!(plugin.shown().1, Vec::<String>::new());
    plugin.assert_events(&["CreateContainer again"]);
}

#[tokio::test]
async fn a_domain_that_fails_or_hangs_when_it_is_read_is_the_reason() {
    let builder = patient().config(|config| {
        config.domain_timeout = Duration::from_millis(300);
    });
    let runtime = builder.start().await;
    runtime.run_pod("p").await;
    runtime
        .domain()
        .on_read(|_| async { Err(DomainError::Failed("the database is locked".into())) });
    let gone = refused(&runtime, &FakePlugin::new("10-fails")).await;
    assert!(
        gone.contains("cannot list") && gone.contains("locked"),
        "{gone}"
    );
    runtime.domain().on_read(|_| pending());
    let gone = refused(&runtime, &FakePlugin::new("20-hangs")).await;
    assert!(gone.contains("`domain_timeout`"), "{gone}");
    runtime.domain().on_read(|_| async { Ok(()) });
    let plugin = FakePlugin::new("10-fails");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().0, ["p"]);
}

/// Law: a domain has its own time, however little a plugin has.
#[tokio::test]
async fn a_plugin_is_not_late_because_a_domain_is_slow() {
    let time = Duration::from_millis(200);
    let runtime = nri_testkit::TestRuntime::builder().request_timeout(time);
    let runtime = runtime.start().await;
    runtime.run_pod("p").await;
    runtime.domain().on_read(move |_| async move {
        tokio::time::sleep(time * 3).await;
        Ok(())
    });
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    assert_eq!(plugin.shown().0, ["p"]);
}

/// A domain whose outline names things twice and things that are not there, and which hands out
/// what nobody asked for.
struct Liar;

fn container(id: &str) -> api::Container {
    api::Container {
        id: id.into(),
        pod_sandbox_id: "liars".into(),
        state: api::ContainerState::ContainerRunning.into(),
        ..Default::default()
    }
}

#[nri_adaptation::async_trait]
impl Domain for Liar {
    fn name(&self) -> &str {
        "liar"
    }
    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        panic!("there is an outline")
    }
    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        panic!("there is an outline")
    }
    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        let running = api::ContainerState::ContainerRunning;
        let containers = ["one", "one", "ghost", "two", "one", ""];
        let containers = containers.map(|id| ContainerOutline::new(id, "liars", running));
        let pods = vec![PodOutline::new("liars"); 3];
        Ok(Some(Outline::new(pods, containers.into())))
    }
    async fn get_containers(&self, _: &[String]) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let all = ["two", "one", "unasked", "two", "one"];
        Ok(all.map(|id| Arc::new(container(id)) as _).into())
    }
    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        Some(Arc::new(api::PodSandbox {
            id: id.into(),
            ..Default::default()
        }))
    }
    async fn get_container(&self, _: &str) -> Option<Arc<dyn Container>> {
        None
    }
    async fn update_container(&self, _: &Ctx, _: &api::ContainerUpdate) -> Result<(), DomainError> {
        Ok(())
    }
    async fn evict_container(
        &self,
        _: &Ctx,
        _: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        Ok(())
    }
}

/// Law: each is shown once, and only what the outline named.
#[tokio::test]
async fn a_domain_that_lies_shows_nothing_twice_and_nothing_that_it_did_not_name() {
    let builder = patient().with(|builder| builder.domain(Arc::new(Liar)));
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-joins");
    let _connected = runtime.join(&plugin).await;
    let (pods, containers) = plugin.shown();
    assert_eq!(pods, ["liars"]);
    assert_eq!(containers, ["one", "two"]);
}

/// Law: plugins that are shown the same list have it read once for all, and each is shown all.
#[tokio::test]
async fn plugins_that_join_together_have_each_object_read_once() {
    const PLUGINS: usize = 8;
    let builder = patient();
    for number in 0..100 {
        let mut old = container(&format!("c{number:02}"));
        old.args = vec!["x".repeat(5_000)];
        builder.domain().put_container(old);
    }
    let runtime = Arc::new(builder.start().await);
    let reads: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&reads);
    runtime.domain().on_read(move |ids| {
        let mut counted = counted.lock().unwrap();
        for id in ids {
            *counted.entry(id).or_default() += 1;
        }
        async {
            tokio::task::yield_now().await;
            Ok(())
        }
    });
    // The first one has the list for itself; the others wait for the next.
    let gate = Gate::new();
    let closed = gate.clone();
    let lists = Arc::new(AtomicUsize::new(0));
    let listed = Arc::clone(&lists);
    runtime.domain().on_list(move || {
        listed.fetch_add(1, Ordering::Relaxed);
        let gate = closed.clone();
        async move {
            gate.pass().await;
            Ok(())
        }
    });
    let plugins: Vec<_> = (0..PLUGINS)
        .map(|number| FakePlugin::new(format!("1{number}-joins")))
        .collect();
    let mut joining = Vec::new();
    for plugin in &plugins {
        let (runtime, plugin) = (Arc::clone(&runtime), plugin.clone());
        joining.push(tokio::spawn(async move { runtime.join(&plugin).await }));
        if joining.len() == 1 {
            gate.visitors(1).await;
        }
    }
    for plugin in &plugins {
        plugin.wait_for("Configure").await;
    }
    gate.open();
    let mut connected: Vec<Connected> = Vec::new();
    for joins in joining {
        connected.push(joins.await.unwrap());
    }
    for plugin in &plugins {
        assert_eq!(plugin.shown().1.len(), 100, "{}", plugin.identity());
    }
    let reads = reads.lock().unwrap();
    assert_eq!(reads.len(), 100);
    let (most, lists) = (
        *reads.values().max().unwrap(),
        lists.load(Ordering::Relaxed),
    );
    assert!(most <= lists, "{lists} lists, and {reads:?}");
}
