//! Registration: either order of its two halves, and everything that can go wrong ends in time with
//! a reason.

use std::time::Duration;

use nri_plugin::{CloseReason, Ended, Error, State, api};
use nri_proto::transport::{Code, Status};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Socket, current, on, one_event, simple, within};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn it_registers_with_its_identity_and_protocol_level() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).identity("07-a.b").build().unwrap();
    assert_eq!(runner.id().to_string(), "07-a.b");
    let connect = tokio::spawn(runner.connect());
    let mut runtime = socket.accept().await;
    let asked = runtime.registration().await;
    let expected = api::RegisterPluginRequest {
        plugin_name: "a.b".into(),
        plugin_idx: "07".into(),
        nri_version: "v0.12.5".into(),
    };
    assert_eq!(asked.request, expected);
    asked.answer(Ok(api::Empty {}));
    assert_eq!(runtime.configure(current("")).await.unwrap().events, 1);
    let connected = within(connect).await.unwrap().unwrap();
    let registration = connected.registration();
    assert_eq!(registration.runtime.name, "by-hand");
    assert_eq!(registration.request_timeout, Duration::from_secs(2));
    assert_eq!(registration.events.bits(), 1);
    assert!(connected.runtime().is_connected());
    drop(connected);
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

/// Law: what a plugin does not say is absent on the wire; the runner's word goes before the
/// plugin's.
#[tokio::test]
async fn a_failure_policy_is_said_or_absent() {
    let policy = |fail_request, keep_connected| api::FailurePolicy {
        fail_request,
        keep_connected,
    };
    let strict = || one_event().failure_policy(policy(true, false)).build();
    for (plugin, word, expected) in [
        (simple(), None, None),
        (strict(), None, Some(policy(true, false))),
        (
            simple(),
            Some(policy(false, false)),
            Some(policy(false, false)),
        ),
        (
            strict(),
            Some(policy(false, true)),
            Some(policy(false, true)),
        ),
    ] {
        let socket = Socket::new();
        let mut builder = on(&socket, plugin);
        if let Some(word) = word {
            builder = builder.failure_policy(word);
        }
        let connect = tokio::spawn(builder.build().unwrap().connect());
        let mut runtime = socket.accept().await;
        runtime.registration().await.answer(Ok(api::Empty {}));
        let answer = runtime.configure(current("")).await.unwrap();
        assert_eq!(answer.failure_policy, expected);
        let _ = within(connect).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn configure_may_come_before_the_answer() {
    let socket = Socket::new();
    let connect = tokio::spawn(on(&socket, simple()).build().unwrap().connect());
    let mut runtime = socket.accept().await;
    let asked = runtime.registration().await;
    assert_eq!(runtime.configure(current("")).await.unwrap().events, 1);
    let synchronized = runtime
        .synchronize(api::SynchronizeRequest::default())
        .await;
    assert!(synchronized.is_ok());
    assert!(!connect.is_finished());
    asked.answer(Ok(api::Empty {}));
    let connected = within(connect).await.unwrap().unwrap();
    within(connected.synchronized()).await.unwrap();
}

/// A runtime in Go leaves the connection open after a refusal.
#[tokio::test]
async fn a_refusal_is_told_and_the_connection_closed_by_the_plugin() {
    let socket = Socket::new();
    let run = tokio::spawn(on(&socket, simple()).build().unwrap().run());
    let mut runtime = socket.accept().await;
    let refusal = Status::unknown("invalid plugin name: not today");
    runtime.registration().await.answer(Err(refusal));
    let error = within(run).await.unwrap().unwrap_err();
    assert!(matches!(
        &error,
        Error::Refused {
            code: Code::Unknown,
            ..
        }
    ));
    let text = error.to_string();
    assert!(
        text.contains("10-test") && text.contains("not today"),
        "{text}"
    );
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

#[tokio::test]
async fn a_runtime_that_does_not_answer_is_given_up() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).registration_timeout(SHORT);
    let run = tokio::spawn(runner.build().unwrap().run());
    let mut runtime = socket.accept().await;
    let _unanswered = runtime.registration().await;
    let error = within(run).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::RegistrationTimedOut { after, .. } if after == SHORT));
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

