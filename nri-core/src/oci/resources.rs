//! Linux resources both ways: the `linux.resources` object of an OCI spec and the protocol's
//! message.
//!
//! One routine writes them, [`apply_resources`], for creations and updates alike.

use std::collections::BTreeMap;

use nri_proto::api;
use nri_proto::api::Field;
use serde_json::{Value, json};

use super::apply::ApplyOptions;
pub use super::invalid::{InvalidResource, InvalidUpdate};
use super::tree::{self, Object};
use super::values::{self, Breach};
use crate::keys::KeyKind;

/// The message for a `linux.resources` object.
///
/// Classes cannot be told from a spec; block I/O, network priorities and RDMA have no place in the
/// protocol. A `pids` object without a limit means unlimited, which the protocol writes as -1.
///
/// ```
/// use nri_core::oci::resources::from_oci;
/// let resources = from_oci(&serde_json::json!({"cpu": {"shares": 512}, "pids": {}}));
/// assert_eq!(resources.cpu.unwrap().shares.unwrap().value, 512);
/// assert_eq!(resources.pids.unwrap().limit, -1);
/// ```
pub fn from_oci(oci: &Value) -> api::LinuxResources {
    let int64 =
        |group, name| tree::int(oci, &[group, name]).map(|value| api::OptionalInt64 { value });
    let uint64 =
        |group, name| tree::uint(oci, &[group, name]).map(|value| api::OptionalUInt64 { value });
    let boolean =
        |group, name| tree::boolean(oci, &[group, name]).map(|value| api::OptionalBool { value });
    let has = |name| tree::get(oci, &[name]).is_some();
    api::LinuxResources {
        memory: has("memory").then(|| api::LinuxMemory {
            limit: int64("memory", "limit"),
            reservation: int64("memory", "reservation"),
            swap: int64("memory", "swap"),
            kernel: int64("memory", "kernel"),
            kernel_tcp: int64("memory", "kernelTCP"),
            swappiness: uint64("memory", "swappiness"),
            disable_oom_killer: boolean("memory", "disableOOMKiller"),
            use_hierarchy: boolean("memory", "useHierarchy"),
        }),
        cpu: has("cpu").then(|| api::LinuxCpu {
            shares: uint64("cpu", "shares"),
            quota: int64("cpu", "quota"),
            period: uint64("cpu", "period"),
            realtime_runtime: int64("cpu", "realtimeRuntime"),
            realtime_period: uint64("cpu", "realtimePeriod"),
            cpus: tree::string(oci, &["cpu", "cpus"]),
            mems: tree::string(oci, &["cpu", "mems"]),
        }),
        hugepage_limits: tree::list(oci, &["hugepageLimits"])
            .iter()
            .map(|limit| api::HugepageLimit {
                page_size: tree::string(limit, &["pageSize"]),
                limit: tree::uint(limit, &["limit"]).unwrap_or_default(),
            })
            .collect(),
        unified: tree::string_map(oci, &["unified"]),
        devices: tree::list(oci, &["devices"]).iter().map(rule).collect(),
        pids: has("pids").then(|| api::LinuxPids {
            limit: tree::int(oci, &["pids", "limit"]).unwrap_or(-1),
        }),
        blockio_class: None,
        rdt_class: None,
    }
}

fn rule(rule: &Value) -> api::LinuxDeviceCgroup {
    let number = |name: &str| tree::int(rule, &[name]).map(|value| api::OptionalInt64 { value });
    api::LinuxDeviceCgroup {
        allow: tree::boolean(rule, &["allow"]).unwrap_or_default(),
        r#type: tree::string(rule, &["type"]),
        major: number("major"),
        minor: number("minor"),
        access: tree::string(rule, &["access"]),
    }
}

