//! The recorded behaviour of the Go implementation, replayed.

#![allow(clippy::expect_used, reason = "a test may: its panic is the report")]

use std::fs::File;
use std::io::BufReader;

fn replay(file: &str) -> nri_testkit::vectors::Summary {
    let path = format!("{}/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let file = File::open(path).expect("the file is checked in");
    nri_testkit::vectors::run(BufReader::new(file))
}

#[test]
fn merging() {
    let summary = replay("vectors-merge.jsonl");
    assert!(summary.is_success(), "{summary}");
}

#[test]
fn events() {
    let summary = replay("vectors-events.jsonl");
    assert!(summary.is_success(), "{summary}");
}
