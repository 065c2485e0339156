//! `cargo xtask page`: what people and Prometheus see of nri-hub, seen by the programs that will
//! show it. The page at `/` is opened in a headless chromium, beside a hub with plugins and pods;
//! alert rules, and what they do, are checked by promtool.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use nri_dev::debian::{self, which};
use nri_dev::examples::Examples;
use nri_dev::process::{self, ChildProcess};
use nri_dev::wait::within;
use serde_json::{Value, json};

/// Where alert rules and dashboard are.
const PLACE: &str = "nri-hub/deploy";

/// What is needed, and the Debian package that has it.
const NEEDS: &[(&str, &str)] = &[("chromium", "chromium"), ("promtool", "prometheus")];

/// How long anything may take that takes moments when it works.
const TIME: Duration = Duration::from_secs(60);

/// How long the page has, by its own clock, which stands while it waits for an answer: it asks for
/// the status every two seconds.
const BUDGET_MS: u32 = 5000;

/// How the command is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install with apt what is missing.
    #[arg(long)]
    pub(crate) install: bool,
}

/// Checks all of it.
///
/// # Errors
/// A tool is missing, or something is wrong.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let missing = || {
        let missing = NEEDS.iter().filter(|(tool, _)| which(tool).is_none());
        missing.map(|(_, package)| *package).collect()
    };
    debian::provide(missing, options.install)?;
    let promtool = |arguments: &[&str]| process::run(Command::new("promtool").args(arguments));
    promtool(&["check", "rules", &format!("{PLACE}/prometheus-rules.yaml")])?;
    promtool(&[
        "test",
        "rules",
        &format!("{PLACE}/prometheus-rules.test.yaml"),
    ])?;
    let directory = tempfile::Builder::new().prefix("nri-page-").tempdir();
    let directory = directory.map_err(|e| format!("a temporary directory: {e}"))?;
    let staged = Staged::new(directory.path())?;
    metrics(&staged)?;
    page(&staged)?;
    Ok(())
}

/// A runtime, a hub and plugins behind it, with a container that runs and one that was refused.
struct Staged {
    directory: PathBuf,
    /// Where the hub serves.
    address: String,
    _all: Vec<ChildProcess>,
}

impl Staged {
    fn new(directory: &Path) -> Result<Self, String> {
        let sim = process::build_cli("nri-testkit", "nri-sim")?;
        let hub = process::build_cli("nri-hub", "nri-hub")?;
        let examples = Examples::build()?;
        let path = |name: &str| directory.join(name);
        let write = |name: &str, text: String| {
            std::fs::write(path(name), text).map_err(|e| format!("{}: {e}", path(name).display()))
        };
        // Free for now; nobody else is likely to take it in this moment.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let address = free.map_err(|e| format!("a free port: {e}"))?.to_string();
        write(
            "hub.toml",
            format!(
                "socket_path = {:?}\nplugin_path = {:?}\nplugin_config_path = {:?}\n\
                 [hub]\nruntime_socket = {:?}\ncontrol_socket = {:?}\nhttp = {address:?}\n\
                 [plugins.logger]\nobserve = true\n\
                 [policy]\ndefault = 'audit'\n\
                 [[policy.rules]]\nname = 'not-here'\nnamespaces = ['prod']\nfields = ['env']\naction = 'deny'\n",
                path("below.sock"),
                path("plugins"),
                path("conf.d"),
                path("above.sock"),
                path("control.sock"),
            ),
        )?;
        write("annotate.toml", "[env]\nNRI_ADDED = \"yes\"\n".to_owned())?;
        let mut runtime = Command::new(sim);
        runtime.args(["serve", "--socket"]).arg(path("above.sock"));
        let mut runtime = ChildProcess::start(&mut runtime)?;
        let mut running = Command::new(&hub);
        running.args(["run", "--config"]).arg(path("hub.toml"));
        let running = ChildProcess::start(running.env("RUST_LOG", "warn"))?;
        ask(
            &mut runtime,
            json!({"cmd": "wait-plugins", "count": 1, "timeout_ms": 60_000}),
        )?;
        let mut plugins = Vec::new();
        for name in ["logger", "annotate"] {
            let mut command = Command::new(examples.path(name)?);
            command.arg("--socket").arg(path("below.sock"));
            if name == "annotate" {
                command.arg("--config").arg(path("annotate.toml"));
            }
            plugins.push(ChildProcess::start(&mut command)?);
        }
        let control = path("control.sock");
        within(TIME, "the plugins come to the hub", || {
            Ok(ready_plugins(&hub, &control).unwrap_or(0) >= plugins.len())
        })?;
        for (number, namespace) in ["default", "prod"].into_iter().enumerate() {
            let (pod, id) = (format!("p{number}"), format!("c{number}"));
            let of_pod = json!({"id": pod, "name": "web", "namespace": namespace});
            ask(&mut runtime, json!({"cmd": "run-pod", "pod": of_pod}))?;
            let container = json!({"id": id, "name": "nginx"});
            let create = json!({"cmd": "create-container", "pod_id": pod, "container": container});
            let created = ask(&mut runtime, create);
            if created.is_ok() == (namespace == "prod") {
                return Err(format!("the policy does not do what it says: {created:?}"));
            }
        }
        ask(
            &mut runtime,
            json!({"cmd": "start-container", "container_id": "c0"}),
        )?;
        plugins.push(running);
        plugins.push(runtime);
        Ok(Self {
            directory: directory.to_owned(),
            address,
            _all: plugins,
        })
    }
}

