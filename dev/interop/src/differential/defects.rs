//! The documented defects of the reference: how each is recognised, by what was asked for and what
//! came of it.
//!
//! What is compared instead is said by the exceptions of the recorded vectors, by the same tags.
//! The names are those of `nri_core::merge::differences`.

use std::collections::BTreeSet;

use nri_core::merge::removal_marker::marked;
use nri_core::strategies::CREATED;
use nri_core::{Request, api};
use nri_testkit::vectors;
use serde_json::Value;

use super::Answer;
use super::draw::Step;
use super::recording::{Conflict, Outcome, recording};

/// What was asked for, and what came of it.
struct Case<'a> {
    step: &'a Step,
    /// The conflict that only the reference reports.
    conflict: Option<&'a Conflict>,
}

/// A defect that can show in this way.
struct Defect {
    name: &'static str,
    /// The exception that says what is compared instead.
    tag: &'static str,
    /// Whether it can show here.
    shows: fn(&Case<'_>) -> bool,
}

const DEFECTS: &[Defect] = &[
    Defect {
        name: "D1",
        tag: "quirk:removal-keeps-value",
        shows: |case| {
            MAPS.iter().any(|field| {
                let keys = case.removed_after_set(field);
                !keys.is_empty() && case.conflict_is_about(field, &keys)
            })
        },
    },
    Defect {
        name: "D1",
        tag: "quirk:removal-not-owned",
        shows: |case| {
            [MAPS, LISTS]
                .concat()
                .iter()
                .any(|field| !case.removed(field).is_empty())
        },
    },
    Defect {
        name: "D4",
        tag: "quirk:env-removal-lost",
        shows: |case| !case.removed(&ENV).is_empty(),
    },
    Defect {
        name: "D4",
        tag: "quirk:device-removal-lost",
        shows: |case| !case.removed(&DEVICES).is_empty(),
    },
    Defect {
        name: "D5",
        tag: "quirk:remover-blocks-third",
        shows: |case| {
            let lists = [&MOUNTS, &ENV, &DEVICES];
            lists.into_iter().any(|field| {
                let keys = case.removed(field);
                case.conflict.is_some() && case.conflict_is_about(field, &keys)
            })
        },
    },
    Defect {
        name: "D5",
        tag: "quirk:remover-blocks-third",
        shows: |case| {
            let fields = ["RdtClosID", "RdtSchemata", "RdtEnableMonitoring"];
            case.conflict
                .is_some_and(|conflict| fields.contains(&conflict.field.as_str()))
                && case
                    .adjustments()
                    .any(|a| rdt(a).is_some_and(|rdt| rdt.remove))
        },
    },
    Defect {
        name: "D6",
        tag: "quirk:mount-marker-kept",
        shows: |case| !case.removed(&MOUNTS).is_empty(),
    },
    Defect {
        name: "D6",
        tag: "unordered:mount-removals",
        shows: |case| case.removed(&MOUNTS).len() > 1,
    },
    Defect {
        name: "D8",
        tag: "quirk:namespace-removal-conflict",
        shows: |case| {
            let keys = case.removed(&NAMESPACES);
            case.conflict.is_some() && case.conflict_is_about(&NAMESPACES, &keys)
        },
    },
    Defect {
        name: "D8",
        tag: "quirk:mount-marker-kept",
        shows: |case| !case.removed(&NAMESPACES).is_empty(),
    },
    Defect {
        name: "D10",
        tag: "quirk:rdt-remove-lost",
        shows: |case| {
            case.adjustments()
                .any(|a| rdt(a).is_some_and(|rdt| rdt.remove))
        },
    },
    Defect {
        name: "D11",
        tag: "quirk:args-cleared-only",
        shows: |case| case.adjustments().any(|a| a.args == [""]),
    },
    Defect {
        name: "D11",
        tag: "quirk:remover-blocks-third",
        shows: |case| {
            case.conflict
                .is_some_and(|conflict| conflict.field == "Args")
                && case.adjustments().any(|a| a.args == [""])
        },
    },
    Defect {
        name: "D12",
        tag: "quirk:update-hugepage-duplicated",
        shows: |case| {
            case.updates()
                .any(|u| resources(u).is_some_and(|r| !r.hugepage_limits.is_empty()))
        },
    },
    Defect {
        name: "D16",
        tag: "quirk:update-pids-ignored",
        shows: |case| {
            case.updates()
                .any(|u| resources(u).is_some_and(|r| r.pids.is_some()))
        },
    },
    Defect {
        name: "D16",
        tag: "quirk:request-pids-claimed",
        shows: |case| {
            let asked = match &case.step.request {
                Request::UpdateContainer(request) => request.linux_resources.as_ref(),
                _ => None,
            };
            asked.is_some_and(|resources| resources.pids.is_some())
                && case.updates().any(|u| u.container_id == CREATED)
                && case
                    .conflict
                    .is_none_or(|conflict| conflict.field == "PidsLimit")
        },
    },
    Defect {
        name: "D17",
        tag: "quirk:partial-claims",
        shows: |case| case.updates().any(|u| u.ignore_failure),
    },
    Defect {
        name: "D18",
        tag: "quirk:empty-update-entry",
        shows: |case| case.updates().any(mentions_only),
    },
];

/// A field whose entries can be removed: its name, and the keys of an adjustment, markers included.
type Keyed = (&'static str, fn(&api::ContainerAdjustment) -> Vec<&str>);

const MAPS: &[Keyed] = &[
    ("Annotations", |a| {
        a.annotations.keys().map(String::as_str).collect()
    }),
    ("Sysctl", |a| {
        linux(a, |l| l.sysctl.keys().map(String::as_str).collect())
    }),
    ("LinuxNetDevices", |a| {
        linux(a, |l| l.net_devices.keys().map(String::as_str).collect())
    }),
];
const MOUNTS: Keyed = ("Mounts", |a| {
    a.mounts.iter().map(|m| m.destination.as_str()).collect()
});
const ENV: Keyed = ("Env", |a| a.env.iter().map(|e| e.key.as_str()).collect());
const DEVICES: Keyed = ("Devices", |a| {
    linux(a, |l| l.devices.iter().map(|d| d.path.as_str()).collect())
});
const NAMESPACES: Keyed = ("Namespace", |a| {
    linux(a, |l| {
        l.namespaces.iter().map(|n| n.r#type.as_str()).collect()
    })
});
const LISTS: &[Keyed] = &[MOUNTS, ENV, DEVICES, NAMESPACES];

fn linux(
    adjustment: &api::ContainerAdjustment,
    keys: impl FnOnce(&api::LinuxContainerAdjustment) -> Vec<&str>,
) -> Vec<&str> {
    adjustment.linux.as_ref().map_or_else(Vec::new, keys)
}

fn rdt(adjustment: &api::ContainerAdjustment) -> Option<&api::LinuxRdt> {
    adjustment.linux.as_ref()?.rdt.as_ref()
}

fn resources(update: &api::ContainerUpdate) -> Option<&api::LinuxResources> {
    update.linux.as_ref()?.resources.as_ref()
}

/// Whether it may come to nothing but an entry of its container.
fn mentions_only(update: &api::ContainerUpdate) -> bool {
    update.ignore_failure || sets_nothing(update)
}

/// Whether the reference takes nothing from it.
fn sets_nothing(update: &api::ContainerUpdate) -> bool {
    let Some(resources) = resources(update) else {
        return true;
    };
    let taken = api::ContainerUpdate {
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(api::LinuxResources {
                pids: None,
                devices: Vec::new(),
                ..resources.clone()
            }),
        }),
        ..Default::default()
    };
    nri_core::merge::compare::strip_update_go(taken).is_none()
}

impl<'a> Case<'a> {
    fn adjustments(&self) -> impl Iterator<Item = &'a api::ContainerAdjustment> {
        self.step.answers.iter().filter_map(|answer| match answer {
            Answer::Create(answer) => answer.adjust.as_ref(),
            _ => None,
        })
    }

