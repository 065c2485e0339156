//! Who a plugin is: a two-digit index and a name. Parsed once at the edge; what holds a value has a
//! valid one.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no plugin identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// The index is not exactly two ASCII digits.
    #[error("invalid plugin index {0:?}: it must be two digits, 00 to 99")]
    Index(String),
    /// The name is empty or has a character outside `A-Z a-z 0-9 . _ + -`.
    #[error("invalid plugin name {0:?}: it must be made of the characters A-Z a-z 0-9 . _ + -")]
    Name(String),
    /// The text has no `-` between index and name.
    #[error("invalid plugin identity {0:?}: it must be INDEX-NAME, for example 10-logger")]
    Form(String),
}

/// A plugin's place in the order: two digits. Lower ones are called first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginIndex(u8);

impl FromStr for PluginIndex {
    type Err = InvalidIdentity;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Ok(Self((tens - b'0') * 10 + (ones - b'0')))
            }
            _ => Err(InvalidIdentity::Index(text.to_owned())),
        }
    }
}

impl fmt::Display for PluginIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Identities are in every record.
        f.write_char(char::from(b'0' + self.0 / 10))?;
        f.write_char(char::from(b'0' + self.0 % 10))
    }
}

impl fmt::Debug for PluginIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginIndex({self})")
    }
}

/// A plugin's name: one or more of `A-Z a-z 0-9 . _ + -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Arc<str>);

impl PluginName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = InvalidIdentity;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        if !text.is_empty() && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidIdentity::Name(text.to_owned()))
        }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginName({})", self.0)
    }
}

/// A plugin's identity, written `INDEX-NAME`. Plugins are called in the order of their identities.
///
/// ```
/// use nri_core::PluginId;
/// let id: PluginId = "10-logger".parse()?;
/// assert_eq!((id.index().to_string(), id.name().as_str()), ("10".to_owned(), "logger"));
/// assert!("1-logger".parse::<PluginId>().is_err());
/// # Ok::<(), nri_core::InvalidIdentity>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId {
    index: PluginIndex,
    name: PluginName,
}

impl PluginId {
    /// The identity of these parts.
    pub fn new(index: PluginIndex, name: PluginName) -> Self {
        Self { index, name }
    }

    /// The identity of the two texts of a registration.
    ///
    /// # Errors
    /// The part that is invalid.
    pub fn from_parts(index: &str, name: &str) -> Result<Self, InvalidIdentity> {
        Ok(Self {
            index: index.parse()?,
            name: name.parse()?,
        })
    }

    /// The place in the order.
    pub fn index(&self) -> PluginIndex {
        self.index
    }

    /// The name without the index.
    pub fn name(&self) -> &PluginName {
        &self.name
    }
}

impl FromStr for PluginId {
    type Err = InvalidIdentity;
    /// Splits at the first `-`, as file names in the plugin directory are split.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (index, name) = text
            .split_once('-')
            .ok_or_else(|| InvalidIdentity::Form(text.to_owned()))?;
        Self::from_parts(index, name)
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.index, f)?;
        f.write_char('-')?;
        f.write_str(&self.name.0)
    }
}

impl fmt::Debug for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginId({self})")
    }
}

/// One registration of a plugin: its identity, and a number that is larger for later registrations
/// of the same runtime.
///
/// Two live instances with one identity stay apart by the number. The order, (index, name,
/// registration), is the order in which plugins are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisteredPlugin {
    /// The identity.
    pub id: PluginId,
    /// The number of the registration.
    pub registration: u64,
}

impl fmt::Display for RegisteredPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_two_digits_a_dash_and_a_name() {
        for good in ["00-a", "99-a.b_c+d-e", "10-10-x"] {
            assert_eq!(good.parse::<PluginId>().unwrap().to_string(), good);
        }
        for bad in [
            "", "-", "10", "10-", "1-a", "100-a", "aa-a", "10-a/b", "10-a b", "10-ä", "１0-a",
        ] {
            assert!(bad.parse::<PluginId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn d40_a_name_that_could_not_be_told_apart_among_owners_is_refused() {
        assert!("10-a,b".parse::<PluginId>().is_err());
    }

    #[test]
    fn identities_sort_by_index_then_name() {
        let mut ids: Vec<PluginId> = ["20-a", "10-b", "10-a", "00-z"]
            .iter()
            .map(|t| t.parse().unwrap())
            .collect();
        ids.sort();
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["00-z", "10-a", "10-b", "20-a"]);
    }
}
