//! `cargo xtask`: the workspace's own commands, one module each.
//!
//! Nothing here is part of the product: what a user of the crates needs belongs into a crate.

mod bench;
#[cfg(feature = "product")]
mod ci;
mod codegen;
#[cfg(feature = "product")]
mod demo;
#[cfg(feature = "product")]
mod fence;
mod fuzz;
#[cfg(feature = "product")]
mod interop;
mod laws;
#[cfg(feature = "product")]
mod low_level;
#[cfg_attr(not(feature = "product"), allow(dead_code))]
mod process;
mod soak;
#[cfg(feature = "product")]
mod wasm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The workspace's own commands.", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate the Rust code of the protocol from nri-proto/proto/*.proto.
    Codegen(codegen::Options),
    /// Show one container going through real plugins, end to end.
    #[cfg(feature = "product")]
    Demo(demo::Options),
    /// Run the real Go peers against ours (needs Go).
    #[cfg(feature = "product")]
    Interop(interop::Options),
    /// Check on a real runc what is accepted and what is refused of values (needs runc, and root).
    #[cfg(feature = "product")]
    LowLevel(low_level::Options),
    /// Check everything that must hold, as CI does.
    #[cfg(feature = "product")]
    Ci,
    /// Measure what things cost: merging, and creations through plugin processes.
    Bench(bench::Options),
    /// Let many plugins come, crash and come again for a long time.
    Soak(soak::Options),
    /// Check the laws of merging and scheduling with many more cases than the tests.
    Laws(laws::Options),
    /// Fuzz with coverage guidance (needs a C++ compiler).
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Codegen(options) => codegen::run(&options),
        #[cfg(feature = "product")]
        Command::Demo(options) => demo::run(&options),
        #[cfg(feature = "product")]
        Command::Interop(options) => interop::run(&options),
        #[cfg(feature = "product")]
        Command::LowLevel(options) => low_level::run(&options),
        #[cfg(feature = "product")]
        Command::Ci => ci::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Laws(options) => laws::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
