//! `cargo xtask low-level`: the rules of values against a real runc. What is accepted for a spec
//! that runc takes, runc takes; what is refused because runc refuses it, runc refuses.
//!
//! Needs runc and the right to run containers. A missing need is a failure, never a skip.

mod adjustments;
mod network_devices;

use std::fs;
use std::path::Path;

use std::process::ExitCode;

use clap::Parser;
use nri_core::api::ContainerAdjustment;
use nri_core::oci::values::{RULES, Source, examples};
use nri_core::oci::{ApplyOptions, OnUnsupported, apply};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use nri_dev::debian;
use nri_dev::low_level::{LowLevel, has_mount_namespace};

use crate::adjustments::any_adjustment;

/// How many adjustments there are, and where they begin.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask low-level",
    about = "Check on a real runc what is accepted and what is refused of values.",
    version
)]
struct Options {
    /// How many random adjustments that are accepted go through runc.
    #[arg(long, value_name = "N", default_value_t = 200)]
    count: u32,
    /// What they are made of.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Install runc, if it is missing.
    #[arg(long)]
    install: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("low-level: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The packages that are missing.
fn missing() -> Vec<&'static str> {
    match debian::which("runc") {
        Some(_) => Vec::new(),
        None => vec!["runc"],
    }
}

/// Runs it.
///
/// # Errors
/// There is no runc that works here; runc refuses what was accepted, or takes what was refused in
/// its name.
fn run(options: &Options) -> Result<(), String> {
    debian::provide(missing, options.install)?;
    let directory = tempfile::tempdir().map_err(|e| format!("a directory for bundles: {e}"))?;
    let runc = LowLevel::probe_one("runc", directory.path())
        .map_err(|reason| format!("runc does not work here: {reason}"))?;
    let spec = runc.at_home(&examples::spec());
    runc.takes(&spec)
        .map_err(|reason| format!("runc refuses the spec as it is: {reason}"))?;

    let bounds = bounds(&runc, &spec)?;
    println!("low-level: {bounds} adjustments that just keep within the rules are taken");
    let refused = refusals(&runc, &spec)?;
    println!("low-level: {refused} examples of runc's own rules are refused by runc too");
    let (accepted, drawn) = random(&runc, &spec, options)?;
    println!(
        "low-level: {accepted} random adjustments are taken, of {drawn} (the others break a rule); seed {}",
        options.seed
    );
    network_devices::run(directory.path())?;
    println!("low-level: network devices are moved into a pod and back");
    Ok(())
}

fn strict() -> ApplyOptions {
    let mut options = ApplyOptions::default();
    options.without_callback = OnUnsupported::Ignore;
    options
}

fn bounds(runc: &LowLevel, spec: &Value) -> Result<usize, String> {
    let mut adjustments = examples::at_the_bounds();
    adjustments.retain(|adjustment| !is_beyond(adjustment));
    for adjustment in &adjustments {
        taken(runc, spec, adjustment)?;
    }
    Ok(adjustments.len())
}

/// What depends on the machine (cgroup v2, huge pages), and what runc 1.1 refuses and newer ones do
/// not (the default class).
fn is_beyond(adjustment: &ContainerAdjustment) -> bool {
    adjustment.linux.as_ref().is_some_and(|linux| {
        let resources = linux.resources.as_ref();
        let clos = linux.rdt.as_ref().and_then(|rdt| rdt.clos_id.as_ref());
        resources.is_some_and(|r| !r.unified.is_empty() || !r.hugepage_limits.is_empty())
            || clos.is_some_and(|clos| clos.value == "/")
    })
}

/// An adjustment that is accepted.
fn taken(runc: &LowLevel, spec: &Value, adjustment: &ContainerAdjustment) -> Result<(), String> {
    let applied = apply(spec, adjustment, &strict(), None)
        .map_err(|error| format!("{error}: {adjustment:?}"))?;
    runc.takes(&applied.spec)
        .map_err(|reason| format!("accepted, and refused by runc: {reason}: {adjustment:?}"))
}

/// What breaks a rule of runc's, with the rules left to it.
fn refusals(runc: &LowLevel, spec: &Value) -> Result<usize, String> {
    let mut left = strict();
    left.left_to_runtime = RULES.iter().map(|rule| rule.family).collect();
    left.check_sysctl_namespaces = false;
    let mut refused = 0;
    let mut taken = Vec::new();
    for example in examples::broken() {
        let rule = RULES.iter().find(|rule| rule.name == example.rule);
        if rule.is_none_or(|rule| rule.source != Source::Runc) {
            continue;
        }
        let applied = apply(spec, &example.adjustment, &left, None)
            .map_err(|error| format!("{}: {error}", example.rule))?;
        if !has_mount_namespace(&applied.spec) {
            continue;
        }
        match runc.takes(&applied.spec) {
            Ok(()) => taken.push(format!("{}: {:?}", example.rule, example.adjustment)),
            Err(_) => refused += 1,
        }
    }
    if !taken.is_empty() {
        let taken = taken.join("\n");
        return Err(format!("runc takes what is refused in its name:\n{taken}"));
    }
    Ok(refused)
}

/// Random adjustments until so many were accepted; how many there were in all.
fn random(runc: &LowLevel, spec: &Value, options: &Options) -> Result<(u32, u32), String> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&options.seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let adjustments = any_adjustment(least_oom_score()?);
    let (mut accepted, mut drawn) = (0, 0);
    while accepted < options.count {
        // Far more than it takes: about a third break a rule.
        if drawn > 20 * (options.count + 50) {
            return Err(format!(
                "of {drawn} random adjustments only {accepted} keep the rules"
            ));
        }
        drawn += 1;
        let adjustment = adjustments
            .new_tree(&mut runner)
            .map_err(|reason| format!("no adjustment: {reason}"))?
            .current();
        if apply(spec, &adjustment, &strict(), None).is_err() {
            continue;
        }
        taken(runc, spec, &adjustment)
            .map_err(|error| format!("adjustment {drawn} of seed {}: {error}", options.seed))?;
        accepted += 1;
    }
    Ok((accepted, drawn))
}

/// Whoever may not raise its own priority to live may not give it to a container.
fn least_oom_score() -> Result<i64, String> {
    let file = Path::new("/proc/self/oom_score_adj");
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let score = text.trim().parse::<i64>();
    score.map_err(|e| format!("{}: {e}", file.display()))
}