/// Gives the runtime a command, which has to be done.
fn ask(runtime: &mut ChildProcess, command: Value) -> Result<Value, String> {
    runtime.say(&command.to_string())?;
    let answer = runtime.line(TIME)?.ok_or("the runtime has ended")?;
    let answer: Value = serde_json::from_str(&answer).map_err(|e| format!("{answer}: {e}"))?;
    match answer["ok"] == true {
        true => Ok(answer),
        false => Err(format!("{command}: {}", answer["error"])),
    }
}

fn ready_plugins(hub: &Path, control: &Path) -> Result<usize, String> {
    let mut command = Command::new(hub);
    command.args(["status", "--json", "--socket"]).arg(control);
    let status = process::capture(&mut command)?;
    let status: Value = serde_json::from_str(&status).map_err(|e| e.to_string())?;
    let plugins = status["plugins"].as_array().into_iter().flatten();
    Ok(plugins.filter(|plugin| plugin["state"] == "ready").count())
}

/// What chromium says is everything that the page says, and what went wrong in it.
fn chromium(staged: &Staged, path: &str) -> Result<(String, String), String> {
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        // It is root, in CI, and all that it opens is ours.
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--enable-logging=stderr",
        "--dump-dom",
    ]);
    command.arg(format!("--virtual-time-budget={BUDGET_MS}"));
    command.arg(format!(
        "--user-data-dir={}",
        staged.directory.join("chromium").display()
    ));
    command.arg(format!("http://{}{path}", staged.address));
    let output = command.output().map_err(|e| format!("chromium: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (dom, said) = (text(&output.stdout), text(&output.stderr));
    match output.status.success() {
        true => Ok((dom, said)),
        false => Err(format!("chromium: {}: {said}", output.status)),
    }
}

/// The page, as a person would see it.
fn page(staged: &Staged) -> Result<(), String> {
    let (dom, said) = chromium(staged, "/")?;
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    if !errors.is_empty() {
        return Err(format!("the page's console says: {}", errors.join("\n")));
    }
    let part = |id: &str| {
        let begin = dom.find(&format!("id=\"{id}\"")).map(|at| &dom[at..]);
        let begin = begin.ok_or_else(|| format!("the page has no {id}"))?;
        let end = if id == "facts" { "</dl>" } else { "</tbody>" };
        Ok::<_, String>(begin.split(end).next().unwrap_or_default())
    };
    let expected = [
        ("facts", "nri-sim"),
        ("plugins", "logger"),
        ("plugins", "observes"),
        ("plugins", "annotate"),
        // How long they take: drawn, and with numbers.
        ("plugins", "<title>half "),
        ("plugins", "<rect class=\"part\""),
        // The timeline of a request, with the plugin in it.
        ("requests", "CreateContainer"),
        ("requests", "<rect class=\"\""),
        ("requests", "annotate"),
        // One was refused, and the page says by what.
        ("requests", "not-here"),
        ("audit", "NRI_ADDED"),
    ];
    for (id, text) in expected {
        if !part(id)?.contains(text) {
            return Err(format!("the page has no {text:?} in {id}: {}", part(id)?));
        }
    }
    if !dom.contains("data-shown=\"yes\"") {
        return Err("the page's script did not come to its end".to_owned());
    }
    println!(
        "the page: {} things as they have to be, and no word in its console",
        expected.len()
    );
    Ok(())
}

/// The metrics, with those that need a policy and a plugin.
fn metrics(staged: &Staged) -> Result<(), String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail"]);
    let text = process::capture(curl.arg(format!("http://{}/metrics", staged.address)))?;
    for metric in [
        "nri_hub_policy_verdicts_total{",
        "nri_hub_plugin_latency_seconds_bucket{",
    ] {
        if !text.contains(metric) {
            return Err(format!("there is no {metric} in the metrics: {text}"));
        }
    }
    Ok(())
}
