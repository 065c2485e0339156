//! What came of a request, as the recordings of the reference have it, so that the same exceptions
//! apply.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nri_core::strategies::CREATED;
use nri_core::{Request, api};
use prost::Message;
use serde_json::{Value, json};

use super::draw::Step;
use super::{Answer, PLUGINS};
use crate::runtime::{self, message, updates};

/// What came of a request on one side.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) result: Result<Combined, Failure>,
    /// What a validator was told, if it was asked.
    validation: Option<api::ValidateContainerAdjustmentRequest>,
}

/// The combined response.
#[derive(Debug, Clone, Default)]
pub(super) struct Combined {
    adjustment: Option<api::ContainerAdjustment>,
    updates: Vec<api::ContainerUpdate>,
    resources: Option<api::LinuxResources>,
}

/// Why there is none.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    text: String,
    pub(super) conflict: Option<Conflict>,
}

/// Two plugins that want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) by: String,
    pub(super) other: String,
    pub(super) field: String,
    pub(super) key: String,
}

/// What v0.3.0 calls fields in its errors. What follows is the key.
const WORDS: &[(&str, &str)] = &[
    ("annotation", "Annotations"),
    ("mount", "Mounts"),
    ("device", "Devices"),
    ("env", "Env"),
    ("memory limit", "MemLimit"),
    ("memory reservation", "MemReservation"),
    ("memory swap limit", "MemSwapLimit"),
    ("memory kernel limit", "MemKernelLimit"),
    ("memory TCP limit", "MemTCPLimit"),
    ("memory swappiness", "MemSwappiness"),
    ("memory disable OOM killer", "MemDisableOomKiller"),
    ("memory 'UseHierarchy'", "MemUseHierarchy"),
    ("CPU shares", "CPUShares"),
    ("CPU quota", "CPUQuota"),
    ("CPU period", "CPUPeriod"),
    ("CPU realtime runtime", "CPURealtimeRuntime"),
    ("CPU realtime period", "CPURealtimePeriod"),
    ("CPU pinning", "CPUSetCPUs"),
    ("memory pinning", "CPUSetMems"),
    ("hugepage limit of size", "HugepageLimits"),
    ("block I/O class", "BlockioClass"),
    ("RDT class", "RdtClass"),
    ("unified resource", "CgroupsUnified"),
    ("cgroups path", "CgroupsPath"),
];

impl Conflict {
    /// Reads the texts of both sides: `plugins "20-b" and "10-a" both tried to set Env k` and
    /// `conflict on container "c": plugin "20-b" sets Env "k", already set by "10-a"`.
    fn parse(text: &str) -> Option<Self> {
        let quoted = |text: &str| Some(text.split('"').nth(1)?.trim_start_matches('-').to_owned());
        if let Some((plugins, what)) = text.split_once(" both tried to set ") {
            let (by, other) = plugins.split_once(" and ")?;
            // Releases before validation have words for fields in place of their names.
            let words = WORDS.iter().find_map(|(words, field)| {
                let key = what.strip_prefix(words)?;
                let is_all = key.is_empty() || key.starts_with(' ');
                is_all.then(|| (*field, key.trim_start_matches(' ')))
            });
            let named = || what.split_once(' ').unwrap_or((what, ""));
            let (field, key) = words.unwrap_or_else(named);
            return Some(Self {
                by: quoted(by)?,
                other: quoted(other)?,
                field: field.to_owned(),
                key: key.to_owned(),
            });
        }
        // Ours asks all plugins of a stop and tells of each that failed; the first one is what the
        // reference ends with.
        let text = text.split("conflict on container ").nth(1)?;
        let (_, text) = text.split_once(": plugin ")?;
        let (by, text) = text.split_once(" sets ")?;
        let by = quoted(by)?;
        let (what, other) = match text.split_once(", already set by ") {
            Some((what, other)) => (what, quoted(other)?),
            None => (text.split_once(" twice in one response")?.0, by.clone()),
        };
        let (field, key) = what.split_once(' ').unwrap_or((what, "\"\""));
        Some(Self {
            by,
            other,
            field: field.to_owned(),
            key: serde_json::from_str(key).ok()?,
        })
    }
}

impl Outcome {
    pub(super) fn new(
        step: &Step,
        answer: runtime::Answer,
        validated: &[Value],
        validates: bool,
    ) -> Result<Self, String> {
        let result = match answer {
            Ok(answer) => Ok(Combined {
                adjustment: optional(&answer["adjustment"])?,
                updates: updates(&answer)?,
                resources: optional(&answer["resources"])?,
            }),
            Err(text) => Err(Failure {
                conflict: Conflict::parse(&text),
                text,
            }),
        };
        let asked = validated
            .iter()
            .find(|line| line["event"] == "ValidateContainerAdjustment");
        if validates
            && asked.is_none()
            && result.is_ok()
            && matches!(step.request, Request::CreateContainer(_))
        {
            return Err("the validator was not asked".to_owned());
        }
        Ok(Self {
            result,
            validation: asked.map(|line| message(&line["request"])).transpose()?,
        })
    }
}

