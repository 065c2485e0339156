//! Updates outside of any request.

use std::time::Duration;

use nri_plugin::{PluginCtx, RuntimeHandle as _, RuntimeLink, UpdateFailure, api, handlers};
use nri_proto::transport::{Code, Status};

use crate::support::{Runtime, Socket, on, running, simple, soon, within};

fn update(id: &str) -> Vec<api::ContainerUpdate> {
    vec![api::ContainerUpdate {
        container_id: id.into(),
        ..Default::default()
    }]
}

async fn linked() -> (Runtime, RuntimeLink, Socket) {
    let socket = Socket::new();
    let runner = on(&socket, simple()).build().unwrap();
    let link = runner.handle().runtime();
    assert!(!link.is_connected());
    tokio::spawn(runner.run());
    let mut runtime = socket.accept().await;
    runtime.admit().await;
    (runtime, link, socket)
}

#[tokio::test]
async fn what_could_not_be_done_is_returned() {
    let (mut runtime, link, _socket) = linked().await;
    let evictions = vec![api::ContainerEviction {
        container_id: "c1".into(),
        reason: "noisy".into(),
    }];
    let call = link.update_containers(update("c0"), evictions.clone());
    let serve = async {
        let asked = runtime.update().await;
        assert_eq!(asked.request.update, update("c0"));
        assert_eq!(asked.request.evict, evictions);
        asked.answer(Ok(api::UpdateContainersResponse {
            failed: update("c0"),
        }));
    };
    let (answer, ()) = within(async { tokio::join!(call, serve) }).await;
    assert_eq!(answer.unwrap(), update("c0"));
}

#[tokio::test]
async fn a_refusal_a_silence_and_the_end_are_told_apart() {
    let (mut runtime, link, _socket) = linked().await;
    let call = link.update_containers(update("c0"), Vec::new());
    let serve = async {
        let refusal = Status::new(Code::Unknown, "cgroup is gone");
        runtime.update().await.answer(Err(refusal));
    };
    let (answer, ()) = within(async { tokio::join!(call, serve) }).await;
    match answer.unwrap_err() {
        UpdateFailure::Refused(text) => assert!(text.contains("cgroup is gone"), "{text}"),
        other => panic!("{other}"),
    }

    let short = Duration::from_millis(30);
    let hasty = link.with_timeout(short);
    let silence = within(hasty.update_containers(update("c0"), Vec::new())).await;
    assert_eq!(
        silence.unwrap_err(),
        UpdateFailure::TimedOut { after: short }
    );

    // Nobody answers this one either, and then there is nobody.
    let _unanswered = runtime.update().await;
    let call = link.update_containers(update("c0"), Vec::new());
    let vanish = async {
        let _unanswered = runtime.update().await;
        runtime.connection.close();
    };
    let (answer, ()) = within(async { tokio::join!(call, vanish) }).await;
    assert!(matches!(answer, Err(UpdateFailure::Disconnected(_))));
    let gone = within(link.update_containers(update("c0"), Vec::new())).await;
    assert!(matches!(gone, Err(UpdateFailure::Disconnected(_))));
}

#[tokio::test]
async fn a_task_of_a_handler_may_wait_for_it() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let plugin = handlers()
        .on_run_pod_sandbox(move |cx: PluginCtx, _| {
            let tell = tell.clone();
            let work = async move { cx.runtime().update_containers(update("c0"), vec![]).await };
            tokio::spawn(async move { tell.send(work.await) });
            async { Ok(()) }
        })
        .build();
    let (mut runtime, _run) = running(plugin).await;
    let request = api::RunPodSandboxRequest {
        pod: Some(api::PodSandbox::default()),
    };
    within(runtime.plugin.run_pod_sandbox(&request, soon()))
        .await
        .unwrap();
    let answer = api::UpdateContainersResponse::default();
    runtime.update().await.answer(Ok(answer));
    assert_eq!(within(told.recv()).await.unwrap(), Ok(Vec::new()));
}
