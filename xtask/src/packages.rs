//! Commands that are packages of their own under `dev/`: built when they are asked for, with
//! cargo's progress on the terminal, and run with what stands behind their name on the command
//! line.

use std::ffi::OsString;

use nri_dev::process;

/// What is handed on, `--help` included.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(crate) all: Vec<OsString>,
}

/// A package with one program of the same name.
#[derive(Clone, Copy)]
pub(crate) struct Package(&'static str);

pub(crate) const CODEGEN: Package = Package("nri-codegen");
pub(crate) const CIRCLES: Package = Package("nri-circles");
pub(crate) const PLUGINS: Package = Package("nri-plugins");
pub(crate) const PUBLIC_API: Package = Package("nri-public-api");
pub(crate) const DEMO: Package = Package("nri-demo");
pub(crate) const E2E: Package = Package("nri-e2e");
pub(crate) const LOW_LEVEL: Package = Package("nri-low-level");
pub(crate) const INTEROP: Package = Package("nri-interop");

impl Package {
    /// Builds and runs it. What cargo says while it builds goes to the terminal; once everything is
    /// built, it says nothing.
    ///
    /// # Errors
    /// It does not build, or it fails.
    pub(crate) fn run(self, arguments: &[OsString]) -> Result<(), String> {
        process::run(process::cargo().args(["build", "--package", self.0]))?;
        let run = ["run", "--quiet", "--package", self.0, "--"];
        process::run(process::cargo().args(run).args(arguments))
    }
}
