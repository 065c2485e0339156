//! A runtime and plugins of all manners, driven by chance over a virtual clock, with the scheduler
//! between them. What must always be true is asserted at every step; a failure prints the seed that
//! repeats it.

#![allow(
    clippy::disallowed_methods,
    reason = "a virtual clock begins at some instant"
)]
#![allow(
    clippy::disallowed_macros,
    reason = "a test says what it met, and which seed repeats it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report"
)]

mod chance;
mod checks;
mod leaving_out;
mod peer;
mod the_end;
mod world;

use world::World;

/// Prints how to repeat a run that fails.
struct Seed(u64, Kind, usize);

/// What differs between simulated runtimes.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// One request at a time.
    serial: bool,
    /// Pods and containers may run again after a stop.
    restartable: bool,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, {:?}, step {}", self.0, self.1, self.2);
        }
    }
}

fn run(seed: u64, kind: Kind, steps: usize) -> World {
    let mut at = Seed(seed, kind, 0);
    let mut world = World::new(seed, kind.serial, kind.restartable);
    while at.2 < steps {
        at.2 += 1;
        assert!(world.step());
    }
    world.quiet = true;
    for _ in 0..100_000 {
        at.2 += 1;
        if !world.step() {
            break;
        }
    }
    world.check_the_end();
    world
}

/// The run must have met what it is about; otherwise it shows nothing.
fn has_met(world: &World, what: &[&'static str]) {
    println!(
        "{:?} simulated, longest wait {:?}, {:?}",
        world.now - world.start,
        world.longest,
        world.counts
    );
    for what in what {
        assert!(world.counts.contains_key(what), "no {what}");
    }
}

const EVERYTHING: [&str; 24] = [
    "abandoned",
    "answers given up",
    "calls to the dead",
    "closed for hanging",
    "closed for strikes",
    "closed unsynchronised",
    "commits",
    "creations abandoned",
    "creations failed",
    "deaths",
    "late replies",
    "left out",
    "notifications out of time",
    "observers that fell behind",
    "observers that hung",
    "out of time",
    "replaced",
    "requests that nobody cared for",
    "resynchronisations",
    "silences",
    "stragglers",
    "superseded",
    "synchronisations",
    "undo requests",
];

#[test]
fn all_laws_hold_over_a_long_run() {
    has_met(&run(1, Kind::default(), 120_000), &EVERYTHING);
}

#[test]
fn all_laws_hold_over_a_long_run_with_one_request_at_a_time() {
    let kind = Kind {
        serial: true,
        ..Kind::default()
    };
    has_met(
        &run(2, kind, 120_000),
        &["commits", "replaced", "undo requests"],
    );
}

#[test]
fn all_laws_hold_where_pods_and_containers_run_again() {
    let kind = Kind {
        restartable: true,
        ..Kind::default()
    };
    has_met(
        &run(3, kind, 60_000),
        &["commits", "replaced", "restarts", "undo requests"],
    );
}

#[test]
fn all_laws_hold_over_many_short_runs() {
    // For a longer campaign: SCHEDULE_SIMULATION_RUNS=10000.
    let runs = std::env::var("SCHEDULE_SIMULATION_RUNS").map_or(40, |runs| runs.parse().unwrap());
    for seed in 100..100 + runs {
        let kind = Kind {
            serial: seed % 5 == 0,
            restartable: seed % 3 == 0,
        };
        run(seed, kind, 3_000);
    }
}
