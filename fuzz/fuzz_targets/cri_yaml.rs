//! Pods and containers of CRI in YAML.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::cri::yaml(input));
