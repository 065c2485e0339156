//! Policies in TOML: files of their own, and configurations that have one.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::config::policy(input));
