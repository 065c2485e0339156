//! No circle of modules in any crate, and layers inside those that have them (see `layers.rs`): the
//! check of law 1 in CONTRIBUTING.md.
//!
//! A module is a file. An arrow goes from a file to the file in which something stands that it
//! uses: an item that it imports or names by a path (through re-exports, to where the item is
//! defined), and a method that it calls, import or not. `pub use` alone is no arrow: a facade does
//! not depend on what it shows. Code under `#[cfg(test)]` does not count.
//!
//! What is read is the source, without a compiler, and so this check is honest about two things.
//! The type of a receiver is followed through parameters, fields, `let`, patterns and return types,
//! and every wrapper (`Arc<T>`, `Option<T>`, a lock, an iterator) counts as what is in it. Where
//! the type stays unknown, the call is no arrow; `--arrows` lists those whose method only one file
//! defines.

mod arrows;
mod graph;
mod infer;
mod layers;
mod parse;
mod resolve;

use std::process::ExitCode;

use clap::Parser;
use nri_dev::workspace;

/// The crates that are checked, by directory.
const CRATES: &[&str] = &[
    "nri-proto",
    "nri-core",
    "nri-adaptation",
    "nri-plugin",
    "nri-domain-cri",
    "nri-testkit",
    "nri-runtime",
    "nri-hub",
];

/// Options of `cargo xtask circles`.
#[derive(Parser)]
#[command(
    name = "cargo xtask circles",
    about = "Check that no modules use each other in a circle, and that layers inside crates hold.",
    version
)]
struct Options {
    /// Check one crate only.
    #[arg(long, value_name = "CRATE")]
    only: Option<String>,
    /// Print every arrow, and not only those of circles.
    #[arg(long)]
    arrows: bool,
}

/// Checks every crate.
///
/// # Errors
/// Names each circle with its arrows, and what to do.
fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("circles: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut broken = Vec::new();
    for name in CRATES {
        if options.only.as_deref().is_some_and(|only| only != *name) {
            continue;
        }
        let modules = parse::modules(&workspace::root().join(name).join("src"))?;
        let arrows = arrows::collect(&resolve::Crate::new(&modules));
        if options.arrows {
            for (from, to, what) in arrows.all() {
                println!("{name}: {from} -> {to}: {what}");
            }
            for (from, to, method) in arrows.all_uncertain() {
                println!("{name}: {from} -> {to}: perhaps .{method}(), not counted");
            }
        }
        broken.extend(arrows.circles().into_iter().map(|circle| {
            format!(
                "{name}: a circle of {} modules; cut it at one of these arrows, by moving what is used \
                 below both, or by returning a result instead of calling back:\n{}",
                circle.modules.len(),
                circle.arrows.join("\n")
            )
        }));
        if let Some(layers) = layers::ALL.iter().find(|layers| layers.name == *name) {
            let mut out_of_place = layers.misplaced(&modules);
            out_of_place.extend(layers.broken(arrows.all()));
            if !out_of_place.is_empty() {
                broken.push(format!(
                    "{name}: its layers do not hold:\n{}",
                    out_of_place.join("\n")
                ));
            }
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}
