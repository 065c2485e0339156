//! CDI specification files, and putting their devices into a container.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::cri::cdi(input));
