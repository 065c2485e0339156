//! Texts as a container's cgroup path.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::texts::cgroup_paths(input));