    fn updates(&self) -> impl Iterator<Item = &'a api::ContainerUpdate> {
        self.step.answers.iter().flat_map(Answer::updates)
    }

    /// The keys that anybody removes.
    fn removed(&self, field: &Keyed) -> BTreeSet<&'a str> {
        let keys = self.adjustments().flat_map(field.1);
        keys.filter_map(marked).collect()
    }

    /// The keys that somebody removes after another has set them.
    fn removed_after_set(&self, field: &Keyed) -> BTreeSet<&'a str> {
        let (mut set, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for adjustment in self.adjustments() {
            let keys = field.1(adjustment);
            removed.extend(
                keys.iter()
                    .filter_map(|k| marked(k))
                    .filter(|k| set.contains(k)),
            );
            set.extend(keys.into_iter().filter(|key| marked(key).is_none()));
        }
        removed
    }

    /// Whether the conflict, if there is one, is about one of these.
    fn conflict_is_about(&self, field: &Keyed, keys: &BTreeSet<&str>) -> bool {
        self.conflict.is_none_or(|conflict| {
            conflict.field == field.0 && keys.contains(conflict.key.as_str())
        })
    }
}

/// Fields whose entries the reference takes in random order, so that of several conflicts it
/// reports any.
const RANDOM: [&str; 4] = ["Annotations", "Sysctl", "LinuxNetDevices", "CgroupsUnified"];

