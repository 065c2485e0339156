//! The end: by the runtime's good-bye, by its silence, by a defect, by ourselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_plugin::{CloseReason, Ended, Error, State, api};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Runtime, Socket, current, on, one_event, running, simple, soon, within};

#[tokio::test]
async fn shutdown_ends_the_run_after_the_answer() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let plugin = one_event()
        .on_shutdown(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build();
    let (runtime, run) = running(plugin).await;
    let answer = within(runtime.plugin.shutdown(&api::Empty {}, soon())).await;
    assert_eq!(answer.unwrap(), api::Empty {});
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Shutdown);
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

/// Law: however fast the runtime is, nothing that it said is missed.
#[tokio::test]
async fn a_whole_life_before_the_answer_to_the_registration() {
    let socket = Socket::new();
    let run = tokio::spawn(on(&socket, simple()).build().unwrap().run());
    let mut runtime = socket.accept().await;
    let asked = runtime.registration().await;
    runtime.configure(current("")).await.unwrap();
    runtime.synchronize(Default::default()).await.unwrap();
    within(runtime.plugin.shutdown(&api::Empty {}, soon()))
        .await
        .unwrap();
    asked.answer(Ok(api::Empty {}));
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Shutdown);
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_run() {
    let (runtime, run) = running(simple()).await;
    runtime.connection.close();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Disconnected);
}

#[tokio::test]
async fn stopping_ends_the_run_and_closes() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let handle = runner.handle();
    assert_eq!(*handle.state().borrow(), State::Idle);
    let run = tokio::spawn(runner.run());
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    let (now, signal) = tokio::sync::oneshot::channel::<()>();
    handle.stop_on(async {
        let _ = signal.await;
    });
    now.send(()).unwrap();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
    assert!(!handle.runtime().is_connected());
}

/// Law: a plugin that is stopped answers what it has begun, within reason.
#[tokio::test]
async fn stopping_lets_requests_in_progress_be_answered() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let plugin = nri_plugin::handlers()
        .on_run_pod_sandbox(move |_, _| {
            let wait = Arc::clone(&wait);
            began.send(()).unwrap();
            async move {
                wait.acquire().await?.forget();
                Ok(())
            }
        })
        .build();
    let socket = Socket::new();
    let runner = on(&socket, plugin).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run());
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    let plugin = runtime.plugin.clone();
    let call = tokio::spawn(async move {
        let request = api::RunPodSandboxRequest {
            pod: Some(api::PodSandbox::default()),
        };
        plugin.run_pod_sandbox(&request, soon()).await
    });
    within(begun.recv()).await.unwrap();
    handle.stop();
    gate.add_permits(1);
    assert!(within(call).await.unwrap().is_ok());
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
}

/// Law: what an observer has acknowledged is handled before the run ends, within reason.
#[tokio::test]
async fn stopping_lets_an_observer_handle_what_waits() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handled = Arc::new(AtomicUsize::new(0));
    let (wait, count) = (Arc::clone(&gate), Arc::clone(&handled));
    let plugin = nri_plugin::handlers()
        .on_run_pod_sandbox(move |_, _| {
            let (wait, count) = (Arc::clone(&wait), Arc::clone(&count));
            async move {
                wait.acquire().await?.forget();
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        })
        .build();
    let socket = Socket::new();
    let runner = on(&socket, nri_plugin::observe(plugin)).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run_forever(nri_plugin::Backoff::default()));
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    for _ in 0..3 {
        let request = api::RunPodSandboxRequest {
            pod: Some(api::PodSandbox::default()),
        };
        let answer = within(runtime.plugin.run_pod_sandbox(&request, soon())).await;
        answer.unwrap();
    }
    handle.stop();
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
    assert_eq!(handled.load(Ordering::SeqCst), 0);
    gate.add_permits(3);
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(handled.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (relay, near) = tokio::net::UnixStream::pair().unwrap();
    let runner = nri_plugin::Runner::builder(simple())
        .identity("10-test")
        .use_environment(false)
        .stream(theirs);
    let run = tokio::spawn(runner.build().unwrap().run());
    // Between the two ends, so that something else can be said on the connection.
    let mut relay = relay;
    let mut runtime = Runtime::on(near);
    let admitted = async {
        runtime.admit().await;
    };
    tokio::select! {
        () = admitted => {}
        _ = tokio::io::copy_bidirectional(&mut ours, &mut relay) => panic!("the connection ends"),
    }
    ours.write_all(&[0xff; 64]).await.unwrap();
    let error = within(run).await.unwrap().unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Lost {
                reason: CloseReason::Protocol(_),
                ..
            }
        ),
        "{error}"
    );
}

/// Law: handlers do not outlive their connection.
#[tokio::test]
async fn handlers_end_with_the_connection() {
    let held = Arc::new(());
    let seen = Arc::downgrade(&held);
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let held = std::sync::Mutex::new(Some(held));
    let plugin = nri_plugin::handlers()
        .on_run_pod_sandbox(move |_, _| {
            let held = held.lock().unwrap().take();
            began.send(()).unwrap();
            async move {
                let _held = held;
                std::future::pending().await
            }
        })
        .build();
    let (runtime, run) = running(plugin).await;
    let plugin = runtime.plugin.clone();
    tokio::spawn(async move {
        let request = api::RunPodSandboxRequest {
            pod: Some(api::PodSandbox::default()),
        };
        let _ = plugin.run_pod_sandbox(&request, soon()).await;
    });
    within(begun.recv()).await.unwrap();
    runtime.connection.close();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Disconnected);
    within(async {
        while seen.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
