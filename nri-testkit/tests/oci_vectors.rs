//! Every recorded vector gives what the reference does, or what the exceptions say and why.

use nri_testkit::oci_vectors::{RECORDED, exceptions, parse, run};

#[test]
fn every_vector_gives_what_is_expected() {
    let exceptions = exceptions();
    let failures: Vec<String> = parse(RECORDED)
        .unwrap()
        .iter()
        .filter_map(|vector| {
            let exception = exceptions.iter().find(|e| e.name == vector.name);
            run(vector, exception).err().map(|error| error.to_string())
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An exception that is not needed, or that stands for no vector, is a mistake in the table.
#[test]
fn every_exception_is_needed() {
    let vectors = parse(RECORDED).unwrap();
    for exception in exceptions() {
        let vector = vectors.iter().find(|vector| vector.name == exception.name);
        let vector = vector.unwrap_or_else(|| panic!("{exception}: no such vector"));
        assert!(run(vector, None).is_err(), "{exception}");
    }
}

#[test]
fn the_recording_is_complete() {
    assert_eq!(parse(RECORDED).unwrap().len(), 134);
}
