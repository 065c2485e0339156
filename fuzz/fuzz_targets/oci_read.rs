//! Any OCI spec, read as a container.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::oci::read(input));
