//! Golden vectors: recorded behaviour of the Go implementation, replayed against this one.
//!
//! ```
//! let lines = r#"{"name":"a","kind":"event","op":"parse","tags":[],"in":["pod"],"out":6151,"error":null}"#;
//! let summary = nri_testkit::vectors::run(lines.as_bytes());
//! assert!(summary.is_success());
//! assert_eq!(summary.to_string(), "1 passed, 0 failed, 0 skipped");
//! ```
//!
//! A vector is one line of JSON, of any kind that there is; those about OCI specs are
//! [`oci_vectors`]. Requests go through the flows of `nri-core` as a runtime would drive them, with
//! plugins that answer from a script. What comes out is compared with the record: which plugins
//! were called, what each of them saw, the combined response, its owners, what validators got, or
//! else the kind of failure, and for conflicts who, whom, and about what.
//!
//! Where the recorded behaviour is a known defect, the vector has a tag `quirk:…`, and
//! [`exceptions`] says what is compared instead. A vector counts as skipped only if that leaves
//! nothing to compare; at present, there is no such vector.
//!
//! What may not enter: expectations about single vectors. They are in the data or, by tag, in the
//! exceptions.

mod difference;
mod error;
mod events;
mod exceptions;
mod merge;
mod observed;
mod record;
mod script;
mod summary;
mod verdict;

use std::io::BufRead;

use crate::oci_vectors;

pub use error::VectorError;
pub use exceptions::{Exception, exceptions};
pub use summary::{Failure, Summary};

use record::Header;
use verdict::Verdict;

/// Replays every vector of a file, one per line. Empty lines count for nothing; a line that cannot
/// be read is a failure.
pub fn run(vectors: impl BufRead) -> Summary {
    let mut summary = Summary::default();
    for (at, line) in vectors.lines().enumerate() {
        let (name, verdict) = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => {
                let header: Result<Header, _> = serde_json::from_str(&line);
                let name = header.as_ref().ok().map(|header| header.name.clone());
                let verdict = header
                    .map_err(VectorError::from)
                    .and_then(|header| judge(&header, &line));
                (name, verdict)
            }
            Err(error) => (None, Err(error.into())),
        };
        let name = name.unwrap_or_else(|| format!("line {}", at + 1));
        let verdict = verdict.unwrap_or_else(|error| Verdict::Failed(vec![error.to_string()]));
        summary.add(name, verdict);
    }
    summary
}

/// Compares two recordings of one request: that of the reference, and one of what this
/// implementation did elsewhere. The tags of the first say which exceptions apply. Returns the
/// differences, in words.
///
/// Both are vectors as in a file of vectors.
///
/// ```
/// let vector: serde_json::Value = serde_json::from_str(
///     r#"{"kind":"stop","tags":[],"request_b64":"","plugins":[],"expect":
///         {"error_class":null,"conflict":null,"response_b64":"","validator_called":false}}"#,
/// )?;
/// assert!(nri_testkit::vectors::compare(&vector, &vector)?.is_empty());
/// # Ok::<(), nri_testkit::vectors::VectorError>(())
/// ```
///
/// # Errors
/// One of them is no vector about a request.
pub fn compare(
    recorded: &serde_json::Value,
    ours: &serde_json::Value,
) -> Result<Vec<String>, VectorError> {
    use serde::Deserialize as _;

    merge::compare_recordings(
        &record::MergeVector::deserialize(recorded)?,
        &record::MergeVector::deserialize(ours)?,
    )
}

fn judge(header: &Header, line: &str) -> Result<Verdict, VectorError> {
    match header.kind.as_str() {
        "create" | "update" | "stop" => merge::judge(&serde_json::from_str(line)?),
        "event" => events::judge(&serde_json::from_str(line)?),
        "oci" => Ok(Verdict::of(oci_vectors::differences(
            &serde_json::from_str(line)?,
        ))),
        kind => Err(VectorError::Unknown {
            what: "kind of vector",
            value: kind.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_vector_fails_and_says_where() {
        let lines = "\n{}\n{\"name\":\"x\",\"kind\":\"song\",\"tags\":[]}\n";
        let summary = run(lines.as_bytes());
        assert_eq!((summary.passed, summary.failed()), (0, 2));
        let text = summary.to_string();
        assert!(text.contains("line 2"), "{text}");
        assert!(text.contains("\"song\""), "{text}");
        assert!(text.ends_with("0 passed, 2 failed, 0 skipped"));
    }

    #[test]
    fn every_recording_passes_in_one_file() {
        let all = [
            include_str!("../../data/vectors-events.jsonl"),
            crate::oci_vectors::RECORDED,
        ]
        .concat();
        let summary = run(all.as_bytes());
        assert!(summary.is_success(), "{summary}");
        assert_eq!(summary.passed, all.lines().count());
    }

    #[test]
    fn a_difference_is_shown_with_both_sides() {
        let line = r#"{"name":"a","kind":"event","op":"parse","tags":[],"in":["pod"],"out":1,"error":null}"#;
        let text = run(line.as_bytes()).to_string();
        assert!(text.contains("6151") && text.contains('1'), "{text}");
        assert!(text.ends_with("0 passed, 1 failed, 0 skipped"));
    }
}