#[tokio::test]
async fn a_runtime_that_does_not_configure_is_given_up() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).configure_timeout(SHORT);
    let run = tokio::spawn(runner.build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    let error = within(run).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NotConfigured { after, .. } if after == SHORT));
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

/// The Go plugin library hangs for ever in the second case.
#[tokio::test]
async fn a_runtime_that_vanishes_ends_the_wait() {
    for (answers, during) in [(false, "registering"), (true, "waiting to be configured")] {
        let socket = Socket::new();
        let never = Duration::from_secs(3600);
        let runner = on(&socket, simple())
            .registration_timeout(never)
            .configure_timeout(never);
        let runner = runner.build().unwrap();
        let link = runner.handle().runtime();
        let run = tokio::spawn(runner.run());
        let mut runtime = socket.accept().await;
        let asked = runtime.registration().await;
        if answers {
            asked.answer(Ok(api::Empty {}));
            let arrived = async {
                while !link.is_connected() {
                    tokio::task::yield_now().await;
                }
            };
            within(arrived).await;
        }
        runtime.connection.close();
        let error = within(run).await.unwrap().unwrap_err();
        match error {
            Error::Closed {
                during: was,
                reason: CloseReason::PeerClosed,
                ..
            } => assert_eq!(was, during),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_shutdown_instead_of_configure_ends_the_wait() {
    let socket = Socket::new();
    let run = tokio::spawn(on(&socket, simple()).build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    let options = crate::support::soon();
    let _ = within(runtime.plugin.shutdown(&api::Empty {}, options)).await;
    let error = within(run).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test]
async fn garbage_ends_the_wait_with_its_reason() {
    let (mut ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let runner = nri_plugin::Runner::builder(simple())
        .identity("10-test")
        .use_environment(false)
        .stream(theirs);
    let run = tokio::spawn(runner.build().unwrap().run());
    ours.write_all(&[0xff; 64]).await.unwrap();
    let error = within(run).await.unwrap().unwrap_err();
    match &error {
        Error::Closed {
            reason: CloseReason::Protocol(_),
            ..
        } => {}
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn it_can_be_stopped_while_it_waits() {
    let socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let handle = runner.handle();
    let run = tokio::spawn(runner.run());
    let mut runtime = socket.accept().await;
    let _unanswered = runtime.registration().await;
    assert_eq!(*handle.state().borrow(), State::Connecting);
    handle.stop();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(*handle.state().borrow(), State::Ended);
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

#[tokio::test]
async fn dropping_the_run_closes_the_connection() {
    let socket = Socket::new();
    let run = tokio::spawn(on(&socket, simple()).build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    run.abort();
    assert_eq!(
        within(runtime.connection.closed()).await,
        CloseReason::PeerClosed
    );
}

#[tokio::test]
async fn a_plugin_that_cannot_take_its_configuration_says_why() {
    let socket = Socket::new();
    let plugin = one_event()
        .on_configure(|_, configuration| async move {
            Err(format!("no such mode: {}", configuration.config).into())
        })
        .build();
    let run = tokio::spawn(on(&socket, plugin).build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    let error = runtime.configure(current("fast")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unknown);
    assert!(error.to_string().contains("no such mode: fast"), "{error}");
    runtime.connection.close();
    let error = within(run).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Configure { .. }));
    assert!(error.to_string().contains("no such mode: fast"), "{error}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_comes_with_advice() {
    let socket = Socket::new();
    let path = socket.directory().join("other.sock");
    let run = |path: &std::path::Path| {
        let builder = on(&socket, simple()).socket(path);
        builder.build().unwrap().run()
    };
    let missing = within(run(&path)).await.unwrap_err().to_string();
    for part in [path.to_str().unwrap(), "mount the directory", "enabled"] {
        assert!(missing.contains(part), "{missing}");
    }
    // What a runtime leaves that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let dead = within(run(&path)).await.unwrap_err().to_string();
    for part in [path.to_str().unwrap(), "mount the directory", "gone"] {
        assert!(dead.contains(part), "{dead}");
    }
}
