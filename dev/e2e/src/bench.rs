//! What pods and containers cost, beside containerd: both run on this machine at the same time and
//! take turns, each as a user runs it, driven by the same program with the same configurations.
//!
//! What may not enter: what a runtime has to do; that is tried by the other parts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nri_core::build::Adjust as _;
use nri_core::{Event, api};
use nri_dev::{containerd, process};
use nri_testkit::{Behavior, Connected, FakePlugin};
use serde_json::{Value, json};

use crate::crictl::{Crictl, IMAGE, LOGS, file, pod};
use crate::directories::entries;
use crate::expect::{is, until};
use crate::image;
use crate::needs::CNI;
use crate::stage::{NRI, Stage};

const DIR: &str = "/run/e2e/containerd";
const SOCKET: &str = "/run/e2e/containerd/cri.sock";
const THEIR_NRI: &str = "/run/e2e/containerd/nri.sock";
/// The image of its pods; ours have none.
const PAUSE: &str = "e2e.local/pause:1";
/// How often everything is done at each, without and with plugins.
const ROUNDS: usize = 20;
/// Those before, which are not counted.
const WARM: usize = 2;
/// How many plugins there are when there are some.
const PLUGINS: usize = 3;
/// How many pods with a container there are at the same time when memory is looked at.
const MANY: usize = 10;

/// How many pods each has had when memory is looked at again.
const PODS: usize = 2 * (1 + WARM + ROUNDS);

/// What is measured, in the order in which it is printed.
const PARTS: [&str; 3] = ["crictl version", "start", "removal"];

/// A runtime at which things are done.
struct Side<'a> {
    name: &'static str,
    crictl: &'a Crictl,
    pid: u32,
    /// The programs that hold its pods and containers.
    holders: &'static str,
    nri: &'a str,
}

