//! The protocol's removal marker: a leading `-` on the key of an entry asks for its removal. Only
//! keyed kinds that know removal give it a meaning; elsewhere it is part of the key.
//!
//! ```
//! use nri_core::merge::removal_marker;
//! assert_eq!(removal_marker::mark("/tmp"), "-/tmp");
//! assert_eq!(removal_marker::marked("-/tmp"), Some("/tmp"));
//! assert_eq!(removal_marker::marked("/tmp"), None);
//! ```

/// The marker itself.
pub const MARKER: char = '-';

/// The marker that asks for the removal of `key`.
pub fn mark(key: &str) -> String {
    format!("{MARKER}{key}")
}

/// The key whose removal `text` asks for; `None` if it is an ordinary key.
pub fn marked(text: &str) -> Option<&str> {
    text.strip_prefix(MARKER)
}

/// The key that `text` is about, whether it is marked or not.
pub fn bare(text: &str) -> &str {
    marked(text).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_the_marker_and_the_rest_is_the_key() {
        for (text, removed) in [
            ("", None),
            ("a", None),
            ("-a", Some("a")),
            ("-", Some("")),
            ("--a", Some("-a")),
            (" -a", None),
            ("\u{2212}a", None),
        ] {
            assert_eq!(marked(text), removed);
            assert_eq!(marked(&mark(text)), Some(text));
            assert_eq!(bare(&mark(text)), text);
        }
    }
}
