//! Runtime, hub and plugins die at any time, while pods live and end: whoever lives hears of every
//! step once, and in order, and no hub grows.
//!
//! By default it is short enough for every run of the tests; the long run is
//!
//! ```console
//! $ cargo xtask soak --hub --seconds 600
//! ```

use std::time::{Duration, Instant};

use nri_adaptation::api::{Container, PodSandbox};
use nri_adaptation::{Event, EventMask};
use nri_testkit::{Connected, FakePlugin, TEST_TIMEOUT, TestRuntime};

use crate::process::{Place, Process};

/// How many steps there are at least.
const STEPS: usize = 200;
/// More than this no hub has, in bytes: what it is anyway, and what lives at a time.
const MEMORY: u64 = 128 << 20;
/// How many pods live at a time.
const MOST_PODS: usize = 12;

/// Numbers that look random, the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")),
    )
}

/// A plugin that stays as long as its hub does, and what it has to hear.
struct Witness {
    plugin: FakePlugin,
    connected: Connected,
    expected: Vec<String>,
}

/// A pod, with its container if it has one.
struct Life {
    pod: PodSandbox,
    container: String,
    /// How far it is.
    step: usize,
}

struct World {
    runtime: Option<TestRuntime>,
    runtime_directory: tempfile::TempDir,
    place: Place,
    hub: Option<Process>,
    witnesses: Vec<Witness>,
    guest: Option<Connected>,
    lives: Vec<Life>,
    connections: u64,
    deaths: [usize; 3],
}

impl World {
    fn runtime(&self) -> &TestRuntime {
        self.runtime.as_ref().unwrap()
    }

    async fn start_runtime(&mut self, pods: &[PodSandbox], containers: &[Container]) {
        let socket = self.runtime_directory.path().join("nri.sock");
        let builder = TestRuntime::builder()
            .request_timeout(TEST_TIMEOUT)
            .config(move |config| config.socket_path = socket);
        for pod in pods {
            builder.domain().put_pod(pod.clone());
        }
        for container in containers {
            builder.domain().put_container(container.clone());
        }
        self.runtime = Some(builder.start().await);
    }

    /// Starts a hub, and those who look at what it tells.
    async fn start_hub(&mut self) {
        self.hub = Some(self.place.start());
        self.place
            .wait_for("a hub", |status| status.not_ready.is_empty());
        self.connections = 1;
        for (number, identity) in ["10-stays", "90-observes"].into_iter().enumerate() {
            let events = EventMask::ALL - Event::ValidateContainerAdjustment.into();
            let plugin = FakePlugin::new(identity).subscribe(events);
            let connected = self.join(&plugin, number + 1).await;
            let (_, shown) = plugin.shown();
            let exist = self.lives.iter().filter(|life| (2..5).contains(&life.step));
            for life in exist {
                assert!(
                    shown.contains(&life.container),
                    "{identity}: {} of {shown:?}",
                    life.container
                );
            }
            self.witnesses.push(Witness {
                plugin,
                connected,
                expected: Vec::new(),
            });
        }
    }

    async fn join(&self, plugin: &FakePlugin, count: usize) -> Connected {
        let connected = plugin.connect(self.place.file("nri.sock")).await.unwrap();
        connected.register().await.unwrap();
        self.place.wait_for("a plugin", |status| {
            status
                .plugins
                .iter()
                .filter(|plugin| plugin.state == "ready")
                .count()
                >= count
        });
        connected
    }

    fn expect(&mut self, told: &[String]) {
        for witness in &mut self.witnesses {
            witness.expected.extend_from_slice(told);
        }
    }

    /// One step of one life.
    async fn step(&mut self, at: usize) {
        let runtime = self.runtime.as_ref().unwrap();
        let Life {
            pod,
            container,
            step,
        } = &mut self.lives[at];
        let (p, c) = (pod.id.clone(), container.clone());
        let told = match *step {
            0 => {
                runtime.run_pod(&p).await;
                vec![format!("RunPodSandbox {p}")]
            }
            1 => {
                runtime.create(pod, &c).await;
                vec![
                    format!("CreateContainer {c}"),
                    format!("PostCreateContainer {c}"),
                ]
            }
            2 => {
                runtime.start_container(pod, &c).await;
                vec![
                    format!("StartContainer {c}"),
                    format!("PostStartContainer {c}"),
                ]
            }
            3 => {
                let updated = runtime.try_update(pod, &c, Default::default()).await;
                updated.unwrap();
                vec![format!("UpdateContainer {c}")]
            }
            4 => {
                runtime.stop_container(pod, &c).await;
                runtime.remove_container(pod, &c).await;
                vec![format!("StopContainer {c}"), format!("RemoveContainer {c}")]
            }
            _ => {
                runtime.stop_pod(pod).await;
                runtime.remove_pod(pod).await;
                vec![
                    format!("StopPodSandbox {p}"),
                    format!("RemovePodSandbox {p}"),
                ]
            }
        };
        *step += 1;
        if *step == 6 {
            self.lives.remove(at);
        }
        self.expect(&told);
    }

