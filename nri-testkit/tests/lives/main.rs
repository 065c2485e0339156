//! Every command of the simulated runtime in every state, many at a time, with plugins that come
//! and go in between: what each of them was shown and heard are whole lives, each step once, and
//! outcomes say just that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

mod life;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_adaptation::Config;
use nri_core::{Event, api};
use nri_proto::transport::Code;
use nri_testkit::sim::{Command, End, OutcomeReply, Reply, SimError, Simulator, Start};
use nri_testkit::{Behavior, Connected, FakePlugin, ReceivedCall, TEST_TIMEOUT};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use life::Knowledge;

/// How many commands are given.
const COMMANDS: usize = 10_000;
/// How many are under way at a time.
const HANDS: usize = 12;
/// After how many commands something happens to the plugins.
const CHANGES: usize = 60;

/// Numbers by chance (xorshift), the same ones for a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What was asked of the plugins by what the commands answered: how often each event was heard at
/// least, and at most.
#[derive(Default)]
struct Expected(BTreeMap<(String, String), [usize; 2]>);

impl Expected {
    /// Adds the outcomes of a command. `own` is its event, `about` what that is about.
    fn add(&mut self, own: Event, about: &str, outcomes: &[OutcomeReply]) {
        for outcome in outcomes {
            let event = outcome.event.unwrap_or(own.name());
            let about = outcome.container_id.as_deref().unwrap_or(about);
            let [least, most] = match outcome.outcome {
                "answered" | "failed" => [1, 1],
                "gone" | "late" => [0, 1],
                "unsubscribed" | "unaware" | "not-reached" => continue,
                other => panic!("{other} of {event} {about}"),
            };
            let counts = self
                .0
                .entry((outcome.plugin.clone(), format!("{event} {about}")))
                .or_default();
            counts[0] += least;
            counts[1] += most;
        }
    }