/// Writes the members that `resources` has into a `linux.resources` object, which is created if it
/// is `null`. Other members stay.
///
/// A memory limit implies a swap limit of the same value (the OCI swap limit is memory and swap
/// together, so that means no swap) where `swap_supported`; an explicit swap limit takes
/// precedence. Where swap is not supported, a swap limit that is there and would be below the
/// memory limit is raised as [`keep_swap_share`] does. A limit of 0 says nothing. Huge page limits
/// and unified keys are replaced by key. Device rules are appended. A process limit of -1 is
/// written, since that is what lifts an existing one. Block I/O and RDT classes are not written:
/// they need a resolver.
///
/// # Errors
/// The first value that breaks one of the [rules](super::values::RULES); the object may be half
/// written then. See [`apply_resources_with`] for leaving rules to the low-level runtime, and
/// [`InvalidResource::asked_in`] for saying who asked for the value.
///
/// ```
/// use nri_core::{api, oci::apply_resources};
/// use serde_json::json;
///
/// let mut oci = json!({"memory": {"limit": 1, "swap": 1, "swappiness": 10}});
/// let resources = api::LinuxResources {
///     memory: Some(api::LinuxMemory {
///         limit: Some(api::OptionalInt64 { value: 4096 }),
///         ..Default::default()
///     }),
///     ..Default::default()
/// };
/// apply_resources(&resources, &mut oci, true)?;
/// assert_eq!(oci, json!({"memory": {"limit": 4096, "swap": 4096, "swappiness": 10}}));
/// # Ok::<(), nri_core::oci::resources::InvalidResource>(())
/// ```
pub fn apply_resources(
    resources: &api::LinuxResources,
    oci: &mut Value,
    swap_supported: bool,
) -> Result<(), InvalidResource> {
    let options = ApplyOptions {
        swap_supported,
        ..Default::default()
    };
    apply_resources_with(resources, oci, &options)
}

/// As [`apply_resources`], with `swap_supported` and `left_to_runtime` of the options by which
/// adjustments are applied.
///
/// # Errors
/// The first value that breaks a rule that is not left to the low-level runtime; the object may be
/// half written then.
///
/// ```
/// use nri_core::oci::{ApplyOptions, apply_resources_with, values::Family};
/// use nri_core::{api, build::SetResources};
/// use serde_json::json;
///
/// let mut resources = api::LinuxResources::default();
/// resources.set_cpu_shares(1);
/// let mut options = ApplyOptions::default();
/// let error = apply_resources_with(&resources, &mut json!({}), &options).unwrap_err();
/// assert_eq!(error.to_string(), r#"CPUShares "1": it must be 0 (unset), or between 2 and 262144"#);
/// options.left_to_runtime.insert(Family::Cpu);
/// apply_resources_with(&resources, &mut json!({}), &options)?;
/// # Ok::<(), nri_core::oci::resources::InvalidResource>(())
/// ```
pub fn apply_resources_with(
    resources: &api::LinuxResources,
    oci: &mut Value,
    options: &ApplyOptions,
) -> Result<(), InvalidResource> {
    write(resources, oci, options).map_err(|breach| InvalidResource {
        field: breach.field(),
        key: breach.key().to_owned(),
        reason: breach.rule(),
    })
}

/// Judges resources, writes them, and judges what has come of it.
pub(super) fn write(
    resources: &api::LinuxResources,
    oci: &mut Value,
    options: &ApplyOptions,
) -> Result<(), Breach> {
    let left = &options.left_to_runtime;
    values::judge_resources(resources, left)?;
    let before = ["memory", "cpu"].map(|name| tree::get(oci, &[name]).cloned());
    if let Some(memory) = &resources.memory {
        let there = from_oci(oci).memory.unwrap_or_default();
        merge(
            oci,
            "memory",
            self::memory(memory, &there, options.swap_supported),
        );
    }
    if let Some(cpu) = &resources.cpu {
        merge(oci, "cpu", self::cpu(cpu));
    }
    hugepages(&resources.hugepage_limits, oci);
    for (key, value) in &resources.unified {
        tree::set(oci, &["unified"], key, value.as_str());
    }
    if !resources.devices.is_empty() {
        tree::list_mut(oci, &["devices"]).extend(resources.devices.iter().map(device_rule));
    }
    if let Some(pids) = &resources.pids {
        tree::set(oci, &["pids"], "limit", pids.limit);
    }
    let [memory, cpu] = before;
    values::judge_sum(&json!({"memory": memory, "cpu": cpu}), oci, left)
}