    /// What everybody was to hear is what they heard.
    async fn check(&mut self, seed: u64) {
        for witness in &self.witnesses {
            let expected = witness.expected.len();
            let record = witness.plugin.record();
            let heard = record.wait_for("what it was to hear", |record| {
                let events = record.iter().filter(|call| !call.is_handshake());
                events.count() >= expected
            });
            heard.await;
            let heard = witness.plugin.events();
            let identity = witness.plugin.identity();
            assert_eq!(
                heard, witness.expected,
                "what {identity} heard, with seed {seed}"
            );
        }
        let resident = self.hub.as_ref().unwrap().resident();
        assert!(resident < MEMORY, "the hub has {resident} bytes");
    }

    async fn kill_hub(&mut self, seed: u64) {
        self.check(seed).await;
        self.hub.take().unwrap().kill();
        for witness in self.witnesses.drain(..) {
            witness.connected.closed().await;
        }
        self.guest = None;
        self.runtime().wait_for_plugins(&[]).await;
        self.deaths[0] += 1;
    }

    /// Kills the runtime. What ends meanwhile, the hub tells of when there is another.
    async fn kill_runtime(&mut self, dice: &mut Dice) {
        let containers: Vec<Container> = self
            .lives
            .iter()
            .filter_map(|life| self.runtime().domain().container(&life.container))
            .collect();
        self.runtime = None;
        let lost = match dice.below(2) {
            0 if !self.lives.is_empty() => Some(self.lives.remove(dice.below(self.lives.len()))),
            _ => None,
        };
        // One that was not run is not there.
        self.lives.retain(|life| life.step > 0);
        let pods: Vec<PodSandbox> = self.lives.iter().map(|life| life.pod.clone()).collect();
        let there =
            |container: &Container| pods.iter().any(|pod| pod.id == container.pod_sandbox_id);
        let containers: Vec<Container> = containers.into_iter().filter(there).collect();
        self.start_runtime(&pods, &containers).await;
        self.connections += 1;
        let connections = self.connections;
        self.place.wait_for("the next runtime", |status| {
            status.runtime.connections >= connections && status.not_ready.is_empty()
        });
        if let Some(Life {
            pod,
            container,
            step,
        }) = lost.filter(|life| life.step > 0)
        {
            let mut told = Vec::new();
            if (2..5).contains(&step) {
                told.push(format!("StopContainer {container}"));
                told.push(format!("RemoveContainer {container}"));
            }
            told.push(format!("StopPodSandbox {}", pod.id));
            told.push(format!("RemovePodSandbox {}", pod.id));
            self.expect(&told);
        }
        self.deaths[1] += 1;
    }
}

async fn soak(seed: u64, time: Duration) -> World {
    let runtime_directory = tempfile::tempdir().unwrap();
    let place = Place::new(&runtime_directory.path().join("nri.sock"));
    let seconds = TEST_TIMEOUT.as_secs();
    let plugins =
        format!("plugin_request_timeout = '{seconds}s'\n[plugins.observes]\nobserve = true");
    place.configure(&plugins, "");
    let mut world = World {
        runtime: None,
        runtime_directory,
        place,
        hub: None,
        witnesses: Vec::new(),
        guest: None,
        lives: Vec::new(),
        connections: 0,
        deaths: [0; 3],
    };
    world.start_runtime(&[], &[]).await;
    world.start_hub().await;
    let mut dice = Dice(seed);
    let (begun, mut steps, mut next) = (Instant::now(), 0, 0);
    while steps < STEPS || begun.elapsed() < time {
        steps += 1;
        match dice.below(24) {
            0 => {
                world.kill_hub(seed).await;
                // Pods do not wait for it.
                for _ in 0..dice.below(3) {
                    if !world.lives.is_empty() {
                        let at = dice.below(world.lives.len());
                        world.step(at).await;
                    }
                }
                world.start_hub().await;
            }
            1 => world.kill_runtime(&mut dice).await,
            2 => match world.guest.take() {
                Some(guest) => {
                    guest.exit();
                    world.deaths[2] += 1;
                }
                None => {
                    let guest = FakePlugin::new("50-guest").without_record();
                    world.guest = Some(world.join(&guest, 3).await);
                }
            },
            3..=9 if world.lives.len() < MOST_PODS => {
                let pod = world.runtime().pod(&format!("p{next}"));
                let container = format!("c{next}");
                world.lives.push(Life {
                    pod,
                    container,
                    step: 0,
                });
                next += 1;
            }
            _ if world.lives.is_empty() => {}
            _ => {
                let at = dice.below(world.lives.len());
                world.step(at).await;
            }
        }
    }
    world.check(seed).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_those_who_live_hear_of_everything_once_and_in_order() {
    let seed = setting("NRI_HUB_SOAK_SEED").unwrap_or(1);
    let time = Duration::from_secs(setting("NRI_HUB_SOAK_SECONDS").unwrap_or(0));
    let [hubs, runtimes, plugins] = soak(seed, time).await.deaths;
    println!("seed {seed}: {hubs} hubs, {runtimes} runtimes and {plugins} plugins died");
    assert!(
        hubs > 0 && runtimes > 0 && plugins > 0,
        "a seed with which nobody dies shows nothing"
    );
}
