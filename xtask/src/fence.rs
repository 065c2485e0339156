//! The layer fence: which crate may see which, and what may not enter the core. Checked on cargo's
//! own view of the dependencies, so that nothing slips in through a feature or a dependency's
//! dependency. The same view tells whether the workspace's MSRV can hold; that of the libraries,
//! which is lower, is tried with the lowest versions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use nri_dev::process;

/// The layers, from the ground up. A crate may use crates of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["nri-proto"],
    &["nri-core"],
    &["nri-adaptation", "nri-plugin", "nri-domain-cri"],
    &["nri-testkit"],
    // Programs that stand on the libraries, and in their tests on nri-testkit.
    &[
        "nri-runtime",
        "nri-hub",
        "nri-annotate",
        "nri-device-injector",
        "nri-differ",
        "nri-hook-injector",
        "nri-logger",
        "nri-mutation-guard",
        "nri-network-device-injector",
        "nri-rdt",
        "nri-template",
        "nri-ulimit-adjuster",
        "nri-writable-cgroups",
    ],
    &["nri-dev"],
    &[
        "nri-codegen",
        "nri-circles",
        "nri-public-api",
        "nri-low-level",
        "nri-demo",
        "nri-e2e",
        "nri-interop",
        "nri-plugins",
        "nri-alone-runtime",
        "nri-alone-plugin",
    ],
    &["xtask"],
];

/// What shows that a crate is all that its user needs, and that crate.
const ALONE: &[(&str, &str)] = &[
    ("nri-alone-runtime", "nri-adaptation"),
    ("nri-alone-plugin", "nri-plugin"),
];

/// Crates that bring I/O, a clock or an async runtime, and so may not stand below `nri-core`,
/// directly or indirectly.
const NOT_IN_THE_CORE: &[&str] = &[
    "async-std",
    "chrono",
    "command-fds",
    "futures-executor",
    "libc",
    "log",
    "mio",
    "nix",
    "protobuf",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tracing-subscriber",
    "ttrpc",
];

/// The features of the core; that for property tests brings a test framework without anything of a
/// system.
const CORE_FEATURES: &str = "oci,serde,strategies";

/// Checks the fence.
///
/// # Errors
/// Names every crate that stands where it may not.
pub(crate) fn run() -> Result<(), String> {
    let text = process::capture(process::cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--all-features",
    ]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let world = World::read(&metadata)?;
    let mut broken = world.upward();
    broken.extend(in_the_core()?);
    broken.extend(world.not_alone());
    broken.extend(world.too_new());
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}

/// The packages of the workspace and below, by id.
struct World<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    members: BTreeSet<&'a str>,
    /// Normal dependencies only.
    uses: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> World<'a> {
    fn read(metadata: &'a Value) -> Result<Self, String> {
        let list = |value: &'a Value| value.as_array().ok_or("cargo metadata has an unknown form");
        let text = |value: &'a Value| value.as_str().ok_or("cargo metadata has an unknown form");
        let mut world = Self {
            packages: BTreeMap::new(),
            members: BTreeSet::new(),
            uses: BTreeMap::new(),
        };
        for package in list(&metadata["packages"])? {
            world.packages.insert(text(&package["id"])?, package);
        }
        for member in list(&metadata["workspace_members"])? {
            world.members.insert(text(member)?);
        }
        for node in list(&metadata["resolve"]["nodes"])? {
            let mut uses = Vec::new();
            for dependency in list(&node["deps"])? {
                // `null` is the kind of a normal dependency.
                if list(&dependency["dep_kinds"])?
                    .iter()
                    .any(|kind| kind["kind"].is_null())
                {
                    uses.push(text(&dependency["pkg"])?);
                }
            }
            world.uses.insert(text(&node["id"])?, uses);
        }
        Ok(world)
    }

    fn name(&self, id: &str) -> &'a str {
        self.packages
            .get(id)
            .and_then(|package| package["name"].as_str())
            .unwrap_or("")
    }

    /// Members that use a member of their own layer or above.
    fn upward(&self) -> Vec<String> {
        let layer = |id: &str| {
            LAYERS
                .iter()
                .position(|names| names.contains(&self.name(id)))
        };
        let mut broken = Vec::new();
        for &member in &self.members {
            let Some(own) = layer(member) else {
                broken.push(format!(
                    "{} has no layer: say in the fence where it stands",
                    self.name(member)
                ));
                continue;
            };
            for used in self
                .uses
                .get(member)
                .into_iter()
                .flatten()
                .filter(|used| self.members.contains(*used))
            {
                if layer(used).is_none_or(|other| other >= own) {
                    broken.push(format!(
                        "{} may not use {}",
                        self.name(member),
                        self.name(used)
                    ));
                }
            }
        }
        broken
    }

    /// Packages that are there to have one dependency, and have others.
    fn not_alone(&self) -> Vec<String> {
        let wrong = ALONE.iter().filter_map(|(package, one)| {
            let mut members = self.members.iter();
            let member = members.find(|member| self.name(member) == *package)?;
            let uses = self.uses.get(*member)?.iter();
            let uses: Vec<&str> = uses.map(|used| self.name(used)).collect();
            (uses != [*one]).then(|| {
                format!("{package} may depend on {one} only: re-export there what its user needs")
            })
        });
        wrong.collect()
    }

    /// Dependencies that need a newer Rust than we declare.
    fn too_new(&self) -> Vec<String> {
        let version = |package: &Value| -> Option<(u64, u64)> {
            let mut parts = package["rust_version"]
                .as_str()?
                .split('.')
                .map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??))
        };
        let Some(ours) = self
            .members
            .iter()
            .filter_map(|id| version(self.packages.get(id)?))
            .max()
        else {
            return vec!["no crate declares a rust-version".to_owned()];
        };
        self.packages
            .values()
            .filter(|package| version(package).is_some_and(|theirs| theirs > ours))
            .map(|package| {
                format!(
                    "{} {} needs Rust {}, we declare {}.{}",
                    package["name"], package["version"], package["rust_version"], ours.0, ours.1
                )
            })
            .collect()
    }
}

/// What stands below the core, with all of its features on, and may not.
fn in_the_core() -> Result<Vec<String>, String> {
    let tree = [
        "tree",
        "--package",
        "nri-core",
        "--features",
        CORE_FEATURES,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let below = process::capture(process::cargo().args(tree))?;
    let names: BTreeSet<&str> = below
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    Ok(NOT_IN_THE_CORE
        .iter()
        .filter(|name| names.contains(*name))
        .map(|name| format!("nri-core may not stand on {name} (see `cargo tree -p nri-core --features {CORE_FEATURES} -e normal -i {name}`)"))
        .collect())
}
