//! Any bytes, counted as messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::items::check(input));
