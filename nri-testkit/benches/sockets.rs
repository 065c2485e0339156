//! What a creation costs between processes: CreateContainer of a realistic container through 1, 3
//! and 10 plugin processes that are launched by a runtime here and each add an annotation, and how
//! much memory both ends take.
//!
//! `cargo xtask bench sockets` builds the plugin and runs this. The latency is that of one
//! `create_container` call, from the caller's side; throughput counts whole rounds (create, commit,
//! remove; no plugin is subscribed to the removal). Each caller has a pod of its own, as one pod's
//! events go one after the other.
//!
//! What may not enter: an assertion on a time.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nri_adaptation::{Config, Ctx, Domain, Nri, RuntimeApi as _};
use nri_core::api;
use nri_testkit::MemoryDomain;
use prost::Message as _;

type Failure = Box<dyn Error + Send + Sync>;

/// Numbers of plugins.
const PLUGINS: [usize; 3] = [1, 3, 10];
/// Numbers of callers at a time.
const CALLERS: [usize; 3] = [1, 8, 100];
/// How many requests a plugin may get at a time: one as by default, or several.
const IN_FLIGHT: [usize; 2] = [1, 16];
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);

fn main() -> Result<(), Failure> {
    // `cargo bench` and `cargo test --benches` add flags of their own.
    let plugin = std::env::args_os()
        .skip_while(|arg| arg != "--plugin")
        .nth(1);
    let Some(plugin) = plugin.map(PathBuf::from) else {
        println!("nothing is measured without `--plugin PATH`; use `cargo xtask bench sockets`");
        return Ok(());
    };
    println!(
        "{:>7} {:>9} {:>8} {:>11} {:>11} {:>11} {:>12} {:>12}",
        "plugins", "in flight", "callers", "p50", "p99", "creations/s", "plugin MiB", "runtime MiB"
    );
    for in_flight in IN_FLIGHT {
        for plugins in PLUGINS {
            measure(&plugin, plugins, in_flight)?;
        }
    }
    Ok(())
}

/// One runtime with so many plugins, and all numbers of callers.
fn measure(plugin: &Path, plugins: usize, in_flight: usize) -> Result<(), Failure> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let directory = tempfile::Builder::new().prefix("nri-bench-").tempdir()?;
    let nri = tokio.block_on(start(directory.path(), plugin, plugins, in_flight))?;
    let idle = rss_of_plugins(&nri)?;
    println!(
        "{plugins:>7} {in_flight:>9} {:>8} {:>11} {:>11} {:>11} {idle:>12.1} {:>12.1}",
        "idle",
        "",
        "",
        "",
        rss("self")?
    );
    for callers in CALLERS {
        // More than one place is of no use to a single caller.
        if callers == 1 && in_flight > 1 {
            continue;
        }
        tokio.block_on(load(&nri, plugins, callers, WARM_UP))?;
        let mut measured = tokio.block_on(load(&nri, plugins, callers, MEASURED))?;
        let count = measured.len();
        measured.sort_unstable();
        let at = |share: f64| measured[((count - 1) as f64 * share) as usize];
        println!(
            "{plugins:>7} {in_flight:>9} {callers:>8} {:>11} {:>11} {:>11.0} {:>12.1} {:>12.1}",
            micros(at(0.5)),
            micros(at(0.99)),
            count as f64 / MEASURED.as_secs_f64(),
            rss_of_plugins(&nri)?,
            rss("self")?,
        );
    }
    tokio.block_on(nri.stop());
    Ok(())
}

async fn start(
    directory: &Path,
    plugin: &Path,
    plugins: usize,
    in_flight: usize,
) -> Result<Nri, Failure> {
    let (installed, configured) = (directory.join("plugins"), directory.join("conf.d"));
    fs::create_dir(&installed)?;
    fs::create_dir(&configured)?;
    let mut toml = String::from("disable_connections = true\nplugin_request_timeout = '20s'\n");
    for number in 0..plugins {
        let id = format!("{number:02}-annotate");
        fs::copy(plugin, installed.join(&id))?;
        let config = format!("[annotations]\n\"bench.example/{number}\" = \"{id}\"\n");
        fs::write(configured.join(format!("{id}.conf")), config)?;
        toml += &format!("[plugins.{id}]\nmax_in_flight = {in_flight}\n");
    }
    let mut config = Config::from_toml(&toml)?;
    config.plugin_path = installed;
    config.plugin_config_path = configured;
    let domain: Arc<dyn Domain> = Arc::new(MemoryDomain::new("bench"));
    let nri = Nri::builder(config)
        .runtime("bench", "1.0")
        .domain(domain)
        .build()?;
    nri.start().await?;
    match nri.plugins().len() {
        there if there == plugins => Ok(nri),
        there => Err(format!("{there} of {plugins} plugins are ready").into()),
    }
}

/// Lets callers create containers for a while; returns how long each creation took.
async fn load(
    nri: &Nri,
    plugins: usize,
    callers: usize,
    time: Duration,
) -> Result<Vec<Duration>, Failure> {
    let request = realistic()?;
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (nri, mut request) = (nri.clone(), request.clone());
        tasks.push(tokio::spawn(async move {
            let mut took = Vec::new();
            let pod = request.pod.get_or_insert_default();
            pod.id = format!("pod-{caller}");
            let container = request.container.get_or_insert_default();
            container.pod_sandbox_id.clone_from(&pod.id);
            let cx = Ctx::new();
            while Instant::now() < end {
                container.id = format!("container-{caller}-{}", took.len());
                let begun = Instant::now();
                let creation = nri.create_container(&cx, pod, container).await?;
                took.push(begun.elapsed());
                let annotations = creation
                    .adjustment()
                    .map_or(0, |adjust| adjust.annotations.len());
                creation.commit();
                if annotations != plugins {
                    return Err(format!("{annotations} of {plugins} plugins had a say").into());
                }
                nri.remove_container(&cx, pod, container).await?;
            }
            Ok::<_, Failure>(took)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

/// What a Kubernetes node asks its plugins, see `nri-core/testdata`.
fn realistic() -> Result<api::CreateContainerRequest, Failure> {
    let text = include_str!("../../nri-core/testdata/realistic-create-request.b64");
    let bytes = STANDARD.decode(text.split_whitespace().collect::<String>())?;
    Ok(api::CreateContainerRequest::decode(&*bytes)?)
}

/// The largest resident memory of a plugin, in MiB.
fn rss_of_plugins(nri: &Nri) -> Result<f64, Failure> {
    let mut most = 0.0_f64;
    for plugin in nri.plugins() {
        let pid = plugin.pid.ok_or("a plugin has no process")?;
        most = most.max(rss(&pid.to_string())?);
    }
    Ok(most)
}

/// The resident memory of a process, in MiB.
fn rss(pid: &str) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix("kB"))
        .ok_or("no resident memory is known")?
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}
