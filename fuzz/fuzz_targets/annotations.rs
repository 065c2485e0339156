//! Texts as annotations of a pod that NRI reads itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::texts::annotations(input));