/// Measures, and prints a table.
///
/// # Errors
/// Something fails: nothing is measured then.
pub(crate) async fn run(stage: &Stage) -> Result<(), String> {
    let theirs = Containerd::start(stage)?;
    let ours = Side {
        name: "nri-runtime",
        crictl: &stage.crictl,
        pid: stage.pid()?,
        holders: "conmon",
        nri: NRI,
    };
    let theirs = Side {
        name: "containerd",
        crictl: &theirs.crictl,
        pid: theirs.child.id(),
        holders: "containerd-shim",
        nri: THEIR_NRI,
    };
    let sides = [&ours, &theirs];
    // Containers say nothing, and there is no port to be mapped.
    let mut config = pod("bench");
    config["port_mappings"] = json!([]);
    config["linux"]["cgroup_parent"] = format!("/{}", stage.cgroup()).into();
    let container = json!({
        "metadata": {"name": "app"},
        "image": {"image": IMAGE},
        "command": ["sleep", "1000000"],
        "log_path": "app.log",
        "linux": {"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512}},
    });
    let app = file("container", &container)?;
    println!("e2e: bench: {}", machine()?);
    // With an image each, and nothing else.
    let mut idle = Vec::new();
    for side in sides {
        idle.push(resident(side.pid)?);
    }
    let mut rows = Vec::new();
    for plugins in [0, PLUGINS] {
        let mut connected = Vec::new();
        for side in sides {
            connected.extend(join(side, plugins).await?);
        }
        let mut times: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
        for side in sides {
            heeds(side, &app, &config, plugins)?;
        }
        for round in 0..WARM + ROUNDS {
            for turn in 0..2 {
                // Neither is always the first.
                let which = (round + turn) % 2;
                let took = once(sides[which], &app, &config, round)?;
                if round >= WARM {
                    for (part, took) in PARTS.into_iter().zip(took) {
                        times.entry(part).or_default()[which].push(took);
                    }
                }
            }
        }
        for part in PARTS {
            let [ours, theirs] = times.remove(part).unwrap_or_default();
            rows.push((plugins, part, Compared::new(&ours, &theirs)));
        }
        drop(connected);
    }
    print(&rows);
    println!(
        "| resident, MiB | idle | after {} pods | with {MANY} pods | what holds those |",
        PODS
    );
    println!("|---|---|---|---|---|");
    for (side, idle) in sides.into_iter().zip(idle) {
        let after = resident(side.pid)?;
        let held = many(side, &app, &config)?;
        println!(
            "| {} | {idle} | {after} | {} | {} in {} of {} |",
            side.name, held.daemon, held.holders, held.count, side.holders
        );
    }
    Ok(())
}

/// Connects plugins, each of which adds a variable to every container.
async fn join(side: &Side<'_>, plugins: usize) -> Result<Vec<Connected>, String> {
    let mut all = Vec::new();
    for number in 0..plugins {
        let mut adjust = api::ContainerAdjustment::default();
        let added = adjust.add_env(format!("PLUGIN_{number}"), "yes");
        added.map_err(|e| e.to_string())?;
        let plugin = FakePlugin::new(format!("{number}0-bench"))
            .on(Event::CreateContainer, Behavior::adjust(adjust))
            .without_record();
        let failed = |e: &dyn std::fmt::Display| format!("a plugin at {}: {e}", side.name);
        let connected = plugin.connect(side.nri).await.map_err(|e| failed(&e))?;
        connected.register().await.map_err(|e| failed(&e))?;
        all.push(connected);
    }
    Ok(all)
}

/// Makes sure, before anything is measured, that containers have what these plugins add, and
/// nothing of any other.
fn heeds(side: &Side<'_>, app: &str, config: &Value, plugins: usize) -> Result<(), String> {
    let config = pod_of(side, config, &format!("heeds-{plugins}"))?;
    side.crictl.run(&["run", "--no-pull", app, &config])?;
    let container = side.crictl.run(&["ps", "--quiet"])?;
    let said = side.crictl.script(&container, "env")?;
    let added = said.lines().filter(|line| line.starts_with("PLUGIN_"));
    is(
        &format!("the variables of plugins at {}", side.name),
        added.count(),
        plugins,
    )?;
    side.crictl.run(&["rmp", "--force", "--all"]).map(drop)
}

/// The configuration of a pod of its own, in a file.
fn pod_of(side: &Side<'_>, config: &Value, which: &str) -> Result<String, String> {
    let mut config = config.clone();
    let logs = format!("{LOGS}/{}-{which}", side.name);
    fs::create_dir_all(&logs).map_err(|e| format!("{logs}: {e}"))?;
    config["metadata"]["uid"] = format!("{}-{which}", side.name).into();
    config["log_directory"] = logs.into();
    file("pod", &config)
}

/// Milliseconds of each part, in their order: crictl alone, a pod and a container that are started,
/// and their removal.
fn once(side: &Side<'_>, app: &str, config: &Value, round: usize) -> Result<[f64; 3], String> {
    let config = pod_of(side, config, &round.to_string())?;
    let timed = |arguments: &[&str]| -> Result<f64, String> {
        let begin = Instant::now();
        side.crictl
            .run(arguments)
            .map_err(|error| format!("{}: {error}", side.name))?;
        Ok(begin.elapsed().as_secs_f64() * 1000.0)
    };
    let alone = timed(&["version"])?;
    let start = timed(&["run", "--no-pull", app, &config])?;
    let pod = side.crictl.run(&["pods", "--quiet"])?;
    Ok([alone, start, timed(&["rmp", "--force", &pod])?])
}

/// What memory is resident while there are pods, in MiB.
struct Held {
    daemon: String,
    holders: String,
    count: usize,
}

fn many(side: &Side<'_>, app: &str, config: &Value) -> Result<Held, String> {
    for number in 0..MANY {
        let config = pod_of(side, config, &format!("many-{number}"))?;
        side.crictl.run(&["run", "--no-pull", app, &config])?;
    }
    let daemon = resident(side.pid)?;
    let mut kib = 0;
    let mut count = 0;
    for process in entries(Path::new("/proc")) {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if name.trim().starts_with(side.holders) {
            kib += field(&process)?;
            count += 1;
        }
    }
    side.crictl.run(&["rmp", "--force", "--all"])?;
    Ok(Held {
        daemon,
        holders: mebibytes(kib),
        count,
    })
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// The resident memory of a process, in MiB.
fn resident(pid: u32) -> Result<String, String> {
    field(&Path::new("/proc").join(pid.to_string())).map(mebibytes)
}

/// Its `VmRSS`, in KiB.
fn field(process: &Path) -> Result<u64, String> {
    let path = process.join("status");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("{}: no VmRSS", path.display()))
}

/// Two series that were taken in turns.
struct Compared {
    ours: f64,
    theirs: f64,
    /// The lower quartile, the median and the upper quartile of what each of ours is to theirs.
    ratio: [f64; 3],
}

impl Compared {
    fn new(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(theirs)
            .map(|(one, other)| one / other)
            .collect();
        Self {
            ours: quantile(ours, 0.5),
            theirs: quantile(theirs, 0.5),
            ratio: [0.25, 0.5, 0.75].map(|at| quantile(&ratios, at)),
        }
    }
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * at).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn print(rows: &[(usize, &str, Compared)]) {
    println!("| plugins | | nri-runtime, ms | containerd, ms | ratio | half of all ratios |");
    println!("|---|---|---|---|---|---|");
    for (plugins, part, compared) in rows {
        let [low, middle, high] = compared.ratio;
        println!(
            "| {plugins} | {part} | {:.0} | {:.0} | {middle:.2} | {low:.2} to {high:.2} |",
            compared.ours, compared.theirs
        );
    }
}

/// What is measured, and where.
fn machine() -> Result<String, String> {
    let date = process::capture(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let version = containerd::version("github.com/containerd/containerd/v2")?;
    let runc = process::capture(Command::new("runc").arg("--version"))?;
    let runc = runc.lines().next().unwrap_or_default().to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(format!(
        "{}, containerd {}, {runc}, {processors} processors, medians of {ROUNDS}",
        date.trim(),
        version
    ))
}

/// A containerd, which ends when it is dropped.
struct Containerd {
    child: Child,
    crictl: Crictl,
}

impl Containerd {
    /// Starts it beside our runtime, and brings it the images.
    fn start(stage: &Stage) -> Result<Self, String> {
        let bin = stage.needs().containerd.as_ref().ok_or("no containerd")?;
        let place = |name: &str| Path::new(DIR).join(name);
        for name in ["root", "state", "plugins", "configs"] {
            fs::create_dir_all(place(name)).map_err(|e| format!("{DIR}: {e}"))?;
        }
        let config = containerd::configuration(&containerd::Places {
            root: &place("root"),
            state: &place("state"),
            socket: Path::new(SOCKET),
            nri: Path::new(THEIR_NRI),
            plugins: &place("plugins"),
            plugin_configs: &place("configs"),
            cni_plugins: Path::new(CNI),
            cni: Path::new("/run/e2e/cni"),
            request_timeout: "20s",
            snapshotter: "overlayfs",
            pause: PAUSE,
        });
        let file = place("config.toml");
        fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
        let log = stage.directory().join("containerd.log");
        let output = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new(bin.join("containerd"))
            .arg("--config")
            .arg(&file)
            .env("PATH", containerd::path(bin)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|e| format!("containerd: {e}"))?;
        let crictl = Crictl::new(&stage.needs().crictl, SOCKET)?;
        let mut containerd = Self { child, crictl };
        until("a containerd that answers", || {
            let ended = containerd.child.try_wait();
            match ended.map_err(|e| format!("containerd: {e}"))? {
                Some(status) => Err(format!(
                    "containerd has ended ({status}): {}",
                    log.display()
                )),
                None => Ok(containerd.crictl.answers()),
            }
        })?;
        let images = stage.directory().join("images");
        let pause = images.join("pause:1");
        image::write_pause(&pause, &stage.needs().busybox)?;
        for (name, directory) in [(IMAGE, images.join("busybox:1")), (PAUSE, pause)] {
            import(bin, name, &directory)?;
        }
        Ok(containerd)
    }
}

fn import(bin: &Path, name: &str, image: &Path) -> Result<(), String> {
    let archive = format!("{DIR}/image.tar");
    process::run(
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .arg(format!("dir:{}", image.display()))
            .arg(format!("oci-archive:{archive}:{name}")),
    )?;
    let mut ctr = Command::new(bin.join("ctr"));
    ctr.args(["--address", SOCKET, "--namespace", "k8s.io"]);
    ctr.args([
        "images",
        "import",
        "--local",
        "--snapshotter",
        "overlayfs",
        &archive,
    ]);
    process::capture(&mut ctr)?;
    fs::remove_file(&archive).map_err(|e| format!("{archive}: {e}"))
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
