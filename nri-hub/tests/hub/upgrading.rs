//! A hub takes the place of another one while pods start and stop: the runtime above notices
//! nothing, and no plugin misses anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nri_hub::{Error, Hub, TakenOver};
use nri_plugin::prelude::*;
use nri_plugin::{Backoff, Runner};
use nri_testkit::{FakePlugin, TestRuntime};
use tokio::sync::{oneshot, watch};

use crate::stage::{Stage, within};

/// What a plugin was told, by event and subject, however often.
type Told = Arc<Mutex<BTreeMap<(String, String), usize>>>;

/// A plugin that connects again, and sets a variable in each container.
fn counting(told: &Told) -> impl Plugin {
    let told = Arc::clone(told);
    handlers()
        .on_every(EventMask::ALL, move |_, request| {
            let container = request.container().map(|container| container.id.clone());
            let pod = request.pod().map(|pod| pod.id.clone());
            let subject = container.or(pod).unwrap_or_default();
            let key = (request.event().name().to_owned(), subject);
            *told.lock().unwrap().entry(key).or_default() += 1;
        })
        .on_create_container(|_, _, _| async {
            let mut adjust = Adjustment::new();
            adjust.add_env("FROM", "the plugin")?;
            Ok(adjust)
        })
        .build()
}

fn soon() -> Backoff {
    let mut backoff = Backoff::default();
    backoff.initial = Duration::from_millis(5);
    backoff.max = Duration::from_millis(20);
    backoff
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_is_replaced_while_containers_are_made_and_nothing_is_lost_or_doubled() {
    let runtime = TestRuntime::builder().request_timeout(Duration::from_secs(60));
    let runtime = Arc::new(runtime.start().await);
    let stage = Stage::at(runtime.socket());
    let config = stage.config.clone();
    let first = stage.run().await;
    let told = Told::default();
    let plugin = Runner::builder(counting(&told))
        .identity("10-counts")
        .use_environment(false)
        .socket(&config.nri.socket_path)
        .build()
        .unwrap();
    let plugin_handle = plugin.handle();
    let plugin = tokio::spawn(plugin.run_forever(soon()));
    let mut state = plugin_handle.state();
    let ready = state.wait_for(|state| matches!(state, nri_plugin::State::Ready(_)));
    within(ready).await.unwrap();
    let registered = runtime.nri().plugins();

    let enough = Arc::new(AtomicBool::new(false));
    let (finished, mut made) = watch::channel(0_usize);
    let making = {
        let (runtime, enough) = (Arc::clone(&runtime), Arc::clone(&enough));
        tokio::spawn(async move {
            while !enough.load(Ordering::SeqCst) {
                let number = *finished.borrow();
                let pod = runtime.run_pod(&format!("p{number}")).await;
                let id = format!("c{number}");
                let container = runtime.create(&pod, &id).await;
                assert_eq!(container.env, ["FROM=the plugin"], "{id}");
                runtime.start_container(&pod, &id).await;
                runtime.stop_container(&pod, &id).await;
                runtime.remove_container(&pod, &id).await;
                runtime.stop_pod(&pod).await;
                runtime.remove_pod(&pod).await;
                finished.send_replace(number + 1);
            }
        })
    };
    let mut some_more = async |count: usize| {
        let goal = *made.borrow() + count;
        // An error is that it has ended, which is looked at below.
        let _ = within(made.wait_for(|made| *made >= goal)).await;
    };
    some_more(5).await;
    let mut ended = first.give_way();
    let mut last = None;
    for _ in 0..3 {
        let taken = within(TakenOver::from_hub(&config.hub.control_socket)).await;
        within(ended).await.unwrap();
        let next = Hub::builder(config.clone())
            .use_environment(false)
            .backoff(soon())
            .take_over(taken.unwrap().unwrap())
            .build()
            .unwrap();
        let handle = next.handle();
        let (stop, stopped) = oneshot::channel::<()>();
        ended = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            next.run(stop).await.unwrap();
        });
        let mut open = handle.watch_open();
        within(open.wait_for(|open| *open)).await.unwrap();
        some_more(5).await;
        last = Some((handle, stop));
    }
    enough.store(true, Ordering::SeqCst);
    within(making).await.unwrap();
    let made = *made.borrow();
    let (handle, stop) = last.unwrap();
    assert_eq!(handle.status().not_ready, [""; 0]);
    assert_eq!(handle.status().runtime.connections, 1);
    // To the runtime it was one plugin on one connection all the time.
    let still = runtime.nri().plugins();
    let numbers = |plugins: &[nri_adaptation::PluginInfo]| {
        let plugins = plugins.iter().map(|info| info.plugin.clone());
        plugins.collect::<Vec<_>>()
    };
    assert_eq!(numbers(&registered), numbers(&still));
    let told = told.lock().unwrap().clone();
    for number in 0..made {
        for event in [
            "CreateContainer",
            "StartContainer",
            "StopContainer",
            "RemoveContainer",
        ] {
            let key = (event.to_owned(), format!("c{number}"));
            assert_eq!(told.get(&key), Some(&1), "{key:?}");
        }
        for event in ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"] {
            let key = (event.to_owned(), format!("p{number}"));
            assert_eq!(told.get(&key), Some(&1), "{key:?}");
        }
    }
    let _ = stop.send(());
    within(ended).await.unwrap();
    plugin_handle.stop();
    within(plugin).await.unwrap().unwrap();
}

#[tokio::test]
async fn where_there_is_no_hub_there_is_none_to_take_over_from() {
    let place = tempfile::tempdir().unwrap();
    let taken = TakenOver::from_hub(&place.path().join("control.sock")).await;
    assert!(taken.unwrap().is_none());
}

#[tokio::test]
async fn a_hub_without_a_runtime_stays_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let stage = Stage::at(place.path().join("nobody.sock"));
    let control = stage.config.hub.control_socket.clone();
    let hub = stage.begin();
    within(async {
        while !control.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = within(TakenOver::from_hub(&control)).await.unwrap_err();
    assert!(matches!(error, Error::TakeOver { .. }));
    assert!(error.to_string().contains("stays"), "{error}");
    hub.stop().await;
}

/// Law: whoever wants to take over and goes changes nothing.
#[tokio::test]
async fn a_hub_that_is_not_spoken_to_as_hubs_do_stays() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    let plugin = FakePlugin::new("10-plugin");
    let _plugin = hub.join(&plugin).await;
    let control = hub.directory.path().join("control.sock");
    let mut other = tokio::net::UnixStream::connect(&control).await.unwrap();
    let request = b"POST /take-over HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    other.write_all(request).await.unwrap();
    let mut answer = String::new();
    within(other.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    runtime.whole_life("p1", "c1").await;
    plugin.wait_for("RemovePodSandbox p1").await;
    hub.stop().await;
}
