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

#[test]
fn the_toy_daemon_tells_of_pods_that_it_does_not_have() {
    let expected = "    RunPodSandbox web \n    \
         CreateContainer web web\n    \
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
