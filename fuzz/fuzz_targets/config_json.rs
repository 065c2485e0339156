//! Configurations in JSON, ours and the dialects'.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::config::json(input));
