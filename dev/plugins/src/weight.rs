//! What the plugins weigh: bytes of the program, and memory that is resident once it is connected.
//! What may not enter: how a plugin is deployed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
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

/// Bytes of a program, and kibibytes that are resident.
struct Weight {
    bytes: u64,
    resident: u64,
}

/// Builds, measures, and writes the table.
///
/// # Errors
/// A plugin does not build or does not connect.
pub(crate) fn run(published: &Path) -> Result<(), String> {
    let names: Vec<String> = ALL
        .iter()
        .map(|plugin| format!("nri-{}", plugin.name))
        .collect();
    let mut what = vec!["--profile", "size", "--target", TARGET];
    what.extend(names.iter().flat_map(|name| ["--package", name.as_str()]));
    let ours = process::build(&what)?;
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
        let own = measure(sim, program, &configured(plugin, &config))?;
        let sister = match plugin.sister {
            Some(sister) => Some(measure(sim, &published.join(sister), &[])?),
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

/// What it needs to connect.
fn configured(plugin: &Plugin, directory: &Path) -> Vec<String> {
    let Some(file) = plugin.config else {
        return Vec::new();
    };
    let there = directory.join(file);
    let file = if there.exists() {
        there
    } else {
        directory.join("tests/openshift.yaml")
    };
    vec!["--config".to_owned(), file.display().to_string()]
}

fn row(plugin: &Plugin, own: &Weight, sister: Option<&Weight>) -> String {
    let of = |own: u64, other: Option<u64>| match other {
        Some(other) => format!("{} %", own * 100 / other.max(1)),
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

/// Starts a plugin at a simulated runtime, has it see a container, and looks at it.
fn measure(sim: &Path, program: &Path, arguments: &[String]) -> Result<Weight, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let socket = directory.path().join("nri.sock");
    let mut serve = Command::new(sim);
    serve
        .args(["serve", "--socket"])
        .arg(&socket)
        .stderr(Stdio::null());
    let mut runtime = ChildProcess::start(&mut serve)?;
    ask(&mut runtime, &json!({"cmd": "state"}))?;

    // Go's plugins have one or the other.
    let options = ["-socket-path", "-socket"];
    let plugin = options.iter().find_map(|option| {
        let mut command = Command::new(program);
        command
            .args(["-idx", "10"])
            .args(arguments)
            .arg(option)
            .arg(&socket);
        let mut running = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let wait = json!({"cmd": "wait-plugins", "count": 1, "timeout_ms": 3000});
        match ask(&mut runtime, &wait) {
            Ok(_) => Some(running),
            Err(_) => {
                let _ = running.kill().and_then(|()| running.wait());
                None
            }
        }
    });
    let mut plugin = plugin.ok_or_else(|| format!("{} does not connect", program.display()))?;
    let pod = json!({"id": "p1", "name": "web", "namespace": "default"});
    let container = json!({"id": "c1", "name": "c0", "args": ["sh"]});
    let used = ask(&mut runtime, &json!({"cmd": "run-pod", "pod": pod})).and_then(|_| {
        ask(
            &mut runtime,
            &json!({"cmd": "create-container", "pod_id": "p1", "container": container}),
        )
    });
    let status = fs::read_to_string(format!("/proc/{}/status", plugin.id()));
    let _ = plugin.kill().and_then(|()| plugin.wait());
    used?;
    let status = status.map_err(|error| error.to_string())?;
    let resident = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let bytes = fs::metadata(program)
        .map_err(|error| format!("{}: {error}", program.display()))?
        .len();
    Ok(Weight {
        bytes,
        resident: resident.ok_or("the plugin ended")?,
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
