//! What is written is read back as it was, whatever it is.

use nri_proto::api;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", Just("-KEY".to_owned())]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

prop_compose! {
    fn resources()(
        limit in proptest::option::of(any::<i64>()),
        shares in proptest::option::of(any::<u64>()),
        kill in proptest::option::of(any::<bool>()),
        class in proptest::option::of(text()),
        cpus in text(),
        pages in vec((text(), any::<u64>()), 0..3),
        unified in btree_map(text(), text(), 0..3),
        major in proptest::option::of(any::<i64>()),
        pids in proptest::option::of(any::<i64>()),
    ) -> api::LinuxResources {
        api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: limit.map(|value| api::OptionalInt64 { value }),
                disable_oom_killer: kill.map(|value| api::OptionalBool { value }),
                ..Default::default()
            }),
            cpu: Some(api::LinuxCpu {
                shares: shares.map(|value| api::OptionalUInt64 { value }),
                cpus,
                ..Default::default()
            }),
            hugepage_limits: pages.into_iter().map(|(page_size, limit)| api::HugepageLimit { page_size, limit }).collect(),
            blockio_class: class.map(|value| api::OptionalString { value }),
            unified,
            devices: vec![api::LinuxDeviceCgroup {
                major: major.map(|value| api::OptionalInt64 { value }),
                ..Default::default()
            }],
            pids: pids.map(|limit| api::LinuxPids { limit }),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn container()(
        (id, state, pid) in (text(), any::<i32>(), any::<u32>()),
        (labels, args, env) in (btree_map(text(), text(), 0..4), texts(), texts()),
        mounts in vec((text(), texts()), 0..3),
        timeout in proptest::option::of(any::<i64>()),
        (created_at, exit_code) in (any::<i64>(), any::<i32>()),
        rlimits in vec((text(), any::<u64>()), 0..3),
        resources in proptest::option::of(resources()),
        sysctl in btree_map(text(), text(), 0..3),
        flags in vec(-2..=9, 0..4),
        gids in vec(any::<u32>(), 0..3),
    ) -> api::Container {
        api::Container {
            id, state, pid, labels, args, env, created_at, exit_code,
            mounts: mounts
                .into_iter()
                .map(|(destination, options)| api::Mount { destination, options, ..Default::default() })
                .collect(),
            hooks: Some(api::Hooks {
                poststop: vec![api::Hook { timeout: timeout.map(|value| api::OptionalInt { value }), ..Default::default() }],
                ..Default::default()
            }),
            rlimits: rlimits.into_iter().map(|(r#type, hard)| api::PosixRlimit { r#type, hard, soft: hard / 2 }).collect(),
            linux: Some(api::LinuxContainer {
                resources,
                sysctl,
                scheduler: Some(api::LinuxScheduler { flags, ..Default::default() }),
                ..Default::default()
            }),
            user: Some(api::User { additional_gids: gids, ..Default::default() }),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn adjustment()(
        annotations in btree_map(text(), text(), 0..4),
        env in vec((text(), text()), 0..4),
        args in texts(),
        resources in proptest::option::of(resources()),
        net_devices in btree_map(text(), text(), 0..3),
        schemata in proptest::option::of(texts()),
        remove in any::<bool>(),
        mode in 0..=6,
    ) -> api::ContainerAdjustment {
        api::ContainerAdjustment {
            annotations,
            env: env.into_iter().map(|(key, value)| api::KeyValue { key, value }).collect(),
            args,
            linux: Some(api::LinuxContainerAdjustment {
                resources,
                net_devices: net_devices.into_iter().map(|(key, name)| (key, api::LinuxNetDevice { name })).collect(),
                rdt: Some(api::LinuxRdt {
                    schemata: schemata.map(|value| api::OptionalRepeatedString { value }),
                    remove,
                    ..Default::default()
                }),
                memory_policy: Some(api::LinuxMemoryPolicy { mode, ..Default::default() }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

prop_compose! {
    fn validation()(
        container in container(),
        adjust in adjustment(),
        owners in btree_map(text(), (btree_map(any::<i32>(), text(), 0..4), btree_map(any::<i32>(), btree_map(text(), text(), 0..3), 0..3)), 0..3),
    ) -> api::ValidateContainerAdjustmentRequest {
        let owners = owners.into_iter().map(|(id, (simple, compound))| {
            let compound = compound.into_iter().map(|(field, owners)| (field, api::CompoundFieldOwners { owners }));
            (id, api::FieldOwners { simple, compound: compound.collect() })
        });
        api::ValidateContainerAdjustmentRequest {
            container: Some(container),
            adjust: Some(adjust),
            owners: Some(api::OwningPlugins { owners: owners.collect() }),
            ..Default::default()
        }
    }
}

fn round_trip<M: JsonMessage>(message: &M) {
    let text = serde_json::to_string(message).unwrap();
    let back: M = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, message, "{text}");
    assert_eq!(
        M::decode(&message.encode_to_vec()[..]).as_ref(),
        Ok(message)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law: what is written is read back as the same message.
    #[test]
    fn validation_requests_make_the_round_trip(message in validation()) {
        round_trip(&message);
    }

    /// Law: text that is no message is refused, never a panic.
    #[test]
    fn other_text_is_no_panic(text in "[\\[\\]{}\":,a-z0-9.eE-]{0,40}") {
        let _ = serde_json::from_str::<api::ValidateContainerAdjustmentRequest>(&text);
    }
}
