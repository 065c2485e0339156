//! Messages that are large, many at a time, newer or older than the plugin, and refusals.

use std::sync::Arc;

use nri_core::{Event, EventMask, api};
use nri_proto::transport::Code;
use prost::Message as _;
use tokio::task::JoinSet;

use crate::TestRuntime;
use crate::plugin_conformance::check::Check;
use crate::plugin_conformance::stage::{Played, Stage, encoded, in_pod, request};
use crate::tested_plugin::{Fault, Manner};

/// The size of a large annotation, in bytes: with the rest it stays below 4 MiB.
const LARGE: usize = 4_000_000;
/// How many requests come at a time.
const AT_A_TIME: usize = 16;
/// Numbers of fields that no message has.
const UNKNOWN_FIELDS: [u32; 2] = [1000, 1001];
/// A method that there is not.
const UNKNOWN_METHOD: &str = "SuspendContainer";

pub(super) async fn large(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let pod = api::PodSandbox {
        id: "large".to_owned(),
        annotations: [("example.com/large".to_owned(), "x".repeat(LARGE))].into(),
        ..crate::pod("large")
    };
    let container = api::Container {
        id: "large-container".to_owned(),
        ..in_pod("web", "large")
    };
    let event = session.preferably(Event::CreateContainer);
    let fault = session.ask(event, &pod, &container).await.err();
    if let Some(fault) = fault.filter(Fault::is_breakdown) {
        stage.found(Check::Large, fault.what);
    }
    stage
        .still_answers(Check::Large, &session, "a large request")
        .await;
    Ok(())
}

pub(super) async fn parallel(stage: &mut Stage) -> Played {
    let session = Arc::new(stage.joined(Manner::default()).await?);
    let event = session.preferably(Event::CreateContainer);
    let mut calls = JoinSet::new();
    for number in 1..=AT_A_TIME {
        let session = Arc::clone(&session);
        let name = format!("parallel-{number}");
        let pod = api::PodSandbox {
            id: format!("pod-{name}"),
            ..crate::pod(&name)
        };
        let container = api::Container {
            id: name.clone(),
            pod_sandbox_id: pod.id.clone(),
            ..crate::container(&name)
        };
        calls.spawn(async move { session.ask(event, &pod, &container).await });
    }
    while let Some(called) = calls.join_next().await {
        let fault = called.ok().and_then(Result::err);
        if let Some(fault) = fault.filter(Fault::is_breakdown) {
            stage.found(
                Check::Parallel,
                format!("with {AT_A_TIME} requests at a time, {}", fault.what),
            );
        }
    }
    Ok(())
}

/// A message with fields at its end that nobody knows.
fn with_unknown(mut message: Vec<u8>) -> Vec<u8> {
    let [number, text] = UNKNOWN_FIELDS;
    prost::encoding::uint64::encode(number, &7, &mut message);
    prost::encoding::string::encode(text, &"from the future".to_owned(), &mut message);
    message
}

