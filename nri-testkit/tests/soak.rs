//! A long time with many plugins that come, crash and come again: nothing is lost, nothing is
//! doubled, nothing is left behind.
//!
//! `NRI_SOAK_EVENTS` sets how many events there are, `NRI_SOAK_PLUGINS` how many plugins,
//! `NRI_SOAK_SEED` what happens to them. By default it is short enough for every run of the tests;
//! the long run is
//!
//! ```console
//! $ cargo xtask soak
//! ```
//!
//! It is one test, in a program of its own, because it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nri_adaptation::config::PluginConfig;
use nri_adaptation::{Observer, PluginInfo, PluginState, RuntimeApi as _};
use nri_core::{Event, EventMask};
use nri_testkit::{Behavior, FakePlugin, FakeProcess, TEST_TIMEOUT, TestRuntime, When};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How many pods live at a time.
const WORKERS: usize = 8;
/// Plugins that stay from beginning to end.
const HEALTHY: [&str; 3] = ["00-first", "50-middle", "99-last"];
/// By how much memory may grow once all is warm, in bytes.
const GROWTH: u64 = 96 << 20;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")),
        Err(_) => default,
    }
}

/// Numbers that look random and are the same for a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Our children, dead ones that nobody has waited for included.
fn children() -> Vec<String> {
    let own = format!("{}", std::process::id());
    let all = fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    // Number, name in parentheses, state, parent.
    stats
        .filter(|stat| {
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            rest.split_whitespace().nth(1) == Some(&*own)
        })
        .collect()
}

/// What healthy plugins have seen of the lives that are not over, by plugin and pod or container.
#[derive(Default)]
struct Ledger {
    lives: Mutex<HashMap<(usize, String), Vec<Event>>>,
    over: AtomicUsize,
    odd: Mutex<Vec<String>>,
}

