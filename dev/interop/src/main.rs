//! `cargo xtask interop`: the real Go peers, both ways round. Plugins on the reference's library at
//! our runtime, plugins on our library at the reference's, and the same random sequences through
//! both.
//!
//! Needs Go and Python 3; the Go programs are in `nri-testkit/interop`. A missing need is a
//! failure, never a skip.

mod answers;
mod checks;
mod conformance;
mod containerd;
mod demo;
mod differential;
mod endurance;
mod events;
mod examples;
mod external_drivers;
mod go;
mod hub;
mod pairing;
mod plugin;
mod policy;
mod program;
mod protocol;
mod published;
mod runtime;
mod schema;
mod scratch;
mod scripted;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nri_dev::examples::Examples;
use nri_dev::process;

use containerd::{Containerd, behind_a_hub};
use go::Go;
use pairing::Pairing;
use scratch::Scratch;
use table::Table;

/// What is tried.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask interop",
    about = "Run the real Go peers against ours (needs Go).",
    version
)]
struct Options {
    #[command(flatten)]
    scripted: scripted::Options,
    #[command(flatten)]
    differential: differential::Options,
    /// A directory with plugins that the reference's project publishes, built: logger,
    /// device-injector and so on.
    #[arg(long, value_name = "DIR")]
    published: Option<PathBuf>,
    /// Build a real containerd too, and run pods on it with our plugins, and with plugins behind a
    /// hub (takes minutes, root and runc).
    #[arg(long)]
    containerd: bool,
    /// Only the rows whose peer, direction or subject has this text in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("interop: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.scripted.scripted_plugin {
        return scripted::run(&options.scripted);
    }
    let scratch = Scratch::new()?;
    let go = Go::build(&scratch)?;
    let sim = process::build_cli("nri-testkit", "nri-sim")?;
    let sim = sim.as_path();
    let mut table = Table::new(options.only.clone());
    let newest = go.newest()?;
    let peer = format!("Go {}", newest.version);
    table.row(&peer, "both", "fields of the protocol", || {
        protocol::same_fields(newest)
    });
    matrix(&scratch, &go, sim, &mut table)?;
    examples(&scratch, &go, &mut table)?;
    for built in &go.releases {
        let peer = format!("Go {}", built.version);
        table.row(&peer, "plugin at our runtime", "nri-sim check", || {
            checks::of_release(sim, built)
        });
    }
    published::run_released(&scratch, runtime::Kind::Ours(sim), &mut table)?;
    published::run_ours(&scratch, runtime::Kind::Ours(sim), &mut table)?;
    match &options.published {
        Some(directory) => {
            published::run(&scratch, runtime::Kind::Ours(sim), directory, &mut table)?;
        }
        None => table.not_tried(
            "other published plugins",
            "no --published DIR with them built",
        ),
    }
    if options.containerd {
        let examples = Examples::build()?;
        let containerd = Containerd::build(&scratch)?;
        let peer = format!("containerd {}", containerd.version);
        table.row(&peer, "runtime, our examples", "a real pod", || {
            containerd::run(&scratch, &containerd, &examples)
        });
        table.row(&peer, "runtime, our suite", "runtime conformance", || {
            containerd::conformance(&scratch, &containerd)
        });
        let hub = process::build_cli("nri-hub", "nri-hub")?;
        let needs = behind_a_hub::Needs {
            scratch: &scratch,
            containerd: &containerd,
            go: &go,
            hub: &hub,
        };
        for (subject, row) in behind_a_hub::ROWS {
            table.row(&peer, "runtime, our hub", subject, || row(needs));
        }
    } else {
        table.not_tried("a real containerd", "no --containerd");
    }
    table.row(&peer, "both at once", "differential", || {
        let ours = runtime::Kind::Ours(sim);
        differential::run(&scratch, ours, newest, &options.differential)
    });
    for built in go.releases.iter().filter(|built| built.release.runtime) {
        let peer = format!("Go {}", built.version);
        table.row(&peer, "runtime and plugins", "behind a hub", || {
            differential::behind_a_hub(&scratch, built, &options.differential)
        });
    }
    table.row(&peer, "plugin at our runtime", "driven by hand", || {
        external_drivers::run(&scratch, sim, newest)
    });
    table.row(&peer, "plugin at our demo", "beside bad peers", || {
        demo::beside_bad_peers(&scratch, plugin::Kind::Go(newest))
    });
    table.close(&go)
}

type Case = (&'static str, fn(&Pairing<'_>) -> Result<String, String>);

/// What every pair of a runtime and a plugin must do.
const CASES: &[Case] = &[
    ("every event and field", events::every_event),
    ("a launched plugin", events::launched),
    ("adjustments", answers::adjustments),
    ("updates", answers::side_updates),
    ("errors", answers::errors),
    ("10,000 containers", endurance::ten_thousand),
    ("sizes", endurance::sizes),
    ("a plugin killed", endurance::killed),
    ("a runtime restarted", endurance::restarted),
];

/// What pairs must do that both know validation.
const VALIDATING: &[Case] = &[("validation", answers::validation)];

/// What pairs must do that both know failure policies.
const WISHING: &[Case] = &[("failure policies", policy::failure_policies)];

/// What happens at our runtime to plugins that take a synchronisation in one message only.
const OLD: &[Case] = &[("too much to be shown", endurance::too_much_for_one_message)];

/// Plugins of every release at our runtime, and our plugin at every runtime there is.
fn matrix(scratch: &Scratch, go: &Go, sim: &Path, table: &mut Table) -> Result<(), String> {
    let newest = go.newest()?;
    let here = runtime::Kind::Ours(sim);
    let mut settings = Vec::new();
    for built in &go.releases {
        settings.push((
            "plugin at our runtime",
            built,
            here,
            plugin::Kind::Go(built),
        ));
    }
    for built in go.releases.iter().filter(|built| built.release.runtime) {
        let plugin = plugin::Kind::Ours(newest);
        settings.push((
            "runtime, our plugin",
            built,
            runtime::Kind::Go(built),
            plugin,
        ));
    }
    for (direction, built, runtime, plugin) in settings {
        let pairing = Pairing {
            scratch,
            runtime,
            plugin,
            runtime_schema: match runtime {
                runtime::Kind::Ours(_) => &newest.schema,
                runtime::Kind::Go(built) => &built.schema,
            },
        };
        let validating = if pairing.validates() { VALIDATING } else { &[] };
        let wishing = if pairing.wishes() { WISHING } else { &[] };
        let old = if runtime.is_ours() && !pairing.splits() {
            OLD
        } else {
            &[]
        };
        for (subject, case) in CASES.iter().chain(validating).chain(wishing).chain(old) {
            let peer = format!("Go {}", built.version);
            table.row(&peer, direction, subject, || case(&pairing));
        }
    }
    Ok(())
}

/// Our example plugins at every runtime of the reference.
fn examples(scratch: &Scratch, go: &Go, table: &mut Table) -> Result<(), String> {
    let examples = Examples::build()?;
    let newest = go.newest()?;
    for built in go.releases.iter().filter(|built| built.release.runtime) {
        let pairing = Pairing {
            scratch,
            runtime: runtime::Kind::Go(built),
            plugin: plugin::Kind::Ours(newest),
            runtime_schema: &built.schema,
        };
        let peer = format!("Go {}", built.version);
        let direction = "runtime, our examples";
        table.row(&peer, direction, "logger", || {
            examples::logger(&pairing, &examples)
        });
        table.row(&peer, direction, "annotate", || {
            examples::annotate(&pairing, &examples)
        });
    }
    Ok(())
}
