//! The subscription on the wire: never a bit that the runtime may refuse, and never empty.

use nri_plugin::{Error, Event, EventMask, Handlers, Plugin, RuntimeLevel, api, handlers};
use nri_proto::transport::Code;

use crate::support::{Socket, current, on, within};

/// A plugin that wants these events.
struct Wants(EventMask);

impl Plugin for Wants {
    fn events(&self) -> EventMask {
        self.0
    }
}

fn runtime(name: &str, version: &str, protocol: &str, timeout: i64) -> api::ConfigureRequest {
    api::ConfigureRequest {
        config: String::new(),
        runtime_name: name.into(),
        runtime_version: version.into(),
        registration_timeout: timeout,
        request_timeout: timeout,
        nri_version: protocol.into(),
    }
}

async fn mask(
    wants: EventMask,
    says: api::ConfigureRequest,
    assumed: RuntimeLevel,
) -> Result<(i32, i32), Error> {
    let socket = Socket::new();
    let runner = on(&socket, Wants(wants)).assume_level(assumed);
    let connect = tokio::spawn(runner.build().unwrap().connect());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    let answer = runtime.configure(says).await;
    let connected = within(connect).await.unwrap()?;
    let registration = connected.registration();
    assert_eq!(registration.events | registration.missing, wants);
    Ok((answer.unwrap().events, registration.missing.bits()))
}

#[tokio::test]
async fn it_is_limited_to_what_the_runtime_accepts() {
    use RuntimeLevel::{Unknown, V0_10OrLater};
    let new = EventMask::ALL - EventMask::BEFORE_V0_10;
    let half = EventMask::from_iter([Event::UpdatePodSandbox, Event::StopContainer]);
    for (wants, says, assumed, expected) in [
        (
            EventMask::ALL,
            runtime("any", "1", "v0.12.0", 2000),
            Unknown,
            (0x3fff, 0),
        ),
        (
            EventMask::ALL,
            runtime("any", "1", "v0.9.0", 2000),
            Unknown,
            (0x7ff, 0x3800),
        ),
        (
            EventMask::ALL,
            runtime("any", "1", "", 0),
            Unknown,
            (0x7ff, 0x3800),
        ),
        (
            EventMask::ALL,
            runtime("any", "1", "", 2000),
            Unknown,
            (0x7ff, 0x3800),
        ),
        (
            EventMask::ALL,
            runtime("any", "1", "", 2000),
            V0_10OrLater,
            (0x3fff, 0),
        ),
        (
            EventMask::ALL,
            runtime("containerd", "v2.1.0", "", 2000),
            V0_10OrLater,
            (0x7ff, 0x3800),
        ),
        (
            EventMask::ALL,
            runtime("containerd", "v2.2.1", "", 2000),
            Unknown,
            (0x3fff, 0),
        ),
        (
            half,
            runtime("containerd", "v1.7.2", "", 2000),
            Unknown,
            (0x200, 0x800),
        ),
        (
            new,
            runtime("cri-o", "1.34.2", "", 2000),
            Unknown,
            (0x3800, 0),
        ),
    ] {
        let text = format!("{says:?}");
        assert_eq!(
            mask(wants, says, assumed).await.unwrap(),
            expected,
            "{text}"
        );
    }
}

/// An empty mask on the wire would mean all events.
#[tokio::test]
async fn it_is_never_empty() {
    let says = runtime("any", "1", "v0.12.0", 2000);
    let (bits, missing) = mask(EventMask::NONE, says, RuntimeLevel::Unknown)
        .await
        .unwrap();
    assert_eq!(
        (bits, missing),
        (EventMask::from(Event::RemovePodSandbox).bits(), 0)
    );
}

/// A validator that is connected and never asked would look as if it accepted.
#[tokio::test]
async fn a_plugin_whose_events_do_not_exist_is_not_set_up() {
    let says = runtime("containerd", "v1.7.2", "", 2000);
    let wants = Event::ValidateContainerAdjustment.into();
    let error = mask(wants, says, RuntimeLevel::Unknown).await.unwrap_err();
    assert!(matches!(error, Error::Configure { .. }));
    let text = error.to_string();
    for part in [
        "containerd",
        "v1.7.2",
        "ValidateContainerAdjustment",
        "v0.10",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn configure_may_replace_the_subscription() {
    let plugin: Handlers = handlers()
        .on_run_pod_sandbox(|_, _| async { Ok(()) })
        .on_stop_pod_sandbox(|_, _| async { Err("not subscribed".into()) })
        .on_configure(|_, configuration| async move {
            assert_eq!(configuration.config, "only run");
            Ok(Some(Event::RunPodSandbox.into()))
        })
        .build();
    let socket = Socket::new();
    let _run = tokio::spawn(on(&socket, plugin).build().unwrap().run());
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    assert_eq!(
        runtime.configure(current("only run")).await.unwrap().events,
        1
    );
    assert!(
        runtime
            .send(Event::StopPodSandbox, Vec::new())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn nothing_comes_before_configure() {
    let socket = Socket::new();
    let plugin = handlers()
        .on_run_pod_sandbox(|_, _| async { Err("too early".into()) })
        .build();
    let _run = tokio::spawn(on(&socket, plugin).build().unwrap().run());
    let runtime = socket.accept().await;
    assert!(runtime.send(Event::RunPodSandbox, Vec::new()).await.is_ok());
    let error = runtime
        .synchronize(api::SynchronizeRequest::default())
        .await;
    assert_eq!(error.unwrap_err().code(), Code::FailedPrecondition);
}
