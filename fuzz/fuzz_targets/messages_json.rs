//! Messages of the protocol in proto3 JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::json::messages(input));
