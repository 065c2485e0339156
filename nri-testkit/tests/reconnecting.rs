//! Plugins that come again, and what that means to others: nothing.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use nri_adaptation::RuntimeApi as _;
use nri_core::{Ctx, Event};
use nri_plugin::{Runner, State, handlers};
use nri_testkit::{Behavior, FakePlugin, TEST_TIMEOUT, TestRuntime, When};
use tokio::net::UnixStream;

/// A plugin crashes while it joins and comes again, while another one joins. Everybody waits for
/// somebody (the other one for a pod that began before it came, the pod for the plugin that came
/// again, that one for an update of a pod that began before it came again, the update for the other
/// one), so nobody may.
#[tokio::test]
async fn a_plugin_that_comes_again_while_it_joins_holds_nobody_up() {
    let runtime = TestRuntime::builder()
        .request_timeout(TEST_TIMEOUT)
        .start()
        .await;
    let first = FakePlugin::new("30-again")
        .subscribe(Event::RunPodSandbox)
        .on(When::method("Synchronize"), Behavior::hang());
    let crashing = first.connect(runtime.socket()).await.unwrap();
    crashing.register().await.unwrap();
    first.wait_for("Synchronize").await;

    let (nri, pod) = (runtime.nri().clone(), runtime.pod("p"));
    let running = tokio::spawn({
        let (nri, pod) = (nri.clone(), pod.clone());
        async move { nri.run_pod_sandbox(&Ctx::new(), &pod).await }
    });
    tokio::task::yield_now().await;

    let other = FakePlugin::new("20-other").subscribe(Event::UpdatePodSandbox);
    let joining = other.connect(runtime.socket()).await.unwrap();
    joining.register().await.unwrap();
    runtime.watcher().wait_for("connected 20-other").await;
    runtime
        .wait_for_states("the other one to be admitted", |plugins| plugins.len() == 2)
        .await;
    let old = runtime.pod("old");
    let updating =
        tokio::spawn(async move { nri.update_pod_sandbox(&Ctx::new(), &old, None, None).await });
    tokio::task::yield_now().await;

    let again = FakePlugin::new("30-again").subscribe(Event::RunPodSandbox);
    let here = again.connect(runtime.socket()).await.unwrap();
    here.register().await.unwrap();

    // Well before anybody's time is over.
    let all = async {
        running.await.unwrap().unwrap();
        updating.await.unwrap().unwrap();
    };
    let in_time = tokio::time::timeout(TEST_TIMEOUT / 2, all).await;
    assert!(in_time.is_ok(), "the requests wait in a circle");
    runtime.wait_for_plugins(&["20-other", "30-again"]).await;
    // The pod reached the one that came again, once.
    let shown = again.shown().0.len();
    assert!(shown + again.events().len() <= 1);
}

/// After a restart of the runtime all plugins come at once. So many connections wait to be accepted
/// then that the kernel keeps no more, which is no reason to give up: with a blocking call one
/// would wait.
#[tokio::test]
async fn a_crowded_socket_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nri.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut crowd = Vec::new();
    let full = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => crowd.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock, "{full}");

    let plugin = handlers()
        .on_run_pod_sandbox(|_, _| async { Ok(()) })
        .build();
    let runner = Runner::builder(plugin)
        .identity("10-patient")
        .socket(&socket)
        .use_environment(false)
        .connect_timeout(TEST_TIMEOUT)
        .registration_timeout(TEST_TIMEOUT)
        .build()
        .unwrap();
    let handle = runner.handle();
    let mut run = tokio::spawn(runner.run());
    // Only once it has seen that there is no room.
    let mut state = handle.state();
    let _ = state.wait_for(|state| *state == State::Connecting).await;
    tokio::task::yield_now().await;
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let registering = async {
        for _ in crowd {
            listener.accept().await.unwrap();
        }
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        stream
    };
    let _stream = tokio::select! {
        biased;
        ended = &mut run => panic!("it gave up: {ended:?}"),
        stream = tokio::time::timeout(TEST_TIMEOUT, registering) => stream.unwrap(),
    };
    handle.stop();
    run.await.unwrap().unwrap();
}
