//! critest, the tests of Kubernetes' for CRI runtimes: what passes, by group, beside what
//! containerd passes, and against a list of what has passed before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nri_dev::workspace;
use serde_json::Value;

use crate::registry::Registry;
use crate::stage::{NRI, SOCKET, Stage};

/// How many specs there are by group, without benchmarks, and how many containerd 2.4.2 passes on
/// the same kind of machine with runc 1.5.2.
const CONTAINERD: [(&str, usize, usize); 17] = [
    ("AppArmor", 9, 0),
    ("Container", 18, 18),
    ("Container Mount Propagation", 3, 3),
    ("Container Mount Readonly", 5, 5),
    ("Container OOM", 1, 1),
    ("Idempotence", 7, 7),
    ("Image Consistency", 3, 3),
    ("Image Identifier Consistency", 2, 2),
    ("Image Manager", 10, 9),
    ("Image Volume", 5, 4),
    ("Multiple Containers", 3, 3),
    ("NRI", 13, 11),
    ("Networking", 4, 4),
    ("PodSandbox", 8, 8),
    ("Runtime info", 2, 2),
    ("Security Context", 39, 39),
    ("Streaming", 5, 5),
];

/// More than the whole takes on a busy machine, in seconds.
const LIMIT: &str = "3600";

/// What came of a spec.
#[derive(Debug)]
struct Spec {
    group: String,
    name: String,
    state: String,
    why: String,
}

/// What is to be tried, and what is made of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Only specs whose names match.
    pub(crate) focus: Option<String>,
    /// Take what passes for what must pass from now on.
    pub(crate) accept: bool,
}

/// Runs critest.
///
/// # Errors
/// A spec that has passed before does not.
pub(crate) fn run(stage: &Stage, wanted: &Wanted) -> Result<(), String> {
    let directory = stage.directory();
    let _registry = Registry::start(directory, stage.needs())?;
    let specs = specs(stage, directory, wanted)?;
    let ran: Vec<&Spec> = specs
        .iter()
        .filter(|spec| spec.state != "skipped" || wanted.focus.is_none())
        .collect();
    print(&ran);
    let mut passed: BTreeSet<&str> = BTreeSet::new();
    for spec in &ran {
        match &*spec.state {
            "passed" => drop(passed.insert(&*spec.name)),
            state => println!("e2e: {state}: {}: {}", spec.name, spec.why),
        }
    }
    let known = fs::read_to_string(list()).map_err(|e| format!("{}: {e}", list().display()))?;
    let broken = ran
        .iter()
        .filter(|spec| spec.state != "passed" && known.lines().any(|line| line == spec.name));
    let broken: Vec<&str> = broken.map(|spec| &*spec.name).collect();
    let added = passed
        .iter()
        .filter(|name| !known.lines().any(|line| line == **name));
    for name in added {
        println!("e2e: passes for the first time: {name}");
    }
    if wanted.accept && wanted.focus.is_none() {
        let all: Vec<&str> = passed.into_iter().collect();
        let text = all.join("\n") + "\n";
        return fs::write(list(), text).map_err(|e| format!("{}: {e}", list().display()));
    }
    if !broken.is_empty() {
        let why = "passed before, and do not now";
        return Err(format!("{why}:\n{}\n{}", broken.join("\n"), stage.said()));
    }
    let left = stage.crictl.run(&["pods", "--quiet"])?;
    match &*left {
        "" => Ok(()),
        left => Err(format!("critest leaves pods: {left}")),
    }
}

/// What must pass.
fn list() -> PathBuf {
    workspace::root().join("dev/e2e/critest/passing.txt")
}

fn print(specs: &[&Spec]) {
    let mut groups: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for spec in specs {
        let (passed, failed, skipped) = groups.entry(&spec.group).or_default();
        *match &*spec.state {
            "passed" => passed,
            "skipped" => skipped,
            _ => failed,
        } += 1;
    }
    println!(
        "{:30}{:>8}{:>8}{:>8}{:>12}",
        "critest", "passed", "failed", "skipped", "containerd"
    );
    let mut all = (0, 0, 0);
    for (group, (passed, failed, skipped)) in groups {
        let theirs = CONTAINERD.iter().find(|(name, _, _)| *name == group);
        let theirs = theirs.map(|(_, all, passed)| format!("{passed} of {all}"));
        let theirs = theirs.unwrap_or_default();
        println!("{group:30}{passed:>8}{failed:>8}{skipped:>8}{theirs:>12}");
        all = (all.0 + passed, all.1 + failed, all.2 + skipped);
    }
    let (passed, failed, skipped) = all;
    println!(
        "{:30}{passed:>8}{failed:>8}{skipped:>8}{:>12}",
        "all", "124 of 137"
    );
}

/// Runs it and reads its report.
fn specs(stage: &Stage, directory: &Path, wanted: &Wanted) -> Result<Vec<Spec>, String> {
    let (report, log) = (
        directory.join("critest.json"),
        directory.join("critest.log"),
    );
    let failed = |e: std::io::Error| format!("critest: {e}");
    let output = File::create(&log).map_err(failed)?;
    let mut critest = Command::new("timeout");
    critest
        .arg(LIMIT)
        .arg(stage.needs().critest.as_ref().ok_or("no critest")?)
        .arg(format!("--runtime-endpoint=unix://{SOCKET}"))
        .arg(format!("--nri-socket={NRI}"))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg("--ginkgo.no-color")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output);
    if let Some(focus) = &wanted.focus {
        critest.arg(format!("--ginkgo.focus={focus}"));
    }
    // It ends with an error if any spec fails, and some do.
    critest.status().map_err(failed)?;
    let Ok(text) = fs::read_to_string(&report) else {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let from = said.len().saturating_sub(2000);
        return Err(format!(
            "critest has not come to its end: {}",
            said.get(from..).unwrap_or(&said)
        ));
    };
    let report: Value = serde_json::from_str(&text).map_err(|e| format!("its report: {e}"))?;
    let specs: Vec<Spec> = report[0]["SpecReports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(read)
        .collect();
    match specs.is_empty() {
        true => Err("critest has tried nothing".to_owned()),
        false => Ok(specs),
    }
}

/// Reads what came of a spec, if it is one, and no benchmark.
fn read(report: &Value) -> Option<Spec> {
    let above = report["ContainerHierarchyTexts"].as_array()?;
    let mut parts: Vec<&str> = above.iter().filter_map(Value::as_str).collect();
    let group = parts.first()?.trim_start_matches("[k8s.io] ");
    // Some have a mark behind their names.
    let group = group.split(" [").next()?.to_owned();
    parts.push(report["LeafNodeText"].as_str()?);
    let name = parts
        .join(" / ")
        .replace("[k8s.io] ", "")
        .replace('\n', " ");
    if report["LeafNodeType"] != "It" || name.contains("benchmark") {
        return None;
    }
    let why = report["Failure"]["Message"].as_str().unwrap_or_default();
    Some(Spec {
        group,
        name,
        state: report["State"].as_str()?.to_owned(),
        why: why.lines().take(5).collect::<Vec<_>>().join(" "),
    })
}
