//! Any frames, to both ends of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::ttrpc::check(input));
