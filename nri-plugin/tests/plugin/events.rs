//! Requests become handler calls, all in one way.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nri_core::Request;
use nri_plugin::{Event, EventMask, HandlerError, Handlers, HandlersBuilder, api, handlers};
use nri_proto::transport::{CallError, Code};
use prost::Message as _;

use crate::support::{of_nothing, running, soon, within};

type Seen = Arc<Mutex<Vec<(Event, String)>>>;

/// A plugin with a handler for every event, which notes the pod's id and answers with the default.
macro_rules! all_events {
    ($seen:expr, $($event:ident $setter:ident($($rest:ident)*))*) => {{
        let builder: HandlersBuilder = handlers();
        $(
            let seen: Seen = Arc::clone($seen);
            let builder = builder.$setter(move |_, pod, $($rest),*| {
                seen.lock().unwrap().push((Event::$event, pod.id));
                async { Ok(()) }
            });
        )*
        builder.build()
    }};
}

fn recorder(seen: &Seen) -> Handlers {
    all_events! {
        seen,
        RunPodSandbox on_run_pod_sandbox()
        StopPodSandbox on_stop_pod_sandbox()
        RemovePodSandbox on_remove_pod_sandbox()
        UpdatePodSandbox on_update_pod_sandbox(_overhead _resources)
        PostUpdatePodSandbox on_post_update_pod_sandbox()
        CreateContainer on_create_container(_container)
        PostCreateContainer on_post_create_container(_container)
        StartContainer on_start_container(_container)
        PostStartContainer on_post_start_container(_container)
        UpdateContainer on_update_container(_container _resources)
        PostUpdateContainer on_post_update_container(_container)
        StopContainer on_stop_container(_container)
        RemoveContainer on_remove_container(_container)
        ValidateContainerAdjustment on_validate_container_adjustment(_container _proposal)
    }
}

fn pod(id: &str) -> api::PodSandbox {
    api::PodSandbox {
        id: id.into(),
        ..Default::default()
    }
}

/// A request for `event` about a pod, and about a container where there is one: in all requests the
/// pod is field 1, and the container field 2.
fn request(event: Event, id: &str) -> Vec<u8> {
    let request = api::CreateContainerRequest {
        pod: Some(pod(id)),
        container: Some(api::Container::default()),
    };
    let bytes = request.encode_to_vec();
    let request = Request::decode(event, &bytes).unwrap();
    assert_eq!(request.pod().unwrap().id, id);
    bytes
}

