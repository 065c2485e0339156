//! `cargo xtask`: the workspace's own commands, one module each.
//!
//! Nothing here is part of the product: what a user of the crates needs belongs into a crate.

mod codegen;
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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Codegen(options) => codegen::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
