//! What does not depend on the machine: system calls, instructions, allocations.
//!
//! Each count is the difference of two runs, one with more calls than the other, so that what
//! happens once is not in it. One end is looked at at a time.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use nri_dev::process;

use super::super::callgrind;
use super::programs::{self, Programs};
use super::rows::{End, Ends, Load, Row};

/// Calls in the shorter run, and how many more there are in the longer.
const CALLS: usize = 500;
const MORE: usize = 1000;
/// The same under valgrind, which is slow.
const CALLS_OF_INSTRUCTIONS: usize = 100;
const MORE_OF_INSTRUCTIONS: usize = 200;

/// System calls that are counted together.
const GROUPS: [(&str, &[&str]); 4] = [
    ("write", &["write", "writev", "sendto", "sendmsg"]),
    ("read", &["read", "readv", "recvfrom", "recvmsg"]),
    ("epoll_wait", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("futex", &["futex"]),
];
const OTHER: &str = "other";

/// The events that are counted.
const EVENTS: [&str; 3] = ["create", "run", "unheard"];

/// One plugin, and these ends.
fn row(runtime: End, plugin: End) -> Row {
    Row {
        load: Load::Calls {
            plugins: 1,
            in_flight: 1,
        },
        ends: Ends {
            runtime,
            plugin,
            hub: false,
        },
    }
}

/// Prints all counts that the machine has the programs for.
///
/// # Errors
/// A program does not do what it is told.
pub(super) fn run(with_go: bool) -> Result<(), String> {
    let programs = programs::build(with_go, false)?;
    let mut rows = vec![
        row(End::Ours, End::Ours),
        row(End::OursCurrent, End::Ours),
        row(End::Ours, End::Go),
        row(End::Go, End::Ours),
        row(End::Go, End::Go),
    ];
    if !with_go {
        rows.retain(|row| row.ends.runtime != End::Go && row.ends.plugin != End::Go);
    }
    if callgrind::is_there("strace") {
        print!("{:<40}", "system calls per creation");
        for (group, _) in GROUPS.iter().chain([&(OTHER, &[][..])]) {
            print!("{group:>12}");
        }
        println!();
        for row in &rows {
            for side in [Side::Runtime, Side::Plugin] {
                let calls = system_calls(&programs, row, side, "create")?;
                print!("{:<40}", format!("{}, the {}", row.name(), side.name()));
                for (group, _) in GROUPS.iter().chain([&(OTHER, &[][..])]) {
                    print!("{:>12.2}", calls.get(group).copied().unwrap_or_default());
                }
                println!();
            }
        }
    } else {
        println!("system calls are not counted: strace is not installed");
    }
    if callgrind::is_there("valgrind") {
        for event in EVENTS {
            let ours = row(End::OursCurrent, End::Ours);
            for side in [Side::Runtime, Side::Plugin] {
                if event == "unheard" && side == Side::Plugin {
                    continue;
                }
                let instructions = instructions(&programs, &ours, side, event)?;
                println!(
                    "instructions, {event}, the {}: {instructions:.0}",
                    side.name()
                );
            }
        }
    } else {
        println!("instructions are not counted: valgrind is not installed");
    }
    allocations()
}

/// The system calls and the instructions of one call with one plugin, which are what they are to
/// be.
///
/// # Errors
/// There are more.
pub(in super::super) fn assert_counts() -> Result<(), String> {
    let programs = programs::build(false, false)?;
    let mut judge = Judge::default();
    if callgrind::is_there("strace") {
        let bounds = BOUNDS.iter().chain(&BOUNDS_OF_THREADS);
        judge.system_calls(&programs, bounds)?;
    } else {
        println!("system calls are not counted: strace is not installed");
    }
    if callgrind::is_there("valgrind") {
        for (plugin, side, event, most) in BOUNDS_OF_INSTRUCTIONS {
            let row = row(End::OursCurrent, plugin);
            let count = instructions(&programs, &row, side, event)?;
            judge.hear(&row, side, count, &format!("instructions, {event}"), most);
        }
    } else {
        println!("instructions are not counted: valgrind is not installed");
    }
    judge.verdict()
}

/// The same of what is the same on any machine, whatever else that does: the system calls of two
/// ends with one thread each. They are what they are in a release, so what is built for tests is
/// looked at.
///
/// # Errors
/// There are more.
pub(crate) fn assert_system_calls() -> Result<(), String> {
    if process::run(Command::new("strace").args(["-o", "/dev/null", "true"])).is_err() {
        println!("system calls are not counted: strace is not installed, or may not look on");
        return Ok(());
    }
    let programs = programs::build_for_tests()?;
    let mut judge = Judge::default();
    judge.system_calls(&programs, &BOUNDS)?;
    judge.verdict()
}

/// What is more than it may be.
#[derive(Default)]
struct Judge {
    broken: Vec<String>,
}

impl Judge {
    fn system_calls<'a>(
        &mut self,
        programs: &Programs,
        bounds: impl IntoIterator<Item = &'a Bound>,
    ) -> Result<(), String> {
        for (runtime, side, most) in bounds {
            let row = row(*runtime, End::Ours);
            let calls = system_calls(programs, &row, *side, "create")?;
            for ((group, _), most) in GROUPS.iter().zip(most) {
                let count = calls.get(group).copied().unwrap_or_default();
                self.hear(&row, *side, count, group, *most);
            }
        }
        Ok(())
    }

    fn hear(&mut self, row: &Row, side: Side, count: f64, what: &str, most: f64) {
        let said = format!("{}, the {}: {count:.2} {what}", row.name(), side.name());
        println!("{said}, at most {most}");
        if count > most {
            self.broken.push(said);
        }
    }

    fn verdict(self) -> Result<(), String> {
        match &*self.broken {
            [] => Ok(()),
            broken => Err(format!("more than there may be: {}", broken.join("; "))),
        }
    }
}

