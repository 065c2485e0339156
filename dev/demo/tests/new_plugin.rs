//! *A tested plugin in ten minutes*, followed by the letter: what `nri-sim new` makes builds, and
//! its tests pass.

#![allow(clippy::unwrap_used, reason = "a test may: its panic is the report")]

use std::path::Path;
use std::process::Command;

use nri_dev::{process, workspace};

const CHAPTER: &str = include_str!("../../../nri-testkit/src/manual/first_plugin.md");

/// What stands in fences of a kind, one text for each.
fn fenced(kind: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut fence: Option<String> = None;
    for line in CHAPTER.lines() {
        match (&mut fence, line.strip_prefix("```")) {
            (None, Some(begins)) if begins == kind => fence = Some(String::new()),
            (Some(_), Some(_)) => all.extend(fence.take()),
            (Some(text), None) => text.extend([line, "\n"]),
            _ => {}
        }
    }
    all
}

/// Runs the commands of a text.
fn follow(commands: &str, directory: &Path, path: &str) {
    for command in commands.lines().filter_map(|line| line.strip_prefix("$ ")) {
        if command.starts_with("cd ") {
            continue;
        }
        let root = workspace::root();
        let output = Command::new("/bin/sh")
            .args(["-c", &command.replace("CHECKOUT", &root.to_string_lossy())])
            .current_dir(directory)
            .env("PATH", path)
            // All that it needs was needed to build the workspace, and is built as there.
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{command}: {said}");
    }
}

#[test]
fn the_chapter_on_a_first_plugin_can_be_followed_by_the_letter() {
    let what = [
        "--package",
        "nri-testkit",
        "--features",
        "cli",
        "--bin",
        "nri-sim",
    ];
    let built = process::build(&what).unwrap();
    let bin = built["nri-sim"].parent().unwrap();
    let target = bin.parent().unwrap();
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let home = tempfile::tempdir().unwrap();
    let crate_ = home.path().join("gpu-mode");

    let commands = fenced("console");
    let (make, rest) = commands[0].split_once("$ cd gpu-mode\n").unwrap();
    follow(make, home.path(), &path);
    // What is built already is not built again, in the versions that the workspace has.
    std::os::unix::fs::symlink(target, crate_.join("target")).unwrap();
    std::fs::copy(
        workspace::root().join("Cargo.lock"),
        crate_.join("Cargo.lock"),
    )
    .unwrap();
    follow(rest, &crate_, &path);

    let [changed] = &fenced("rust,ignore")[..] else {
        panic!("one file is changed")
    };
    std::fs::write(crate_.join("src/plugin.rs"), changed).unwrap();
    for commands in &commands[1..] {
        follow(commands, &crate_, &path);
    }
    assert!(crate_.join("page.html").exists());
}
