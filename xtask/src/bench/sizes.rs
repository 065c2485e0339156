//! `cargo xtask bench sizes`: how large programs are that are built with the profile `size`, in how
//! many bytes and crates features show, and whether a minimal plugin is as small as it is to be.

use nri_dev::process;

use crate::weight;

/// A program that is measured: its package, the example that it is, and what it may have at most.
struct Program {
    package: &'static str,
    example: &'static str,
    most: Option<u64>,
}

const PROGRAMS: [Program; 3] = [
    Program {
        package: "nri-plugin",
        example: "minimal_plugin",
        most: Some(1_500_000),
    },
    // With a command line, JSON and a log.
    Program {
        package: "nri-plugin",
        example: "logger",
        most: None,
    },
    Program {
        package: "nri-adaptation",
        example: "minimal",
        most: None,
    },
];

/// The features of libraries; none is on by default. With each: whether the minimal runtime is
/// built with it too.
const FEATURES: [(&str, &str, bool); 10] = [
    ("nri-proto", "serde", false),
    ("nri-proto", "transport", false),
    ("nri-proto", "ttrpc", false),
    ("nri-core", "serde", false),
    ("nri-core", "oci", false),
    ("nri-core", "strategies", false),
    ("nri-adaptation", "oci", true),
    ("nri-adaptation", "metrics", true),
    ("nri-domain-cri", "yaml", false),
    ("nri-testkit", "vectors", false),
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
        most,
    } in PROGRAMS
    {
        let bytes = size(package, example, &[])?;
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
    for (package, feature, builds) in FEATURES {
        let crates = weight::crates(package, &[feature])? - weight::crates(package, &[])?;
        let bytes = match builds {
            true => {
                let with = size(package, "minimal", &[feature])?;
                format!("{:+}", with as i64 - size(package, "minimal", &[])? as i64)
            }
            false => String::new(),
        };
        println!(
            "{:<32}{bytes:>12}{crates:>+10}",
            format!("{package}: {feature}")
        );
    }
    println!("Bytes are those of a minimal runtime that does not call what the feature brings.");
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
