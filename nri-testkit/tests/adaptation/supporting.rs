//! What a runtime cannot apply of what plugins ask for.

use nri_adaptation::merge::{MergeError, OnUnsupported, Support, SupportedFields};
use nri_adaptation::{Ctx, Event, EventError as Error, RuntimeApi as _, api};
use nri_testkit::{Behavior, FakePlugin, TestRuntime};

use crate::values::{memory, patient};

async fn runtime(otherwise: OnUnsupported) -> TestRuntime {
    let fields = SupportedFields::ALL
        .without(api::Field::Env)
        .without(api::Field::MemLimit);
    let support = Support::only(fields).on_unsupported(otherwise);
    let builder = patient().with(move |builder| builder.support(support));
    builder.start().await
}

/// Asks for two variables and an annotation, and for memory of another container.
fn asking(side: Vec<api::ContainerUpdate>) -> FakePlugin {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.annotations.insert("colour".into(), "blue".into());
    for key in ["A", "B"] {
        adjust.env.push(api::KeyValue {
            key: key.into(),
            value: "secret".into(),
        });
    }
    let events = [
        Event::CreateContainer,
        Event::UpdateContainer,
        Event::StopContainer,
    ];
    FakePlugin::new("10-a")
        .subscribe(events.into_iter().collect::<nri_adaptation::EventMask>())
        .on(
            Event::CreateContainer,
            Behavior::answer(api::CreateContainerResponse {
                adjust: Some(adjust),
                update: side,
                evict: Vec::new(),
            }),
        )
        .on(
            Event::UpdateContainer,
            Behavior::answer(api::UpdateContainerResponse {
                update: vec![memory("c", 7)],
                evict: Vec::new(),
            }),
        )
}

#[tokio::test]
async fn it_is_refused() {
    let runtime = runtime(OnUnsupported::Refuse).await;
    let plugin = asking(Vec::new());
    let connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let error = runtime.try_create(&pod, "c").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"10-a\" asks for Env \"A\", \"B\" in container \"c\", which this runtime cannot apply; configure the plugin not to"
    );
    // It is undone.
    plugin.wait_for("StopContainer c").await;

    let c = runtime.container(&pod, "c");
    runtime.domain().put_container(c.clone());
    let nri = runtime.nri();
    match nri.update_container(&Ctx::new(), &pod, &c, None).await {
        Err(Error::Merge(MergeError::Unsupported {
            container, what, ..
        })) => {
            assert_eq!(container, "c");
            assert_eq!(what[0].to_string(), "MemLimit");
        }
        other => panic!("{other:?}"),
    }
    // Of another container, and on its own account.
    let failed = connected.update(vec![memory("c", 1)], Vec::new()).await;
    assert_eq!(failed.unwrap(), [memory("c", 1)]);
    assert!(runtime.domain().updates().is_empty());
}

#[tokio::test]
async fn it_is_left_out_and_reported() {
    let runtime = runtime(OnUnsupported::LeaveOut).await;
    let mut side = memory("other", 1);
    let resources = side.linux.as_mut().unwrap().resources.as_mut().unwrap();
    resources.blockio_class = Some(api::OptionalString {
        value: "slow".into(),
    });
    let connected = runtime.join(&asking(vec![side])).await;
    let pod = runtime.run_pod("p").await;
    let other = runtime.container(&pod, "other");
    runtime.domain().put_container(other);
    let c = runtime.container(&pod, "c");
    let creation = runtime.ask_to_create(&pod, &c).await.unwrap();
    let adjustment = creation.adjustment().unwrap();
    assert!(adjustment.env.is_empty());
    assert_eq!(adjustment.annotations["colour"], "blue");
    creation.commit();
    runtime.domain().put_container(c.clone());
    for what in [
        "left out Env \"A\", \"B\", which plugin \"10-a\" asks for in container \"c\"",
        "left out MemLimit, which plugin \"10-a\" asks for in container \"other\"",
    ] {
        let told = format!("{what} and this runtime cannot apply");
        runtime.watcher().wait_for(&told).await;
    }
    let applied = runtime.domain().updates();
    let linux = applied[0].linux.as_ref().unwrap();
    let resources = linux.resources.as_ref().unwrap();
    let memory_limit = resources.memory.as_ref().and_then(|memory| memory.limit);
    assert!(resources.blockio_class.is_some() && memory_limit.is_none());

    // Nothing is left of these.
    let nri = runtime.nri();
    let updated = nri.update_container(&Ctx::new(), &pod, &c, None).await;
    let own = updated.unwrap().resources.unwrap_or_default();
    assert!(own.memory.is_none_or(|memory| memory.limit.is_none()));
    let failed = connected.update(vec![memory("other", 1)], Vec::new()).await;
    assert_eq!(failed.unwrap(), []);
    assert_eq!(runtime.domain().updates().len(), 1);
}
