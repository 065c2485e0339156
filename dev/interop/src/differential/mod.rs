//! The same at once: random sequences through the reference's runtime and through ours, each with
//! the same Go plugins. What comes out must agree, but for the documented defects of the reference,
//! each of which is recognised.

mod defects;
mod draw;
mod recording;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nri_core::{Request, api};
use serde_json::{Value, json};

use super::go::Built;
use super::hub::RunningHub;
use super::pairing::{container, pod, with_container};
use super::plugin::{self, Plugin};
use super::runtime::{self, Runtime};
use super::scratch::Scratch;
use draw::{Sequence, Step};
use recording::{Outcome, recording};

/// How many sequences there are, and where they begin.
#[derive(clap::Args, Debug, Clone)]
#[group(skip)]
pub(super) struct Options {
    /// How many random sequences go through both runtimes.
    #[arg(long, value_name = "N", default_value_t = 500)]
    sequences: u64,
    /// The seed of the first of them; each further one has the next.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sequences: 500,
            seed: 0,
        }
    }
}

/// The plugins that answer, by identity; more than any sequence has answers of.
const PLUGINS: [(&str, &str); 3] = [("10", "a"), ("20", "b"), ("30", "c")];

/// One of the two, with its plugins.
struct Side<'a> {
    /// What its plugins are built with, and its runtime, if that is the reference's.
    built: &'a Built,
    runtime: Runtime,
    /// What is between them, if something is.
    hub: Option<RunningHub>,
    plugins: Vec<Plugin>,
    /// Sees the combined result as a validator, and answers nothing.
    observer: Plugin,
}

impl<'a> Side<'a> {
    fn new(
        scratch: &Scratch,
        kind: runtime::Kind<'_>,
        built: &'a Built,
        behind_a_hub: bool,
    ) -> Result<Self, String> {
        let case_dir = scratch.case_dir()?;
        let mut runtime = Runtime::start(scratch, kind, &case_dir)?;
        runtime.done("add-pod", json!({"pod": pod("others")}))?;
        for id in nri_core::strategies::OTHERS {
            runtime.done("add-container", with_container(container(id, "others")))?;
        }
        runtime.open()?;
        let hub = match behind_a_hub {
            true => Some(RunningHub::start(scratch, &case_dir)?),
            false => None,
        };
        let place = hub.as_ref().map_or(&case_dir, |hub| &hub.case_dir);
        let mut start = |index: &str, name: &str, count: usize| {
            let kind = plugin::Kind::Go(built);
            let mut plugin = Plugin::start(scratch, kind, place, index, name)?;
            let events = if index == "90" {
                match built.release.validates {
                    true => "ValidateContainerAdjustment",
                    // One that nothing is to be learnt from.
                    false => "RemovePodSandbox",
                }
            } else {
                "RunPodSandbox,CreateContainer,UpdateContainer,StopContainer"
            };
            plugin.script(vec![json!({"on": "Configure", "events": events})])?;
            plugin.connect()?;
            match &hub {
                Some(hub) => hub.wait_for_plugins(count)?,
                None => runtime.wait_for_plugins(count)?,
            }
            Ok::<_, String>(plugin)
        };
        let mut plugins = Vec::new();
        for (number, (index, name)) in PLUGINS.iter().enumerate() {
            plugins.push(start(index, name, number + 1)?);
        }
        let mut observer = start("90", "observer", PLUGINS.len() + 1)?;
        observer.heard()?;
        Ok(Self {
            built,
            runtime,
            hub,
            plugins,
            observer,
        })
    }

    /// Does one step, and says what came of it.
    fn step(&mut self, step: &Step) -> Result<Outcome, String> {
        for (plugin, answer) in self.plugins.iter_mut().zip(&step.answers) {
            let rule = json!({"on": step.event, "answer": answer.json()?});
            plugin.script(vec![rule])?;
        }
        let answer = self.runtime.ask(step.command, step.members()?)?;
        let validated = match step.request {
            Request::CreateContainer(_) => self.observer.heard()?,
            _ => Vec::new(),
        };
        let is_validation = |line: &Value| line["event"] == "ValidateContainerAdjustment";
        let validated: Vec<Value> = validated.into_iter().filter(is_validation).collect();
        Outcome::new(step, answer, &validated, self.built.release.validates)
    }

    /// What the plugins were asked of an event since the last time, each by event and container.
    ///
    /// Other events are left out: where a creation fails, the hub and our runtime undo what plugins
    /// saw, at once or a little later, which the reference leaves to the runtime around it.
    fn heard(&mut self, event: &str) -> Result<Vec<Vec<String>>, String> {
        let mut all = Vec::new();
        for plugin in &mut self.plugins {
            let heard = plugin.heard()?;
            let of_event = heard.iter().filter(|line| line["event"] == event);
            let lines = of_event.map(|line| {
                let id = line["container"]["id"].as_str().unwrap_or_default();
                format!("{} {id}", line["event"].as_str().unwrap_or_default())
            });
            all.push(lines.collect());
        }
        Ok(all)
    }

    fn end(self) -> Result<(), String> {
        if let Some(hub) = self.hub {
            hub.stop()?;
        }
        self.runtime.quit()
    }

    fn quiet(&mut self) -> Result<(), String> {
        for plugin in &mut self.plugins {
            plugin.script(Vec::new())?;
        }
        Ok(())
    }
}

/// What was found so far.
#[derive(Default)]
struct Tally {
    requests: usize,
    /// Requests that failed on both sides, in the same way.
    failed: usize,
    defects: BTreeMap<&'static str, usize>,
    /// What no defect explains, with the seed of its sequence.
    differences: Vec<(u64, String)>,
}

/// How many differences are told in full.
const TOLD: usize = 3;

