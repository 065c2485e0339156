//! Random sequences: a pod, a container in it, its creation, updates and stop, and what each plugin
//! answers. The same seed gives the same sequence.
//!
//! Every key is spelled in its normal form: the reference compares keys as texts (D45 to D47), so
//! two spellings of one key are two keys to it, and what follows from that is tested beside the
//! rule.

use std::collections::BTreeMap;

use nri_core::api::Field;
use nri_core::keys::KeyKind;
use nri_core::strategies::{self, CREATED, OTHERS};
use nri_core::{Request, api};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::Answer;
use crate::schema::Schema;

/// What happens to one container.
pub(super) struct Sequence {
    pub(super) pod: Value,
    pub(super) steps: Vec<Step>,
}

/// One request, and the answers of the plugins in their order; those that are left over answer
/// nothing.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) event: &'static str,
    pub(super) command: &'static str,
    pub(super) request: Request,
    pub(super) answers: Vec<Answer>,
}

impl Step {
    /// Leaves out what a release does not know.
    fn keep(&mut self, known: &Schema) -> Result<(), String> {
        match &mut self.request {
            Request::CreateContainer(request) => keep(request, "CreateContainerRequest", known)?,
            Request::UpdateContainer(request) => keep(request, "UpdateContainerRequest", known)?,
            Request::StopContainer(request) => keep(request, "StopContainerRequest", known)?,
            _ => {}
        }
        self.answers.iter_mut().try_for_each(|answer| match answer {
            Answer::Create(answer) => keep(&mut **answer, "CreateContainerResponse", known),
            Answer::Update(answer) => keep(answer, "UpdateContainerResponse", known),
            Answer::Stop(answer) => keep(answer, "StopContainerResponse", known),
        })
    }

    /// The members of the command.
    pub(super) fn members(&self) -> Result<Value, String> {
        Ok(match &self.request {
            Request::CreateContainer(request) => {
                json!({"pod_id": POD, "container": json_of(&request.container)?})
            }
            Request::UpdateContainer(request) => match &request.linux_resources {
                Some(resources) => {
                    json!({"container_id": CREATED, "resources": json_of(resources)?})
                }
                None => json!({"container_id": CREATED}),
            },
            _ => json!({"container_id": CREATED}),
        })
    }
}

fn json_of(message: &impl serde::Serialize) -> Result<Value, String> {
    serde_json::to_value(message).map_err(|e| e.to_string())
}

const POD: &str = "pod";

/// The containers that updates are about.
const ALL: [&str; 4] = [CREATED, OTHERS[0], OTHERS[1], OTHERS[2]];

impl Sequence {
    /// The sequence of a seed, with what a release knows.
    pub(super) fn draw(seed: u64, known: &Schema) -> Result<Self, String> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut dice = Dice(TestRunner::new_with_rng(Config::default(), rng));

        let pod = json!({"id": POD, "name": dice.draw(word())?, "namespace": dice.draw(word())?, "uid": "u"});
        let mut container = dice.draw(strategies::container())?;
        POD.clone_into(&mut container.pod_sandbox_id);
        // A number without a name has no place in JSON.
        if let Some(linux) = &mut container.linux {
            devices(&mut linux.devices);
            sysctl(&mut linux.sysctl);
            linux.resources.iter_mut().for_each(page_sizes);
        }
        mounts(&mut container.mounts);
        let linux = container.linux.as_mut();
        if let Some(profile) = linux.and_then(|linux| linux.seccomp_profile.as_mut()) {
            profile.profile_type = profile.profile_type.min(2);
        }
        let plugins = dice.draw(1..=super::PLUGINS.len())?;