/// The names of the defects that make the sides differ, none if they agree; or the differences that
/// no defect explains.
pub(super) fn explain(
    step: &Step,
    went: &[Outcome; 2],
    recorded: &Value,
    ours: &Value,
    behind_a_hub: bool,
) -> Result<Result<BTreeSet<&'static str>, String>, String> {
    let unlike = |recorded: &Value, ours: &Value| {
        vectors::compare(recorded, ours).map_err(|e| format!("they cannot be compared: {e}"))
    };
    if unlike(recorded, ours)?.is_empty() {
        return Ok(Ok(BTreeSet::new()));
    }
    let mut names = BTreeSet::new();
    // D6, once more: among mounts, the marker of a key is an entry like others, so the removal of a
    // key that begins with a dash removes it.
    let every = Case {
        step,
        conflict: None,
    };
    let taken_for_markers: BTreeSet<&str> = every
        .removed(&MOUNTS)
        .into_iter()
        .filter(|key| marked(key).is_some())
        .collect();
    if !taken_for_markers.is_empty() {
        names.insert("D6");
    }
    // D18: an update that sets nothing makes an entry, and so has a say in their order.
    let in_order = !every.updates().any(mentions_only);
    // D6 as well: markers stay where plugins put them. What a hub has merged has them elsewhere.
    let moved = behind_a_hub && !every.removed(&MOUNTS).is_empty();
    if moved {
        names.insert("D6");
    }
    // D18, once more: an update of the container itself that sets nothing has the reference answer
    // with the resources that were asked for, as if somebody had changed them.
    let mentioned = |update: &api::ContainerUpdate| update.container_id == CREATED;
    let as_asked = match &step.request {
        Request::UpdateContainer(request) if went[1].leaves_resources() => every
            .updates()
            .filter(|update| mentioned(update))
            .any(mentions_only)
            .then(|| request.linux_resources.clone().unwrap_or_default()),
        _ => None,
    };
    let as_asked = as_asked.filter(|asked| went[0].has_resources(asked));
    if as_asked.is_some() {
        names.insert("D18");
    }
    let comparable = |outcome: &Outcome| {
        let outcome = outcome.without_mounts(&taken_for_markers);
        let outcome = match &as_asked {
            Some(asked) => outcome.without_resources(asked),
            None => outcome,
        };
        let outcome = match moved {
            true => outcome.with_removals_first(),
            false => outcome,
        };
        recording(step, &if in_order { outcome } else { outcome.sorted() })
    };
    let mut recorded = comparable(&went[0])?;
    let mut recorded_ours = comparable(&went[1])?;
    let conflict = |outcome: &'_ Outcome| {
        let failure = outcome.result.as_ref().err()?;
        failure.conflict.clone()
    };
    let (theirs, own) = (conflict(&went[0]), conflict(&went[1]));
    // D29: the key is any of those that conflict.
    if let (Some(theirs), Some(own)) = (&theirs, &own)
        && theirs.field == own.field
        && RANDOM.contains(&theirs.field.as_str())
        && theirs.key != own.key
    {
        for side in [&mut recorded, &mut recorded_ours] {
            side["expect"]["conflict"]["key"] = Value::Null;
            side["expect"]["conflict"]["other"] = "".into();
        }
        names.insert("D29");
    }
    let compare = |recorded: &Value| unlike(recorded, &recorded_ours);
    let case = Case {
        step,
        conflict: theirs
            .as_ref()
            .filter(|theirs| own.as_ref() != Some(theirs)),
    };
    let mut applied: Vec<&Defect> = DEFECTS.iter().filter(|d| (d.shows)(&case)).collect();
    let tagged = |defects: &[&Defect]| {
        let mut recorded = recorded.clone();
        recorded["tags"] = defects.iter().map(|defect| defect.tag).collect();
        recorded
    };
    let differences = compare(&tagged(&applied))?;
    if !differences.is_empty()
        && let Some(more) = dropped_updates(step, went, &tagged(&applied), behind_a_hub)?
    {
        names.extend(more);
        return Ok(Ok(names));
    }
    if !differences.is_empty() {
        let tags: Vec<&str> = applied.iter().map(|defect| defect.tag).collect();
        let text = differences.join("\n");
        let mut lines: Vec<&str> = text.lines().take(LINES).collect();
        if lines.len() == LINES {
            lines.push("...");
        }
        return Ok(Err(format!(
            "{}\n(with {})",
            lines.join("\n"),
            tags.join(", ")
        )));
    }
    // Only those that it takes are named.
    let mut place = 0;
    while place < applied.len() {
        let one = applied.remove(place);
        if !compare(&tagged(&applied))?.is_empty() {
            applied.insert(place, one);
            place += 1;
        }
    }
    names.extend(applied.iter().map(|defect| defect.name));
    if names.is_empty() {
        // It was the order of updates alone.
        names.insert("D18");
    }
    Ok(Ok(names))
}

