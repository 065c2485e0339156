//! Keys: from small pools, in several spellings, with markers and dashes in front.
//!
//! What may not enter: what stands under a key.

use proptest::prelude::*;
use proptest::sample::select;

pub(super) fn text() -> impl Strategy<Value = String> {
    select(&["", "x", "y", "-z"][..]).prop_map(str::to_owned)
}

/// A key that is set, in a field that knows removal.
pub(super) fn key() -> impl Strategy<Value = String> {
    select(&["a", "b", "c", "", "a-b"][..]).prop_map(str::to_owned)
}

/// A path, in one of its spellings.
pub(super) fn path() -> impl Strategy<Value = String> {
    const PATHS: [&str; 13] = [
        "/a", "/a", "/a/", "//a", "/x/../a", "a", "/b", "/b", "b/.", "/a/b", "/a//b", "/-a", "",
    ];
    select(&PATHS[..]).prop_map(str::to_owned)
}

/// A kernel parameter, in one of its spellings.
pub(super) fn parameter() -> impl Strategy<Value = String> {
    const PARAMETERS: [&str; 11] = [
        "net.a",
        "net.a",
        "net/a",
        "net//a",
        "net/b.c/d",
        "net.b/c.d",
        "net.b.c.d",
        "vm",
        "vm/",
        "vm",
        "",
    ];
    select(&PARAMETERS[..]).prop_map(str::to_owned)
}

/// The size of a huge page, in one of its spellings, or something else.
pub(super) fn page_size() -> impl Strategy<Value = String> {
    const SIZES: [&str; 9] = [
        "2MB", "2MB", "2M", "2048KB", "2097152", "1GB", "1024M", "-a", "",
    ];
    select(&SIZES[..]).prop_map(str::to_owned)
}

/// A key that is set or removed.
pub(super) fn or_marker(
    key: impl Strategy<Value = String> + Clone,
) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => key.clone(),
        2 => key.prop_map(|key| format!("-{key}")),
        1 => Just("--a".to_owned()),
    ]
}

pub(super) fn key_or_marker() -> impl Strategy<Value = String> {
    or_marker(key().boxed())
}

/// A key in a field without removal.
pub(super) fn literal() -> impl Strategy<Value = String> {
    select(&["a", "b", "c", "-a", ""][..]).prop_map(str::to_owned)
}

/// A key, or what looks like a marker and is none.
pub(super) fn or_dashed(key: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![9 => key, 1 => Just("-a".to_owned())]
}
