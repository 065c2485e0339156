//! What a runtime cannot apply of what plugins ask for.

use nri_adaptation::{Ctx, RuntimeApi as _};
use nri_core::api::{self, Field};
use nri_core::merge::{MergeError, OnUnsupported, Support, SupportedFields};
use nri_core::{Error, Event};
use prost::Message as _;

use crate::support::{Fake, World, container, memory};

fn world(otherwise: OnUnsupported) -> World {
    let fields = SupportedFields::ALL
        .without(Field::Env)
        .without(Field::MemLimit);
    let support = Support::only(fields).on_unsupported(otherwise);
    World::with(|_| {}, |builder| builder.support(support))
}

/// Asks for two variables and an annotation, and for memory of another container.
fn asking(side: Vec<api::ContainerUpdate>) -> Fake {
    let events = [
        Event::CreateContainer,
        Event::UpdateContainer,
        Event::StopContainer,
    ];
    let mut adjust = api::ContainerAdjustment::default();
    adjust.annotations.insert("colour".into(), "blue".into());
    for key in ["A", "B"] {
        adjust.env.push(api::KeyValue {
            key: key.into(),
            value: "secret".into(),
        });
    }
    let answer = api::CreateContainerResponse {
        adjust: Some(adjust),
        update: side,
        evict: Vec::new(),
    }
    .encode_to_vec();
    let own = api::UpdateContainerResponse {
        update: vec![memory("c", 7)],
        evict: Vec::new(),
    }
    .encode_to_vec();
    Fake::new("10-a", &events).acting(std::sync::Arc::new(move |got| {
        let answer = match got.method.as_str() {
            "CreateContainer" => Some(Ok(answer.clone())),
            "UpdateContainer" => Some(Ok(own.clone())),
            _ => None,
        };
        Box::pin(async { answer })
    }))
}

#[tokio::test]
async fn it_is_refused() {
    let world = world(OnUnsupported::Refuse);
    world.nri.start().await.unwrap();
    let fake = asking(Vec::new());
    let peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    let c = container(&pod, "c");
    let error = world
        .nri
        .create_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"10-a\" asks for Env \"A\", \"B\" in container \"c\", which this runtime cannot apply; configure the plugin not to"
    );
    // It is undone.
    world.seen(&fake, "StopContainer c").await;

    world.list(&c);
    let updated = world
        .nri
        .update_container(&Ctx::new(), &pod, &c, None)
        .await;
    match updated {
        Err(Error::Merge(MergeError::Unsupported {
            container, what, ..
        })) => {
            assert_eq!(container, "c");
            assert_eq!(what[0].to_string(), "MemLimit");
        }
        other => panic!("{other:?}"),
    }
    // Of another container, and on its own account.
    let failed = peer.update(vec![memory("c", 1)], Vec::new()).await.unwrap();
    assert_eq!(failed, [memory("c", 1)]);
    assert!(world.domain.updates.all().is_empty());
    world.nri.stop().await;
}

#[tokio::test]
async fn it_is_left_out_and_reported() {
    let world = world(OnUnsupported::LeaveOut);
    world.nri.start().await.unwrap();
    let mut side = memory("other", 1);
    let resources = side.linux.as_mut().unwrap().resources.as_mut().unwrap();
    resources.blockio_class = Some(api::OptionalString {
        value: "slow".into(),
    });
    let peer = asking(vec![side]).join(&world).await;
    let pod = world.pod("p").await;
    world.list(&container(&pod, "other"));
    let c = container(&pod, "c");
    let creation = world
        .nri
        .create_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap();
    let adjustment = creation.adjustment().unwrap();
    assert!(adjustment.env.is_empty());
    assert_eq!(adjustment.annotations["colour"], "blue");
    creation.commit();
    world.list(&c);
    for what in [
        "left out Env \"A\", \"B\", which plugin \"10-a\" asks for in container \"c\"",
        "left out MemLimit, which plugin \"10-a\" asks for in container \"other\"",
    ] {
        let told = format!("{what} and this runtime cannot apply");
        world.observer.wait_for(&told).await;
    }
    let applied = world.domain.updates.all();
    let resources = applied[0]
        .linux
        .as_ref()
        .unwrap()
        .resources
        .as_ref()
        .unwrap();
    assert!(
        resources.blockio_class.is_some()
            && resources.memory.as_ref().is_none_or(|m| m.limit.is_none())
    );

    // Nothing is left of these.
    let updated = world
        .nri
        .update_container(&Ctx::new(), &pod, &c, None)
        .await
        .unwrap();
    let own = updated.resources.unwrap_or_default();
    assert!(own.memory.is_none_or(|memory| memory.limit.is_none()));
    assert_eq!(
        peer.update(vec![memory("other", 1)], Vec::new())
            .await
            .unwrap(),
        []
    );
    assert_eq!(world.domain.updates.all().len(), 1);
    world.nri.stop().await;
}