/// Raises the limit of memory and swap together with the limit of memory, where plugins raised only
/// that.
///
/// The limit in `answer` may be more than the total that was requested, which nothing could
/// satisfy. The total is raised then, so that the share of swap stays as it was requested: 1 GiB of
/// memory and a total of 2 GiB, answered with 3 GiB of memory, is a total of 4 GiB. With unlimited
/// memory the total is unlimited; an unlimited total stays so, and one that is possible is left as
/// it is. A total that a plugin set itself, which is one that differs from the request, is not
/// touched either.
///
/// For whoever applies what plugins made of an update: the answer is to be applied in place of the
/// request, and holds what plugins left of it.
///
/// ```
/// use nri_core::api::{LinuxMemory, OptionalInt64};
/// use nri_core::oci::resources::keep_swap_share;
///
/// let memory = |limit, swap| LinuxMemory {
///     limit: Some(OptionalInt64 { value: limit }),
///     swap: Some(OptionalInt64 { value: swap }),
///     ..Default::default()
/// };
/// let mut answer = memory(3 << 30, 2 << 30);
/// keep_swap_share(&memory(1 << 30, 2 << 30), &mut answer);
/// assert_eq!(answer, memory(3 << 30, 4 << 30));
/// ```
pub fn keep_swap_share(requested: &api::LinuxMemory, answer: &mut api::LinuxMemory) {
    let (Some(limit), Some(swap)) = (answer.limit, answer.swap) else {
        return;
    };
    if requested.swap == Some(swap) {
        let asked = requested.limit.map(|limit| limit.value);
        answer.swap = Some(api::OptionalInt64 {
            value: raised_total(asked, swap.value, limit.value),
        });
    }
}

/// The total of memory and swap for a new limit of memory: `total` if that is possible, or else so
/// much more that the share of swap stays.
fn raised_total(old_limit: Option<i64>, total: i64, limit: i64) -> i64 {
    match limit {
        _ if total <= 0 => total,
        ..0 => -1,
        limit if limit <= total => total,
        limit => {
            let old = old_limit.filter(|old| (1..=total).contains(old));
            limit.saturating_add(total - old.unwrap_or(total))
        }
    }
}

/// The `linux.resources` object that holds just these resources.
///
/// # Errors
/// As [`apply_resources`].
pub fn to_oci(
    resources: &api::LinuxResources,
    swap_supported: bool,
) -> Result<Value, InvalidResource> {
    let mut oci = json!({});
    apply_resources(resources, &mut oci, swap_supported)?;
    Ok(oci)
}

/// Adds members to an object of `oci`, which is not created for nothing.
fn merge(oci: &mut Value, name: &str, members: Object) {
    if !members.is_empty() {
        tree::object_mut(oci, &[name]).extend(members);
    }
}

/// The members to write; `there` are those that the object has.
fn memory(memory: &api::LinuxMemory, there: &api::LinuxMemory, swap_supported: bool) -> Object {
    let mut oci = Object::new();
    let limit = memory.limit.map(|v| v.value).filter(|limit| *limit != 0);
    tree::insert_some(&mut oci, "limit", limit);
    let implied = limit.and_then(|limit| {
        if swap_supported {
            return Some(limit);
        }
        let total = there.swap?.value;
        let raised = raised_total(there.limit.map(|limit| limit.value), total, limit);
        (raised != total).then_some(raised)
    });
    tree::insert_some(&mut oci, "swap", implied);
    tree::insert_some(&mut oci, "swap", memory.swap.map(|v| v.value));
    tree::insert_some(&mut oci, "reservation", memory.reservation.map(|v| v.value));
    tree::insert_some(&mut oci, "kernel", memory.kernel.map(|v| v.value));
    tree::insert_some(&mut oci, "kernelTCP", memory.kernel_tcp.map(|v| v.value));
    tree::insert_some(&mut oci, "swappiness", memory.swappiness.map(|v| v.value));
    let disable_oom_killer = memory.disable_oom_killer.map(|v| v.value);
    tree::insert_some(&mut oci, "disableOOMKiller", disable_oom_killer);
    tree::insert_some(
        &mut oci,
        "useHierarchy",
        memory.use_hierarchy.map(|v| v.value),
    );
    oci
}

