//! The demo as a person meets it who gives it something wrong: one clear line, exit code 1, and
//! nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test may: its panic is the report")]

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs the demo with its temporary files in `temporary`.
fn demo(temporary: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nri-demo"))
        .arg("--no-container")
        .args(args)
        .env("TMPDIR", temporary)
        .output()
        .unwrap()
}

/// Runs the demo, which must refuse with a line that says all of `expected`.
fn refuses(args: &[&str], expected: &[&str]) {
    let temporary = TempDir::new().unwrap();
    let output = demo(temporary.path(), args);
    // What cargo says when it waits for another cargo is none of the demo's words.
    let errors = String::from_utf8(output.stderr).unwrap();
    let own = errors
        .lines()
        .filter(|line| !line.trim_start().starts_with("Blocking waiting"));
    let errors = own.collect::<Vec<_>>().join("\n");
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    for part in expected {
        assert!(errors.contains(part), "{part:?} is not in {errors:?}");
    }
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_missing_file_is_named() {
    refuses(
        &["--pod", "/nonexistent/pod.json"],
        &["/nonexistent/pod.json", "No such file"],
    );
    refuses(
        &["--annotate", "/nonexistent/annotate.toml"],
        &["/nonexistent/annotate.toml", "No such file"],
    );
}

#[test]
fn a_broken_file_is_named_with_the_place() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = file("broken.json", "{\"metadata\": {\"name\": \"x\",}}");
    refuses(&["--container", &broken], &["broken.json", "line 1"]);
    let spec = file("spec.json", "{\"hostname\": \"x\"}");
    refuses(&["--spec", &spec], &["spec.json", "no OCI spec"]);
    let config = file("config.toml", "disable = false\nsocket_pat = \"/x\"\n");
    refuses(
        &["--config", &config],
        &["config.toml", "socket_pat", "socket_path", "line 2"],
    );
    let config = file("broken.toml", "disable = \n");
    refuses(&["--config", &config], &["broken.toml", "line 1"]);
    let annotate = file("annotate.toml", "[env\n");
    refuses(&["--annotate", &annotate], &["10-annotate", "line 1"]);
}

#[test]
fn a_socket_path_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    let occupied = directory.path().join("nri.sock");
    let _listener = UnixListener::bind(&occupied).unwrap();
    refuses(&["--socket", occupied.to_str().unwrap()], &["nri.sock"]);
    assert!(occupied.exists(), "the socket of the other one must stay");

    let long = format!("/tmp/{}/nri.sock", "x".repeat(120));
    refuses(&["--socket", &long], &["xxx", "107"]);

    let no_socket = directory.path().join("file");
    fs::write(&no_socket, "mine").unwrap();
    refuses(&["--socket", no_socket.to_str().unwrap()], &["file"]);
    assert_eq!(fs::read_to_string(&no_socket).unwrap(), "mine");
}

#[test]
fn it_tells_the_whole_story_and_leaves_nothing_behind() {
    let temporary = TempDir::new().unwrap();
    let output = demo(temporary.path(), &[]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "RunPodSandbox",
        "RemovePodSandbox",
        "10-annotate",
        "20-logger",
        "NRI_GREETING",
        "/mnt/nri-demo",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let too_wide: Vec<&str> = told
        .lines()
        .filter(|line| line.chars().count() > 120)
        .collect();
    assert!(too_wide.is_empty(), "{too_wide:?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}