/// Runs the sequences through the reference's runtime and through ours.
pub(super) fn run(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    built: &Built,
    options: &Options,
) -> Result<String, String> {
    let reference = Side::new(scratch, runtime::Kind::Go(built), built, false)?;
    let ours = Side::new(scratch, sim, built, false)?;
    both(reference, ours, options, "differential")
}

/// Runs the sequences through the reference's runtime, with its plugins at it and behind a hub.
pub(super) fn behind_a_hub(
    scratch: &Scratch,
    built: &Built,
    options: &Options,
) -> Result<String, String> {
    let direct = Side::new(scratch, runtime::Kind::Go(built), built, false)?;
    let behind = Side::new(scratch, runtime::Kind::Go(built), built, true)?;
    both(direct, behind, options, "behind a hub")
}

fn both<'a>(
    mut reference: Side<'a>,
    mut ours: Side<'a>,
    options: &Options,
    only: &'static str,
) -> Result<String, String> {
    let mut tally = Tally::default();
    for seed in (options.seed..).take(usize::try_from(options.sequences).unwrap_or(usize::MAX)) {
        sequence(&mut reference, &mut ours, seed, &mut tally).map_err(|error| {
            format!("{error}\nrepeat it with --seed {seed} --sequences 1 --only '{only}'")
        })?;
    }
    reference.end()?;
    ours.end()?;
    if !tally.differences.is_empty() {
        let told = tally.differences.iter().take(TOLD);
        let told: Vec<&str> = told.map(|(_, text)| text.as_str()).collect();
        let seeds = tally.differences.iter().map(|(seed, _)| seed.to_string());
        return Err(format!(
            "{} of {} requests differ, in sequences {}\n{}",
            tally.differences.len(),
            tally.requests,
            seeds.collect::<Vec<_>>().join(", "),
            told.join("\n")
        ));
    }
    let mut text = format!(
        "{} sequences, {} requests: the same adjustments, updates, owners and errors ({} errors)",
        options.sequences, tally.requests, tally.failed
    );
    for (number, (defect, count)) in tally.defects.iter().enumerate() {
        let sign = if number == 0 { "; but for" } else { "," };
        let _ = write!(text, "{sign} {defect} ({count})");
    }
    Ok(text)
}

fn sequence<'a>(
    reference: &mut Side<'a>,
    ours: &mut Side<'a>,
    seed: u64,
    tally: &mut Tally,
) -> Result<(), String> {
    let sequence = Sequence::draw(seed, &ours.built.schema)?;
    for side in [&mut *reference, &mut *ours] {
        side.quiet()?;
        side.runtime.done("run-pod", json!({"pod": sequence.pod}))?;
    }
    for step in &sequence.steps {
        let went = [reference.step(step)?, ours.step(step)?];
        tally.requests += 1;
        let heard = [reference.heard(step.event)?, ours.heard(step.event)?];
        let both_went = went.iter().all(|outcome| outcome.result.is_ok());
        if both_went && heard[0] != heard[1] {
            let text = format!(
                "{} of sequence {seed}: plugins heard {:?} and {:?}",
                step.event, heard[0], heard[1]
            );
            tally.differences.push((seed, text));
        }
        if went.iter().all(|outcome| outcome.result.is_err()) {
            tally.failed += 1;
        }
        let recorded = recording(step, &went[0])?;
        let found = recording(step, &went[1])?;
        match defects::explain(step, &went, &recorded, &found, ours.hub.is_some())? {
            Ok(names) => {
                for name in names {
                    *tally.defects.entry(name).or_default() += 1;
                }
            }
            Err(differences) => tally.differences.push((seed, format!(
                "{} of sequence {seed}; repeat it with --seed {seed} --sequences 1\n{differences}\nthe reference: {}\nours: {}",
                step.event, went[0], went[1]
            ))),
        }
        if matches!(step.request, Request::CreateContainer(_)) {
            // Where a side has failed, it is asked again without plugins, so that the sequence goes
            // on.
            for (side, outcome) in [&mut *reference, &mut *ours].into_iter().zip(&went) {
                side.quiet()?;
                if outcome.result.is_err() {
                    side.runtime.done(step.command, step.members()?)?;
                    side.observer.heard()?;
                    side.heard(step.event)?;
                }
            }
        }
    }
    for side in [reference, ours] {
        side.quiet()?;
        let id = json!({"container_id": nri_core::strategies::CREATED});
        side.runtime.done("remove-container", id)?;
        let id = sequence.pod["id"].clone();
        side.runtime.done("stop-pod", json!({"pod_id": id}))?;
        side.runtime.done("remove-pod", json!({"pod_id": id}))?;
    }
    Ok(())
}

/// An answer of a plugin, of the kind that the step needs.
#[derive(Debug, Clone)]
enum Answer {
    Create(Box<api::CreateContainerResponse>),
    Update(api::UpdateContainerResponse),
    Stop(api::StopContainerResponse),
}

impl Answer {
    fn json(&self) -> Result<Value, String> {
        match self {
            Self::Create(answer) => serde_json::to_value(&**answer),
            Self::Update(answer) => serde_json::to_value(answer),
            Self::Stop(answer) => serde_json::to_value(answer),
        }
        .map_err(|e| e.to_string())
    }

    fn updates(&self) -> &[api::ContainerUpdate] {
        match self {
            Self::Create(answer) => &answer.update,
            Self::Update(answer) => &answer.update,
            Self::Stop(answer) => &answer.update,
        }
    }

    fn updates_mut(&mut self) -> &mut Vec<api::ContainerUpdate> {
        match self {
            Self::Create(answer) => &mut answer.update,
            Self::Update(answer) => &mut answer.update,
            Self::Stop(answer) => &mut answer.update,
        }
    }
}
