//! `cargo xtask bench sizes`: how large programs are that are built with the profile `size`, in how
//! many bytes and crates features show, and whether a minimal plugin is as small as it is to be.

use nri_dev::process;

use crate::weight;

/// A program that is measured: its package, the example that it is with the features that it takes,
/// and what it may have at most.
struct Program {
    package: &'static str,
    example: &'static str,
    features: &'static [&'static str],
    most: Option<u64>,
}

const PROGRAMS: [Program; 3] = [
    Program {
        package: "nri-plugin",
        example: "minimal_plugin",
        features: &[],
        most: Some(1_500_000),
    },
    // With a command line, signals and a log.
    Program {
        package: "nri-plugin",
        example: "logger",
        features: &["cli"],
        most: None,
    },
    Program {
        package: "nri-adaptation",
        example: "minimal",
        features: &[],
        most: None,
    },
];

/// The features of libraries; none is on by default. With each: the program that is built with it
/// too, if any.
const FEATURES: [(&str, &str, Option<&str>); 20] = [
    ("nri-proto", "serde", None),
    ("nri-proto", "transport", None),
    ("nri-proto", "ttrpc", None),
    ("nri-core", "serde", None),
    ("nri-core", "policy-serde", None),
    ("nri-core", "oci", None),
    ("nri-core", "strategies", None),
    ("nri-plugin", "cli", Some("minimal_plugin")),
    ("nri-plugin", "config", Some("minimal_plugin")),
    ("nri-plugin", "policy", Some("minimal_plugin")),
    ("nri-plugin", "json", Some("minimal_plugin")),
    ("nri-adaptation", "oci", Some("minimal")),
    ("nri-adaptation", "metrics", Some("minimal")),
    ("nri-adaptation", "blocking", Some("minimal")),
    ("nri-domain-cri", "yaml", None),
    ("nri-domain-cri", "cdi", None),
    ("nri-domain-cri", "blockio", None),
    ("nri-domain-cri", "rdt", None),
    ("nri-testkit", "cli", None),
    ("nri-testkit", "vectors", None),
];

/// Builds the programs, and prints the tables.
///
/// # Errors
/// A program does not build, or is larger than it may be.
pub(super) fn run() -> Result<(), String> {
    let mut broken = Vec::new();
    println!("{:<32}{:>12}", "program", "bytes");
    for Program {
        package,
        example,
        features,
        most,
    } in PROGRAMS
    {
        let bytes = size(package, example, features)?;
        let name = format!("{package}: {example}");
        println!("{name:<32}{bytes:>12}");
        if most.is_some_and(|most| bytes > most) {
            broken.push(format!("{name} has {bytes} bytes"));
        }
    }
    println!(
        "\n{:<32}{:>12}{:>10}",
        "feature, none is on by default", "more bytes", "crates"
    );
    for (package, feature, program) in FEATURES {
        let crates = weight::crates(package, &[feature])? - weight::crates(package, &[])?;
        let bytes = match program {
            Some(program) => {
                let with = size(package, program, &[feature])?;
                format!("{:+}", with as i64 - size(package, program, &[])? as i64)
            }
            None => String::new(),
        };
        println!(
            "{:<32}{bytes:>12}{crates:>+10}",
            format!("{package}: {feature}")
        );
    }
    println!("Bytes are those of a minimal program that does not call what the feature brings.");
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("larger than it may be: {}", broken.join("; "))),
    }
}

/// The bytes of an example, built for size.
fn size(package: &str, example: &str, features: &[&str]) -> Result<u64, String> {
    let what = [
        "--profile",
        "size",
        "--package",
        package,
        "--example",
        example,
    ];
    let features = features.iter().flat_map(|feature| ["--features", feature]);
    let what: Vec<&str> = what.into_iter().chain(features).collect();
    let built = process::build(&what)?;
    let path = built
        .get(example)
        .ok_or_else(|| format!("{example} was not built"))?;
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    Ok(std::fs::metadata(path).map_err(failed)?.len())
}
