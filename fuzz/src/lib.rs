//! What the fuzz targets check. The targets themselves only tie it to the fuzzer.
//!
//! * [`merge`]: several plugins' responses to one request; what is checked beside "no panic" is
//!   stated there.
//! * [`frames`]: the frame decoder.
//! * [`items`]: counting what is in a message before it is built.
//! * [`config`], [`cri`], [`json`], [`oci`], [`texts`], [`ttrpc`]: what is read from others, a
//!   function per reader.
//! * [`script`]: how bytes become a request and responses, and how one such input becomes another.
#![forbid(unsafe_code)]

pub mod config;
pub mod cri;
pub mod frames;
pub mod items;
pub mod json;
pub mod merge;
pub mod oci;
pub mod script;
pub mod texts;
pub mod ttrpc;
