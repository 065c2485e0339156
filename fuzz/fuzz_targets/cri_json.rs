//! Pods and containers of CRI in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::cri::json(input));
