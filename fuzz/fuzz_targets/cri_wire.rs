//! Pods and containers of CRI in bytes of protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::cri::wire(input));
