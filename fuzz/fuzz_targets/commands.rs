//! Lines as commands of `nri-sim serve`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::json::commands(input));