fn cpu(cpu: &api::LinuxCpu) -> Object {
    let mut oci = Object::new();
    tree::insert_some(&mut oci, "shares", cpu.shares.map(|v| v.value));
    tree::insert_some(&mut oci, "quota", cpu.quota.map(|v| v.value));
    tree::insert_some(&mut oci, "period", cpu.period.map(|v| v.value));
    let realtime_runtime = cpu.realtime_runtime.map(|v| v.value);
    tree::insert_some(&mut oci, "realtimeRuntime", realtime_runtime);
    let realtime_period = cpu.realtime_period.map(|v| v.value);
    tree::insert_some(&mut oci, "realtimePeriod", realtime_period);
    tree::insert_text(&mut oci, "cpus", &cpu.cpus);
    tree::insert_text(&mut oci, "mems", &cpu.mems);
    oci
}

/// A size that nobody can read stands for itself, where that was left to the low-level runtime.
fn hugepages(limits: &[api::HugepageLimit], oci: &mut Value) {
    const KEYS: KeyKind = KeyKind::of(Field::HugepageLimits);
    // By size, the limits that are not written yet; of two for one size, the last one counts.
    let mut wanted = BTreeMap::new();
    for limit in limits {
        wanted.insert(KEYS.normal(&limit.page_size), Some(limit.limit));
    }
    if wanted.is_empty() {
        return;
    }
    let list = tree::list_mut(oci, &["hugepageLimits"]);
    // A limit takes the place of the first one of its size, and drops the others.
    list.retain_mut(|entry| {
        let size = KEYS.normal(tree::text(entry, &["pageSize"]));
        let Some(wanted) = wanted.get_mut(&*size) else {
            return true;
        };
        let limit = wanted.take();
        drop(size);
        match limit {
            Some(limit) => {
                tree::set(entry, &[], "limit", limit);
                true
            }
            None => false,
        }
    });
    for limit in limits {
        let size = KEYS.normal(&limit.page_size);
        if let Some(limit) = wanted.get_mut(&size).and_then(Option::take) {
            list.push(json!({"pageSize": size, "limit": limit}));
        }
    }
}