/// Leaves flags out of comparisons: a runtime does not say that of the container itself.
const FLAGS: &str = "quirk:empty-update-entry";

/// Whether everything comes from limits of processes in updates (D16), which the reference does not
/// see, and from updates whose failure is ignored (D17), which it drops for claims that should not
/// be there: then what it says is what the core says without them, and what ours says is what the
/// core says with them. This goes further than the exceptions, which do not know of an update that
/// is dropped for such a limit, or for a claim of a dropped one.
///
/// Behind a hub, ours is what the core says as well, less the limits that the reference above does
/// not see.
fn dropped_updates(
    step: &Step,
    went: &[Outcome; 2],
    recorded: &Value,
    behind_a_hub: bool,
) -> Result<Option<&'static [&'static str]>, String> {
    let replayed = |step: &Step, outcome: &Outcome, tags: &Value| {
        let mut vector = recording(step, outcome)?;
        vector["name"] = step.event.into();
        vector["tags"] = tags.clone();
        if let Some(tags) = vector["tags"].as_array_mut() {
            tags.push(FLAGS.into());
        }
        // Validators were not told more than is compared above.
        vector["expect"]["validator_called"] = false.into();
        Ok::<_, String>(vectors::run(vector.to_string().as_bytes()).is_success())
    };
    let updates = || step.answers.iter().flat_map(Answer::updates);
    let ignored = updates().filter(|update| update.ignore_failure).count();
    let unseen = match behind_a_hub {
        true => vec![Value::from("quirk:update-pids-ignored")],
        false => Vec::new(),
    };
    if went.iter().any(|outcome| outcome.result.is_err())
        || ignored == 0
        || !replayed(step, &went[1], &Value::Array(unseen))?
    {
        return Ok(None);
    }
    // Few plugins with few updates each: there are not many ways to drop some.
    for dropped in 0..1u32 << ignored.min(12) {
        let mut without = step.clone();
        let mut number = 0;
        for answer in &mut without.answers {
            answer.updates_mut().retain_mut(|update| {
                let linux = update.linux.as_mut();
                if let Some(resources) = linux.and_then(|linux| linux.resources.as_mut()) {
                    resources.pids = None;
                }
                number += u32::from(update.ignore_failure);
                !update.ignore_failure || dropped & 1 << (number - 1) == 0
            });
        }
        if replayed(&without, &went[0], &recorded["tags"])? {
            let limited = updates().any(|u| resources(u).is_some_and(|r| r.pids.is_some()));
            return Ok(Some(match (limited, dropped) {
                (true, 0) => &["D16"],
                (true, _) => &["D16", "D17"],
                (false, _) => &["D17"],
            }));
        }
    }
    Ok(None)
}

/// How many lines of differences are shown.
const LINES: usize = 60;
