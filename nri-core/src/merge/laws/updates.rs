//! Laws about updates.

use std::collections::BTreeMap;

use nri_proto::api::{
    ContainerUpdate, HugepageLimit, LinuxCpu, LinuxMemory, LinuxResources, StopContainerResponse,
    UpdateContainerResponse,
};
use proptest::prelude::*;

use super::oracle::Touched;
use super::plugin;
use crate::keys::KeyKind;
use crate::merge::{MergeError, Omission, StopMerge, StopOutcome, UpdateMerge, UpdateOutcome};
use crate::strategies::{self, OTHERS};

fn stop(responses: &[StopContainerResponse]) -> (StopMerge, Option<(usize, MergeError)>) {
    let mut merge = StopMerge::new();
    for (number, response) in responses.iter().enumerate() {
        if let Err(error) = merge.apply(&plugin(number), response.clone()) {
            return (merge, Some((number, error)));
        }
    }
    (merge, None)
}

/// The combined updates by container.
fn by_container(outcome: StopOutcome) -> BTreeMap<String, ContainerUpdate> {
    let updates = outcome.updates.into_iter().map(|merged| merged.update);
    updates
        .map(|update| (update.container_id.clone(), update))
        .collect()
}

/// An outcome without what is only worth a line in a log.
fn without_omissions(mut outcome: StopOutcome) -> StopOutcome {
    outcome.omissions.clear();
    outcome
}

/// `base` overlaid with what `update` sets, spelled out.
fn overlaid(mut base: LinuxResources, update: &LinuxResources) -> LinuxResources {
    if let Some(m) = &update.memory
        && *m != LinuxMemory::default()
    {
        let b = base.memory.get_or_insert_default();
        b.limit = m.limit.or(b.limit);
        b.reservation = m.reservation.or(b.reservation);
        b.swap = m.swap.or(b.swap);
        b.kernel = m.kernel.or(b.kernel);
        b.kernel_tcp = m.kernel_tcp.or(b.kernel_tcp);
        b.swappiness = m.swappiness.or(b.swappiness);
        b.disable_oom_killer = m.disable_oom_killer.or(b.disable_oom_killer);
        b.use_hierarchy = m.use_hierarchy.or(b.use_hierarchy);
    }
    if let Some(c) = &update.cpu
        && *c != LinuxCpu::default()
    {
        let b = base.cpu.get_or_insert_default();
        b.shares = c.shares.or(b.shares);
        b.quota = c.quota.or(b.quota);
        b.period = c.period.or(b.period);
        b.realtime_runtime = c.realtime_runtime.or(b.realtime_runtime);
        b.realtime_period = c.realtime_period.or(b.realtime_period);
        for (base, update) in [(&mut b.cpus, &c.cpus), (&mut b.mems, &c.mems)] {
            if !update.is_empty() {
                base.clone_from(update);
            }
        }
    }
    for limit in &update.hugepage_limits {
        let is_same = |l: &HugepageLimit| KeyKind::PageSize.same(&l.page_size, &limit.page_size);
        let mut same = base.hugepage_limits.iter().filter(|l| is_same(l));
        match same.next() {
            Some(_) => {
                let mut first = true;
                base.hugepage_limits.retain_mut(|l| {
                    if !is_same(l) {
                        return true;
                    }
                    *l = limit.clone();
                    std::mem::replace(&mut first, false)
                });
            }
            None => base.hugepage_limits.push(limit.clone()),
        }
    }
    base.unified.extend(update.unified.clone());
    base.blockio_class = update.blockio_class.clone().or(base.blockio_class);
    base.rdt_class = update.rdt_class.clone().or(base.rdt_class);
    base.pids = update.pids.or(base.pids);
    base
}

fn stop_responses(
    ids: &'static [&'static str],
) -> impl Strategy<Value = Vec<StopContainerResponse>> {
    proptest::collection::vec(strategies::stop_response(ids), 1..5)
}

