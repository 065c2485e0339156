//! What our libraries bring to who depends on them: how many crates, none of those that others
//! should not have to take, and versions that leave room for the lock file that is there already.
//!
//! Nothing here is about the layers: those are the fence's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use nri_dev::{process, workspace};

use crate::tools;

/// The libraries, from the lowest layer up, and how many crates a default build of each may be made
/// of, itself and ours included; `None` where that is printed and not bounded.
const LIBRARIES: &[(&str, Option<usize>)] = &[
    ("nri-proto", Some(16)),
    ("nri-core", Some(20)),
    ("nri-plugin", Some(45)),
    ("nri-adaptation", Some(55)),
    ("nri-domain-cri", None),
    ("nri-testkit", Some(60)),
];

/// Crates that no default build has, as they pin others, or bring much for little. With each: who
/// may bring it nevertheless.
const UNWANTED: &[(&str, &[&str])] = &[
    ("protobuf", &[]),
    ("tokio-vsock", &[]),
    // For programs, not for libraries.
    ("clap", &[]),
    ("tracing-subscriber", &[]),
    ("ttrpc", &[]),
    // To give a child a descriptor takes `unsafe`, which our code may not have: command-fds does
    // it, on nix.
    ("nix", &["command-fds"]),
];

/// Features, and the crates that only they bring, that are no concern of the lowest versions: an
/// adapter to what is unwanted, and a reader (with what reads by it) that asks for newer versions
/// than we do of what others share. Who turns one on has asked for that.
const ADAPTERS: &[&str] = &[
    "ttrpc",
    "yaml",
    "config",
    "policy",
    "cdi",
    "blockio",
    "saphyr-parser",
];

/// Prints how many crates each library is made of, and checks that.
///
/// # Errors
/// Names every library that is too heavy, and every crate that it should not bring.
pub(crate) fn run() -> Result<(), String> {
    let mut broken = Vec::new();
    for &(library, bound) in LIBRARIES {
        let text = tree_of(library, &[])?;
        let tree = Tree::read(&text)?;
        let count = tree.crates.len();
        match bound {
            Some(bound) => println!("{library}: {count} crates, of at most {bound}"),
            None => println!("{library}: {count} crates"),
        }
        if bound.is_some_and(|bound| count > bound) {
            broken.push(format!(
                "{library} is made of {count} crates (see `cargo tree -p {library} -e normal`)"
            ));
        }
        broken.extend(tree.unwanted().map(|(name, by)| {
            format!("{library} may not bring {name}, which {by} uses (see `cargo tree -p {library} -e normal -i {name}`)")
        }));
    }
    outcome(&broken)
}

/// What `cargo tree` prints of a library with these features.
fn tree_of(library: &str, features: &[&str]) -> Result<String, String> {
    let of_library = ["tree", "--package", library, "--edges", "normal"];
    let as_lines = ["--prefix", "depth", "--format", " {p}"];
    let features = features.iter().flat_map(|feature| ["--features", feature]);
    process::capture(
        process::cargo()
            .args(of_library)
            .args(as_lines)
            .args(features),
    )
}

/// Of how many crates a library is made with these features, itself included.
///
/// # Errors
/// Cargo does not say.
pub(crate) fn crates(library: &str, features: &[&str]) -> Result<usize, String> {
    Ok(Tree::read(&tree_of(library, features)?)?.crates.len())
}

/// A tree of dependencies as `cargo tree` prints it, with depths.
struct Tree<'a> {
    /// Every crate with its version, once.
    crates: BTreeSet<(&'a str, &'a str)>,
    /// Who uses whom, by name.
    uses: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Tree<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let mut tree = Self {
            crates: BTreeSet::new(),
            uses: BTreeSet::new(),
        };
        let mut above: Vec<&str> = Vec::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let depth = words.next().and_then(|depth| depth.parse().ok());
            let (Some(depth), Some(name), Some(version)) = (depth, words.next(), words.next())
            else {
                return Err(format!("cargo tree has an unknown form: {line:?}"));
            };
            above.truncate(depth);
            if let Some(user) = above.last() {
                tree.uses.insert((user, name));
            }
            above.push(name);
            tree.crates.insert((name, version));
        }
        Ok(tree)
    }

    /// The crates that should not be in it, and who uses them.
    fn unwanted(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.uses.iter().filter_map(|&(user, name)| {
            let (_, excused) = UNWANTED.iter().find(|(unwanted, _)| *unwanted == name)?;
            (!excused.contains(&user)).then_some((name, user))
        })
    }
}

