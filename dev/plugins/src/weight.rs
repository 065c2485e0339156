//! What the plugins weigh: bytes of the program, and memory that is resident once it is connected.
//! What may not enter: how a plugin is deployed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nri_dev::process::{self, ChildProcess};
use nri_dev::workspace;
use serde_json::{Value, json};

use crate::table::{ALL, Plugin};

/// Between these lines of the README is the table.
const BEGIN: &str = "<!-- cargo xtask plugins weight -->\n";
const END: &str = "<!-- end -->\n";

/// What they are built for: static programs, as they are shipped.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// How long a plugin may take to connect.
const TIME: Duration = Duration::from_secs(60);

/// How often each is measured; what lies in the middle counts.
const TIMES: usize = 5;

/// Bytes of a program, and kibibytes that are resident.
struct Weight {
    bytes: u64,
    resident: u64,
}

/// Builds, measures, and writes the table.
///
/// # Errors
/// A plugin does not build or does not connect.
pub(crate) fn run(published: &Path, built: bool) -> Result<(), String> {
    let names: Vec<String> = ALL
        .iter()
        .map(|plugin| format!("nri-{}", plugin.name))
        .collect();
    let mut what = vec!["--profile", "size", "--target", TARGET];
    what.extend(names.iter().flat_map(|name| ["--package", name.as_str()]));
    let ours = match built {
        true => there("size", &names),
        false => process::build(&what)?,
    };
    let sim = [
        "--package",
        "nri-testkit",
        "--features",
        "cli",
        "--bin",
        "nri-sim",
    ];
    let sim = process::build(&sim)?;
    let sim = sim.get("nri-sim").ok_or("nri-sim was not built")?;

    let mut table = String::from(
        "| plugin | bytes | of the Go plugin | resident | of the Go plugin |\n|---|---:|---:|---:|---:|\n",
    );
    for plugin in ALL {
        let program = format!("nri-{}", plugin.name);
        let program = ours
            .get(&program)
            .ok_or_else(|| format!("{program} was not built"))?;
        let config = workspace::root().join("plugins").join(plugin.name);
        let config = configuration(plugin, &config);
        let own = measure(sim, program, config.as_deref())?;
        let sister = match plugin.sister {
            Some(sister) => Some(measure(sim, &published.join(sister), None)?),
            None => None,
        };
        let _ = writeln!(table, "{}", row(plugin, &own, sister.as_ref()));
    }
    println!("{table}");
    let readme = workspace::root().join("plugins/README.md");
    let named = |error: std::io::Error| format!("{}: {error}", readme.display());
    let text = fs::read_to_string(&readme).map_err(named)?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("{} has no place for the table", readme.display()))?;
    fs::write(&readme, format!("{before}{BEGIN}\n{table}\n{END}{after}")).map_err(named)
}

/// Programs that were built before, with this profile.
pub(crate) fn there(profile: &str, names: &[String]) -> BTreeMap<String, PathBuf> {
    let directory = workspace::root().join("target").join(TARGET).join(profile);
    let programs = names
        .iter()
        .map(|name| (name.clone(), directory.join(name)));
    programs.filter(|(_, program)| program.exists()).collect()
}

/// Its configuration, if it has to have one.
fn configuration(plugin: &Plugin, directory: &Path) -> Option<PathBuf> {
    let there = directory.join(plugin.config?);
    Some(match there.exists() {
        true => there,
        false => directory.join("tests/openshift.yaml"),
    })
}

fn row(plugin: &Plugin, own: &Weight, sister: Option<&Weight>) -> String {
    let of = |own: u64, other: Option<u64>| match other {
        Some(other) => format!("{} %", (own * 100).div_ceil(other.max(1))),
        None => "-".to_owned(),
    };
    format!(
        "| `{}` | {} | {} | {} KiB | {} |",
        plugin.name,
        own.bytes,
        of(own.bytes, sister.map(|it| it.bytes)),
        own.resident,
        of(own.resident, sister.map(|it| it.resident)),
    )
}