        let creations = proptest::collection::vec(creation(), plugins);
        let mut steps = vec![Step {
            event: "CreateContainer",
            command: "create-container",
            request: Request::CreateContainer(api::CreateContainerRequest {
                pod: None,
                container: Some(container.clone()),
            }),
            answers: dice
                .draw(creations)?
                .into_iter()
                .map(|answer| Answer::Create(Box::new(answer)))
                .collect(),
        }];
        for _ in 0..dice.draw(1..4)? {
            let resources = strategies::resources().prop_map(|mut resources| {
                page_sizes(&mut resources);
                resources
            });
            let resources = proptest::option::weighted(0.9, resources);
            let answers = proptest::collection::vec(strategies::update_response(&ALL), plugins);
            let without_evictions = |mut answer: api::UpdateContainerResponse| {
                updates(&mut answer.update);
                Answer::Update(api::UpdateContainerResponse {
                    evict: Vec::new(),
                    ..answer
                })
            };
            steps.push(Step {
                event: "UpdateContainer",
                command: "update-container",
                request: Request::UpdateContainer(api::UpdateContainerRequest {
                    pod: None,
                    container: Some(container.clone()),
                    linux_resources: dice.draw(resources)?,
                }),
                answers: dice
                    .draw(answers)?
                    .into_iter()
                    .map(without_evictions)
                    .collect(),
            });
        }
        let answers = proptest::collection::vec(strategies::stop_response(&ALL), plugins);
        steps.push(Step {
            event: "StopContainer",
            command: "stop-container",
            request: Request::StopContainer(api::StopContainerRequest {
                pod: None,
                container: Some(container),
            }),
            answers: dice
                .draw(answers)?
                .into_iter()
                .map(|mut answer| {
                    updates(&mut answer.update);
                    Answer::Stop(answer)
                })
                .collect(),
        });
        steps.iter_mut().try_for_each(|step| step.keep(known))?;
        Ok(Self { pod, steps })
    }
}

/// Leaves out of a message what a release does not know, which refuses it in JSON.
fn keep<M>(message: &mut M, name: &str, known: &Schema) -> Result<(), String>
where
    M: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let kept = known.known(name, &json_of(message)?);
    *message = M::deserialize(&kept).map_err(|e| format!("{kept}: {e}"))?;
    Ok(())
}

/// What a plugin answers to a creation. The reference's library cannot send evictions. Once in a
/// while a plugin updates the container that is being created.
fn creation() -> impl Strategy<Value = api::CreateContainerResponse> {
    let adjust = prop_oneof![
        1 => strategies::adjustment(),
        3 => strategies::plain_adjustment(),
    ];
    let adjust = proptest::option::weighted(0.9, adjust);
    let updates = prop_oneof![
        20 => proptest::collection::vec(strategies::update(&OTHERS), 0..2),
        1 => proptest::collection::vec(strategies::update(&ALL), 1..2),
    ];
    (adjust, updates).prop_map(|(mut adjust, mut update)| {
        if let Some(adjust) = &mut adjust {
            mounts(&mut adjust.mounts);
            if let Some(linux) = &mut adjust.linux {
                devices(&mut linux.devices);
                sysctl(&mut linux.sysctl);
                linux.resources.iter_mut().for_each(page_sizes);
            }
        }
        self::updates(&mut update);
        api::CreateContainerResponse {
            adjust,
            update,
            evict: Vec::new(),
        }
    })
}

/// A key of a field in its normal form; a removal stays one.
fn normal(field: Field, key: &str) -> String {
    match key.strip_prefix('-') {
        Some(removed) => format!("-{}", KeyKind::of(field).normal(removed)),
        None => KeyKind::of(field).normal(key).into_owned(),
    }
}

fn mounts(mounts: &mut [api::Mount]) {
    for mount in mounts {
        mount.destination = normal(Field::Mounts, &mount.destination);
    }
}

fn devices(devices: &mut [api::LinuxDevice]) {
    for device in devices {
        device.path = normal(Field::Devices, &device.path);
    }
}

fn sysctl(parameters: &mut BTreeMap<String, String>) {
    let all = std::mem::take(parameters).into_iter();
    *parameters = all
        .map(|(name, value)| (normal(Field::Sysctl, &name), value))
        .collect();
}

fn page_sizes(resources: &mut api::LinuxResources) {
    for limit in &mut resources.hugepage_limits {
        limit.page_size = normal(Field::HugepageLimits, &limit.page_size);
    }
}

fn updates(updates: &mut [api::ContainerUpdate]) {
    let linux = updates
        .iter_mut()
        .filter_map(|update| update.linux.as_mut());
    linux
        .filter_map(|linux| linux.resources.as_mut())
        .for_each(page_sizes);
}

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(&["a", "b-c", "d"][..]).prop_map(str::to_owned)
}

struct Dice(TestRunner);

impl Dice {
    fn draw<S: Strategy>(&mut self, strategy: S) -> Result<S::Value, String> {
        let tree = strategy.new_tree(&mut self.0).map_err(|e| e.to_string())?;
        Ok(tree.current())
    }
}
