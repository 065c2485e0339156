//! `cargo xtask`: the workspace's own commands. What only runs cargo is a module here; what is
//! built on the product, or needs much to be built, is a package of its own under `dev/`, and only
//! built by who asks for it.
//!
//! Nothing here is part of the product: what a user of the crates needs belongs into a crate.

mod bench;
mod ci;
mod deny;
mod deploy;
mod fence;
mod fuzz;
mod laws;
mod packages;
mod page;
mod soak;
mod stress;
mod tools;
mod wasm;
mod weight;
mod width;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use packages::{CIRCLES, CODEGEN, DEMO, E2E, INTEROP, LOW_LEVEL, PLUGINS, PUBLIC_API, Package};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The workspace's own commands.", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate the Rust code of the protocol from nri-proto/proto/*.proto.
    #[command(disable_help_flag = true)]
    Codegen(packages::Arguments),
    /// Check that no modules use each other in a circle.
    #[command(disable_help_flag = true)]
    Circles(packages::Arguments),
    /// Write the public API of each crate to its public-api.txt.
    #[command(disable_help_flag = true)]
    PublicApi(packages::Arguments),
    /// Show one container going through real plugins, end to end.
    #[command(disable_help_flag = true)]
    Demo(packages::Arguments),
    /// Run the real Go peers against ours (needs Go).
    #[command(disable_help_flag = true)]
    Interop(packages::Arguments),
    /// Check on a real runc what is accepted and what is refused of values (needs runc, and root).
    #[command(disable_help_flag = true)]
    LowLevel(packages::Arguments),
    /// Run nri-runtime with real containers (needs root, runc, conmon, CNI's plugins and Go).
    #[command(disable_help_flag = true)]
    E2e(packages::Arguments),
    /// Write what deploys the plugins of plugins/, and measure them.
    #[command(disable_help_flag = true)]
    Plugins(packages::Arguments),
    /// Make an OCI image layout with images of nri-hub and of the plugins (`--run`: and run them).
    #[command(disable_help_flag = true)]
    Image(packages::Arguments),
    /// Check what nri-hub is installed by (needs kubectl, kubernetes-validate and systemd-analyze).
    Deploy,
    /// Open nri-hub's page in a browser, and check its alert rules (needs chromium and promtool).
    Page(page::Options),
    /// Check everything that must hold, as CI does.
    Ci(ci::Options),
    /// Check what the libraries bring to who depends on them: crates, and lowest versions.
    Weight,
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
    let of_package = |package: Package, arguments: packages::Arguments| package.run(&arguments.all);
    let result = match Cli::parse().command {
        Command::Codegen(arguments) => of_package(CODEGEN, arguments),
        Command::Circles(arguments) => of_package(CIRCLES, arguments),
        Command::PublicApi(arguments) => of_package(PUBLIC_API, arguments),
        Command::Demo(arguments) => of_package(DEMO, arguments),
        Command::Interop(arguments) => of_package(INTEROP, arguments),
        Command::LowLevel(arguments) => of_package(LOW_LEVEL, arguments),
        Command::E2e(arguments) => of_package(E2E, arguments),
        Command::Plugins(arguments) => of_package(PLUGINS, arguments),
        Command::Image(arguments) => {
            let all = ["image".into()].into_iter().chain(arguments.all);
            PLUGINS.run(&all.collect::<Vec<_>>())
        }
        Command::Deploy => deploy::run(),
        Command::Page(options) => page::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Weight => weight::run().and_then(|()| weight::floors()),
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