fn status(error: CallError) -> (Code, String) {
    match error {
        CallError::Status(status) => (status.code, status.message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_event_reaches_its_handler() {
    let seen = Seen::default();
    let (runtime, _run) = running(recorder(&seen)).await;
    for event in Event::ALL {
        let answer = runtime.send(event, request(event, event.name())).await;
        assert_eq!(answer.unwrap(), b"", "{event}");
    }
    let expected = Event::ALL.map(|event| (event, event.name().to_owned()));
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// Runtimes before v0.12 use nothing else for these nine.
#[tokio::test]
async fn nine_events_come_in_their_old_form_too() {
    let seen = Seen::default();
    let (runtime, _run) = running(recorder(&seen)).await;
    // And some that have no old form, or that nobody knows.
    for number in -1..=16 {
        let change = api::StateChangeEvent {
            event: number,
            pod: Some(pod(&number.to_string())),
            container: Some(api::Container::default()),
        };
        let answer = within(runtime.plugin.state_change(&change, soon())).await;
        assert_eq!(answer.unwrap(), api::Empty {}, "{number}");
    }
    let expected: Vec<_> = Event::ALL
        .into_iter()
        .filter(|event| event.has_state_change_form())
        .map(|event| (event, event.number().to_string()))
        .collect();
    assert_eq!(expected.len(), 9);
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn events_that_were_not_asked_for_are_answered_with_nothing() {
    let seen = Seen::default();
    let (runtime, _run) = running(Narrow(recorder(&seen))).await;
    for event in Event::ALL {
        let answer = runtime.send(event, request(event, "p")).await;
        assert_eq!(answer.unwrap(), b"", "{event}");
        let change = api::StateChangeEvent {
            event: event.number(),
            ..Default::default()
        };
        let answer = within(runtime.plugin.state_change(&change, soon())).await;
        assert!(answer.is_ok());
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [(Event::StopContainer, "p".to_owned())]
    );
}

/// A plugin with all handlers that wants one event.
struct Narrow(Handlers);

#[async_trait::async_trait]
impl nri_plugin::Plugin for Narrow {
    fn events(&self) -> EventMask {
        Event::StopContainer.into()
    }

    async fn stop_container(
        &self,
        cx: &nri_plugin::PluginCtx,
        request: api::StopContainerRequest,
    ) -> Result<api::StopContainerResponse, HandlerError> {
        self.0.stop_container(cx, request).await
    }
}

#[tokio::test]
async fn answers_come_through() {
    let response = api::CreateContainerResponse {
        adjust: Some(api::ContainerAdjustment {
            args: vec!["sleep".into(), "1".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = response.clone();
    let plugin = handlers()
        .on_create_container(move |_, _, _| {
            let answer = answer.clone();
            async { Ok(answer) }
        })
        .on_validate_container_adjustment(|_, _, _, _| async { Err("too privileged".into()) })
        .build();
    let (runtime, _run) = running(plugin).await;
    let request = api::CreateContainerRequest {
        pod: Some(api::PodSandbox::default()),
        container: Some(api::Container::default()),
    };
    let answer = within(runtime.plugin.create_container(&request, soon())).await;
    assert_eq!(answer.unwrap(), response);
    // A validator that fails rejects.
    let request = api::ValidateContainerAdjustmentRequest {
        pod: request.pod,
        container: request.container,
        ..Default::default()
    };
    let answer = within(
        runtime
            .plugin
            .validate_container_adjustment(&request, soon()),
    )
    .await;
    let expected = api::ValidateContainerAdjustmentResponse {
        reject: true,
        reason: "too privileged".into(),
    };
    assert_eq!(answer.unwrap(), expected);
}

#[tokio::test]
async fn a_failing_handler_is_an_answer() {
    let plugin = handlers()
        .on_run_pod_sandbox(|_, _| async { Err("no more pods".into()) })
        .on_start_container(|_, _, _| async { Err(HandlerError::unimplemented()) })
        .on_stop_pod_sandbox(|_, _| async { panic!("a defect") })
        .build();
    let (runtime, _run) = running(plugin).await;
    let fail = async |event| status(runtime.send(event, of_nothing()).await.unwrap_err());
    assert_eq!(
        fail(Event::RunPodSandbox).await,
        (Code::Unknown, "no more pods".to_owned())
    );
    assert_eq!(fail(Event::StartContainer).await.0, Code::Unimplemented);
    let (code, text) = fail(Event::StopPodSandbox).await;
    assert_eq!(code, Code::Internal);
    assert!(text.contains("a defect"), "{text}");
    // The same in the old form; only that code 12 would leave a runtime nothing to try.
    let old = async |event: Event| {
        let change = api::StateChangeEvent {
            event: event.number(),
            pod: Some(api::PodSandbox::default()),
            container: Some(api::Container::default()),
        };
        within(runtime.plugin.state_change(&change, soon())).await
    };
    let error = old(Event::RunPodSandbox).await.unwrap_err();
    assert_eq!(status(error), (Code::Unknown, "no more pods".to_owned()));
    assert!(old(Event::StartContainer).await.is_ok());
    let error = old(Event::StopPodSandbox).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    // It lives.
    assert_eq!(fail(Event::RunPodSandbox).await.0, Code::Unknown);
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_a_code() {
    let (runtime, _run) = running(recorder(&Seen::default())).await;
    let garbage = vec![0xff; 5];
    let error = runtime.send(Event::CreateContainer, garbage).await;
    assert_eq!(error.unwrap_err().code(), Code::Internal);
    let client = runtime.plugin.client();
    let service = nri_proto::rpc::plugin::SERVICE;
    for method in ["Configure", "Synchronize", "StateChange"] {
        let call = client.call_encoded(service, method, vec![0xff; 5].into(), soon());
        assert_eq!(within(call).await.unwrap_err().code(), Code::Internal);
    }
    let call = client.call_encoded(service, "Dance", Vec::new().into(), soon());
    assert_eq!(within(call).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_handler_knows_its_deadline_and_its_runtime() {
    let (tell, told) = std::sync::mpsc::channel();
    let plugin = handlers()
        .on_run_pod_sandbox(move |cx, _| {
            let left = cx
                .deadline()
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            tell.send((left, cx.runtime_info().clone())).unwrap();
            async { Ok(()) }
        })
        .build();
    let (runtime, _run) = running(plugin).await;
    let request = api::RunPodSandboxRequest {
        pod: Some(api::PodSandbox::default()),
    };
    let call = runtime.plugin.run_pod_sandbox(&request, soon());
    within(call).await.unwrap();
    let (left, info) = told.recv().unwrap();
    let left = left.unwrap();
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(1));
    assert_eq!(
        (info.name.as_str(), info.nri_version.as_str()),
        ("by-hand", "v0.12.5")
    );

    let unlimited = nri_proto::transport::CallOptions::default();
    within(runtime.plugin.run_pod_sandbox(&request, unlimited))
        .await
        .unwrap();
    assert_eq!(told.recv().unwrap().0, None);
}

/// Law: requests do not wait for each other.
#[tokio::test]
async fn handlers_run_side_by_side() {
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let plugin = handlers()
        .on_run_pod_sandbox(move |_, _| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                Ok(())
            }
        })
        .build();
    let (runtime, _run) = running(plugin).await;
    let (one, two) = tokio::join!(
        runtime.send(Event::RunPodSandbox, of_nothing()),
        runtime.send(Event::RunPodSandbox, of_nothing()),
    );
    assert!(one.is_ok() && two.is_ok());
}
