//! The recorded behaviour of the Go implementation, replayed.
#![expect(clippy::expect_used, reason = "a test may panic: that is its report")]

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
    assert_eq!((summary.passed, summary.skipped), (881, 0));
}

#[test]
fn events() {
    let summary = replay("vectors-events.jsonl");
    assert!(summary.is_success(), "{summary}");
    assert_eq!((summary.passed, summary.skipped), (253, 0));
}

/// An exception that no vector needs any more is dead weight; a tag that none explains would be
/// compared as it is.
#[test]
fn every_quirk_has_an_exception_and_every_exception_has_a_vector() {
    let mut tags = std::collections::BTreeSet::new();
    for file in ["vectors-merge.jsonl", "vectors-events.jsonl"] {
        let path = format!("{}/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the file is checked in");
        for line in text.lines() {
            let vector: serde_json::Value = serde_json::from_str(line).expect("a vector");
            let of_vector = vector["tags"].as_array().expect("tags").clone();
            tags.extend(
                of_vector
                    .iter()
                    .filter_map(|tag| tag.as_str().map(str::to_owned)),
            );
        }
    }
    let explained: Vec<&str> = nri_testkit::vectors::exceptions()
        .map(|exception| exception.tag)
        .collect();
    for tag in tags.iter().filter(|tag| tag.starts_with("quirk:")) {
        assert!(explained.contains(&tag.as_str()), "{tag}");
    }
    for tag in explained {
        let of_a_kind = tag.starts_with("kind:");
        assert!(of_a_kind || tags.contains(tag), "{tag}");
    }
}
