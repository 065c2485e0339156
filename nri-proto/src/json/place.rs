//! Where in a message a value is, for errors.

use std::fmt;

/// Where a value is, for errors.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Top(&'static str),
    Field(&'a Place<'a>, &'static str),
    Item(&'a Place<'a>, usize),
    Entry(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    /// Whether `null` may stand here. A message itself is none, and lists and maps have none in
    /// them.
    pub(super) fn takes_null(&self) -> bool {
        matches!(self, Place::Field(..))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top(name) => f.write_str(name),
            Place::Field(Place::Top(_), name) => f.write_str(name),
            Place::Field(outer, name) => write!(f, "{outer}.{name}"),
            Place::Item(outer, at) => write!(f, "{outer}[{at}]"),
            Place::Entry(outer, key) => write!(f, "{outer}[{key:?}]"),
        }
    }
}