impl Ledger {
    /// Notes an event of life number `life`; after the last one, the life is as it must be.
    fn saw(&self, plugin: usize, life: &str, event: Event) {
        let mut lives = self.lives.lock().unwrap();
        let key = (plugin, life.to_owned());
        let seen = lives.entry(key.clone()).or_default();
        seen.push(event);
        if event == Event::RemovePodSandbox {
            let seen = lives.remove(&key).unwrap();
            if seen != TestRuntime::LIFE {
                let odd = format!("{} saw of life {life}: {seen:?}", HEALTHY[plugin]);
                self.odd.lock().unwrap().push(odd);
            }
            self.over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A plugin that stays, and keeps the ledger.
fn healthy(number: usize, ledger: &Arc<Ledger>) -> FakePlugin {
    let mut plugin = FakePlugin::new(HEALTHY[number]).without_record();
    for event in TestRuntime::LIFE {
        let ledger = Arc::clone(ledger);
        let act = Behavior::decide(move |seen| {
            // Pods are `p<life>`, containers `c<life>`.
            let id = seen.id().unwrap();
            ledger.saw(number, &id[1..], event);
            std::future::ready(Behavior::usual())
        });
        plugin = plugin.on(event, act);
    }
    plugin
}

/// One plugin that comes and goes, until all is over.
async fn churn(
    runtime: Arc<TestRuntime>,
    number: usize,
    mut chance: Chance,
    lives: Arc<AtomicUsize>,
) {
    while lives.load(Ordering::Relaxed) > 0 {
        let mut events = vec![TestRuntime::LIFE[chance.below(TestRuntime::LIFE.len())]];
        if chance.below(4) == 0 {
            events.push(TestRuntime::LIFE[chance.below(TestRuntime::LIFE.len())]);
        }
        let act = match chance.below(6) {
            0 => Behavior::exit(),
            1 => Behavior::answer_and_exit(),
            2 => Behavior::garbage(&[0xff; 16][..]),
            3 => Behavior::half_close(),
            _ => Behavior::usual(),
        };
        let mut plugin = FakePlugin::new(format!("{:02}-churn{number}", number % 100))
            .subscribe(EventMask::from_iter(events.iter().copied()));
        for event in &events {
            plugin = plugin.on(When::from(*event).nth(1 + chance.below(4)), act.clone());
        }
        if chance.below(20) == 0 {
            plugin = plugin.on(When::method("Synchronize"), Behavior::exit());
        }
        if chance.below(20) == 0 {
            plugin = plugin.on(When::method("Configure"), Behavior::exit());
        }
        let connected = plugin.connect(runtime.socket()).await.unwrap();
        if chance.below(10) == 0 {
            // Never registers.
            continue;
        }
        if connected.register().await.is_err() || chance.below(20) == 0 {
            continue;
        }
        let enough = 3 + chance.below(6);
        tokio::select! {
            _ = plugin.record().longer_than(enough) => {}
            _ = connected.connection().closed() => {}
            () = over(&lives) => {}
        }
    }
}

async fn over(lives: &AtomicUsize) {
    while lives.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that comes, and is killed, some times.
async fn processes(runtime: Arc<TestRuntime>, lives: Arc<AtomicUsize>, times: usize) {
    let program = Path::new(env!("CARGO_BIN_EXE_nri-fake-plugin"));
    let script = "identity = '70-process'\nevents = ['RunPodSandbox']";
    for _ in 0..times {
        let mut process = FakeProcess::spawn(program, script, &runtime.socket()).unwrap();
        tokio::select! {
            // It has seen a pod: the handshake and one more.
            _ = process.output().longer_than(4) => {}
            () = over(&lives) => {}
        }
        process.kill().await;
    }
}

/// Wants to know nothing: what it is told would be too much to keep.
struct Deaf;

impl Observer for Deaf {}

async fn soak(events: usize, plugins: usize, seed: u64) {
    let lives_wanted = events.div_ceil(TestRuntime::LIFE.len());
    let builder = TestRuntime::builder()
        .with(|builder| builder.observer(Arc::new(Deaf)))
        .config(move |config| {
            config.max_plugins = plugins + 16;
            // Healthy ones are never late, whatever else the machine does.
            for identity in HEALTHY {
                let mut healthy = PluginConfig::default();
                healthy.request_timeout = Some(TEST_TIMEOUT);
                config.plugins.insert(identity.to_owned(), healthy);
            }
        });
    // One that the runtime launches, and that dies now and then.
    let installed = builder.directory().join("plugins");
    fs::create_dir(&installed).unwrap();
    std::os::unix::fs::symlink(
        env!("CARGO_BIN_EXE_nri-fake-plugin"),
        installed.join("60-launched"),
    )
    .unwrap();
    fs::write(
        installed.join("60-launched.toml"),
        "events = ['StopPodSandbox']\n[[rule]]\ncall = 'StopPodSandbox'\nnth = 20\ndo = 'kill'",
    )
    .unwrap();
    let runtime = Arc::new(builder.start().await);

    let ledger = Arc::new(Ledger::default());
    let mut stay = Vec::new();
    for number in 0..HEALTHY.len() {
        let plugin = healthy(number, &ledger);
        let connected = plugin.connect(runtime.socket()).await.unwrap();
        connected.register().await.unwrap();
        stay.push(connected);
    }
    let is_ready = |info: &PluginInfo, id: &str| {
        info.state == PluginState::Ready && info.plugin.to_string() == id
    };
    runtime
        .wait_for_states("the healthy plugins", |plugins| {
            let ready = |id| plugins.iter().any(|info| is_ready(info, id));
            HEALTHY.into_iter().all(ready)
        })
        .await;

    // Pods, and those who are asked about them.
    let lives = Arc::new(AtomicUsize::new(lives_wanted));
    let mut churning = JoinSet::new();
    for number in 0..plugins {
        let chance = Chance(seed ^ (number as u64) << 32);
        let (runtime, lives) = (Arc::clone(&runtime), Arc::clone(&lives));
        churning.spawn(churn(runtime, number, chance, lives));
    }
    churning.spawn(processes(Arc::clone(&runtime), Arc::clone(&lives), 10));
    let next = Arc::new(AtomicUsize::new(0));
    let warm = Arc::new(Mutex::new(None));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (runtime, lives) = (Arc::clone(&runtime), Arc::clone(&lives));
        let (next, warm) = (Arc::clone(&next), Arc::clone(&warm));
        workers.spawn(async move {
            loop {
                let life = next.fetch_add(1, Ordering::Relaxed);
                if life >= lives_wanted {
                    break;
                }
                if life == lives_wanted / 3 {
                    *warm.lock().unwrap() = Some(resident());
                }
                runtime
                    .whole_life(&format!("p{life}"), &format!("c{life}"))
                    .await;
                lives.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let (warm, end) = (warm.lock().unwrap().unwrap(), resident());
    while let Some(plugin) = churning.join_next().await {
        plugin.unwrap();
    }

    // Nothing lost, nothing doubled.
    let odd = ledger.odd.lock().unwrap().clone();
    assert!(odd.is_empty(), "{} odd lives: {odd:#?}", odd.len());
    assert!(
        ledger.lives.lock().unwrap().is_empty(),
        "lives that are not over"
    );
    let over = ledger.over.load(Ordering::Relaxed);
    assert_eq!(over, lives_wanted * HEALTHY.len());
    assert!(
        end < warm + GROWTH,
        "memory has grown from {warm} to {end} bytes"
    );
    runtime.nri().stop().await;
}

#[test]
fn plugins_that_come_and_go_for_long_leave_nothing_behind() {
    let (events, plugins, seed) = (
        setting("NRI_SOAK_EVENTS", 650),
        setting("NRI_SOAK_PLUGINS", 200),
        setting("NRI_SOAK_SEED", 1),
    );
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (tasks, open) = runtime.block_on(async {
        // What the process keeps for children in any case is there before it is counted.
        let mut child = tokio::process::Command::new("true").spawn().unwrap();
        child.wait().await.unwrap();
        let counts = (Handle::current().metrics().num_alive_tasks(), descriptors());
        // In a task of its own, which ends and takes all that it holds with it.
        tokio::spawn(soak(events, plugins, seed)).await.unwrap();
        counts
    });
    runtime.block_on(async {
        let begun = Instant::now();
        let alive = || Handle::current().metrics().num_alive_tasks();
        while (alive() > tasks || descriptors() > open) && begun.elapsed() < TEST_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            (alive(), descriptors()),
            (tasks, open),
            "tasks and descriptors"
        );
    });
    assert_eq!(children(), [] as [&str; 0], "processes");
    println!(
        "{events} events, {plugins} plugins, seed {seed}: {:?}",
        begun.elapsed()
    );
}
