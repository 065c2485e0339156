//! What the fuzz targets check. The targets themselves only tie it to the fuzzer.
//!
//! * [`merge`]: several plugins' responses to one request; what is checked beside "no panic" is stated there.
//! * [`frames`]: the frame decoder.
//! * [`script`]: how bytes become a request and responses, and how one such input becomes another.
#![forbid(unsafe_code)]

pub mod frames;
pub mod merge;
pub mod script;
