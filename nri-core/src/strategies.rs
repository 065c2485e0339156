//! Strategies for property tests: arbitrary containers, and arbitrary answers of plugins that
//! collide often.
//!
//! Keys come from small pools, so that what plugins ask for, and what a container has, overlaps.
//! Odd things are included: keys that mean the same and are spelled in several ways
//! ([`keys`](crate::keys)), keys with a leading `-`, empty keys, removals with values, variables
//! without `=`, entries that are there twice, zeros in wrappers.
//!
//! ```
//! use nri_core::strategies;
//! use proptest::prelude::*;
//!
//! proptest!(|(container in strategies::container(), adjustment in strategies::adjustment())| {
//!     let applied = nri_core::merge::apply(&container, &adjustment);
//!     prop_assert_eq!(applied.id, container.id);
//! });
//! ```
//!
//! What may not enter: expectations.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;

use crate::api::{
    CdiDevice, Container, ContainerAdjustment, ContainerEviction, ContainerUpdate,
    CreateContainerResponse, Field, Hook, Hooks, HugepageLimit, Image, KeyValue, LinuxContainer,
    LinuxContainerAdjustment, LinuxContainerUpdate, LinuxCpu, LinuxDevice, LinuxDeviceCgroup,
    LinuxIoPriority, LinuxMemory, LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice, LinuxPids,
    LinuxRdt, LinuxResources, LinuxScheduler, LinuxSeccomp, LinuxSyscall, Mount, OptionalInt,
    OptionalUInt32, PosixRlimit, SecurityProfile, StopContainerResponse, UpdateContainerResponse,
    User,
};
use crate::build::Wrapper;
use crate::keys::KeyKind;
use crate::merge::removal_marker::marked;
use keys::{key, key_or_marker, literal, or_dashed, or_marker, page_size, parameter, path, text};

/// The id of every container that [`container`] makes.
pub const CREATED: &str = "created";

/// The ids of the containers that updates and evictions are about, beside [`CREATED`].
pub const OTHERS: [&str; 3] = ["other-a", "other-b", "other-c"];

/// Adds `patch` to `message` as the wire does it: lists grow, maps and messages are joined.
fn join<M: Message + Default>(patches: Vec<M>) -> M {
    let mut joined = M::default();
    for patch in patches {
        // What was just encoded can be decoded.
        let _ = joined.merge(&patch.encode_to_vec()[..]);
    }
    joined
}

/// A message with one thing in it.
fn patch<M: Default + Debug + 'static, V: Debug>(
    value: impl Strategy<Value = V> + 'static,
    put: impl Fn(&mut M, V) + 'static,
) -> BoxedStrategy<M> {
    value
        .prop_map(move |value| {
            let mut message = M::default();
            put(&mut message, value);
            message
        })
        .boxed()
}

/// A message that is part of another.
fn within<M: Debug + Default + 'static, P: Debug + 'static>(
    patches: Vec<BoxedStrategy<P>>,
    put: impl Fn(&mut M, P) + Clone + 'static,
) -> Vec<BoxedStrategy<M>> {
    let each = |part: BoxedStrategy<P>| patch(part, put.clone());
    patches.into_iter().map(each).collect()
}

/// Most of these things together.
fn most_of<M: Message + Default + Debug + 'static>(
    patches: Vec<BoxedStrategy<M>>,
) -> impl Strategy<Value = M> {
    let maybe = patches
        .into_iter()
        .map(|patch| option::weighted(0.7, patch));
    let chosen: Vec<_> = maybe.collect();
    chosen.prop_map(|patches| join(patches.into_iter().flatten().collect()))
}

fn one_of<M: Debug + 'static>(patches: Vec<BoxedStrategy<M>>) -> impl Strategy<Value = M> {
    proptest::strategy::Union::new(patches)
}

fn wrapped<W: Wrapper + Debug>(
    value: impl Strategy<Value = W::Value>,
) -> impl Strategy<Value = Option<W>>
where
    W::Value: Debug,
{
    value.prop_map(|value| Some(W::wrap(value)))
}

fn mount(key: impl Strategy<Value = String>) -> impl Strategy<Value = Mount> {
    (key, text(), text(), vec(text(), 0..2)).prop_map(|(destination, r#type, source, options)| {
        Mount {
            destination,
            r#type,
            source,
            options,
        }
    })
}

