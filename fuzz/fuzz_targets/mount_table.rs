//! Texts as the host's mount table.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::texts::mount_table(input));
