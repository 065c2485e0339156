//! CRI v1, generated from `proto/cri.proto`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    rustdoc::all,
    dead_code,
    reason = "generated; its comments are those of the .proto file"
)]

include!("generated/cri.rs");