fn device(key: impl Strategy<Value = String>) -> impl Strategy<Value = LinuxDevice> {
    (key, text(), 0..3i64, option::of(Just(()))).prop_map(|(path, r#type, major, uid)| {
        LinuxDevice {
            path,
            r#type,
            major,
            uid: uid.map(|()| OptionalUInt32 { value: 0 }),
            ..Default::default()
        }
    })
}

fn namespace(key: impl Strategy<Value = String>) -> impl Strategy<Value = LinuxNamespace> {
    (key, text()).prop_map(|(r#type, path)| LinuxNamespace { r#type, path })
}

fn net_devices(
    key: impl Strategy<Value = String>,
) -> impl Strategy<Value = BTreeMap<String, LinuxNetDevice>> {
    btree_map(key, text().prop_map(|name| LinuxNetDevice { name }), 1..3)
}

fn rlimit() -> impl Strategy<Value = PosixRlimit> {
    (literal(), 0..3u64, 0..3u64).prop_map(|(r#type, hard, soft)| PosixRlimit {
        r#type,
        hard,
        soft,
    })
}

fn hooks() -> impl Strategy<Value = Hooks> {
    let list = || {
        vec(
            text().prop_map(|path| Hook {
                path,
                ..Default::default()
            }),
            0..2,
        )
    };
    (list(), list(), list(), list(), list(), list()).prop_map(
        |(prestart, create_runtime, create_container, start_container, poststart, poststop)| {
            Hooks {
                prestart,
                create_runtime,
                create_container,
                start_container,
                poststart,
                poststop,
            }
        },
    )
}

fn seccomp() -> impl Strategy<Value = LinuxSeccomp> {
    (text(), vec(text(), 0..2), option::of(text())).prop_map(|(default_action, flags, action)| {
        LinuxSeccomp {
            default_action,
            flags,
            syscalls: action
                .into_iter()
                .map(|action| LinuxSyscall {
                    action,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    })
}

fn io_priority() -> impl Strategy<Value = LinuxIoPriority> {
    (0..4i32, 0..2i32).prop_map(|(class, priority)| LinuxIoPriority { class, priority })
}

fn scheduler() -> impl Strategy<Value = LinuxScheduler> {
    (0..4i32, 0..2i32, vec(0..3i32, 0..2)).prop_map(|(policy, nice, flags)| LinuxScheduler {
        policy,
        nice,
        flags,
        ..Default::default()
    })
}

fn memory_policy() -> impl Strategy<Value = LinuxMemoryPolicy> {
    (0..3i32, text()).prop_map(|(mode, nodes)| LinuxMemoryPolicy {
        mode,
        nodes,
        flags: Vec::new(),
    })
}

fn rdt_patches() -> Vec<BoxedStrategy<LinuxRdt>> {
    vec![
        patch(wrapped(text()), |m: &mut LinuxRdt, v| m.clos_id = v),
        patch(wrapped(vec(text(), 0..2)), |m: &mut LinuxRdt, v| {
            m.schemata = v
        }),
        patch(wrapped(any::<bool>()), |m: &mut LinuxRdt, v| {
            m.enable_monitoring = v
        }),
        patch(Just(true), |m: &mut LinuxRdt, v| m.remove = v),
    ]
}

fn memory_patches() -> Vec<BoxedStrategy<LinuxMemory>> {
    vec![
        patch(wrapped(-1..2i64), |m: &mut LinuxMemory, v| m.limit = v),
        patch(wrapped(-1..2i64), |m: &mut LinuxMemory, v| {
            m.reservation = v
        }),
        patch(wrapped(-1..2i64), |m: &mut LinuxMemory, v| m.swap = v),
        patch(wrapped(-1..2i64), |m: &mut LinuxMemory, v| m.kernel = v),
        patch(wrapped(-1..2i64), |m: &mut LinuxMemory, v| m.kernel_tcp = v),
        patch(wrapped(0..3u64), |m: &mut LinuxMemory, v| m.swappiness = v),
        patch(wrapped(any::<bool>()), |m: &mut LinuxMemory, v| {
            m.disable_oom_killer = v
        }),
        patch(wrapped(any::<bool>()), |m: &mut LinuxMemory, v| {
            m.use_hierarchy = v
        }),
    ]
}

fn cpu_patches() -> Vec<BoxedStrategy<LinuxCpu>> {
    vec![
        patch(wrapped(0..3u64), |m: &mut LinuxCpu, v| m.shares = v),
        patch(wrapped(-1..2i64), |m: &mut LinuxCpu, v| m.quota = v),
        patch(wrapped(0..3u64), |m: &mut LinuxCpu, v| m.period = v),
        patch(wrapped(0..3i64), |m: &mut LinuxCpu, v| {
            m.realtime_runtime = v
        }),
        patch(wrapped(0..3u64), |m: &mut LinuxCpu, v| {
            m.realtime_period = v
        }),
        patch(text(), |m: &mut LinuxCpu, v| m.cpus = v),
        patch(text(), |m: &mut LinuxCpu, v| m.mems = v),
    ]
}

fn resource_patches() -> Vec<BoxedStrategy<LinuxResources>> {
    let hugepages = (page_size(), 0..3u64);
    let hugepages = hugepages.prop_map(|(page_size, limit)| HugepageLimit { page_size, limit });
    let rule = (any::<bool>(), text());
    let rule = rule.prop_map(|(allow, access)| LinuxDeviceCgroup {
        allow,
        access,
        ..Default::default()
    });
    let mut patches = vec![
        patch(vec(hugepages, 1..3), |m: &mut LinuxResources, v| {
            m.hugepage_limits = v
        }),
        patch(wrapped(text()), |m: &mut LinuxResources, v| {
            m.blockio_class = v
        }),
        patch(wrapped(text()), |m: &mut LinuxResources, v| m.rdt_class = v),
        patch(
            btree_map(literal(), text(), 1..3),
            |m: &mut LinuxResources, v| m.unified = v,
        ),
        patch(rule, |m: &mut LinuxResources, v| m.devices.push(v)),
        patch(-1..2i64, |m: &mut LinuxResources, limit| {
            m.pids = Some(LinuxPids { limit })
        }),
        Just(LinuxResources::default()).boxed(),
    ];
    patches.extend(within(memory_patches(), |m: &mut LinuxResources, v| {
        m.memory = Some(v)
    }));
    patches.extend(within(cpu_patches(), |m: &mut LinuxResources, v| {
        m.cpu = Some(v)
    }));
    patches
}

/// Resources, of a container or in an update.
pub fn resources() -> impl Strategy<Value = LinuxResources> {
    vec(one_of(resource_patches()), 0..6).prop_map(join)
}

/// Adjustments of what has entries, or can be removed.
fn linux_entry_patches() -> Vec<BoxedStrategy<LinuxContainerAdjustment>> {
    type M = LinuxContainerAdjustment;
    let mut patches = vec![
        patch(
            vec(device(or_marker(path().boxed())), 1..4),
            |m: &mut M, v| m.devices = v,
        ),
        patch(vec(namespace(key_or_marker()), 1..3), |m: &mut M, v| {
            m.namespaces = v
        }),
        patch(
            btree_map(or_marker(parameter().boxed()), text(), 1..4),
            |m: &mut M, v| m.sysctl = v,
        ),
        patch(net_devices(key_or_marker()), |m: &mut M, v| {
            m.net_devices = v
        }),
    ];
    patches.extend(within(rdt_patches(), |m: &mut M, v| m.rdt = Some(v)));
    patches
}

/// Adjustments of the rest.
fn linux_single_patches() -> Vec<BoxedStrategy<LinuxContainerAdjustment>> {
    type M = LinuxContainerAdjustment;
    let mut patches = vec![
        patch(text(), |m: &mut M, v| m.cgroups_path = v),
        patch(-1..2i64, |m: &mut M, value| {
            m.oom_score_adj = Some(OptionalInt { value })
        }),
        patch(io_priority(), |m: &mut M, v| m.io_priority = Some(v)),
        patch(seccomp(), |m: &mut M, v| m.seccomp_policy = Some(v)),
        patch(scheduler(), |m: &mut M, v| m.scheduler = Some(v)),
        patch(memory_policy(), |m: &mut M, v| m.memory_policy = Some(v)),
        Just(M::default()).boxed(),
    ];
    patches.extend(within(resource_patches(), |m: &mut M, v| {
        m.resources = Some(v)
    }));
    patches
}

/// An adjustment of anything, as a plugin may send it. It can contradict itself: a list can set a
/// key twice.
pub fn adjustment() -> impl Strategy<Value = ContainerAdjustment> {
    type M = ContainerAdjustment;
    let variable = (key_or_marker(), text()).prop_map(|(key, value)| KeyValue { key, value });
    let cdi = literal().prop_map(|name| CdiDevice { name });
    let args = prop_oneof![
        vec(text(), 0..3),
        vec(select(&["", "x", "y"][..]).prop_map(str::to_owned), 1..4)
    ];
    let top = prop_oneof![
        patch(btree_map(key_or_marker(), text(), 1..4), |m: &mut M, v| m
            .annotations =
            v),
        patch(
            vec(mount(or_marker(path().boxed())), 1..3),
            |m: &mut M, v| m.mounts = v
        ),
        patch(vec(variable, 1..3), |m: &mut M, v| m.env = v),
        patch(args, |m: &mut M, v| m.args = v),
        patch(hooks(), |m: &mut M, v| m.hooks = Some(v)),
        patch(vec(rlimit(), 1..3), |m: &mut M, v| m.rlimits = v),
        patch(vec(cdi, 1..3), |m: &mut M, v| m.cdi_devices = v),
    ];
    let linux = |patches| one_of(within(patches, |m: &mut M, v| m.linux = Some(v)));
    let patches = prop_oneof![
        4 => top,
        4 => linux(linux_entry_patches()),
        3 => linux(linux_single_patches()),
    ];
    vec(patches, 0..6).prop_map(join)
}

/// What leaves of every key of a field the first set only.
fn first_set(field: Field, removable: bool) -> impl FnMut(&str) -> bool {
    let mut seen = BTreeSet::new();
    move |key| {
        (removable && marked(key).is_some())
            || seen.insert(KeyKind::of(field).normal(key).into_owned())
    }
}

/// The adjustment without what contradicts itself: of every key that is set twice, in whatever
/// spelling, the first set is left.
pub fn plain(mut adjustment: ContainerAdjustment) -> ContainerAdjustment {
    let mut first = first_set(Field::Mounts, true);
    adjustment.mounts.retain(|m| first(&m.destination));
    let mut first = first_set(Field::Env, true);
    adjustment.env.retain(|e| first(&e.key));
    let mut first = first_set(Field::Rlimits, false);
    adjustment.rlimits.retain(|r| first(&r.r#type));
    let mut first = first_set(Field::CdiDevices, false);
    adjustment.cdi_devices.retain(|d| first(&d.name));
    if let Some(linux) = &mut adjustment.linux {
        let mut first = first_set(Field::Devices, true);
        linux.devices.retain(|d| first(&d.path));
        let mut first = first_set(Field::Namespace, true);
        linux.namespaces.retain(|n| first(&n.r#type));
        let mut first = first_set(Field::Sysctl, true);
        linux.sysctl.retain(|name, _| first(name));
        if let Some(resources) = &mut linux.resources {
            let mut first = first_set(Field::HugepageLimits, false);
            resources.hugepage_limits.retain(|l| first(&l.page_size));
        }
    }
    adjustment
}

/// An adjustment that does not contradict itself.
pub fn plain_adjustment() -> impl Strategy<Value = ContainerAdjustment> {
    adjustment().prop_map(plain)
}

fn linux_container() -> impl Strategy<Value = LinuxContainer> {
    type M = LinuxContainer;
    let profile = (0..4i32).prop_map(|profile_type| SecurityProfile {
        profile_type,
        ..Default::default()
    });
    let mut patches = vec![
        patch(vec(device(or_dashed(path())), 0..4), |m: &mut M, v| {
            m.devices = v
        }),
        patch(vec(namespace(key()), 0..4), |m: &mut M, v| m.namespaces = v),
        patch(text(), |m: &mut M, v| m.cgroups_path = v),
        patch(-1..2i64, |m: &mut M, value| {
            m.oom_score_adj = Some(OptionalInt { value })
        }),
        patch(io_priority(), |m: &mut M, v| m.io_priority = Some(v)),
        patch(seccomp(), |m: &mut M, v| m.seccomp_policy = Some(v)),
        patch(profile, |m: &mut M, v| m.seccomp_profile = Some(v)),
        patch(
            btree_map(or_dashed(parameter()), text(), 0..4),
            |m: &mut M, v| m.sysctl = v,
        ),
        patch(net_devices(literal()), |m: &mut M, v| m.net_devices = v),
        patch(scheduler(), |m: &mut M, v| m.scheduler = Some(v)),
        patch(resources(), |m: &mut M, v| m.resources = Some(v)),
    ];
    patches.extend(within(rdt_patches(), |m: &mut M, v| m.rdt = Some(v)));
    most_of(patches)
}

/// A container, with the id [`CREATED`].
pub fn container() -> impl Strategy<Value = Container> {
    type M = Container;
    let variable = (key(), option::of(text())).prop_map(|(key, value)| match value {
        Some(value) => format!("{key}={value}"),
        None => key,
    });
    let cdi = literal().prop_map(|name| CdiDevice { name });
    let image = text().prop_map(|name| Image {
        name,
        ..Default::default()
    });
    let patches = vec![
        patch((text(), text()), |m: &mut M, (pod, name)| {
            m.pod_sandbox_id = pod;
            m.name = name;
        }),
        patch(
            (0..4i32, 0..3u32, -1..2i64),
            |m: &mut M, (state, pid, time)| {
                (m.state, m.pid, m.created_at) = (state, pid, time);
            },
        ),
        patch(btree_map(literal(), text(), 0..3), |m: &mut M, v| {
            m.labels = v
        }),
        patch(btree_map(literal(), text(), 0..4), |m: &mut M, v| {
            m.annotations = v
        }),
        patch(vec(text(), 0..3), |m: &mut M, v| m.args = v),
        patch(vec(variable, 0..4), |m: &mut M, v| m.env = v),
        patch(vec(mount(or_dashed(path())), 0..4), |m: &mut M, v| {
            m.mounts = v
        }),
        patch(hooks(), |m: &mut M, v| m.hooks = Some(v)),
        patch(linux_container(), |m: &mut M, v| m.linux = Some(v)),
        patch(vec(rlimit(), 0..4), |m: &mut M, v| m.rlimits = v),
        patch(vec(cdi, 0..3), |m: &mut M, v| m.cdi_devices = v),
        patch((0..3u32, image), |m: &mut M, (uid, image)| {
            m.user = Some(User {
                uid,
                ..Default::default()
            });
            m.image = Some(image);
        }),
    ];
    most_of(patches).prop_map(|container| Container {
        id: CREATED.to_owned(),
        ..container
    })
}

/// An update of one of these containers.
pub fn update(ids: &'static [&'static str]) -> impl Strategy<Value = ContainerUpdate> {
    let linux = option::weighted(0.9, option::weighted(0.9, resources()));
    (select(ids), linux, any::<bool>()).prop_map(|(id, linux, ignore_failure)| ContainerUpdate {
        container_id: id.to_owned(),
        linux: linux.map(|resources| LinuxContainerUpdate { resources }),
        ignore_failure,
    })
}

/// An eviction of any container, the created one included.
pub fn eviction() -> impl Strategy<Value = ContainerEviction> {
    let ids = select(&["other-a", "other-b", CREATED][..]);
    (ids, text()).prop_map(|(id, reason)| ContainerEviction {
        container_id: id.to_owned(),
        reason,
    })
}

/// What a plugin answers to a creation. It can contradict itself, but it does not update the
/// container that is created.
pub fn create_response() -> impl Strategy<Value = CreateContainerResponse> {
    let adjust = option::weighted(0.8, adjustment());
    (adjust, vec(update(&OTHERS), 0..3), vec(eviction(), 0..2)).prop_map(
        |(adjust, update, evict)| CreateContainerResponse {
            adjust,
            update,
            evict,
        },
    )
}

/// What a plugin answers to an update.
pub fn update_response(
    ids: &'static [&'static str],
) -> impl Strategy<Value = UpdateContainerResponse> {
    (vec(update(ids), 0..4), vec(eviction(), 0..2))
        .prop_map(|(update, evict)| UpdateContainerResponse { update, evict })
}

/// What a plugin answers to a stop.
pub fn stop_response(ids: &'static [&'static str]) -> impl Strategy<Value = StopContainerResponse> {
    vec(update(ids), 0..4).prop_map(|update| StopContainerResponse { update })
}
