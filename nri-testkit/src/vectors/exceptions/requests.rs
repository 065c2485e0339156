//! Exceptions of requests that are merged.

use std::collections::BTreeMap;

use nri_core::api;

use super::super::observed::{Combined, Problem};
use super::exception::{Exception, entry};
use super::sides::Sides;

/// Brings both sides to where they must agree.
type Settle = fn(&mut Sides<'_>);

/// In the order in which they are applied.
pub(super) const REQUESTS: &[(Exception, Settle)] = &[
    (
        entry(
            "kind:stop",
            "the first error ends a stop",
            "every subscribed plugin is called, and the first error is reported",
        ),
        |sides| {
            let plugins = sides.vector.plugins.iter().enumerate();
            let subscribed = plugins.filter(|(_, plugin)| plugin.subscribed);
            sides.recorded.called = subscribed.map(|(number, _)| number).collect();
        },
    ),
    (
        entry(
            "family:special",
            "a mount at the relative destination `base` stands beside the container's at `/base` (odd/mount-relative)",
            "it takes its place, and a marker in the reply says so (D45); all others as recorded",
        ),
        |sides| {
            if sides.vector.name != "special/odd/mount-relative" {
                return;
            }
            let is_base = |mount: &api::Mount| mount.destination == "/base";
            let of_the_plugin = |container: &api::Container| {
                let mut mounts = container.mounts.iter();
                mounts.any(|mount| mount.destination == "base")
            };
            let views = sides.recorded.containers.values_mut();
            for view in views.filter(|view| of_the_plugin(view)) {
                view.mounts.retain(|mount| !is_base(mount));
            }
            if let Some(Ok(combined)) = &mut sides.recorded.result {
                let adjustment = combined.adjustment.get_or_insert_default();
                adjustment.mounts.push(api::Mount {
                    destination: "-/base".to_owned(),
                    ..Default::default()
                });
            }
        },
    ),
    (
        entry(
            "unordered:namespaces",
            "namespaces of the view in random order",
            "the same namespaces, whatever their order",
        ),
        |sides| {
            sides.each_linux_view(|linux| {
                linux
                    .namespaces
                    .sort_by(|a, b| (&a.r#type, &a.path).cmp(&(&b.r#type, &b.path)));
            });
        },
    ),
    (
        entry(
            "unordered:mount-removals",
            "neighbouring mount removals in random order",
            "the same removals, whatever their order",
        ),
        |sides| {
            sides.each_adjustment(|adjustment| {
                let both_removals = |a: &api::Mount, b: &api::Mount| {
                    a.destination.starts_with('-') && b.destination.starts_with('-')
                };
                for run in adjustment.mounts.chunk_by_mut(both_removals) {
                    run.sort_by(|a, b| a.destination.cmp(&b.destination));
                }
            });
        },
    ),
    (
        entry(
            "note:view-order",
            "what replaces an entry of the original goes to the end of the view",
            "the same mounts, variables and devices, whatever their order",
        ),
        |sides| {
            sides.each_view(|container| {
                container.env.sort();
                container
                    .mounts
                    .sort_by(|a, b| a.destination.cmp(&b.destination));
                if let Some(linux) = &mut container.linux {
                    linux.devices.sort_by(|a, b| a.path.cmp(&b.path));
                }
            });
        },
    ),
    (
        entry(
            "note:cdi-not-shown",
            "CDI devices of earlier plugins are not in the view",
            "they are: the view without them",
        ),
        |sides| sides.each_view(|container| container.cdi_devices.clear()),
    ),
    (
        entry(
            "quirk:annotation-removal-still-shown",
            "a removed annotation stays in the view",
            "the view without annotations",
        ),
        |sides| sides.each_view(|container| container.annotations.clear()),
    ),
    (
        entry(
            "quirk:sysctl-removal-still-shown",
            "a removed kernel parameter stays in the view",
            "the view without kernel parameters",
        ),
        |sides| sides.each_linux_view(|linux| linux.sysctl.clear()),
    ),
    (
        entry(
            "quirk:netdev-removal-still-shown",
            "a removed network device stays in the view",
            "the view without network devices",
        ),
        |sides| sides.each_linux_view(|linux| linux.net_devices.clear()),
    ),
    (
        entry(
            "quirk:removal-not-owned",
            "who removes an entry does not own it",
            "the owners who set something",
        ),
        |sides| {
            sides.each_owners(|owners| {
                let sets = |owner: &String| !owner.starts_with('-');
                owners.simple.retain(|_, owner| sets(owner));
                for entries in owners.compound.values_mut() {
                    entries.owners.retain(|_, owner| sets(owner));
                }
                owners.compound.retain(|_, e| !e.owners.is_empty());
            });
        },
    ),
    (
        entry(
            "quirk:sysctl-removal-misplaced",
            "the marker of a removed kernel parameter is among the annotations",
            "it is among the kernel parameters",
        ),
        |sides| {
            let Some(Ok(ours)) = &sides.ours.result else {
                return;
            };
            let linux = ours.adjustment.as_ref().and_then(|a| a.linux.as_ref());
            let markers = linux.into_iter().flat_map(|linux| linux.sysctl.keys());
            let markers: Vec<String> = markers.filter(|k| k.starts_with('-')).cloned().collect();
            if let Some(Ok(recorded)) = &mut sides.recorded.result {
                let adjustment = recorded.adjustment.get_or_insert_default();
                for marker in markers {
                    if let Some(value) = adjustment.annotations.remove(&marker) {
                        let linux = adjustment.linux.get_or_insert_default();
                        linux.sysctl.insert(marker, value);
                    }
                }
            }
        },
    ),
    (
        entry(
            "quirk:removal-keeps-value",
            "a value that a later plugin removes stays, with its owner",
            "it is gone: the response without such values and their owners; a later set succeeds",
        ),
        removal_keeps_value,
    ),
    (
        entry(
            "quirk:env-removal-lost",
            "a removed variable leaves no marker in the response",
            "the response without markers of variables",
        ),
        |sides| {
            sides.each_adjustment(|adjustment| {
                adjustment.env.retain(|entry| !entry.key.starts_with('-'));
            });
        },
    ),
    (
        entry(
            "quirk:device-removal-lost",
            "a removed device leaves no marker in the response",
            "the response without markers of devices",
        ),
        |sides| {
            sides.each_adjustment(|adjustment| {
                if let Some(linux) = &mut adjustment.linux {
                    linux.devices.retain(|entry| !entry.path.starts_with('-'));
                }
            });
        },
    ),
    (
        entry(
            "quirk:remover-blocks-third",
            "what a plugin removes, no other can set",
            "it can: no such conflict",
        ),
        |sides| sides.must_get_past(),
    ),
    (
        entry(
            "quirk:namespace-removal-conflict",
            "removing a namespace conflicts with setting it",
            "it does not: no such conflict",
        ),
        |sides| sides.must_get_past(),
    ),
    (
        entry(
            "quirk:namespaces-deduplicated",
            "of namespaces of one type in the original, the view has one",
            "the view without namespaces",
        ),
        |sides| sides.each_linux_view(|linux| linux.namespaces.clear()),
    ),
    (
        entry(
            "quirk:mount-marker-kept",
            "superfluous markers of mounts in the response",
            "the response in normal form",
        ),
        |sides| {
            sides.each_adjustment(|adjustment| {
                *adjustment =
                    nri_core::merge::normal_form(std::mem::take(adjustment)).unwrap_or_default();
            });
        },
    ),
    (
        entry(
            "quirk:rdt-not-shown",
            "RDT values are not in the view",
            "they are: the view without them",
        ),
        |sides| sides.each_linux_view(|linux| linux.rdt = None),
    ),
    (
        entry(
            "quirk:rdt-remove-lost",
            "the removal of RDT is lost when a value is set beside it",
            "the response without the removal",
        ),
        |sides| {
            sides.each_adjustment(|adjustment| {
                let linux = adjustment.linux.as_mut();
                if let Some(rdt) = linux.and_then(|linux| linux.rdt.as_mut()) {
                    rdt.remove = false;
                }
            });
        },
    ),
    (
        entry(
            "quirk:args-cleared-only",
            "taking the command line over with nothing empties the view",
            "the original command line is back, its owner is the one who removed: the view and the owners without it",
        ),
        |sides| {
            sides.each_view(|container| container.args.clear());
            sides.each_owners(|owners| {
                owners.simple.remove(&(api::Field::Args as i32));
            });
        },
    ),
    (
        entry(
            "quirk:duplicates-shown",
            "the view has limits of the original beside those that replace them",
            "one limit each, where the original has it",
        ),
        |sides| {
            sides.each_view(|container| last_of_each(&mut container.rlimits, |l| l.r#type.clone()));
            sides.each_linux_view(|linux| {
                if let Some(resources) = &mut linux.resources {
                    one_limit_per_page_size(resources);
                }
            });
        },
    ),
    (
        entry(
            "quirk:update-hugepage-duplicated",
            "updated resources have a page size twice",
            "one limit each, where the request has it",
        ),
        |sides| {
            sides.each_response(|combined| each_update(combined, one_limit_per_page_size));
            for side in [&mut *sides.recorded, &mut *sides.ours] {
                side.resources
                    .values_mut()
                    .for_each(one_limit_per_page_size);
            }
        },
    ),
    (
        entry(
            "quirk:update-pids-ignored",
            "the process limit of an update is ignored",
            "it counts: the updates, views and owners without it; two plugins that set it conflict",
        ),
        update_pids_ignored,
    ),
    (
        entry(
            "quirk:request-pids-claimed",
            "a process limit in the request makes two updaters conflict, or drops the second update if its failure is ignored",
            "it does not: no such conflict; the updates of other containers",
        ),
        |sides| {
            sides.must_get_past();
            sides.recorded.resources.clone_from(&sides.ours.resources);
            let (ours, recorded) = (&sides.ours.result, &mut sides.recorded.result);
            if let (Some(Ok(ours)), Some(Ok(recorded))) = (ours, recorded) {
                recorded.requested.clone_from(&ours.requested);
            }
        },
    ),
    (
        entry(
            "quirk:partial-claims",
            "an ignored update keeps what it claimed",
            "it leaves no trace: a later update of the same succeeds, and the owners are who set something",
        ),
        |sides| {
            sides.must_get_past();
            let (ours, recorded) = (&sides.ours.validation, &mut sides.recorded.validation);
            if let (Some(ours), Some(recorded)) = (ours, recorded) {
                // Nobody owns more in ours.
                for (container, owners) in &mut recorded.owners.owners {
                    let of_ours = ours.owners.owners.get(container);
                    owners.simple.retain(|field, _| {
                        of_ours.is_some_and(|ours| ours.simple.contains_key(field))
                    });
                    owners.compound.retain(|field, _| {
                        of_ours.is_some_and(|ours| ours.compound.contains_key(field))
                    });
                }
                let owns = |owners: &api::FieldOwners| *owners != api::FieldOwners::default();
                recorded.owners.owners.retain(|_, owners| owns(owners));
            }
        },
    ),
    (
        entry(
            "quirk:empty-update-entry",
            "an update that sets nothing makes an entry, or changes the flag of one",
            "it does not: the entries that set something, without their flags",
        ),
        empty_update_entry,
    ),
    (
        entry(
            "quirk:evictions-dropped",
            "evictions are dropped",
            "they are passed on, one per container with the first reason, but never of the container that is created",
        ),
        evictions_dropped,
    ),
];

/// Keeps the last entry of each key, where the first one is.
fn last_of_each<T, K: Ord>(list: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    let mut kept: Vec<T> = Vec::new();
    for entry in std::mem::take(list) {
        match places.get(&key(&entry)) {
            Some(&place) => kept[place] = entry,
            None => {
                places.insert(key(&entry), kept.len());
                kept.push(entry);
            }
        }
    }
    *list = kept;
}

fn one_limit_per_page_size(resources: &mut api::LinuxResources) {
    last_of_each(&mut resources.hugepage_limits, |limit| {
        limit.page_size.clone()
    });
}

/// Changes the resources of every update of a response, and takes away what is empty then.
fn each_update(combined: &mut Combined, change: impl Fn(&mut api::LinuxResources)) {
    let changed = |update: &mut Option<api::ContainerUpdate>| {
        let linux = update.as_mut().and_then(|update| update.linux.as_mut());
        if let Some(resources) = linux.and_then(|linux| linux.resources.as_mut()) {
            change(resources);
        }
        *update = update
            .take()
            .and_then(nri_core::merge::compare::strip_update_go);
    };
    combined.updates.iter_mut().for_each(changed);
    changed(&mut combined.requested);
}

fn removal_keeps_value(sides: &mut Sides<'_>) {
    sides.must_get_past();
    sides.each_view(|container| container.annotations.clear());
    sides.each_linux_view(|linux| {
        linux.sysctl.clear();
        linux.net_devices.clear();
    });
    let Some(Ok(ours)) = &sides.ours.result else {
        return;
    };
    let ours = ours.adjustment.clone().unwrap_or_default();
    let ours_linux = ours.linux.unwrap_or_default();
    let recorded = sides.recorded.result.as_mut();
    let recorded = recorded.and_then(|result| result.as_mut().ok());
    if let Some(adjustment) = recorded.and_then(|recorded| recorded.adjustment.as_mut()) {
        /// Drops values that stand beside their marker, if ours has the marker alone.
        fn drop_removed<V>(recorded: &mut BTreeMap<String, V>, ours: &BTreeMap<String, V>) {
            let markers: Vec<String> = recorded
                .keys()
                .filter_map(|key| key.strip_prefix('-').map(str::to_owned))
                .collect();
            recorded.retain(|key, _| !markers.contains(key) || ours.contains_key(key));
        }
        drop_removed(&mut adjustment.annotations, &ours.annotations);
        if let Some(linux) = &mut adjustment.linux {
            drop_removed(&mut linux.sysctl, &ours_linux.sysctl);
            drop_removed(&mut linux.net_devices, &ours_linux.net_devices);
        }
    }
    sides.each_owners(|owners| {
        for field in [
            api::Field::Annotations,
            api::Field::Sysctl,
            api::Field::LinuxNetDevices,
        ] {
            owners.compound.remove(&(field as i32));
        }
    });
}

fn update_pids_ignored(sides: &mut Sides<'_>) {
    let about_pids = match &sides.ours.result {
        Some(Err(Problem::Conflict(Some(conflict)))) => conflict.field == "PidsLimit",
        _ => false,
    };
    if about_pids {
        // What the conflict keeps from happening cannot be compared.
        sides.recorded.result.clone_from(&sides.ours.result);
        sides.recorded.called.clone_from(&sides.ours.called);
        let called = sides.ours.called.clone();
        sides
            .recorded
            .containers
            .retain(|number, _| called.contains(number));
        sides
            .recorded
            .resources
            .retain(|number, _| called.contains(number));
    }
    sides.must_get_past();
    sides.each_response(|combined| each_update(combined, |resources| resources.pids = None));
    for side in [&mut *sides.recorded, &mut *sides.ours] {
        for resources in side.resources.values_mut() {
            resources.pids = None;
        }
    }
    sides.each_response(|combined| combined.updates.retain(Option::is_some));
    sides.each_owners(|owners| {
        owners.simple.remove(&(api::Field::PidsLimit as i32));
    });
}

fn empty_update_entry(sides: &mut Sides<'_>) {
    sides.each_response(|combined| {
        let without_flag = |update: api::ContainerUpdate| {
            let without_flag = api::ContainerUpdate {
                ignore_failure: false,
                ..update
            };
            Some(without_flag).filter(|update| update.linux.is_some())
        };
        let updates = std::mem::take(&mut combined.updates);
        let updates = updates.into_iter().flatten().filter_map(without_flag);
        combined.updates = updates.map(Some).collect();
        combined.requested = combined.requested.take().and_then(without_flag);
    });
    // Where nothing changed, the record has the request itself as the last entry.
    let asked = sides
        .vector
        .request_b64
        .decode::<api::UpdateContainerRequest>();
    let (ours, recorded) = (&sides.ours.result, &mut sides.recorded.result);
    let nothing_requested = matches!(ours, Some(Ok(ours)) if ours.requested.is_none());
    if let (true, Some(Ok(recorded)), Ok(asked)) = (nothing_requested, recorded, asked) {
        let unchanged = |update: &mut api::ContainerUpdate| {
            let mut asked = asked.linux_resources.unwrap_or_default();
            let recorded = update.linux.as_ref().and_then(|l| l.resources.clone());
            let mut recorded = recorded.unwrap_or_default();
            // One of the exceptions above may have been here.
            one_limit_per_page_size(&mut asked);
            one_limit_per_page_size(&mut recorded);
            let stripped = |resources| {
                nri_core::merge::compare::strip_update_go(api::ContainerUpdate {
                    linux: Some(api::LinuxContainerUpdate {
                        resources: Some(resources),
                    }),
                    ..Default::default()
                })
            };
            stripped(asked) == stripped(recorded)
        };
        recorded.requested.take_if(unchanged);
    }
}

fn evictions_dropped(sides: &mut Sides<'_>) {
    let creating = match sides.vector.kind.as_str() {
        "create" => sides
            .vector
            .request_b64
            .decode::<api::CreateContainerRequest>()
            .ok()
            .and_then(|request| request.container)
            .map(|container| container.id),
        _ => None,
    };
    let mut expected: Vec<api::ContainerEviction> = Vec::new();
    for plugin in sides.vector.plugins.iter().filter(|plugin| plugin.called) {
        let Some(response) = &plugin.response_b64 else {
            continue;
        };
        let evict = match sides.vector.kind.as_str() {
            "create" => response
                .decode::<api::CreateContainerResponse>()
                .map(|response| response.evict),
            _ => response
                .decode::<api::UpdateContainerResponse>()
                .map(|response| response.evict),
        };
        for eviction in evict.unwrap_or_default() {
            let named = |e: &api::ContainerEviction| e.container_id == eviction.container_id;
            if creating.as_ref() != Some(&eviction.container_id) && !expected.iter().any(named) {
                expected.push(eviction);
            }
        }
    }
    if let Some(Ok(recorded)) = &mut sides.recorded.result {
        recorded.evictions = expected;
    }
}