/// Checks that the libraries build with the lowest versions that they say they build with, of Rust
/// too, the way a project sees them that depends on them: nothing of what only our tests need can
/// raise a version.
///
/// # Errors
/// They do not build, or the lowest versions exclude each other.
pub(crate) fn floors() -> Result<(), String> {
    let text = process::capture(process::cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
    ]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let target = metadata["target_directory"]
        .as_str()
        .ok_or("cargo metadata has an unknown form")?;
    let project = Path::new(target).join("floors");
    let source = project.join("src");
    let manifest = project.join("Cargo.toml");
    fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    for (path, text) in [
        (&manifest, &dependent(&metadata)?),
        (&source.join("lib.rs"), &String::new()),
    ] {
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    // One that is left would decide the other versions.
    let lock = project.join("Cargo.lock");
    if lock.exists() {
        fs::remove_file(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    }
    process::run(
        lowest_cargo(&metadata)?
            .args([
                "check",
                "--quiet",
                "--target-dir",
                target,
                "--manifest-path",
            ])
            .arg(&manifest),
    )
}

/// The cargo of the lowest Rust that the libraries declare, by rustup. Where there is no such
/// toolchain and none can be installed, that is said, and cargo is that of the rest.
fn lowest_cargo(metadata: &Value) -> Result<Command, String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let of_library = |name: &Value| LIBRARIES.iter().any(|(library, _)| name == library);
    let declared: BTreeSet<&str> = packages
        .filter(|package| of_library(&package["name"]))
        .filter_map(|package| package["rust_version"].as_str())
        .collect();
    let [rust] = declared.iter().collect::<Vec<_>>()[..] else {
        return Err(format!(
            "the libraries declare the Rust versions {declared:?}, not one"
        ));
    };
    let cargo = || {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", rust, "cargo"]);
        cargo
    };
    let install = ["toolchain", "install", rust, "--profile", "minimal"];
    if tools::works(cargo().arg("--version")) || tools::works(Command::new("rustup").args(install))
    {
        println!("with Rust {rust}");
        return Ok(cargo());
    }
    println!(
        "Rust {rust}, which the libraries declare, cannot be had by rustup: NOT built with it"
    );
    Ok(process::cargo())
}

/// The manifest of a project that depends on all libraries, and pins what they depend on to the
/// lowest version.
fn dependent(metadata: &Value) -> Result<String, String> {
    let packages = metadata["packages"].as_array();
    let packages = packages.ok_or("cargo metadata has an unknown form")?;
    let mut libraries = String::new();
    let mut pins = BTreeMap::new();
    let mut broken = Vec::new();
    for &(library, _) in LIBRARIES {
        let package = packages.iter().find(|package| package["name"] == library);
        let package = package.ok_or_else(|| format!("there is no {library}"))?;
        let features = package["features"].as_object().into_iter().flatten();
        let features: Vec<&str> = features
            .map(|(name, _)| name.as_str())
            .filter(|name| !ADAPTERS.contains(name))
            .collect();
        let path = workspace::root().join(library);
        let _ = writeln!(
            libraries,
            "{library} = {{ path = {path:?}, features = {features:?} }}"
        );
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (Some(name), Some(requirement)) =
                (dependency["name"].as_str(), dependency["req"].as_str())
            else {
                return Err("cargo metadata has an unknown form".to_owned());
            };
            // `null` is the kind of a normal dependency, and a path is one of ours.
            let normal = dependency["kind"].is_null() && dependency["path"].is_null();
            if !normal || ADAPTERS.contains(&name) {
                continue;
            }
            match requirement.strip_prefix('^') {
                Some(floor) if floor.split('.').count() == 3 => {
                    pins.insert(name, floor);
                }
                _ => broken.push(format!(
                    "{library} asks for {name} {requirement}: write the lowest version in full"
                )),
            }
        }
    }
    outcome(&broken)?;
    let mut text = "[package]\nname = \"floors\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n".to_owned();
    text.push_str(&libraries);
    for (name, floor) in pins {
        let _ = writeln!(
            text,
            "{name} = {{ version = \"={floor}\", default-features = false }}"
        );
    }
    Ok(text)
}

fn outcome(broken: &[String]) -> Result<(), String> {
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0 a v1.0.0 (/a)\n1 b v1.0.0\n2 nix v0.31.0\n1 command-fds v0.3.0\n2 nix v0.31.0 (*)\n1 b v2.0.0\n";

    #[test]
    fn crates_count_once_and_by_version() {
        let tree = Tree::read(TREE).expect("as cargo prints it");
        assert_eq!(tree.crates.len(), 5);
    }

    /// Law: who may bring an unwanted crate excuses nobody else who does.
    #[test]
    fn an_unwanted_crate_is_found_by_who_uses_it() {
        let tree = Tree::read(TREE).expect("as cargo prints it");
        assert_eq!(tree.unwanted().collect::<Vec<_>>(), [("nix", "b")]);
    }

    #[test]
    fn other_forms_are_errors() {
        assert!(Tree::read("a v1.0.0\n").is_err());
        assert!(Tree::read("0 a\n").is_err());
    }
}