fn device_rule(rule: &api::LinuxDeviceCgroup) -> Value {
    let mut oci = Object::new();
    oci.insert("allow".to_owned(), rule.allow.into());
    tree::insert_text(&mut oci, "type", &rule.r#type);
    tree::insert_some(&mut oci, "major", rule.major.map(|v| v.value));
    tree::insert_some(&mut oci, "minor", rule.minor.map(|v| v.value));
    tree::insert_text(&mut oci, "access", &rule.access);
    Value::Object(oci)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::page_size_text;
    use proptest::prelude::*;

    fn memory(limit: i64, swap: Option<i64>) -> api::LinuxResources {
        api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: Some(api::OptionalInt64 { value: limit }),
                swap: swap.map(|value| api::OptionalInt64 { value }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_memory_limit_implies_no_swap() {
        let oci = |resources, swap| to_oci(&resources, swap).unwrap();
        assert_eq!(
            oci(memory(100, None), true),
            json!({"memory": {"limit": 100, "swap": 100}})
        );
        assert_eq!(
            oci(memory(100, Some(300)), true),
            json!({"memory": {"limit": 100, "swap": 300}})
        );
        assert_eq!(
            oci(memory(100, None), false),
            json!({"memory": {"limit": 100}})
        );
        assert_eq!(oci(memory(0, None), true), json!({}));
        assert_eq!(
            oci(memory(-1, None), true),
            json!({"memory": {"limit": -1, "swap": -1}})
        );
    }

    #[test]
    fn the_share_of_swap_stays_when_memory_grows() {
        let parts = |resources: api::LinuxResources| resources.memory.unwrap();
        for (requested, answer, total) in [
            ((Some(1), 2), (3, 2), 4),
            ((Some(1), 1), (3, 1), 3),
            ((Some(1), 2), (2, 2), 2),
            ((Some(1), 4), (3, 4), 4),
            // Unlimited stays so, and becomes so.
            ((Some(1), -1), (3, -1), -1),
            ((Some(1), 2), (-1, 2), -1),
            // Nobody knows the share, or there is none.
            ((None, 2), (3, 2), 3),
            ((Some(0), 2), (3, 2), 3),
            ((Some(1), 0), (3, 0), 0),
            ((Some(5), 2), (3, 2), 3),
            // What a plugin set itself is refused if it cannot be.
            ((Some(1), 4), (3, 2), 2),
            ((Some(1), i64::MAX), (i64::MAX, i64::MAX), i64::MAX),
            ((Some(1), i64::MAX - 1), (i64::MAX, i64::MAX - 1), i64::MAX),
        ] {
            let mut requested_memory = parts(memory(requested.0.unwrap_or(0), Some(requested.1)));
            requested_memory.limit = requested_memory.limit.filter(|_| requested.0.is_some());
            let mut memory = parts(memory(answer.0, Some(answer.1)));
            keep_swap_share(&requested_memory, &mut memory);
            assert_eq!(
                memory.swap.unwrap().value,
                total,
                "{requested:?} {answer:?}"
            );
        }
    }

    #[test]
    fn a_total_that_stays_for_lack_of_a_swap_controller_grows_with_the_limit() {
        for (swap, expected) in [(20, 40), (10, 30), (-1, -1), (50, 50)] {
            let mut oci = json!({"memory": {"limit": 10, "swap": swap}});
            apply_resources(&memory(30, None), &mut oci, false).unwrap();
            assert_eq!(oci, json!({"memory": {"limit": 30, "swap": expected}}));
        }
        let mut oci = json!({"memory": {"limit": 10, "swap": 20}});
        let error = apply_resources(&memory(30, Some(20)), &mut oci, true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MemSwapLimit \"20\": it is the limit of memory and swap together, and must not be below that of memory"
        );
    }

    #[test]
    fn an_unlimited_process_count_lifts_a_limit() {
        let pids = |limit| api::LinuxResources {
            pids: Some(api::LinuxPids { limit }),
            ..Default::default()
        };
        for limit in [-1, 0, 50] {
            let mut oci = json!({"pids": {"limit": 100}});
            apply_resources(&pids(limit), &mut oci, true).unwrap();
            assert_eq!(oci, json!({"pids": {"limit": limit}}));
        }
        let error = apply_resources(&pids(-2), &mut json!({}), true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PidsLimit \"-2\": it must be -1 (unlimited) or more"
        );
    }

    #[test]
    fn huge_page_limits_are_replaced_by_size_however_it_is_spelled() {
        let mut oci = json!({"hugepageLimits": [
            {"pageSize": "2048KB", "limit": 1, "x": 0}, {"pageSize": "2MB", "limit": 9},
        ]});
        let limit = |page_size: &str, limit| api::HugepageLimit {
            page_size: page_size.into(),
            limit,
        };
        let resources = api::LinuxResources {
            hugepage_limits: vec![limit("2M", 2), limit("1024MB", 3)],
            ..Default::default()
        };
        apply_resources(&resources, &mut oci, true).unwrap();
        assert_eq!(
            oci,
            json!({"hugepageLimits": [
                {"pageSize": "2048KB", "limit": 2, "x": 0}, {"pageSize": "1GB", "limit": 3},
            ]})
        );
    }

    fn optional<T: Arbitrary + Clone + std::fmt::Debug + 'static>() -> BoxedStrategy<Option<T>> {
        prop::option::of(any::<T>()).boxed()
    }

    prop_compose! {
        fn any_memory()(
            limit in prop_oneof![Just(-1i64), 1i64..1 << 60], share in prop::option::of(0i64..1 << 60),
            reservation in prop::option::of(-1i64..), kernel in prop::option::of(-1i64..),
            kernel_tcp in prop::option::of(-1i64..), swappiness in prop::option::of(0u64..=100),
            disable_oom_killer in optional::<bool>(), use_hierarchy in optional::<bool>(),
        ) -> api::LinuxMemory {
            let int64 = |value: Option<i64>| value.map(|value| api::OptionalInt64 { value });
            let total = share.filter(|_| limit > 0).map_or(-1, |share| limit + share);
            api::LinuxMemory {
                limit: int64(Some(limit)),
                swap: int64(Some(total)),
                reservation: int64(reservation),
                kernel: int64(kernel),
                kernel_tcp: int64(kernel_tcp),
                swappiness: swappiness.map(|value| api::OptionalUInt64 { value }),
                disable_oom_killer: disable_oom_killer.map(|value| api::OptionalBool { value }),
                use_hierarchy: use_hierarchy.map(|value| api::OptionalBool { value }),
            }
        }
    }

    prop_compose! {
        fn any_resources()(
            memory in any_memory(), shares in 2u64..=262_144, quota in prop::option::of(1000i64..1 << 44),
            cpus in "([0-9],){0,2}(0-[0-9])?", pids in prop::option::of(-1i64..=1 << 22),
            unified in prop::collection::btree_map("[a-z]{1,4}[.][a-z]{1,4}", "[a-z0-9]{0,4}", 0..3),
            sizes in prop::collection::btree_map(0u32..12, any::<u64>(), 0..3),
            rules in prop::collection::vec(
                (any::<bool>(), prop::option::of(-1..i64::from(u32::MAX)), "[rwm]{1,3}"), 0..3,
            ),
        ) -> api::LinuxResources {
            api::LinuxResources {
                memory: Some(memory),
                cpu: Some(api::LinuxCpu {
                    shares: Some(api::OptionalUInt64 { value: shares }),
                    quota: quota.map(|value| api::OptionalInt64 { value }),
                    cpus,
                    ..Default::default()
                }),
                hugepage_limits: sizes
                    .into_iter()
                    .map(|(power, limit)| api::HugepageLimit {
                        page_size: page_size_text(1 << (power + 12)),
                        limit,
                    })
                    .collect(),
                unified,
                devices: rules
                    .into_iter()
                    .map(|(allow, major, access)| api::LinuxDeviceCgroup {
                        allow,
                        r#type: "c".into(),
                        major: major.map(|value| api::OptionalInt64 { value }),
                        minor: None,
                        access,
                    })
                    .collect(),
                pids: pids.map(|limit| api::LinuxPids { limit }),
                blockio_class: None,
                rdt_class: None,
            }
        }
    }

    proptest! {
        /// Law: what is written is what is read.
        #[test]
        fn writing_then_reading_is_the_identity(resources in any_resources()) {
            prop_assert_eq!(from_oci(&to_oci(&resources, true).unwrap()), resources);
        }

        /// Law: writing twice is writing once, but for device rules, which are appended.
        #[test]
        fn writing_is_idempotent(mut resources in any_resources()) {
            resources.devices.clear();
            let once = to_oci(&resources, true).unwrap();
            let mut twice = once.clone();
            apply_resources(&resources, &mut twice, true).unwrap();
            prop_assert_eq!(once, twice);
        }
    }
}