pub(super) async fn newer(stage: &mut Stage) -> Played {
    let peer = stage.connected(Manner::default()).await?;
    peer.registered(stage.patience()).await?;
    let asked = with_unknown(stage.configuration().encode_to_vec());
    let configured = peer.call("Configure", asked).await?;
    let events = api::ConfigureResponse::decode(configured).map_err(|error| error.to_string())?;
    let events = EventMask::from_bits(events.events).unwrap_or(EventMask::ALL);
    let none = api::SynchronizeRequest::default().encode_to_vec();
    peer.call("Synchronize", with_unknown(none)).await?;
    let (pod, container) = (
        crate::pod("newer"),
        api::Container {
            id: "of-a-newer-runtime".to_owned(),
            ..in_pod("newer", "newer")
        },
    );
    for event in TestRuntime::LIFE
        .into_iter()
        .filter(|event| events.contains(*event))
    {
        let mut message = Vec::new();
        let about = [pod.encode_to_vec(), container.encode_to_vec()];
        for (number, part) in (1..).zip(about).take(match event.subject() {
            nri_core::Subject::Pod => 1,
            nri_core::Subject::Container => 2,
        }) {
            prost::encoding::bytes::encode(number, &with_unknown(part), &mut message);
        }
        if let Err(fault) = peer.ask_encoded(event, with_unknown(message)).await {
            let text = format!("with fields that it does not know, {}", fault.what);
            stage.found(Check::NewerRuntime, text);
        }
    }
    let method = peer.call(
        UNKNOWN_METHOD,
        encoded(Event::StartContainer, &pod, &container),
    );
    match method.await {
        Err(fault) if fault.refusal() == Some(Code::Unimplemented) => {}
        Err(fault) => {
            let text = format!(
                "{}; it was to be code 12, as a method that it does not know",
                fault.what
            );
            stage.found(Check::NewerRuntime, text);
        }
        Ok(_) => {
            let text = format!(
                "it answered {UNKNOWN_METHOD}, a method that there is not, as if it knew it"
            );
            stage.found(Check::NewerRuntime, text);
        }
    }
    if peer.is_closed() {
        stage.found(Check::NewerRuntime, "it closed the connection");
    }
    Ok(())
}

pub(super) async fn older(stage: &mut Stage) -> Played {
    let peer = stage.connected(Manner::default()).await?;
    // As a runtime with v0.3 asks.
    let asked = api::ConfigureRequest {
        registration_timeout: 0,
        request_timeout: 0,
        nri_version: String::new(),
        ..stage.configuration()
    };
    let session = match stage.configured_with(peer, &asked).await {
        Ok(session) => session,
        // One of nothing but events that came later is of no use there, and may say so.
        Err(why) => {
            let wants = stage.joined(Manner::default()).await?.events;
            if wants
                .iter()
                .any(|event| EventMask::BEFORE_V0_10.contains(event))
            {
                return Err(why);
            }
            let why = format!("all events that it subscribes to came later: {why}");
            stage.skip(Check::OlderRuntime, &why);
            return Ok(());
        }
    };
    stage.synchronised(&session, Vec::new(), Vec::new()).await?;
    let (pod, container) = (crate::pod("older"), in_pod("older", "older"));
    for event in session.life() {
        let request = request(event, &pod, &container);
        let answered = match request.to_state_change() {
            Some(change) => session
                .peer
                .get::<api::Empty>("StateChange", &change)
                .await
                .map(drop),
            // What came later than StateChange, an older runtime does not have.
            None if matches!(
                event,
                Event::CreateContainer | Event::UpdateContainer | Event::StopContainer
            ) =>
            {
                session.peer.ask(&request).await.map(drop)
            }
            None => Ok(()),
        };
        if let Err(fault) = answered {
            let text = format!("{event} as a runtime with v0.3 tells it: {}", fault.what);
            stage.found(Check::OlderRuntime, text);
        }
    }
    Ok(())
}

pub(super) async fn failed_updates(stage: &mut Stage) -> Played {
    let manner = Manner {
        updates_fail: true,
        ..Manner::default()
    };
    let peer = stage.connected(manner).await?;
    let session = stage.configured(peer).await?;
    let (pod, container) = (crate::pod("web-1"), in_pod("web", "web-1"));
    let shown = (vec![pod.clone()], vec![container.clone()]);
    stage.synchronised(&session, shown.0, shown.1).await?;
    for event in session.life() {
        let fault = session.ask(event, &pod, &container).await.err();
        if let Some(fault) = fault.filter(Fault::is_breakdown) {
            stage.found(Check::FailedUpdates, fault.what);
        }
    }
    stage
        .still_answers(Check::FailedUpdates, &session, "updates that failed")
        .await;
    if session.peer.updates().is_empty() {
        stage.skip(
            Check::FailedUpdates,
            "it asked for no update of its own accord",
        );
    }
    Ok(())
}
