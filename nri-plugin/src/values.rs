//! Values that configurations and annotations of many plugins have, checked where they are read, so
//! that an error names the line and the field. What may not enter: keys, and what a value is for.
//!
//! ```
//! use std::collections::BTreeMap;
//! use nri_plugin::{AnnotationKey, values::AbsolutePath};
//!
//! let pod = BTreeMap::from([("example.com/paths".to_owned(), "- /dev/fuse\n- /dev/../etc".to_owned())]);
//! let error = AnnotationKey::new("example.com/paths").read_list::<AbsolutePath>(&pod, "c").unwrap_err();
//! assert!(error.reason.starts_with("line 2: [1]: the path \"/dev/../etc\""));
//! ```

use std::fmt;

use nri_core::policy::Pattern;
use serde::Deserialize;

/// Types that are read from a text, or written as another value.
macro_rules! from_text {
    ($($name:ident)*) => {
        $(impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                Self::of(&text).map_err(InvalidValue)
            }
        })*
    };
}

from_text! { AbsolutePath FileMode InterfaceName NamePattern PathPattern }

/// What is wrong with a value, in words that have the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

/// An absolute path without `.`, `..` and NUL: it leads nowhere else than it says, but for symbolic
/// links.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AbsolutePath(String);

impl AbsolutePath {
    fn of(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') || path.contains('\0') {
            return Err(format!(
                "the path {path:?} must be absolute, such as /dev/fuse"
            ));
        }
        if path.split('/').any(|part| part == "." || part == "..") {
            return Err(format!("the path {path:?} must not have `.` or `..` in it"));
        }
        Ok(Self(path.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without slashes that say nothing: what patterns are to be compared with.
    pub fn normalized(&self) -> String {
        let parts = self.0.split('/').filter(|part| !part.is_empty());
        let path = parts.fold(String::new(), |path, part| path + "/" + part);
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }
}

impl From<AbsolutePath> for String {
    fn from(path: AbsolutePath) -> Self {
        path.0
    }
}

/// The mode of a file as people write it: `0660` and `0o660` are octal, as in YAML 1.1 and 1.2;
/// `432` and `0x1b0` are the same number. At most `07777`. Default: 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FileMode(u32);

impl FileMode {
    fn of(text: &str) -> Result<Self, String> {
        let number = match text.strip_prefix('0') {
            None | Some("") => text.parse(),
            Some(rest) => match rest.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => u32::from_str_radix(rest.strip_prefix('o').unwrap_or(rest), 8),
            },
        };
        match number {
            Ok(mode) if mode <= 0o7777 => Ok(Self(mode)),
            _ => Err(format!(
                "{text:?} is no file mode: 0 to 07777 is wanted, such as 0660"
            )),
        }
    }

    /// Its bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// The name of a network interface, as the kernel takes it: 1 to 15 bytes without `/`, `:` and
/// white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    fn of(name: &str) -> Result<Self, String> {
        let is_taken = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
        match name.is_empty()
            || name.len() > 15
            || name == "."
            || name == ".."
            || name.contains(is_taken)
        {
            true => Err(format!(
                "{name:?} is no name of a network interface: 1 to 15 bytes without `/`, `:` and spaces are wanted"
            )),
            false => Ok(Self(name.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

/// A pattern of names, in which `*` is any characters.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NamePattern(Pattern);

impl NamePattern {
    fn of(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{error}"))
    }

    /// Whether it matches the whole of a name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// A pattern of paths, in which `*` is any characters but `/`, and `**` is any.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPattern(Pattern);

impl PathPattern {
    fn of(text: &str) -> Result<Self, String> {
        Pattern::path(text)
            .map(Self)
            .map_err(|error| format!("{error}"))
    }

    /// Whether it matches the whole of a path, which should be
    /// [normal](AbsolutePath::normalized).
    pub fn matches(&self, path: &str) -> bool {
        self.0.matches(path)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_where_yaml_writes_it_so() {
        for (text, mode) in [
            ("0660", 0o660),
            ("0o660", 0o660),
            ("432", 0o660),
            ("0x1b0", 0o660),
            ("0", 0),
        ] {
            assert_eq!(FileMode::of(text).unwrap().bits(), mode, "{text}");
        }
        for text in ["", "0888", "rw", "-1", "010000", "99999", "0x"] {
            assert!(FileMode::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_path_leads_elsewhere() {
        for (path, normal) in [
            ("/", "/"),
            ("/dev/fuse", "/dev/fuse"),
            ("//a..b///...//", "/a..b/..."),
        ] {
            assert_eq!(AbsolutePath::of(path).unwrap().normalized(), normal);
        }
        for path in ["", "dev", "./dev", "/dev/../etc", "/..", "/.", "/a/\0"] {
            assert!(AbsolutePath::of(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn interface_names_are_those_of_the_kernel() {
        for name in ["lo", "ens2.100", "a23456789012345", "eth0-x_y"] {
            assert!(InterfaceName::of(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "a234567890123456"] {
            assert!(InterfaceName::of(name).is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_end_at_slashes_or_do_not() {
        assert!(NamePattern::of("team-*").unwrap().matches("team-a/b"));
        assert!(!PathPattern::of("/dev/*").unwrap().matches("/dev/a/b"));
        assert!(NamePattern::of("[a]").is_err());
    }
}
