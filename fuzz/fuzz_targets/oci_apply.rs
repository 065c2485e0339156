//! Any adjustment to any OCI spec.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::oci::apply(input));
