//! The examples as programs: what they print is what they are for.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::path::Path;
use std::process::Command;

/// What an example prints. Cargo builds the examples of a package with its tests.
fn output(name: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let directory = own.parent().unwrap().with_file_name("examples");
    let output = Command::new(directory.join(name)).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, line by line.
fn lines(name: &str) -> Vec<String> {
    output(name).lines().map(str::to_owned).collect()
}

#[test]
fn a_minimal_runtime_takes_a_container_through_its_life() {
    assert_eq!(
        lines("minimal"),
        [
            "pod p1 runs",
            "container c1 is created, adjusted: false",
            "container c1 runs",
            "pod p1 is removed",
        ]
    );
}

#[test]
fn a_built_in_plugin_sets_a_limit_and_refuses_what_is_no_number() {
    let lines = lines("built_in_plugin");
    assert_eq!(
        lines[0], "10-memory is Ready: CreateContainer",
        "{lines:#?}"
    );
    assert_eq!(
        lines[1..3],
        ["db: Env MEMORY by 10-memory", "db: MemLimit  by 10-memory"],
        "{lines:#?}"
    );
    assert!(
        lines[3].contains("10-memory") && lines[3].contains("\"none\" is no number"),
        "{lines:#?}"
    );
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[test]
fn a_validator_and_the_default_one_reject_and_let_the_rest_pass() {
    let lines = lines("validator");
    assert!(
        lines[0].starts_with("socket: validator 90-no-sockets rejected")
            && lines[0].contains("nobody mounts /run/runtime/api.sock")
            && lines[0].ends_with("(code 7)"),
        "{lines:#?}"
    );
    assert!(
        lines[1].starts_with("hook: validator 00-default-validator rejected"),
        "{lines:#?}"
    );
    assert_eq!(lines[2..], ["variable: created"], "{lines:#?}");
}

#[test]
#[cfg(feature = "oci")]
fn a_typed_spec_is_adjusted_and_what_it_cannot_hold_is_found() {
    assert_eq!(
        lines("typed_spec"),
        [
            "env: [\"A=1\", \"B=2\"]",
            "refused: cannot apply MemLimit: the runtime's type for OCI specs has no place for \
             linux.resources.memory.limit",
            "env: [\"B=2\"]",
            "linux: {\"resources\":{\"memory\":{\"limit\":1073741824,\"swap\":1073741824}}}",
            "hostname: \"web\"",
        ]
    );
}

#[test]
#[cfg(feature = "blocking")]
fn a_synchronous_runtime_creates_containers_on_three_threads() {
    let mut lines = lines("synchronous");
    // The threads go at the same time.
    lines.sort();
    assert_eq!(
        lines,
        ["c1: ADDED=yes", "c2: ADDED=yes", "c3: the disk is full"]
    );
}

#[test]
fn the_toy_daemon_tells_of_pods_that_it_does_not_have() {
    let expected = "    RunPodSandbox web \n    \
         CreateContainer web web\n    \
         ValidateContainerAdjustment web web\n    \
         PostCreateContainer web web\n    \
         StartContainer web web\n    \
         PostStartContainer web web\n    \
         StopContainer web web\n    \
         StopPodSandbox web \n\
         web is started again, and shares its network\n    \
         RunPodSandbox web \n    \
         StartContainer web web\n    \
         PostStartContainer web web\n    \
         CreateContainer web side\n    \
         ValidateContainerAdjustment web side\n    \
         PostCreateContainer web side\n    \
         StartContainer web side\n    \
         PostStartContainer web side\n\
         web goes, side stays in its pod\n    \
         StopContainer web web\n    \
         RemoveContainer web web\n\
         side goes, and the pod with it\n    \
         StopContainer web side\n    \
         RemoveContainer web side\n    \
         StopPodSandbox web \n    \
         RemovePodSandbox web \n";
    assert_eq!(output("toy_daemon"), expected);
}

/// An example is to be read in one go.
#[test]
fn examples_are_short() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 150, "{} has {lines} lines", file.display());
    }
}
