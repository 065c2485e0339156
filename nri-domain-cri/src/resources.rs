//! CRI resources, NRI resources and those of OCI specs, all ways: [`to_nri`], [`from_nri`],
//! [`to_oci`], [`from_oci`]; and an answer of plugins laid over a request, [`overlay`].
//!
//! In CRI a number that is 0 and a text that is empty mean "not specified"; in NRI a member is
//! there or not. So 0 never turns into a limit of 0, and an answer is laid over the request that it
//! answers, not put in its place: what CRI can carry and NRI cannot (the OOM score) stays as the
//! kubelet wants it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use nri_core::api;
use nri_core::keys::KeyKind;
use nri_core::oci::resources::InvalidResource;
use nri_core::oci::{ApplyOptions, apply_resources_with};

use crate::OciSpec;
use crate::cri::{HugepageLimit, LinuxContainerResources};

/// How the sizes of huge pages are spelled.
const SIZES: KeyKind = KeyKind::PageSize;

/// Resources that no container can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidResources {
    /// A number is negative that cannot be.
    #[error("{field} is {value}, and must not be negative")]
    Negative {
        /// The field of the CRI message.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A value breaks one of the [rules](nri_core::oci::values::RULES).
    #[error(transparent)]
    Rule(#[from] InvalidResource),
}

/// What NRI knows of CRI resources.
///
/// # Errors
/// Negative CPU shares or a negative CPU period.
///
/// ```
/// use nri_domain_cri::{cri::LinuxContainerResources, resources};
///
/// let cri = LinuxContainerResources { cpu_shares: 512, ..Default::default() };
/// let cpu = resources::to_nri(&cri)?.cpu.unwrap();
/// assert_eq!(cpu.shares.unwrap().value, 512);
/// assert_eq!(cpu.quota, None);
/// # Ok::<(), resources::InvalidResources>(())
/// ```
pub fn to_nri(cri: &LinuxContainerResources) -> Result<api::LinuxResources, InvalidResources> {
    for (field, value) in [
        ("cpu_shares", cri.cpu_shares),
        ("cpu_period", cri.cpu_period),
    ] {
        if value < 0 {
            return Err(InvalidResources::Negative { field, value });
        }
    }
    Ok(shown(cri))
}

/// CRI resources as the `linux.resources` of an OCI spec, for the creation of a container or an
/// update. The OOM score is not among them: in a spec it belongs to the process.
///
/// # Errors
/// As [`to_nri`]; a value that breaks one of the [rules](nri_core::oci::values::RULES) and is not
/// left to the low-level runtime.
///
/// ```
/// use nri_core::oci::ApplyOptions;
/// use nri_domain_cri::{cri::LinuxContainerResources, resources};
/// use serde_json::json;
///
/// let cri = LinuxContainerResources {
///     cpu_shares: 512,
///     memory_limit_in_bytes: 4096,
///     ..Default::default()
/// };
/// let oci = resources::to_oci(&cri, &ApplyOptions::default())?;
/// assert_eq!(oci, json!({"cpu": {"shares": 512}, "memory": {"limit": 4096, "swap": 4096}}));
/// assert_eq!(resources::from_oci(&oci).cpu_shares, 512);
/// # Ok::<(), resources::InvalidResources>(())
/// ```
pub fn to_oci(
    cri: &LinuxContainerResources,
    options: &ApplyOptions,
) -> Result<OciSpec, InvalidResources> {
    let mut oci = OciSpec::Object(Default::default());
    apply_resources_with(&to_nri(cri)?, &mut oci, options)?;
    Ok(oci)
}

/// What CRI can carry of the `linux.resources` of an OCI spec.
pub fn from_oci(oci: &OciSpec) -> LinuxContainerResources {
    from_nri(&nri_core::oci::resources::from_oci(oci))
}

/// What CRI can carry of NRI resources; see [`not_in_cri`] for the rest.
pub fn from_nri(nri: &api::LinuxResources) -> LinuxContainerResources {
    overlay(&LinuxContainerResources::default(), nri)
}

/// As [`to_nri`]; what is invalid is left out.
pub(crate) fn shown(cri: &LinuxContainerResources) -> api::LinuxResources {
    let int64 = |value: i64| (value != 0).then_some(api::OptionalInt64 { value });
    let uint64 = |value: i64| {
        let value = u64::try_from(value).ok().filter(|value| *value != 0)?;
        Some(api::OptionalUInt64 { value })
    };
    let memory = api::LinuxMemory {
        limit: int64(cri.memory_limit_in_bytes),
        swap: int64(cri.memory_swap_limit_in_bytes),
        ..Default::default()
    };
    let cpu = api::LinuxCpu {
        shares: uint64(cri.cpu_shares),
        quota: int64(cri.cpu_quota),
        period: uint64(cri.cpu_period),
        cpus: cri.cpuset_cpus.clone(),
        mems: cri.cpuset_mems.clone(),
        ..Default::default()
    };
    api::LinuxResources {
        memory: (memory != api::LinuxMemory::default()).then_some(memory),
        cpu: (cpu != api::LinuxCpu::default()).then_some(cpu),
        hugepage_limits: cri
            .hugepage_limits
            .iter()
            .map(|limit| api::HugepageLimit {
                page_size: limit.page_size.clone(),
                limit: limit.limit,
            })
            .collect(),
        unified: cri.unified.clone(),
        ..Default::default()
    }
}

/// What CRI can carry of NRI resources, laid over `request`: members that `nri` does not have stay
/// as they are there.
///
/// See [`not_in_cri`] for the rest.
///
/// ```
/// use nri_core::api;
/// use nri_domain_cri::{cri::LinuxContainerResources, resources};
///
/// let request = LinuxContainerResources {
///     memory_limit_in_bytes: 1000,
///     oom_score_adj: 800,
///     ..Default::default()
/// };
/// let mut answer = resources::to_nri(&request)?;
/// answer.memory.as_mut().unwrap().limit = Some(api::OptionalInt64 { value: 2000 });
/// let cri = resources::overlay(&request, &answer);
/// assert_eq!((cri.memory_limit_in_bytes, cri.oom_score_adj), (2000, 800));
/// # Ok::<(), resources::InvalidResources>(())
/// ```
pub fn overlay(
    request: &LinuxContainerResources,
    nri: &api::LinuxResources,
) -> LinuxContainerResources {
    let mut cri = request.clone();
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    if let Some(memory) = &nri.memory {
        if let Some(limit) = memory.limit {
            cri.memory_limit_in_bytes = limit.value;
        }
        if let Some(swap) = memory.swap {
            cri.memory_swap_limit_in_bytes = swap.value;
        }
    }
    if let Some(cpu) = &nri.cpu {
        if let Some(shares) = cpu.shares {
            cri.cpu_shares = clamp(shares.value);
        }
        if let Some(quota) = cpu.quota {
            cri.cpu_quota = quota.value;
        }
        if let Some(period) = cpu.period {
            cri.cpu_period = clamp(period.value);
        }
        if !cpu.cpus.is_empty() {
            cri.cpuset_cpus.clone_from(&cpu.cpus);
        }
        if !cpu.mems.is_empty() {
            cri.cpuset_mems.clone_from(&cpu.mems);
        }
    }
    overlay_page_sizes(&mut cri.hugepage_limits, &nri.hugepage_limits);
    cri.unified
        .extend(nri.unified.iter().map(|(k, v)| (k.clone(), v.clone())));
    cri
}

/// Writes limits in place of the first ones of the same page sizes, however these are spelled, and
/// drops further ones.
fn overlay_page_sizes(cri: &mut Vec<HugepageLimit>, nri: &[api::HugepageLimit]) {
    let limits = nri.iter();
    let mut wanted: BTreeMap<Cow<'_, str>, Option<u64>> = limits
        .map(|limit| (SIZES.normal(&limit.page_size), Some(limit.limit)))
        .collect();
    cri.retain_mut(
        |entry| match wanted.get_mut(&*SIZES.normal(&entry.page_size)) {
            None => true,
            Some(wanted) => match wanted.take() {
                None => false,
                Some(limit) => {
                    entry.limit = limit;
                    true
                }
            },
        },
    );
    for limit in nri {
        let wanted = wanted.get_mut(&*SIZES.normal(&limit.page_size));
        if let Some(bytes) = wanted.and_then(Option::take) {
            cri.push(HugepageLimit {
                page_size: limit.page_size.clone(),
                limit: bytes,
                ..Default::default()
            });
        }
    }
}

/// An answer together with what it says nothing about: the members that `nri` does not have are
/// those of `request`.
pub(crate) fn filled(
    request: &LinuxContainerResources,
    mut nri: api::LinuxResources,
) -> api::LinuxResources {
    let request = shown(request);
    if let Some(asked) = request.memory {
        let memory = nri.memory.get_or_insert_default();
        memory.limit = memory.limit.or(asked.limit);
        memory.swap = memory.swap.or(asked.swap);
    }
    if let Some(asked) = request.cpu {
        let cpu = nri.cpu.get_or_insert_default();
        cpu.shares = cpu.shares.or(asked.shares);
        cpu.quota = cpu.quota.or(asked.quota);
        cpu.period = cpu.period.or(asked.period);
        for (text, asked) in [(&mut cpu.cpus, asked.cpus), (&mut cpu.mems, asked.mems)] {
            if text.is_empty() {
                *text = asked;
            }
        }
    }
    let sizes = nri
        .hugepage_limits
        .iter()
        .map(|l| SIZES.normal(&l.page_size));
    let answered: BTreeSet<Cow<'_, str>> = sizes.collect();
    let mut left = request.hugepage_limits;
    left.retain(|asked| !answered.contains(&SIZES.normal(&asked.page_size)));
    drop(answered);
    nri.hugepage_limits.append(&mut left);
    for (file, value) in request.unified {
        nri.unified.entry(file).or_insert(value);
    }
    nri
}

/// The members of NRI resources that a CRI message cannot carry, by their names in the protocol.
/// Zeroes are among them: to CRI they mean "not specified".
pub fn not_in_cri(nri: &api::LinuxResources) -> Vec<&'static str> {
    let memory = nri.memory.unwrap_or_default();
    let cpu = nri.cpu.clone().unwrap_or_default();
    let zero = |value: Option<api::OptionalInt64>| value.is_some_and(|value| value.value == 0);
    let zero_u = |value: Option<api::OptionalUInt64>| value.is_some_and(|value| value.value == 0);
    [
        ("memory.swap", zero(memory.swap)),
        ("memory.reservation", memory.reservation.is_some()),
        ("memory.kernel", memory.kernel.is_some()),
        ("memory.kernel_tcp", memory.kernel_tcp.is_some()),
        ("memory.swappiness", memory.swappiness.is_some()),
        (
            "memory.disable_oom_killer",
            memory.disable_oom_killer.is_some(),
        ),
        ("memory.use_hierarchy", memory.use_hierarchy.is_some()),
        ("cpu.shares", zero_u(cpu.shares)),
        ("cpu.quota", zero(cpu.quota)),
        ("cpu.period", zero_u(cpu.period)),
        ("cpu.realtime_runtime", cpu.realtime_runtime.is_some()),
        ("cpu.realtime_period", cpu.realtime_period.is_some()),
        ("pids", nri.pids.is_some()),
        ("devices", !nri.devices.is_empty()),
        ("blockio_class", nri.blockio_class.is_some()),
        ("rdt_class", nri.rdt_class.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect()
}

/// The members of [`not_in_cri`] that cgroup v2 has files for, as entries of `unified`, by the
/// names of the members.
///
/// A runtime that can only go through CRI adds the entries to the message, on hosts with cgroup v2.
///
/// ```
/// use nri_core::api;
/// use nri_domain_cri::resources::as_unified;
///
/// let nri = api::LinuxResources {
///     pids: Some(api::LinuxPids { limit: -1 }),
///     ..Default::default()
/// };
/// let [(member, file, value)] = &as_unified(&nri)[..] else { unreachable!() };
/// assert_eq!((*member, *file, value.as_str()), ("pids", "pids.max", "max"));
/// ```
pub fn as_unified(nri: &api::LinuxResources) -> Vec<(&'static str, &'static str, String)> {
    let max = |value: i64| match value {
        ..0 => "max".to_owned(),
        value => value.to_string(),
    };
    let memory = nri.memory.unwrap_or_default();
    let mut entries = Vec::new();
    if let Some(pids) = nri.pids {
        entries.push(("pids", "pids.max", max(pids.limit)));
    }
    if let Some(reservation) = memory.reservation {
        entries.push(("memory.reservation", "memory.low", max(reservation.value)));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_specified_stays_so() {
        assert_eq!(
            to_nri(&LinuxContainerResources::default()),
            Ok(api::LinuxResources::default())
        );
        let unlimited = LinuxContainerResources {
            cpu_quota: -1,
            memory_swap_limit_in_bytes: -1,
            ..Default::default()
        };
        let nri = to_nri(&unlimited).unwrap();
        assert_eq!(nri.cpu.unwrap().quota.unwrap().value, -1);
        assert_eq!(nri.memory.unwrap().swap.unwrap().value, -1);
        assert_eq!(nri.memory.unwrap().limit, None);
    }

    #[test]
    fn negative_weights_are_refused() {
        let cri = LinuxContainerResources {
            cpu_shares: -2,
            ..Default::default()
        };
        assert_eq!(
            to_nri(&cri).unwrap_err().to_string(),
            "cpu_shares is -2, and must not be negative"
        );
        assert_eq!(shown(&cri), api::LinuxResources::default());
    }

    #[test]
    fn a_page_size_is_one_however_it_is_spelled() {
        let request = LinuxContainerResources {
            hugepage_limits: [("2MB", 10 << 20), ("1GB", 1 << 30), ("2048KB", 7)]
                .map(|(page_size, limit)| HugepageLimit {
                    page_size: page_size.into(),
                    limit,
                    ..Default::default()
                })
                .to_vec(),
            ..Default::default()
        };
        let limit = |page_size: &str, limit| api::HugepageLimit {
            page_size: page_size.into(),
            limit,
        };
        let answer = api::LinuxResources {
            hugepage_limits: vec![limit("2M", 2 << 20), limit("64K", 1)],
            ..Default::default()
        };
        let cri = overlay(&request, &answer).hugepage_limits;
        let cri: Vec<_> = cri
            .iter()
            .map(|l| (l.page_size.as_str(), l.limit))
            .collect();
        assert_eq!(cri, [("2MB", 2 << 20), ("1GB", 1 << 30), ("64K", 1)]);
        assert_eq!(
            filled(&request, answer).hugepage_limits,
            [limit("2M", 2 << 20), limit("64K", 1), limit("1GB", 1 << 30)]
        );
    }

    #[test]
    fn what_cri_cannot_carry_is_named() {
        let int64 = |value| Some(api::OptionalInt64 { value });
        let uint64 = |value| Some(api::OptionalUInt64 { value });
        let everything = api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: int64(1),
                reservation: int64(1),
                swap: int64(1),
                kernel: int64(1),
                kernel_tcp: int64(1),
                swappiness: uint64(1),
                disable_oom_killer: Some(api::OptionalBool { value: false }),
                use_hierarchy: Some(api::OptionalBool { value: false }),
            }),
            cpu: Some(api::LinuxCpu {
                shares: uint64(0),
                quota: int64(1),
                period: uint64(1),
                realtime_runtime: int64(1),
                realtime_period: uint64(1),
                cpus: "0".into(),
                mems: "0".into(),
            }),
            hugepage_limits: vec![api::HugepageLimit::default()],
            blockio_class: Some(api::OptionalString::default()),
            rdt_class: Some(api::OptionalString::default()),
            unified: [("a.b".to_owned(), "1".to_owned())].into(),
            devices: vec![api::LinuxDeviceCgroup::default()],
            pids: Some(api::LinuxPids { limit: 1 }),
        };
        assert_eq!(
            not_in_cri(&everything),
            [
                "memory.reservation",
                "memory.kernel",
                "memory.kernel_tcp",
                "memory.swappiness",
                "memory.disable_oom_killer",
                "memory.use_hierarchy",
                "cpu.shares",
                "cpu.realtime_runtime",
                "cpu.realtime_period",
                "pids",
                "devices",
                "blockio_class",
                "rdt_class",
            ]
        );
    }

    #[test]
    fn huge_values_do_not_turn_negative() {
        let nri = api::LinuxResources {
            cpu: Some(api::LinuxCpu {
                shares: Some(api::OptionalUInt64 { value: u64::MAX }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let cri = overlay(&LinuxContainerResources::default(), &nri);
        assert_eq!(cri.cpu_shares, i64::MAX);
    }

    prop_compose! {
        fn any_resources()(
            cpu_period in 0i64.., cpu_quota in any::<i64>(), cpu_shares in 0i64..,
            memory_limit_in_bytes in any::<i64>(), memory_swap_limit_in_bytes in any::<i64>(),
            oom_score_adj in -1000i64..1000, cpuset_cpus in "[0-9,-]{0,4}",
            sizes in prop::collection::btree_map("[1-9](KB|MB)", any::<u64>(), 0..3),
            unified in prop::collection::btree_map("[a-z.]{1,6}", "[a-z0-9]{0,3}", 0..3),
        ) -> LinuxContainerResources {
            LinuxContainerResources {
                cpu_period, cpu_quota, cpu_shares, memory_limit_in_bytes,
                memory_swap_limit_in_bytes, oom_score_adj, cpuset_cpus, unified,
                hugepage_limits: sizes
                    .into_iter()
                    .map(|(page_size, limit)| HugepageLimit {
                        page_size, limit, ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        }
    }

    proptest! {
        /// Law: an answer that changes nothing changes nothing, and CRI resources can always go
        /// back to CRI.
        #[test]
        fn an_echoed_request_is_the_request(cri in any_resources()) {
            let nri = to_nri(&cri).unwrap();
            prop_assert_eq!(not_in_cri(&nri), Vec::<&str>::new());
            prop_assert_eq!(overlay(&cri, &nri), cri.clone());
            prop_assert_eq!(filled(&cri, api::LinuxResources::default()), nri.clone());
            prop_assert_eq!(filled(&cri, nri.clone()), nri.clone());
            let without_score = LinuxContainerResources { oom_score_adj: 0, ..cri };
            prop_assert_eq!(from_nri(&nri), without_score);
        }

        /// Law: what a spec can have comes back from it.
        #[test]
        fn resources_come_back_from_a_spec(cri in any_resources()) {
            let mut options = ApplyOptions::default();
            if let Ok(oci) = to_oci(&cri, &options) {
                let back = from_oci(&oci);
                prop_assert_eq!(
                    (back.cpu_shares, back.cpu_quota, back.cpu_period, back.memory_limit_in_bytes),
                    (cri.cpu_shares, cri.cpu_quota, cri.cpu_period, cri.memory_limit_in_bytes)
                );
                options.swap_supported = false;
                prop_assert!(to_oci(&back, &options).is_ok());
            }
        }

        /// Law: what is written as JSON is read back.
        #[test]
        fn json_round_trips(cri in any_resources()) {
            let text = serde_json::to_string(&cri).unwrap();
            prop_assert_eq!(serde_json::from_str::<LinuxContainerResources>(&text).unwrap(), cri);
        }
    }
}
