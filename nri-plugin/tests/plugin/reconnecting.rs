//! Coming back: one connection at a time, a whole synchronisation each, with patience.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nri_plugin::{AfterShutdown, Backoff, Ended, Error, RuntimeHandle as _, State, api};
use tokio::time::Instant;

use crate::support::{Runtime, Socket, on, one_event, simple, soon, within};

fn hasty() -> Backoff {
    let mut policy = Backoff::default();
    policy.initial = Duration::from_millis(1);
    policy.max = Duration::from_millis(5);
    policy
}

#[tokio::test]
async fn it_comes_back_and_is_synchronised_anew() {
    let socket = Socket::new();
    let synchronized = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&synchronized);
    let plugin = one_event()
        .on_synchronize(move |_, pods, _| {
            seen.lock().unwrap().push(pods.len());
            async { Ok(Vec::new()) }
        })
        .build();
    let runner = on(&socket, plugin).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run_forever(hasty()));
    for round in 1..=3 {
        let mut runtime = socket.accept().await;
        runtime.registration().await.answer(Ok(api::Empty {}));
        runtime
            .configure(crate::support::current(""))
            .await
            .unwrap();
        // Parts of a synchronisation that was cut off do not count for the next.
        let part = |count, more| api::SynchronizeRequest {
            pods: vec![api::PodSandbox::default(); count],
            containers: Vec::new(),
            more,
        };
        runtime.synchronize(part(round, true)).await.unwrap();
        if round < 3 {
            runtime.synchronize(part(0, false)).await.unwrap();
            let ready = |state: &State| matches!(state, State::Ready(_));
            within(handle.state().wait_for(ready)).await.unwrap();
        }
        assert!(!socket.someone_waits().await, "one connection at a time");
        runtime.connection.close();
    }
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    assert_eq!(*synchronized.lock().unwrap(), [1, 2, 0]);
    // The way back leads to the connection that is.
    let link = handle.runtime();
    let call = link.update_containers(Vec::new(), Vec::new());
    let serve = async {
        let asked = runtime.update().await;
        asked.answer(Ok(api::UpdateContainersResponse::default()));
    };
    let (answer, ()) = within(async { tokio::join!(call, serve) }).await;
    assert_eq!(answer, Ok(Vec::new()));
    handle.stop();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(*handle.state().borrow(), State::Ended);
}

#[tokio::test]
async fn refusals_are_retried_and_told() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let handle = runner.handle();
    let mut state = handle.state();
    tokio::spawn(runner.run_forever(hasty()));
    for _ in 0..3 {
        let mut runtime = socket.accept().await;
        let refusal = nri_proto::transport::Status::unknown("too many plugins");
        runtime.registration().await.answer(Err(refusal));
        let waiting = |state: &State| matches!(state, State::Waiting { .. });
        let waiting = within(state.wait_for(waiting)).await.unwrap().clone();
        match waiting {
            State::Waiting { reason, .. } => assert!(reason.contains("too many plugins")),
            other => panic!("{other:?}"),
        }
        within(runtime.connection.closed()).await;
    }
    socket.accept().await.admit().await;
    handle.stop();
}

/// Admits the next plugin, and says good-bye to it; `before` that.
async fn dismiss(socket: &Socket, before: impl FnOnce()) {
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    before();
    within(runtime.plugin.shutdown(&api::Empty {}, soon()))
        .await
        .unwrap();
    runtime.connection.close();
}

fn after_shutdown(policy: AfterShutdown) -> Backoff {
    let mut backoff = hasty();
    backoff.after_shutdown = policy;
    backoff
}

/// Otherwise an instance that was replaced would replace its successor.
#[tokio::test]
async fn it_does_not_come_back_to_a_runtime_that_lives_on_without_it() {
    for policy in [AfterShutdown::FollowRuntime, AfterShutdown::End] {
        let socket = Socket::new();
        let runner = on(&socket, simple()).build().unwrap();
        let run = tokio::spawn(runner.run_forever(after_shutdown(policy)));
        dismiss(&socket, || ()).await;
        assert_eq!(within(run).await.unwrap().unwrap(), Ended::Shutdown);
    }
}

#[tokio::test]
async fn it_waits_for_the_next_runtime_when_one_goes() {
    let mut socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run_forever(after_shutdown(AfterShutdown::FollowRuntime)));
    let path = socket.path();
    dismiss(&socket, || std::fs::remove_file(path).unwrap()).await;
    let waiting = |state: &State| matches!(state, State::Waiting { .. });
    within(handle.state().wait_for(waiting)).await.unwrap();
    socket.listen_again();
    socket.accept().await.admit().await;
    handle.stop();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test]
async fn it_can_be_told_to_come_back_always_or_never() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run_forever(after_shutdown(AfterShutdown::Reconnect)));
    dismiss(&socket, || ()).await;
    socket.accept().await.admit().await;
    handle.stop();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);

    let runner = on(&socket, simple()).build().unwrap();
    let run = tokio::spawn(runner.run_forever(after_shutdown(AfterShutdown::End)));
    let path = socket.path();
    dismiss(&socket, || std::fs::remove_file(path).unwrap()).await;
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Shutdown);
}

#[tokio::test]
async fn a_connection_that_was_given_cannot_be_made_again() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let runner = nri_plugin::Runner::builder(simple())
        .identity("10-test")
        .use_environment(false)
        .stream(theirs)
        .build()
        .unwrap();
    let run = tokio::spawn(runner.run_forever(hasty()));
    let mut runtime = Runtime::on(ours);
    runtime.admit().await;
    runtime.connection.close();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Disconnected);

    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let runner = nri_plugin::Runner::builder(simple())
        .identity("10-test")
        .use_environment(false)
        .stream(theirs)
        .build()
        .unwrap();
    drop(ours);
    let error = within(runner.run_forever(hasty())).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

/// No socket: every attempt fails at once, so only the waits take (virtual) time.
#[tokio::test(start_paused = true)]
async fn the_waits_grow_up_to_their_bound() {
    let directory = tempfile::tempdir().unwrap();
    let runner = nri_plugin::Runner::builder(simple())
        .identity("10-test")
        .use_environment(false)
        .socket(directory.path().join("nri.sock"))
        .build()
        .unwrap();
    let handle = runner.handle();
    let mut state = handle.state();
    let began = Instant::now();
    let run = tokio::spawn(runner.run_forever(Backoff::default()));
    let mut waits = Vec::new();
    while waits.len() < 10 {
        state.changed().await.unwrap();
        if let State::Waiting { wait, reason } = &*state.borrow_and_update() {
            assert!(reason.contains("mount the directory"), "{reason}");
            waits.push(*wait);
        }
    }
    for (wait, full) in waits
        .iter()
        .zip([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000])
    {
        let full = Duration::from_millis(full);
        assert!(*wait <= full && *wait >= full / 2, "{waits:?}");
    }
    // All but the last are over.
    let slept: Duration = waits[..9].iter().sum();
    let passed = began.elapsed();
    assert!(passed >= slept && passed < slept + Duration::from_secs(1));
    handle.stop();
    assert_eq!(run.await.unwrap().unwrap(), Ended::Stopped);
}
