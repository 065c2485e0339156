//! Laws about owners, conflicts and views of a creation.

use std::collections::BTreeMap;

use nri_proto::api::{Container, CreateContainerResponse, Field, LinuxResources};
use proptest::prelude::*;
use prost::Message as _;

use super::oracle::{Place, Touched};
use super::{adjusts, compatible, merge, plugin, repeated, reply, responses, seen};
use crate::keys::KeyKind;
use crate::merge::compare::canonical;
use crate::merge::removal_marker::{mark, marked};
use crate::merge::{CreateMerge, Owner, apply, normal_form};
use crate::strategies::{self, CREATED};

/// A view whose lists are in order of their keys, for comparisons in which their order means
/// nothing.
fn canonical_view(view: &Container) -> Container {
    let mut view = view.clone();
    view.mounts
        .sort_by(|a, b| a.destination.cmp(&b.destination));
    view.env.sort();
    view.rlimits.sort_by(|a, b| a.r#type.cmp(&b.r#type));
    view.cdi_devices.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(linux) = &mut view.linux {
        linux.devices.sort_by(|a, b| a.path.cmp(&b.path));
        linux.namespaces.sort_by(|a, b| a.r#type.cmp(&b.r#type));
        if let Some(resources) = &mut linux.resources {
            let limits = &mut resources.hugepage_limits;
            limits.sort_by(|a, b| a.page_size.cmp(&b.page_size));
        }
    }
    view
}

/// A list as somebody adjusts it who compares keys as texts: of a removed key all entries go, of a
/// set one the first is replaced.
fn by_text<E: Clone>(list: &[E], asked: &[E], key: fn(&E) -> &String) -> Vec<E> {
    let mut list = list.to_vec();
    for removed in asked.iter().filter_map(|entry| marked(key(entry))) {
        list.retain(|entry| key(entry) != removed);
    }
    for set in asked.iter().filter(|entry| marked(key(entry)).is_none()) {
        list.retain(|entry| key(entry) != key(set));
        list.push(set.clone());
    }
    list
}

/// Messages in some order that does not depend on where they come from.
fn sorted<M: prost::Message>(mut list: Vec<M>) -> Vec<M> {
    list.sort_by_key(|message| message.encode_to_vec());
    list
}

fn touched(response: &CreateContainerResponse) -> Touched {
    response
        .adjust
        .as_ref()
        .map(Touched::of)
        .unwrap_or_default()
}

fn resources_of(update: &nri_proto::api::ContainerUpdate) -> LinuxResources {
    let linux = update.linux.as_ref();
    linux
        .and_then(|linux| linux.resources.clone())
        .unwrap_or_default()
}

/// The number of the first response that must fail: the law of conflicts, spelled out.
fn first_conflict(responses: &[CreateContainerResponse]) -> Option<usize> {
    let mut set: BTreeMap<(String, Place), usize> = BTreeMap::new();
    for (number, response) in responses.iter().enumerate() {
        let adjusted = touched(response);
        let taken = |place: &Place| set.contains_key(&(CREATED.to_owned(), place.clone()));
        if adjusted.twice || adjusted.sets.difference(&adjusted.removes).any(taken) {
            return Some(number);
        }
        for place in &adjusted.removes {
            set.remove(&(CREATED.to_owned(), place.clone()));
        }
        for place in adjusted.sets {
            set.insert((CREATED.to_owned(), place), number);
        }
        for update in &response.update {
            if update.container_id == CREATED {
                return Some(number);
            }
            let updated = Touched::default().resources(&resources_of(update));
            let claims = updated
                .sets
                .iter()
                .map(|place| (update.container_id.clone(), place.clone()));
            let claims: Vec<_> = claims.collect();
            if updated.twice || claims.iter().any(|claim| set.contains_key(claim)) {
                if update.ignore_failure {
                    continue;
                }
                return Some(number);
            }
            set.extend(claims.into_iter().map(|claim| (claim, number)));
        }
    }
    None
}

proptest! {
    /// One plugin gets what it asks for.
    #[test]
    fn l1_single(container in strategies::container(), asked in strategies::plain_adjustment()) {
        let (merge, error) = merge(&container, &[adjusts(asked.clone())]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(normal_form(reply(&merge)), normal_form(asked));
    }

    /// The order of plugins that touch different things makes no difference, but for the order of
    /// lists.
    #[test]
    fn l2_disjoint_commute(
        container in strategies::container(),
        a in strategies::plain_adjustment(),
        mut b in strategies::plain_adjustment(),
    ) {
        let of_a = Touched::of(&a);
        if !of_a.all().is_disjoint(&Touched::of(&b).all()) {
            return Ok(());
        }
        if of_a.hooks {
            b.hooks = None;
        }
        if of_a.device_rules && let Some(linux) = &mut b.linux && let Some(resources) = &mut linux.resources {
            resources.devices.clear();
        }
        let run = |order: [(usize, &_); 2]| {
            let mut merge = CreateMerge::new(container.clone());
            for (number, asked) in order {
                merge.apply(&plugin(number), adjusts(Clone::clone(asked))).unwrap();
            }
            (canonical(reply(&merge)), merge.clone().finish().owners, canonical_view(merge.view()))
        };
        prop_assert_eq!(run([(0, &a), (1, &b)]), run([(1, &b), (0, &a)]));
    }

    /// Equal inputs give equal bytes, and equal errors.
    #[test]
    fn l3_deterministic(container in strategies::container(), responses in responses()) {
        let run = || {
            let (merge, error) = merge(&container, &responses);
            let outcome = merge.clone().finish();
            (outcome.to_response().encode_to_vec(), outcome.owners.to_message().encode_to_vec(),
                merge.view().encode_to_vec(), error)
        };
        prop_assert_eq!(run(), run());
    }

    /// The owner is the last plugin that touched a thing, and nothing else has an owner.
    #[test]
    fn l4_last_toucher((container, responses) in compatible()) {
        let mut expected: BTreeMap<Place, Owner> = BTreeMap::new();
        let mut hooks = Vec::new();
        for (number, response) in responses.iter().enumerate() {
            let adjusted = touched(response);
            let id = plugin(number).id;
            for place in &adjusted.removes {
                expected.insert(place.clone(), Owner::Removed(id.clone()));
            }
            for place in adjusted.sets {
                expected.insert(place, Owner::Set(id.clone()));
            }
            if adjusted.hooks {
                hooks.push(id);
            }
        }
        if !hooks.is_empty() {
            expected.insert((Field::OciHooks, None), Owner::Many(hooks));
        }
        let (merge, error) = merge(&container, &responses);
        prop_assert_eq!(error, None);
        let owners = merge.finish().owners;
        let found: BTreeMap<Place, Owner> = owners
            .of_container(CREATED)
            .map(|owned| {
                let key = owned.key.map(|key| KeyKind::of(owned.field).normal(key).into_owned());
                ((owned.field, key), owned.owner.clone())
            })
            .collect();
        prop_assert_eq!(found, expected);
    }

    /// A response fails if and only if it sets a key twice, sets what is set and not removed, or
    /// updates the container that is being created.
    #[test]
    fn l5_conflict_iff(
        container in strategies::container(),
        mut responses in responses(),
        own in proptest::option::weighted(0.2, strategies::update(&[CREATED])),
    ) {
        if let Some(last) = responses.last_mut() {
            last.update.extend(own);
        }
        let (_, error) = merge(&container, &responses);
        prop_assert_eq!(error.map(|(number, _)| number), first_conflict(&responses));
    }

    /// The view is the original with the combined adjustment applied, exactly, after every
    /// response; and the original can be had back.
    #[test]
    fn l6_view((container, responses) in compatible()) {
        let mut merge = CreateMerge::new(container.clone());
        for (number, response) in responses.into_iter().enumerate() {
            merge.apply(&plugin(number), response).unwrap();
            prop_assert_eq!(merge.view(), &apply(&container, &reply(&merge)));
            prop_assert_eq!(merge.original(), container.clone());
        }
    }

    /// A consumer that compares keys as texts, as the reference's do, comes to the view, whoever
    /// spells what how: the combined adjustment names every spelling that has to go.
    #[test]
    fn l6_consumers_that_compare_texts((container, responses) in compatible()) {
        let (merge, error) = merge(&container, &responses);
        prop_assert_eq!(error, None);
        let reply = reply(&merge);
        let view = merge.view();
        let linux = |container: &Container| container.linux.clone().unwrap_or_default();
        let asked = reply.linux.clone().unwrap_or_default();
        let mounts = by_text(&container.mounts, &reply.mounts, |m| &m.destination);
        prop_assert_eq!(sorted(mounts), sorted(view.mounts.clone()));
        let devices = by_text(&linux(&container).devices, &asked.devices, |d| &d.path);
        prop_assert_eq!(sorted(devices), sorted(linux(view).devices));
        let mut parameters = linux(&container).sysctl;
        parameters.retain(|name, _| !asked.sysctl.contains_key(&mark(name)));
        parameters.extend(asked.sysctl.into_iter().filter(|(name, _)| marked(name).is_none()));
        prop_assert_eq!(parameters, linux(view).sysctl);
    }

    /// What cannot be adjusted is not, and the created container is neither updated nor evicted.
    #[test]
    fn l9_identity((container, responses) in compatible()) {
        let (merge, _) = merge(&container, &responses);
        let identity = |c: &Container| (
            (c.id.clone(), c.pod_sandbox_id.clone(), c.name.clone(), c.state, c.labels.clone()),
            (c.user.clone(), c.image.clone(), c.pid, c.created_at, c.started_at, c.finished_at),
            c.linux.as_ref().and_then(|linux| linux.seccomp_profile.clone()),
        );
        prop_assert_eq!(identity(merge.view()), identity(&container));
        let named = |id: &str| responses.iter().any(|r| r.update.iter().any(|u| u.container_id == id));
        let outcome = merge.finish();
        for merged in outcome.updates {
            prop_assert!(named(&merged.update.container_id));
            prop_assert!(merged.update.container_id != CREATED);
        }
        prop_assert!(outcome.evictions.iter().all(|e| e.container_id != CREATED));
    }

    /// An empty response changes nothing, wherever it stands.
    #[test]
    fn l10_neutral((container, responses) in compatible(), at in any::<prop::sample::Index>()) {
        let at = at.index(responses.len() + 1);
        let mut with_empty = CreateMerge::new(container.clone());
        for (number, response) in responses.iter().enumerate() {
            if number == at {
                with_empty.apply(&plugin(99), CreateContainerResponse::default()).unwrap();
            }
            with_empty.apply(&plugin(number), response.clone()).unwrap();
        }
        prop_assert_eq!(seen(&with_empty), seen(&merge(&container, &responses).0));
    }

    /// A response that fails leaves no trace: afterwards everything goes on as if it had not been
    /// there.
    #[test]
    fn l11_no_trace(container in strategies::container(), responses in repeated(), then in strategies::create_response()) {
        let (mut failed, error) = merge(&container, &responses);
        if error.is_none() {
            return Ok(());
        }
        let number = error.map_or(0, |(number, _)| number);
        let (mut clean, none) = merge(&container, &responses[..number]);
        prop_assert_eq!(none, None);
        prop_assert_eq!(seen(&failed), seen(&clean));
        prop_assert_eq!(failed.apply(&plugin(number), then.clone()), clean.apply(&plugin(number), then));
        prop_assert_eq!(seen(&failed), seen(&clean));
    }

    /// Applying twice is applying once, but for what is appended.
    #[test]
    fn l14_apply_idempotent(container in strategies::container(), asked in strategies::adjustment()) {
        let mut asked = asked;
        asked.hooks = None;
        if let Some(linux) = &mut asked.linux && let Some(resources) = &mut linux.resources {
            resources.devices.clear();
        }
        let once = apply(&container, &asked);
        prop_assert_eq!(apply(&once, &asked), once);
    }

    /// Merging goes response by response: what came out of the first ones does not depend on what
    /// follows.
    #[test]
    fn l15_fold((container, responses) in compatible(), at in any::<prop::sample::Index>()) {
        let at = at.index(responses.len() + 1);
        let (prefix, _) = merge(&container, &responses[..at]);
        let before = seen(&prefix);
        let mut longer = prefix.clone();
        for (number, response) in responses.iter().enumerate().skip(at) {
            longer.apply(&plugin(number), response.clone()).unwrap();
        }
        prop_assert_eq!(seen(&prefix), before);
        prop_assert_eq!(seen(&longer), seen(&merge(&container, &responses).0));
    }
}

/// Two plugins with nothing in common: the hooks of both are there in order.
#[test]
fn hooks_of_several_plugins_are_joined_and_owned_in_order() {
    use nri_proto::api::{Hook, Hooks};
    let hook = |path: &str| {
        adjusts(nri_proto::api::ContainerAdjustment {
            hooks: Some(Hooks {
                prestart: vec![Hook {
                    path: path.into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    let (merge, error) = merge(&Container::default(), &[hook("a"), hook("b"), hook("c")]);
    assert_eq!(error, None);
    let outcome = merge.finish();
    let owner = outcome.owners.owner("", Field::OciHooks, None).unwrap();
    assert_eq!(owner.to_string(), "00-p0,01-p1,02-p2");
    let paths: Vec<_> = outcome.adjustment.unwrap().hooks.unwrap().prestart;
    assert_eq!(
        paths.iter().map(|h| h.path.as_str()).collect::<String>(),
        "abc"
    );
}
