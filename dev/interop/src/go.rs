//! The Go peers: which versions there are, how they are built, and what each knows of the protocol.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::program::Program;
use super::schema::Schema;
use super::scratch::Scratch;
use nri_dev::{process, workspace};

/// How long one release may take to be fetched and built.
const BUILDING: Duration = Duration::from_secs(600);

/// The module of the reference.
const REFERENCE: &str = "github.com/containerd/nri";

/// A release of the reference that peers are built with.
#[derive(Debug)]
pub(super) struct Release {
    /// Its directory of built programs, and the name of its module file in `versions/`; the newest
    /// has `go.mod` itself.
    pub(super) series: &'static str,
    /// Build tags that its API needs.
    tags: &'static str,
    /// Whether it knows the events of pods that came with v0.10, and validation.
    pub(super) validates: bool,
    /// Whether a synchronisation may take several messages (since v0.7).
    pub(super) splits: bool,
    /// Whether plugins can say what is to happen when they do not answer (since v0.12.4).
    pub(super) wishes: bool,
    /// Whether there is a runtime of it too.
    pub(super) runtime: bool,
}

/// The newest release comes last.
pub(super) const RELEASES: &[Release] = &[
    // The one that containerd 1.7.2 has.
    Release {
        series: "v0.3",
        tags: "nri_events11,nri_plain,nri_no_policy",
        validates: false,
        splits: false,
        wishes: false,
        runtime: true,
    },
    Release {
        series: "v0.6",
        tags: "nri_events11,nri_no_policy",
        validates: false,
        splits: false,
        wishes: false,
        runtime: false,
    },
    Release {
        series: "v0.8",
        tags: "nri_events11,nri_no_policy",
        validates: false,
        splits: true,
        wishes: false,
        runtime: false,
    },
    Release {
        series: "v0.9",
        tags: "nri_events11,nri_no_policy",
        validates: false,
        splits: true,
        wishes: false,
        runtime: false,
    },
    Release {
        series: "v0.11",
        tags: "nri_no_wasm,nri_no_policy",
        validates: true,
        splits: true,
        wishes: false,
        runtime: false,
    },
    Release {
        series: "v0.12",
        tags: "nri_no_wasm",
        validates: true,
        splits: true,
        wishes: true,
        runtime: true,
    },
];

/// A release with its programs built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) release: &'static Release,
    /// Its exact version.
    pub(super) version: String,
    directory: PathBuf,
    /// What it knows of the protocol.
    pub(super) schema: Schema,
}

impl Built {
    /// The plugin.
    pub(super) fn plugin(&self) -> PathBuf {
        self.directory.join("goplugin")
    }

    /// The runtime, if there is one.
    pub(super) fn runtime(&self) -> Option<PathBuf> {
        self.release
            .runtime
            .then(|| self.directory.join("goruntime"))
    }

    /// A message with every field set that this release knows.
    pub(super) fn full(&self, message: &str) -> Result<Value, String> {
        let text = process::capture(Command::new(self.plugin()).args(["-full", message]))?;
        serde_json::from_str(&text).map_err(|e| format!("{message}: {e}"))
    }
}

/// All peers, the newest last.
#[derive(Debug)]
pub(super) struct Go {
    /// What `go version` says.
    pub(super) version: String,
    pub(super) releases: Vec<Built>,
}

impl Go {
    /// Builds every peer.
    ///
    /// # Errors
    /// Go is missing, a module cannot be had, or a peer does not build.
    pub(super) fn build(scratch: &Scratch) -> Result<Self, String> {
        let version = process::capture(Command::new("go").arg("version"))
            .map_err(|e| format!("interoperability needs Go 1.24 or later: {e}"))?;
        let releases = RELEASES.iter().map(|release| build(scratch, release));
        Ok(Self {
            version: version.trim().to_owned(),
            releases: releases.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn newest(&self) -> Result<&Built, String> {
        self.releases
            .last()
            .ok_or_else(|| "there are no Go peers".to_owned())
    }
}

fn build(scratch: &Scratch, release: &'static Release) -> Result<Built, String> {
    let sources = workspace::root().join("nri-testkit/interop");
    let directory = scratch.path().join("bin").join(release.series);
    let newest = RELEASES.last().is_some_and(|r| r.series == release.series);
    let module_file = (!newest).then(|| format!("-modfile=versions/{}.mod", release.series));
    let go = |verb: &str| {
        let mut command = Command::new("go");
        command.current_dir(&sources).arg(verb).args(&module_file);
        command
    };
    let what = if release.runtime {
        "./cmd/..."
    } else {
        "./cmd/goplugin"
    };
    let mut command = go("build");
    command.args(["-buildvcs=false", "-tags", release.tags, "-o"]);
    command.arg(format!("{}/", directory.display())).arg(what);
    let name = format!("go build of the peers of {}", release.series);
    Program::start(scratch, &name, &mut command)?.succeed_within(BUILDING)?;
    let version = process::capture(go("list").args(["-m", "-f", "{{.Version}}", REFERENCE]))?;
    let described = process::capture(Command::new(directory.join("goplugin")).arg("-describe"))?;
    let messages: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&described).map_err(|e| format!("goplugin -describe: {e}"))?;
    Ok(Built {
        release,
        version: version.trim().to_owned(),
        directory,
        schema: Schema::new(messages),
    })
}
