//! Any bytes, in any portions, through the frame decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::frames::check(input));
