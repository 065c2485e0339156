//! What hostile plugins cost others: how long the creation of an unrelated container takes through
//! an honest plugin, without and with eight hostile ones that do their worst, each in a process of
//! its own.
//!
//! `cargo xtask bench hostile` runs this. The goal: at most twice the usual time and 10 ms, and at
//! most 64 MiB more memory. The hostile processes want the processors, too, so on a machine with
//! few of them a part of the time is not the runtime's.
//!
//! What may not enter: an assertion on a time.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_adaptation::Observer;
use nri_core::api::{Container, ContainerUpdate, PodSandbox, SynchronizeResponse};
use nri_core::{Ctx, Event, RuntimeApi as _};
use nri_testkit::{Behavior, FakePlugin, TestRuntime, When};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

type Failure = Box<dyn Error + Send + Sync>;

const MEASURED: Duration = Duration::from_secs(10);
/// More updates than fit into a message, almost.
const MANY: usize = 2_000_000;
/// As many as the configuration's default allows in one.
const ALLOWED: usize = 4096;

/// What hostile plugins do, again and again.
const ATTACKS: [&str; 8] = [
    "updates without number",
    "updates without number",
    "as many updates as are allowed",
    "as many updates as are allowed",
    "updates without number when it joins",
    "registers and is gone",
    "connects and is gone",
    "messages that never end",
];

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match args.iter().position(|arg| arg == "--attack") {
        Some(at) => {
            let [socket, number] = args.get(at + 1..at + 3).ok_or("which socket?")? else {
                return Err("which attack?".into());
            };
            runtime.block_on(attack(Path::new(socket), number.parse()?))
        }
        // `cargo test --benches` adds no such flag.
        None if args.iter().any(|arg| arg == "--bench") => runtime.block_on(measure()),
        None => Ok(()),
    }
}

async fn measure() -> Result<(), Failure> {
    // What the runtime of a test writes down about every plugin is not the instance's memory.
    let runtime = TestRuntime::builder()
        .with(|builder| builder.observer(Arc::new(NoObserver)))
        .start()
        .await;
    let honest = FakePlugin::new("50-honest")
        .subscribe(Event::CreateContainer)
        .without_record();
    let _connected = runtime.join(&honest).await;
    creations(&runtime, 0).await?;
    let usual = creations(&runtime, 1).await?;
    let idle = memory("VmRSS:")?;
    row("usual", &usual);

    let mut hostile: Vec<Hostile> = Vec::new();
    for number in 0..ATTACKS.len() {
        let child = Command::new(std::env::current_exe()?)
            .arg("--attack")
            .arg(runtime.socket())
            .arg(number.to_string())
            .stderr(Stdio::null())
            .spawn()?;
        hostile.push(Hostile(child));
    }
    creations(&runtime, 2).await?;
    let attacked = creations(&runtime, 3).await?;
    drop(hostile);
    row("attacked", &attacked);
    let (before, after) = (at(&usual, 0.5), at(&attacked, 0.5));
    println!(
        "{:.2} times the usual time, by the median; {:.1} MiB more at most; the honest plugin is {}",
        after.as_secs_f64() / before.as_secs_f64(),
        memory("VmHWM:")? - idle,
        match runtime.plugins().contains(&"50-honest".to_owned()) {
            true => "there",
            false => "gone",
        }
    );
    Ok(())
}

/// Keeps nothing.
struct NoObserver;

impl Observer for NoObserver {}

/// A process that is ended with the value.
struct Hostile(Child);

impl Drop for Hostile {
    fn drop(&mut self) {
        // They fail if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long creations took, one after the other, sorted.
async fn creations(runtime: &TestRuntime, round: usize) -> Result<Vec<Duration>, Failure> {
    let (cx, nri) = (Ctx::new(), runtime.nri());
    let pod: PodSandbox = runtime.pod(&format!("pod-{round}"));
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < MEASURED {
        let container: Container = runtime.container(&pod, &format!("{round}-{}", took.len()));
        let begun = Instant::now();
        let creation = nri.create_container(&cx, &pod, &container).await?;
        took.push(begun.elapsed());
        if creation.outcomes().is_empty() {
            return Err("the honest plugin was not asked".into());
        }
        creation.commit();
        nri.remove_container(&cx, &pod, &container).await?;
    }
    took.sort_unstable();
    Ok(took)
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(place as usize).copied().unwrap_or_default()
}

fn row(what: &str, sorted: &[Duration]) {
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| at(sorted, share));
    println!(
        "{what:>9}: {:>6} creations, p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, longest {most:?}",
        sorted.len()
    );
}

/// A number of this process's memory, in MiB.
fn memory(which: &str) -> Result<f64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kib.ok_or("no such memory")?.trim().parse::<f64>()? / 1024.0)
}

/// Does its worst until it is ended.
async fn attack(socket: &Path, number: usize) -> Result<(), Failure> {
    let what = *ATTACKS.get(number).ok_or("there is no such attack")?;
    loop {
        // Whatever the runtime does to it, it comes again.
        let _ = once(socket, what, &format!("{number:02}-hostile")).await;
    }
}

async fn once(socket: &Path, what: &str, identity: &str) -> Result<(), Failure> {
    let updates = |count| vec![ContainerUpdate::default(); count];
    // It is asked about nothing, so that nobody waits for its answers.
    let plugin = FakePlugin::new(identity)
        .subscribe(Event::PostUpdatePodSandbox)
        .without_record();
    match what {
        "updates without number" | "as many updates as are allowed" => {
            let count = if what.starts_with("as") {
                ALLOWED
            } else {
                MANY
            };
            let connected = plugin.connect(socket).await?;
            connected.register().await?;
            loop {
                connected.update(updates(count), Vec::new()).await?;
            }
        }
        "updates without number when it joins" => {
            let answer = SynchronizeResponse {
                update: updates(MANY),
                ..Default::default()
            };
            let plugin = plugin.on(When::method("Synchronize"), Behavior::answer(answer));
            let connected = plugin.connect(socket).await?;
            connected.register().await?;
            connected.closed().await;
        }
        "registers and is gone" => plugin.connect(socket).await?.register().await?,
        "connects and is gone" => drop(UnixStream::connect(socket).await?),
        _ => {
            // A frame of the runtime's service, with a part of a long request.
            let mut peer = UnixStream::connect(socket).await?;
            let length = 3_u32 << 20;
            for part in [2, length, 4 << 20, 1] {
                peer.write_all(&part.to_be_bytes()).await?;
            }
            peer.write_all(&[1, 0]).await?;
            peer.write_all(&vec![0; 2 << 20]).await?;
        }
    }
    Ok(())
}
