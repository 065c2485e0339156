//! Files of block I/O classes, and what their classes are in a spec.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::cri::blockio(input));