/// Measures a plugin a few times: which pages its threads touch is a matter of luck.
fn measure(sim: &Path, program: &Path, config: Option<&Path>) -> Result<Weight, String> {
    let times = (0..TIMES).map(|_| measure_once(sim, program, config));
    let mut weights: Vec<Weight> = times.collect::<Result<_, _>>()?;
    weights.sort_by_key(|weight| weight.resident);
    Ok(weights.swap_remove(TIMES / 2))
}

/// Has a simulated runtime launch a plugin, as every plugin can be, shows it a container, and looks
/// at it.
fn measure_once(sim: &Path, program: &Path, config: Option<&Path>) -> Result<Weight, String> {
    let named = |error: std::io::Error| format!("{}: {error}", program.display());
    let directory = tempfile::tempdir().map_err(named)?;
    let (plugins, configs) = (directory.path().join("p"), directory.path().join("c"));
    fs::create_dir(&plugins).map_err(named)?;
    fs::create_dir(&configs).map_err(named)?;
    fs::copy(program, plugins.join("10-plugin")).map_err(named)?;
    if let Some(config) = config {
        fs::copy(config, configs.join("10-plugin.conf")).map_err(named)?;
    }
    let mut serve = Command::new(sim);
    serve
        .args(["serve", "--socket"])
        .arg(directory.path().join("nri.sock"))
        .arg("--plugins")
        .arg(&plugins)
        .arg("--plugin-config")
        .arg(&configs)
        .stderr(Stdio::null());
    let mut runtime = ChildProcess::start(&mut serve)?;
    let mut ask = |command: Value| {
        let answer = ask(&mut runtime, &command);
        answer.map_err(|error| format!("{}: {error}", program.display()))
    };
    let ready = ask(json!({"cmd": "wait-plugins", "count": 1, "timeout_ms": 30_000}))?;
    let pid = &ready["plugins"][0]["pid"];
    let pod = json!({"id": "p1", "name": "web", "namespace": "default"});
    let container = json!({"id": "c1", "name": "c0", "args": ["sh"]});
    ask(json!({"cmd": "run-pod", "pod": pod}))?;
    ask(json!({"cmd": "create-container", "pod_id": "p1", "container": container}))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(named)?;
    let resident = status.lines().find_map(|line| {
        let size = line.strip_prefix("VmRSS:")?.split_whitespace().next()?;
        size.parse().ok()
    });
    Ok(Weight {
        bytes: fs::metadata(program).map_err(named)?.len(),
        resident: resident.ok_or_else(|| format!("{} has ended", program.display()))?,
    })
}

/// The plugins that a table names, in its order.
#[cfg(test)]
fn named_in(table: &str) -> Vec<&str> {
    let rows = table.lines().filter_map(|row| row.strip_prefix("| "));
    let names = rows.filter_map(|row| {
        let name = row.trim_start_matches('[').strip_prefix('`')?;
        Some(name.split_once('`')?.0)
    });
    names.collect()
}

fn ask(runtime: &mut ChildProcess, command: &Value) -> Result<Value, String> {
    runtime.say(&command.to_string())?;
    let line = runtime.line(TIME)?.ok_or("nri-sim ended")?;
    let answer: Value = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
    match answer["ok"] == true {
        true => Ok(answer),
        false => Err(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: no plugin is left out of what the README says, and none is there that is gone.
    #[test]
    fn both_tables_of_the_readme_name_every_plugin() {
        let text = fs::read_to_string(workspace::root().join("plugins/README.md")).unwrap();
        let (list, rest) = text.split_once("\nTheir common rules").unwrap();
        let weights = rest.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
        let all: Vec<&str> = ALL.iter().map(|plugin| plugin.name).collect();
        assert_eq!(named_in(list), all);
        assert_eq!(
            named_in(weights),
            all,
            "run `cargo xtask plugins weight --published DIR`"
        );
    }
}