    fn compare(&self, heard: &BTreeMap<(String, String), usize>) {
        let mut wrong = Vec::new();
        for what in self.0.keys().chain(heard.keys()) {
            let times = heard.get(what).copied().unwrap_or_default();
            let [least, most] = self.0.get(what).copied().unwrap_or_default();
            if times < least || times > most {
                wrong.push(format!(
                    "{what:?} {times} times, outcomes say {least}..={most}"
                ));
            }
        }
        wrong.dedup();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// A command by chance, of any kind, about anything.
fn command(chance: &mut Chance, number: usize) -> Command {
    let pod = chance.below(6);
    let pod_id = format!("p{pod}");
    let container_id = format!("p{pod}-c{}", chance.below(3));
    let resources = || {
        let shares = api::OptionalUInt64 {
            value: number as u64 + 2,
        };
        Some(api::LinuxResources {
            cpu: Some(api::LinuxCpu {
                shares: Some(shares),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    match chance.below(100) {
        0..=13 => Command::RunPod {
            pod: api::PodSandbox {
                id: pod_id,
                ..Default::default()
            },
        },
        14..=37 => Command::CreateContainer {
            container: api::Container {
                id: container_id,
                pod_sandbox_id: pod_id,
                ..Default::default()
            },
        },
        38..=41 => Command::PostCreateContainer { container_id },
        42..=53 => Command::StartContainer {
            container_id,
            start: Start::default(),
        },
        54..=57 => Command::UpdatePod {
            pod_id,
            overhead: resources(),
            resources: None,
        },
        58..=59 => Command::PostUpdatePod { pod_id },
        60..=67 => Command::UpdateContainer {
            container_id,
            resources: resources(),
        },
        68..=73 => Command::PostUpdateContainer { container_id },
        74..=79 => Command::StopContainer {
            container_id,
            end: End::default(),
        },
        80..=83 => Command::ContainerExit {
            container_id,
            end: End::default(),
        },
        84..=90 => Command::RemoveContainer { container_id },
        91..=93 => Command::AbortContainer { container_id },
        94..=96 => Command::StopPod { pod_id },
        _ => Command::RemovePod { pod_id },
    }
}

fn subject(command: &Command) -> (Event, String) {
    let (event, id) = match command {
        Command::RunPod { pod } => (Event::RunPodSandbox, &pod.id),
        Command::CreateContainer { container } => (Event::CreateContainer, &container.id),
        Command::PostCreateContainer { container_id } => (Event::PostCreateContainer, container_id),
        Command::StartContainer { container_id, .. } => (Event::StartContainer, container_id),
        Command::UpdatePod { pod_id, .. } => (Event::UpdatePodSandbox, pod_id),
        Command::PostUpdatePod { pod_id } => (Event::PostUpdatePodSandbox, pod_id),
        Command::UpdateContainer { container_id, .. } => (Event::UpdateContainer, container_id),
        Command::PostUpdateContainer { container_id } => (Event::PostUpdateContainer, container_id),
        Command::StopContainer { container_id, .. } => (Event::StopContainer, container_id),
        Command::ContainerExit { container_id, .. } => (Event::StopContainer, container_id),
        Command::RemoveContainer { container_id } => (Event::RemoveContainer, container_id),
        Command::AbortContainer { container_id } => (Event::CreateContainer, container_id),
        Command::StopPod { pod_id } => (Event::StopPodSandbox, pod_id),
        Command::RemovePod { pod_id } => (Event::RemovePodSandbox, pod_id),
        other => panic!("{other:?}"),
    };
    (event, id.clone())
}

fn outcomes(result: &Result<Reply, SimError>) -> &[OutcomeReply] {
    match result {
        Ok(Reply::Told { outcomes }) => outcomes,
        Ok(Reply::Created(created)) => &created.outcomes,
        Ok(Reply::Updated(updated)) => &updated.outcomes,
        Ok(Reply::Stopped(stopped)) => &stopped.outcomes,
        Ok(other) => panic!("{other:?}"),
        Err(error) => error.outcomes(),
    }
}

/// A plugin that refuses every so-many-th creation and pod. Not a start: it may be tried again, and
/// is heard of again then.
fn choosy(identity: String, every: usize) -> FakePlugin {
    let count = Arc::new(AtomicUsize::new(1));
    let decide = move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match number % every {
                0 => Behavior::fail(Code::Unknown, "not today"),
                _ => Behavior::usual(),
            }
        }
    };
    let refuse = Behavior::decide(decide);
    FakePlugin::new(identity)
        .on(Event::RunPodSandbox, refuse.clone())
        .on(Event::CreateContainer, refuse)
}

/// A plugin that came, and its connection while it is there.
struct Guest {
    plugin: FakePlugin,
    connected: Option<Connected>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lives_are_whole_and_outcomes_say_what_was_heard() {
    let seed = 0x9e37_79b9_7f4a_7c15;
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.socket_path = home.path().join("nri.sock");
    config.plugin_path = home.path().join("plugins");
    // Being late is not what this is about, on a machine however busy.
    config.plugin_request_timeout = TEST_TIMEOUT;
    let socket = config.socket_path.clone();
    let sim = Arc::new(Simulator::new(config).unwrap());
    sim.start().await.unwrap();

    let chance = Arc::new(Mutex::new(Chance(seed)));
    let given = Arc::new(AtomicUsize::new(0));
    let expected = Arc::new(std::sync::Mutex::new(Expected::default()));
    let mut hands = JoinSet::new();
    for _ in 0..HANDS {
        let (sim, chance, given) = (Arc::clone(&sim), Arc::clone(&chance), Arc::clone(&given));
        let expected = Arc::clone(&expected);
        hands.spawn(async move {
            loop {
                let number = given.fetch_add(1, Ordering::Relaxed);
                if number >= COMMANDS {
                    return;
                }
                let command = command(&mut *chance.lock().await, number);
                let (event, about) = subject(&command);
                let result = sim.execute(command).await;
                let mut expected = expected.lock().unwrap();
                expected.add(event, &about, outcomes(&result));
            }
        });
    }

    // Plugins come and go.
    let mut guests: Vec<Guest> = Vec::new();
    let mut chances = Chance(seed ^ 1);
    let mut next = 0;
    while given.load(Ordering::Relaxed) < COMMANDS {
        if given.load(Ordering::Relaxed) < next {
            // One that fails is to be heard of at once.
            while let Some(hand) = hands.try_join_next() {
                hand.unwrap();
            }
            tokio::task::yield_now().await;
            continue;
        }
        next = given.load(Ordering::Relaxed) + CHANGES;
        let there: Vec<usize> = guests
            .iter()
            .enumerate()
            .filter(|(_, guest)| guest.connected.is_some())
            .map(|(at, _)| at)
            .collect();
        if there.len() >= 4 {
            let leaves = there[chances.below(there.len() as u64) as usize];
            guests[leaves].connected = None;
        }
        let identity = format!("{}-guest{}", 10 + chances.below(80), guests.len());
        let plugin = match chances.below(3) {
            0 => choosy(identity, 7),
            _ => FakePlugin::new(identity),
        };
        let connected = plugin.connect(&socket).await.unwrap();
        connected.register().await.unwrap();
        guests.push(Guest {
            plugin,
            connected: Some(connected),
        });
    }
    while let Some(hand) = hands.join_next().await {
        hand.unwrap();
    }

    // What those know that are still there is what there is.
    let identity = "90-last";
    let last = FakePlugin::new(identity);
    let connected = last.connect(&socket).await.unwrap();
    connected.register().await.unwrap();
    last.wait_for("Synchronize").await;
    let wait = Command::WaitPlugins {
        count: 1,
        timeout: TEST_TIMEOUT,
    };
    sim.execute(wait).await.unwrap();
    let Reply::State(state) = sim.execute(Command::State).await.unwrap() else {
        panic!("no state");
    };
    let pods: Vec<String> = state.pods.iter().map(|pod| pod.pod.id.clone()).collect();
    let living = state
        .containers
        .iter()
        .filter(|container| container.state() != api::ContainerState::ContainerStopped);
    let containers: Vec<String> = living.map(|container| container.id.clone()).collect();
    let there: Vec<String> = sim.plugins().into_iter().map(|info| info.plugin).collect();
    sim.stop().await;

    let mut lives = 0;
    let mut heard: BTreeMap<(String, String), usize> = BTreeMap::new();
    for Guest { plugin, connected } in &guests {
        let identity = plugin.identity().to_owned();
        let record = plugin.seen();
        let knowledge = Knowledge::of(&record)
            .unwrap_or_else(|wrong| panic!("{identity}: {wrong}\nof {record:#?}"));
        if connected.is_some() && there.contains(&identity) {
            assert_eq!(
                knowledge.living(),
                (pods.clone(), containers.clone()),
                "{identity}: {record:#?}"
            );
        }
        lives += usize::from(record.iter().any(|seen| seen.synchronization().is_some()));
        for seen in record
            .iter()
            .filter(|seen| !ReceivedCall::is_handshake(seen))
        {
            *heard
                .entry((identity.clone(), seen.to_string()))
                .or_default() += 1;
        }
    }
    assert_eq!(
        Knowledge::of(&last.seen()).unwrap().living(),
        (pods, containers)
    );
    expected.lock().unwrap().compare(&heard);
    assert!(lives > COMMANDS / CHANGES / 4, "{lives} lives are too few");
    let events: usize = heard.values().sum();
    assert!(events > COMMANDS / 2, "{events} events are too few");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_create_one_container_at_once_one_does_and_the_others_harm_nothing() {
    const ROUNDS: usize = 100;
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.socket_path = home.path().join("nri.sock");
    config.plugin_path = home.path().join("plugins");
    config.plugin_request_timeout = TEST_TIMEOUT;
    let socket = config.socket_path.clone();
    let sim = Arc::new(Simulator::new(config).unwrap());
    sim.start().await.unwrap();
    let plugin = FakePlugin::new("10-all");
    let connected = plugin.connect(&socket).await.unwrap();
    connected.register().await.unwrap();
    plugin.wait_for("Synchronize").await;
    let pod = api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    };
    sim.execute(Command::RunPod { pod }).await.unwrap();
    for round in 0..ROUNDS {
        let container_id = format!("c{round}");
        let container = api::Container {
            id: container_id.clone(),
            pod_sandbox_id: "p".into(),
            ..Default::default()
        };
        let together = Arc::new(tokio::sync::Barrier::new(HANDS));
        let mut hands = JoinSet::new();
        for _ in 0..HANDS {
            let (sim, together) = (Arc::clone(&sim), Arc::clone(&together));
            let container = container.clone();
            hands.spawn(async move {
                together.wait().await;
                sim.execute(Command::CreateContainer { container }).await
            });
        }
        let results = hands.join_all().await;
        let created = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(created, 1, "{results:?}");
        let update = Command::PostUpdateContainer { container_id };
        sim.execute(update).await.unwrap();
    }
    sim.stop().await;
    let record = plugin.seen();
    let knowledge = Knowledge::of(&record).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(knowledge.living().1.len(), ROUNDS);
    let events = record.iter().filter(|seen| !seen.is_handshake()).count();
    assert_eq!(events, 1 + 2 * ROUNDS, "each is created and updated once");
}