/// System calls per creation that there may be, of each of the [groups](GROUPS).
type Bound = (End, Side, [f64; 4]);

/// Those of ends with one thread, which have nothing to do but this. `block_on` looks at the socket
/// once more when what it waits for is there: of the two `epoll_wait` of a runtime one is that.
const BOUNDS: [Bound; 2] = [
    (End::OursCurrent, Side::Runtime, [1.05, 1.05, 2.1, 0.05]),
    (End::OursCurrent, Side::Plugin, [1.05, 1.05, 1.1, 0.05]),
];

/// Those of a runtime with several threads: which of them is woken when depends on what else the
/// machine does.
const BOUNDS_OF_THREADS: [Bound; 2] = [
    (End::Ours, Side::Runtime, [1.2, 1.2, 1.2, 1.2]),
    (End::Ours, Side::Plugin, [1.05, 1.05, 1.2, 0.05]),
];

/// Instructions of an event that there may be, 6 to 8 in a hundred more than there are with glibc
/// 2.36. Half of those of a plugin that has its requests decoded are the allocator's. Of the
/// runtime's, 8,400 are the zeros in the buffer that a creation is written to: each byte that one
/// instruction of the machine fills counts as one.
const BOUNDS_OF_INSTRUCTIONS: [(End, Side, &str, f64); 4] = [
    (End::Ours, Side::Runtime, "create", 106_000.0),
    (End::Ours, Side::Runtime, "unheard", 2_200.0),
    (End::Ours, Side::Plugin, "create", 290_000.0),
    (End::OursUndecoded, Side::Plugin, "create", 27_500.0),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Runtime,
    Plugin,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Plugin => "plugin",
        }
    }

    /// This end below `under`, the other one by itself.
    fn only<'a>(self, under: &'a [&'a str]) -> [&'a [&'a str]; 2] {
        match self {
            Self::Runtime => [under, &[]],
            Self::Plugin => [&[], under],
        }
    }
}

/// System calls of one call, by group.
fn system_calls(
    programs: &Programs,
    row: &Row,
    side: Side,
    event: &str,
) -> Result<BTreeMap<&'static str, f64>, String> {
    let file = programs.file("strace");
    let file = file.to_string_lossy().into_owned();
    let under = ["strace", "-f", "-c", "-U", "name,calls", "-o", &file];
    let mut counted = BTreeMap::new();
    for (calls, sign) in [(CALLS, -1.0), (CALLS + MORE, 1.0)] {
        once(programs, row, side, &under, event, calls)?;
        let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(count)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<f64>() else {
                continue;
            };
            let group = GROUPS.iter().find(|(_, names)| names.contains(&name));
            let group = match group {
                Some((group, _)) => *group,
                None if name == "total" => continue,
                None => OTHER,
            };
            *counted.entry(group).or_default() += sign * count / MORE as f64;
        }
    }
    Ok(counted)
}

/// Instructions of one call.
fn instructions(programs: &Programs, row: &Row, side: Side, event: &str) -> Result<f64, String> {
    let log = programs.file("callgrind");
    // The call itself, not what leads to it and what takes it back.
    let function = (side == Side::Runtime).then_some("measured_call");
    let before = callgrind::before(&log, function);
    let under: Vec<&str> = before.iter().map(String::as_str).collect();
    let mut counted = 0.0;
    for (calls, sign) in [
        (CALLS_OF_INSTRUCTIONS, -1.0),
        (CALLS_OF_INSTRUCTIONS + MORE_OF_INSTRUCTIONS, 1.0),
    ] {
        once(programs, row, side, &under, event, calls)?;
        let collected = callgrind::collected(&log)?;
        counted += sign * collected / MORE_OF_INSTRUCTIONS as f64;
    }
    Ok(counted)
}

/// One run, with one end below a program that looks on.
fn once(
    programs: &Programs,
    row: &Row,
    side: Side,
    under: &[&str],
    event: &str,
    calls: usize,
) -> Result<(), String> {
    let mut pair = programs.start(row, side.only(under))?;
    pair.calls(event, 1, calls)?;
    pair.finish()
}

/// The test that bounds them prints them.
fn allocations() -> Result<(), String> {
    let test = ["test", "--quiet", "--package", "nri-testkit", "--release"];
    let rest = ["--test", "counted_calls", "--", "--nocapture"];
    let text = process::capture(process::cargo().args(test).args(rest))?;
    let counted = text.lines().filter_map(|line| line.split_once("counted: "));
    counted.for_each(|(_, counted)| println!("{counted}"));
    Ok(())
}
