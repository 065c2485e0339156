//! Configurations in TOML: ours, and whole files of runtimes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::config::toml(input));
