//! Laws about removals: they free a key, whoever set it.

use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api::{ContainerAdjustment, CreateContainerResponse, Field};
use proptest::prelude::*;

use super::oracle::{Place, Touched};
use super::{compatible, merge, repeated, reply, responses};
use crate::build::Adjust as _;
use crate::merge::{MergeError, SupportedFields, apply, normal_form, prune};
use crate::strategies;

/// Removes everything that the adjustment sets, where there is a way to ask for that.
fn remove_too(adjustment: &mut ContainerAdjustment) {
    for (field, key) in Touched::of(adjustment).sets {
        let key = key.unwrap_or_default();
        match field {
            Field::Annotations => adjustment.remove_annotation(&key),
            Field::Mounts => adjustment.remove_mount(&key),
            Field::Env => adjustment.remove_env(&key),
            Field::Devices => adjustment.remove_device(&key),
            Field::Namespace => adjustment.remove_namespace(&key),
            Field::Sysctl => adjustment.remove_sysctl(&key),
            Field::LinuxNetDevices => adjustment.remove_net_device(&key),
            Field::Args => {
                if !adjustment.args[0].is_empty() {
                    adjustment.args.insert(0, String::new());
                }
                continue;
            }
            _ => continue,
        };
    }
}

fn can_be_removed(field: Field) -> bool {
    matches!(
        field,
        Field::Annotations
            | Field::Mounts
            | Field::Env
            | Field::Devices
            | Field::Namespace
            | Field::Sysctl
            | Field::LinuxNetDevices
            | Field::Args
            | Field::RdtClosId
            | Field::RdtSchemata
            | Field::RdtEnableMonitoring
    )
}

/// Whether the reference accepts the adjustments: a removal gives nothing free there, unless the
/// same response sets too, and in lists it even keeps others from setting.
fn reference_accepts(responses: &[CreateContainerResponse]) -> bool {
    #[derive(Clone, Copy)]
    enum State {
        Set,
        Removed(usize),
    }
    let is_list = |field| {
        matches!(
            field,
            Field::Mounts | Field::Env | Field::Devices | Field::Namespace
        )
    };
    let mut states: BTreeMap<Place, State> = BTreeMap::new();
    for (number, response) in responses.iter().enumerate() {
        let touched = response
            .adjust
            .as_ref()
            .map(Touched::of)
            .unwrap_or_default();
        if touched.twice {
            return false;
        }
        for place in &touched.sets {
            match states.get(place) {
                Some(State::Set) if !touched.removes.contains(place) => return false,
                Some(State::Removed(by)) if *by != number => return false,
                _ => {}
            }
            states.insert(place.clone(), State::Set);
        }
        for place in touched.removes.difference(&touched.sets) {
            if is_list(place.0) && states.contains_key(place) {
                states.insert(place.clone(), State::Removed(number));
            }
        }
    }
    true
}

proptest! {
    /// To remove and set is to set, for who sets it first.
    #[test]
    fn l7_remove_and_set_is_replace((container, responses) in compatible(), at in any::<prop::sample::Index>()) {
        if responses.is_empty() {
            return Ok(());
        }
        let mut replacing = responses.clone();
        let at = at.index(responses.len());
        if let Some(adjust) = &mut replacing[at].adjust {
            remove_too(adjust);
        }
        let (plain, _) = merge(&container, &responses);
        let (replaced, error) = merge(&container, &replacing);
        prop_assert_eq!(error, None);
        prop_assert_eq!(normal_form(reply(&replaced)), normal_form(reply(&plain)));
        prop_assert_eq!(replaced.view(), plain.view());
        prop_assert_eq!(replaced.finish().owners, plain.finish().owners);
    }

    /// A conflict about what can be removed goes away when the plugin removes it first.
    #[test]
    fn l8_removal_heals(container in strategies::container(), responses in repeated()) {
        // Nothing but adjustments of what can be removed, that do not contradict themselves.
        let mut responses = responses;
        for response in &mut responses {
            response.update.clear();
            response.adjust = response.adjust.take().map(strategies::plain);
            if let Some(adjust) = &mut response.adjust {
                let fixed = (1..64).filter_map(|n| Field::try_from(n).ok()).filter(|f| !can_be_removed(*f));
                fixed.fold(SupportedFields::ALL, SupportedFields::without).restrict(adjust);
            }
        }
        let (_, error) = merge(&container, &responses);
        let Some((number, MergeError::Conflict { .. })) = error else {
            return Ok(());
        };
        let mut healed = responses[..=number].to_vec();
        if let Some(adjust) = &mut healed[number].adjust {
            remove_too(adjust);
            if let Some(rdt) = adjust.linux.as_mut().and_then(|linux| linux.rdt.as_mut()) {
                rdt.remove = true;
            }
        }
        prop_assert_eq!(merge(&container, &healed).1, None);
    }

    /// A marker in the combined adjustment comes from a plugin that removed the key, or stands
    /// beside a value, for another spelling of its key; it is there if the last touch removed the
    /// key.
    #[test]
    fn l13_markers_are_sound((container, responses) in compatible()) {
        let (merge, _) = merge(&container, &responses);
        let reply = reply(&merge);
        let combined = Touched::of(&reply);
        let mut removed: BTreeSet<Place> = BTreeSet::new();
        let mut removed_last: BTreeSet<Place> = BTreeSet::new();
        for response in &responses {
            let touched = response.adjust.as_ref().map(Touched::of).unwrap_or_default();
            removed.extend(touched.removes.iter().cloned());
            removed_last.extend(touched.removes);
            removed_last.retain(|place| !touched.sets.contains(place));
        }
        prop_assert!(combined.removes.difference(&combined.sets).all(|place| removed.contains(place)));
        let with_entries = |place: &Place| place.1.is_some();
        for place in removed_last.into_iter().filter(with_entries) {
            prop_assert!(combined.removes.contains(&place), "{:?}", place);
            prop_assert!(!combined.sets.contains(&place), "{:?}", place);
        }
        let pruned = prune(reply.clone(), &container).unwrap_or_default();
        prop_assert_eq!(apply(&container, &pruned), apply(&container, &reply));
    }

    /// What the reference accepts is accepted, if all spell the keys alike: it compares texts.
    #[test]
    fn l22_superset(container in strategies::container(), mut responses in responses()) {
        for response in &mut responses {
            response.update.clear();
        }
        if !reference_accepts(&responses) {
            return Ok(());
        }
        prop_assert_eq!(merge(&container, &responses).1, None);
    }
}
