//! What handlers are given and may answer, and plugins with a state.

use nri_plugin::prelude::*;
use nri_plugin::{Proposal, RuntimeInfo};
use nri_proto::transport::Code;
use prost::Message as _;

use crate::support::{of_nothing, running, soon, within};

fn pod(name: &str) -> api::PodSandbox {
    api::PodSandbox {
        name: name.into(),
        ..Default::default()
    }
}

fn container(id: &str) -> api::Container {
    api::Container {
        id: id.into(),
        ..Default::default()
    }
}

/// What it saw, in the order in which it saw it.
#[derive(Default)]
struct Diary {
    seen: Vec<String>,
    runtime: RuntimeInfo,
}

impl Diary {
    fn create(
        &mut self,
        cx: &PluginCtx,
        pod: api::PodSandbox,
        container: api::Container,
    ) -> Result<Adjustment, HandlerError> {
        self.seen.push(format!("{} {}", pod.name, container.id));
        self.runtime = cx.runtime_info().clone();
        let mut adjust = Adjustment::new();
        adjust.add_env("SEEN", self.seen.len().to_string())?;
        Ok(adjust)
    }

    fn validate(
        &mut self,
        _cx: &PluginCtx,
        _pod: api::PodSandbox,
        container: api::Container,
        proposal: Proposal,
    ) -> Result<(), HandlerError> {
        match proposal.adjust.args.is_empty() {
            true => Ok(()),
            false => Err(format!("{} must keep its command", container.id).into()),
        }
    }
}

#[tokio::test]
async fn the_handlers_of_a_plugin_share_its_state() {
    let builder = stateful(Diary::default())
        .on_create_container(Diary::create)
        .on_update_container(|diary, _cx, _pod, container, resources| {
            let shares = resources.cpu.and_then(|cpu| cpu.shares);
            diary.seen.push(format!("{} {shares:?}", container.id));
            let mut updates = Updates::new();
            updates.update(api::ContainerUpdate::of_container("other")?);
            Ok(updates)
        })
        .on_validate_container_adjustment(Diary::validate);
    let diary = builder.state();
    let (runtime, _run) = running(builder.build()).await;
    for expected in ["1", "2"] {
        let request = api::CreateContainerRequest {
            pod: Some(pod("p")),
            container: Some(container("c")),
        };
        let call = runtime.plugin.create_container(&request, soon());
        let adjust = within(call).await.unwrap().adjust.unwrap();
        assert_eq!(adjust.env[0].value, expected);
    }
    let mut request = api::UpdateContainerRequest {
        pod: Some(pod("p")),
        container: Some(container("c")),
        ..Default::default()
    };
    request
        .linux_resources
        .get_or_insert_default()
        .set_cpu_shares(7);
    let answer = within(runtime.plugin.update_container(&request, soon())).await;
    assert_eq!(answer.unwrap().update[0].container_id, "other");

    let mut adjust = api::ContainerAdjustment::default();
    adjust.set_args(["sh"]).unwrap();
    let request = api::ValidateContainerAdjustmentRequest {
        pod: Some(pod("p")),
        container: Some(container("c")),
        adjust: Some(adjust),
        ..Default::default()
    };
    let call = runtime
        .plugin
        .validate_container_adjustment(&request, soon());
    let verdict = within(call).await.unwrap();
    assert_eq!(
        (verdict.reject, verdict.reason.as_str()),
        (true, "c must keep its command")
    );
    let (seen, name) = diary.with(|diary| (diary.seen.clone(), diary.runtime.name.clone()));
    assert_eq!(seen, ["p c", "p c", "c Some(OptionalUInt64 { value: 7 })"]);
    assert_eq!(name, "by-hand");
}

/// Law: a handler that panics leaves the others, and the state, in working order.
#[tokio::test]
async fn a_state_outlives_a_panic() {
    let plugin = stateful(0)
        .on_run_pod_sandbox(|count, _cx, _pod| {
            *count += 1;
            match *count {
                1 => panic!("a defect"),
                _ => Err(format!("{count} calls").into()),
            }
        })
        .build();
    let (runtime, _run) = running(plugin).await;
    for (code, text) in [(Code::Internal, "a defect"), (Code::Unknown, "2 calls")] {
        let error = runtime.send(Event::RunPodSandbox, of_nothing()).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// Law: no handler is called without what it is about; the runtime is told what it left out.
#[tokio::test]
async fn a_request_about_nothing_is_an_error_that_says_what_is_missing() {
    let plugin = handlers()
        .on_run_pod_sandbox(|_, _| async { Ok(()) })
        .on_create_container(|_, _, _| async { Ok(()) })
        .build();
    let (runtime, _run) = running(plugin).await;
    let only_a_pod = api::CreateContainerRequest {
        pod: Some(pod("p")),
        container: None,
    };
    for (event, payload, missing) in [
        (Event::RunPodSandbox, Vec::new(), "without a pod"),
        (
            Event::CreateContainer,
            only_a_pod.encode_to_vec(),
            "without a container",
        ),
    ] {
        let error = runtime.send(event, payload).await.unwrap_err().to_string();
        assert!(error.contains(missing) && error.contains(event.name()));
    }
}