impl Outcome {
    /// The same without the mounts that have one of these destinations, markers as they are.
    pub(super) fn without_mounts(&self, destinations: &BTreeSet<&str>) -> Self {
        let mut outcome = self.clone();
        if let Ok(combined) = &mut outcome.result
            && let Some(adjustment) = &mut combined.adjustment
        {
            adjustment
                .mounts
                .retain(|mount| !destinations.contains(mount.destination.as_str()));
        }
        outcome
    }
}

impl Outcome {
    /// The same with the removals of mounts before all else, in order: what one of them is about
    /// comes after it in any case.
    pub(super) fn with_removals_first(&self) -> Self {
        let mut outcome = self.clone();
        if let Ok(combined) = &mut outcome.result
            && let Some(adjustment) = &mut combined.adjustment
        {
            adjustment.mounts.sort_by_key(|mount| {
                let removal = mount.destination.strip_prefix('-');
                (removal.is_none(), removal.map(str::to_owned))
            });
        }
        outcome
    }

    /// Whether nobody changed the resources of the container itself.
    pub(super) fn leaves_resources(&self) -> bool {
        matches!(&self.result, Ok(combined) if combined.resources.is_none())
    }

    /// Whether these are the resources of the container itself, as far as they say anything.
    pub(super) fn has_resources(&self, resources: &api::LinuxResources) -> bool {
        let said = |resources: &api::LinuxResources| {
            // What v0.3.0 does not hand on of a request.
            let resources = api::LinuxResources {
                devices: Vec::new(),
                pids: None,
                ..resources.clone()
            };
            let update = api::ContainerUpdate {
                linux: Some(api::LinuxContainerUpdate {
                    resources: Some(resources),
                }),
                ..Default::default()
            };
            nri_core::merge::compare::strip_update_go(update)
        };
        match &self.result {
            Ok(combined) => combined
                .resources
                .as_ref()
                .is_some_and(|own| said(own) == said(resources)),
            Err(_) => false,
        }
    }

    /// The same with nobody having changed the resources of the container itself, if they are
    /// these.
    pub(super) fn without_resources(mut self, resources: &api::LinuxResources) -> Self {
        let is_same = self.has_resources(resources);
        if let Ok(combined) = &mut self.result
            && is_same
        {
            combined.resources = None;
        }
        self
    }

    /// The same with the updates in order of their containers.
    pub(super) fn sorted(mut self) -> Self {
        if let Ok(combined) = &mut self.result {
            combined
                .updates
                .sort_by(|a, b| a.container_id.cmp(&b.container_id));
        }
        self
    }
}

fn optional<M: for<'de> serde::Deserialize<'de>>(value: &Value) -> Result<Option<M>, String> {
    match value.is_null() {
        true => Ok(None),
        false => message(value).map(Some),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(combined) => write!(f, "{combined:?}"),
            Err(failure) => f.write_str(&failure.text),
        }
    }
}

fn base64(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}