proptest! {
    /// An update that is dropped because it conflicts leaves no trace.
    #[test]
    fn l12_ignored_update(responses in stop_responses(&OTHERS[..2])) {
        let (merge, error) = stop(&responses);
        let outcome = merge.clone().finish();
        // The same without the updates that were dropped: found by trying each on what was there
        // before.
        let mut without = StopMerge::new();
        let mut error_without = None;
        for (number, response) in responses.iter().enumerate() {
            let mut kept = Vec::new();
            for update in &response.update {
                kept.push(update.clone());
                let mut tried = without.clone();
                let attempt = StopContainerResponse { update: kept.clone() };
                let before = tried.clone().finish().omissions.len();
                let dropped = tried.apply(&plugin(number), attempt).is_ok()
                    && tried.finish().omissions[before..].iter().any(|o| matches!(o, Omission::Update(_)));
                if dropped {
                    kept.pop();
                }
            }
            if let Err(error) = without.apply(&plugin(number), StopContainerResponse { update: kept }) {
                error_without = Some((number, error));
                break;
            }
        }
        prop_assert_eq!(error_without, error);
        prop_assert_eq!(without_omissions(without.finish()), without_omissions(outcome));
    }

    /// Combining updates is associative and commutative, where they can be combined.
    #[test]
    fn l16_updates_associate_and_commute(
        a in strategies::stop_response(&OTHERS), b in strategies::stop_response(&OTHERS), c in strategies::stop_response(&OTHERS),
    ) {
        let all = [a, b, c];
        let (merge, error) = stop(&all);
        let outcome = merge.finish();
        let dropped = outcome.omissions.iter().any(|o| matches!(o, Omission::Update(_)));
        if error.is_some() || dropped {
            return Ok(());
        }
        let [a, b, c] = all;
        let combine = |responses: &[StopContainerResponse]| stop(responses).0.finish().to_response();
        let flat = by_container(outcome);
        // A page size stays where it was first mentioned, so its place depends on the order.
        let sorted = |updates: BTreeMap<String, ContainerUpdate>| -> BTreeMap<String, ContainerUpdate> {
            let sort = |(id, mut update): (String, ContainerUpdate)| {
                if let Some(linux) = &mut update.linux && let Some(resources) = &mut linux.resources {
                    resources.hugepage_limits.sort_by(|a, b| a.page_size.cmp(&b.page_size));
                }
                (id, update)
            };
            updates.into_iter().map(sort).collect()
        };
        let left = stop(&[combine(&[a.clone(), b.clone()]), c.clone()]).0.finish();
        let right = stop(&[a.clone(), combine(&[b.clone(), c.clone()])]).0.finish();
        prop_assert_eq!(by_container(left), flat.clone());
        prop_assert_eq!(by_container(right), flat.clone());
        let other_way = stop(&[c, a, b]).0.finish();
        prop_assert_eq!(sorted(by_container(other_way)), sorted(flat));
    }

    /// The requested container gets the request overlaid with what plugins set, or nothing if they
    /// set nothing; the next plugin sees the same.
    #[test]
    fn l17_requested_overlay(
        request in proptest::option::of(strategies::resources()),
        responses in proptest::collection::vec(strategies::update_response(&["other-a", "other-b"]), 1..4),
    ) {
        let id = "other-a";
        let mut merge = UpdateMerge::new(id.to_owned(), request.clone());
        let mut expected = request.clone();
        let (mut changed, mut ignore) = (false, true);
        for (number, response) in responses.iter().enumerate() {
            if merge.apply(&plugin(number), response.clone()).is_err() {
                break;
            }
            // Which updates are dropped is what the law of conflicts is about.
            let omissions = merge.clone().finish().omissions;
            if omissions.iter().any(|omission| matches!(omission, Omission::Update(_))) {
            return Ok(());
        }
            for update in response.update.iter().filter(|update| update.container_id == id) {
                let resources = update.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
                if !Touched::default().resources(&resources).sets.is_empty() {
                    expected = Some(overlaid(expected.unwrap_or_default(), &resources));
                    changed = true;
                    ignore &= update.ignore_failure;
                }
            }
            prop_assert_eq!(merge.view(), expected.as_ref());
        }
        let UpdateOutcome { requested, updates, .. } = merge.finish();
        prop_assert!(updates.iter().all(|merged| merged.update.container_id != id));
        prop_assert_eq!(requested.is_some(), changed);
        if let Some(requested) = requested {
            prop_assert_eq!(requested.update.ignore_failure, ignore);
            prop_assert_eq!(requested.update.linux.and_then(|linux| linux.resources), expected);
        }
    }

    /// A response that fails leaves no trace in updates either.
    #[test]
    fn l11_no_trace_of_updates(
        request in strategies::resources(),
        responses in proptest::collection::vec(strategies::update_response(&["other-a", "other-b"]), 4..9),
        then in strategies::update_response(&["other-a", "other-b"]),
    ) {
        let run = |responses: &[UpdateContainerResponse]| {
            let mut merge = UpdateMerge::new("other-a".to_owned(), Some(request.clone()));
            let failed = responses.iter().enumerate().position(|(number, response)| merge.apply(&plugin(number), response.clone()).is_err());
            (merge, failed)
        };
        let (mut failed, at) = run(&responses);
        if at.is_none() {
            return Ok(());
        }
        let (mut clean, _) = run(&responses[..at.unwrap_or(0)]);
        prop_assert_eq!(failed.clone().finish(), clean.clone().finish());
        prop_assert_eq!(failed.apply(&plugin(9), then.clone()), clean.apply(&plugin(9), then));
        prop_assert_eq!(failed.finish(), clean.finish());
    }
}
