//! Messages in proto3 JSON, and the lines of the simulated runtime that have them in them.

use std::fmt::Debug;

use nri_proto::api;
use nri_testkit::sim::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads messages that have every kind of field in them. What is read is written so that it is read
/// again.
///
/// # Panics
/// A law does not hold.
pub fn messages(input: &[u8]) {
    again::<api::ValidateContainerAdjustmentRequest>(input);
    again::<api::CreateContainerResponse>(input);
    again::<api::Container>(input);
    again::<api::UpdateContainersRequest>(input);
}

fn again<M: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) {
    match serde_json::from_slice::<M>(input) {
        Ok(message) => {
            let written = serde_json::to_string(&message).expect("a message can be written");
            let read: M = serde_json::from_str(&written).expect("what was written can be read");
            assert_eq!(read, message, "{written}");
        }
        Err(error) => assert!(!error.to_string().contains("untagged")),
    }
}

/// Reads lines.
///
/// # Panics
/// A law does not hold.
pub fn commands(input: &[u8]) {
    for line in String::from_utf8_lossy(input).lines() {
        if let Err(bad) = Request::read(line) {
            assert!(!bad.reason.is_empty());
        }
    }
}