/// The recording of a step on one side.
pub(super) fn recording(step: &Step, outcome: &Outcome) -> Result<Value, String> {
    let (kind, request) = match &step.request {
        Request::CreateContainer(request) => ("create", base64(request)),
        Request::UpdateContainer(request) => ("update", base64(request)),
        Request::StopContainer(request) => ("stop", base64(request)),
        other => return Err(format!("{other:?} is not merged")),
    };
    let plugins = PLUGINS
        .iter()
        .zip(&step.answers)
        .map(|((index, name), answer)| {
            json!({
                "index": index, "name": name, "subscribed": true, "called": true, "fail": null,
                "saw_container_b64": null, "saw_resources_b64": null,
                "response_b64": match answer {
                    Answer::Create(answer) => base64(&**answer),
                    Answer::Update(answer) => base64(answer),
                    Answer::Stop(answer) => base64(answer),
                },
            })
        });
    let mut expect = json!({"validator_called": false});
    match &outcome.result {
        Ok(combined) => {
            let mut update = combined.updates.clone();
            expect["response_b64"] = match kind {
                "create" => base64(&api::CreateContainerResponse {
                    adjust: combined.adjustment.clone(),
                    update,
                    evict: Vec::new(),
                }),
                "update" => {
                    // The last one is about the container itself, and empty if nobody changed it.
                    let resources = combined.resources.clone();
                    update.push(api::ContainerUpdate {
                        container_id: match resources {
                            Some(_) => CREATED.to_owned(),
                            None => String::new(),
                        },
                        linux: resources.map(|resources| api::LinuxContainerUpdate {
                            resources: Some(resources),
                        }),
                        ..Default::default()
                    });
                    base64(&api::UpdateContainerResponse {
                        update,
                        evict: Vec::new(),
                    })
                }
                _ => base64(&api::StopContainerResponse { update }),
            }
            .into();
        }
        Err(failure) => {
            expect["error_class"] = match &failure.conflict {
                Some(conflict) => {
                    expect["conflict"] = json!({
                        "by": conflict.by, "other": conflict.other, "field": conflict.field, "key": conflict.key,
                    });
                    "conflict"
                }
                None if failure.text.contains("during creation")
                    || failure.text.contains("while that container is being created") =>
                {
                    "self-update"
                }
                None => return Err(format!("an error of unknown form: {}", failure.text)),
            }
            .into();
        }
    }
    if let Some(validation) = &outcome.validation {
        expect["validator_called"] = true.into();
        expect["validator_container_b64"] =
            base64(&validation.container.clone().unwrap_or_default()).into();
        expect["owners_b64"] = base64(&validation.owners.clone().unwrap_or_default()).into();
        let consulted = validation.plugins.iter();
        let consulted: Vec<String> = consulted
            .map(|plugin| format!("{}-{}", plugin.index, plugin.name))
            .collect();
        expect["consulted"] = consulted.into();
    }
    Ok(json!({
        "kind": kind, "tags": [], "request_b64": request, "plugins": plugins.collect::<Vec<_>>(), "expect": expect,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: resources that were asked for are told from those that somebody changed.
    #[test]
    fn resources_that_nobody_changed_are_none() {
        let resources = |limit: i64, cpu: Option<api::LinuxCpu>| api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: Some(api::OptionalInt64 { value: limit }),
                ..Default::default()
            }),
            cpu,
            ..Default::default()
        };
        let outcome = |resources| Outcome {
            result: Ok(Combined {
                resources,
                ..Combined::default()
            }),
            validation: None,
        };
        let asked = resources(1, None);
        // The reference adds what says nothing.
        let as_asked = outcome(Some(resources(1, Some(api::LinuxCpu::default()))));
        assert!(as_asked.has_resources(&asked) && !as_asked.leaves_resources());
        assert!(as_asked.without_resources(&asked).leaves_resources());
        let changed = outcome(Some(resources(2, None)));
        assert!(!changed.has_resources(&asked));
        assert!(!changed.without_resources(&asked).leaves_resources());
        assert!(!outcome(None).has_resources(&asked));
    }

    #[test]
    fn conflicts_of_both_sides_are_understood() {
        let conflict = |by: &str, other: &str, field: &str, key: &str| {
            Some(Conflict {
                by: by.into(),
                other: other.into(),
                field: field.into(),
                key: key.into(),
            })
        };
        for (text, expected) in [
            (
                r#"plugins "20-b" and "-10-a" both tried to set Env a-b"#,
                conflict("20-b", "10-a", "Env", "a-b"),
            ),
            (
                r#"plugins "20-b" and "10-a" both tried to set CPUShares "#,
                conflict("20-b", "10-a", "CPUShares", ""),
            ),
            (
                r#"plugins "20-b" and "10-a" both tried to set CPU pinning"#,
                conflict("20-b", "10-a", "CPUSetCPUs", ""),
            ),
            (
                r#"plugins "20-b" and "10-a" both tried to set unified resource a b"#,
                conflict("20-b", "10-a", "CgroupsUnified", "a b"),
            ),
            (
                r#"conflict on container "c": plugin "20-b" sets Env "k", already set by "10-a""#,
                conflict("20-b", "10-a", "Env", "k"),
            ),
            (
                r#"conflict on container "c": plugin "20-b" sets CPUShares, already set by "10-a". The container is stopped all the same"#,
                conflict("20-b", "10-a", "CPUShares", ""),
            ),
            (
                r#"conflict on container "c": plugin "20-b" sets Mounts "" twice in one response"#,
                conflict("20-b", "20-b", "Mounts", ""),
            ),
            (
                r#"2 plugins failed: conflict on container "c": plugin "20-b" sets Env "a" twice in one response; conflict on container "d": plugin "30-c" sets CPUShares, already set by "10-a""#,
                conflict("20-b", "20-b", "Env", "a"),
            ),
            ("something else", None),
        ] {
            assert_eq!(Conflict::parse(text), expected, "{text}");
        }
    }
}
