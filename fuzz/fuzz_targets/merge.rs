//! Any messages through the flows of a creation, an update and a stop: no panic, and the laws of
//! merging hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nri_fuzz::merge::check(input));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mutated = nri_fuzz::script::mutate(&data[..size], seed, |bytes, size, room| {
        libfuzzer_sys::fuzzer_mutate(bytes, size, room)
    });
    let size = mutated.len().min(max_size).min(data.len());
    data[..size].copy_from_slice(&mutated[..size]);
    size
});
