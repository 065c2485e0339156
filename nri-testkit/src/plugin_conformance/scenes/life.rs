//! Events: of a usual life, without optional parts, and of what the plugin does not know.

use nri_core::flow::{CreateFlow, Flow, Member, Reply, Roster, Step, StopFlow, UpdateFlow};
use nri_core::{Event, RegisteredPlugin, Request, api};
use nri_proto::transport::Code;

use crate::TestRuntime;
use crate::plugin_conformance::check::Check;
use crate::plugin_conformance::stage::{Played, Session, Stage, in_pod, request};
use crate::tested_plugin::{Fault, Manner};

/// The ids of what lacks its optional parts, and of what the plugin was never shown.
pub(super) const BARE_POD: &str = "bare-pod";
const BARE: [&str; 3] = ["bare-container", "bare-linux", "bare-resources"];
const STRANGER: &str = "never-shown";

pub(super) async fn whole(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let pod = crate::pod("web-1");
    let mut container = in_pod("web", "web-1");
    for event in TestRuntime::LIFE {
        let request = request(event, &pod, &container);
        let made = match request {
            Request::CreateContainer(request) => {
                take(stage, &session, |roster| CreateFlow::new(roster, request)).await
            }
            Request::UpdateContainer(request) => {
                take(stage, &session, |roster| UpdateFlow::new(roster, request)).await
            }
            Request::StopContainer(request) => {
                take(stage, &session, |roster| StopFlow::new(roster, request)).await
            }
            request if session.events.contains(event) => match session.peer.ask(&request).await {
                Ok(_) => true,
                Err(fault) => {
                    stage.found(Check::Answers, fault.what);
                    true
                }
            },
            _ => true,
        };
        if !made || session.peer.is_closed() {
            break;
        }
        match event {
            Event::StartContainer => {
                container.state = api::ContainerState::ContainerRunning.into();
                container.pid = 4712;
            }
            Event::StopContainer => {
                container.state = api::ContainerState::ContainerStopped.into();
                container.pid = 0;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes a request through the plugin as a runtime does; whether life can go on.
async fn take<F: Flow>(
    stage: &mut Stage,
    session: &Session,
    make: impl FnOnce(&Roster) -> F,
) -> bool {
    let (Ok(id), registration) = ("10-checked".parse(), 1) else {
        return false;
    };
    let plugin = RegisteredPlugin { id, registration };
    let roster = Roster::new([Member::new(plugin, session.events)]);
    let mut flow = make(&roster);
    let mut answered = true;
    // Each call is answered at once, so there is never one to wait for.
    while let Step::Call(call) = flow.next() {
        let reply = match session.peer.ask(&call.request).await {
            Ok(response) => Reply::Answer(response),
            Err(fault) => {
                answered = false;
                stage.found(Check::Answers, fault.what.clone());
                as_reply(fault)
            }
        };
        flow.answer(&call.plugin, reply);
    }
    let result = flow.finish().result;
    if let (Err(error), true) = (&result, answered) {
        stage.found(Check::Adjusts, error.to_string());
    }
    result.is_ok()
}

fn as_reply(fault: Fault) -> Reply {
    match fault.refusal() {
        Some(code) => Reply::Error {
            code: code.value(),
            message: fault.what,
        },
        None => Reply::Gone { delivered: true },
    }
}

/// Asks about all events of a life; what breaks the plugin is a finding.
async fn survives(
    stage: &mut Stage,
    session: &Session,
    check: Check,
    pod: &api::PodSandbox,
    container: &api::Container,
) {
    for event in session.events.iter() {
        let fault = session.ask(event, pod, container).await.err();
        let broke =
            |fault: &Fault| fault.is_breakdown() && fault.refusal() != Some(Code::Unimplemented);
        if let Some(fault) = fault.filter(broke) {
            let printed = stage.bench.printed();
            stage.found(check, format!("{}{printed}", fault.what));
            if session.peer.is_closed() {
                return;
            }
        }
    }
}

pub(super) async fn bare_pod(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let pod = api::PodSandbox {
        id: BARE_POD.to_owned(),
        name: BARE_POD.to_owned(),
        ..Default::default()
    };
    let container = api::Container {
        pod_sandbox_id: BARE_POD.to_owned(),
        ..crate::container("of-a-bare-pod")
    };
    survives(stage, &session, Check::BarePod, &pod, &container).await;
    Ok(())
}

pub(super) async fn bare_container(stage: &mut Stage) -> Played {
    let pod = crate::pod("web-1");
    for id in BARE {
        let linux = match id {
            "bare-linux" => Some(api::LinuxContainer::default()),
            "bare-resources" => Some(api::LinuxContainer {
                resources: Some(api::LinuxResources::default()),
                ..Default::default()
            }),
            _ => None,
        };
        let container = api::Container {
            id: id.to_owned(),
            pod_sandbox_id: pod.id.clone(),
            name: id.to_owned(),
            linux,
            ..Default::default()
        };
        // One that breaks at the first may break at the others too.
        let session = stage.joined(Manner::default()).await?;
        survives(stage, &session, Check::BareContainer, &pod, &container).await;
        session.peer.close();
    }
    Ok(())
}

pub(super) async fn unknown(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let pod = api::PodSandbox {
        id: format!("pod-of-{STRANGER}"),
        ..crate::pod(STRANGER)
    };
    let container = api::Container {
        id: STRANGER.to_owned(),
        pod_sandbox_id: pod.id.clone(),
        ..crate::container(STRANGER)
    };
    survives(stage, &session, Check::Unknown, &pod, &container).await;
    Ok(())
}
