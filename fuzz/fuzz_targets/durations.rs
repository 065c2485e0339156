//! Texts as durations.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::texts::durations(input));
