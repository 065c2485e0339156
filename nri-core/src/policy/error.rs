//! Why a policy is none.

use crate::brief::quoted;

/// Why a text is no [`Pattern`](super::Pattern).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// It is empty.
    #[error("a pattern must not be empty; `*` is everything")]
    Empty,
    /// It has too many bytes.
    #[error("a pattern has at most 255 bytes, and this one {0}")]
    TooLong(usize),
    /// It has a wildcard of other languages.
    #[error("`{0}` is no wildcard here, `*` and `**` are; write `\\{0}` for the character itself")]
    Wildcard(char),
    /// A backslash is not followed by what it can stand before.
    #[error("a backslash stands before one of `*` `?` `[` `]` `{{` `}}` `\\`")]
    Escape,
}

/// Why a text does not say what a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSelector {
    /// Nothing is called that.
    #[error("{} is no field; the fields are {allowed}", quoted(.name))]
    Unknown {
        /// What was written.
        name: String,
        /// What could have been.
        allowed: String,
    },
    /// What is named has no keys.
    #[error("`{name}` has no keys; those that have are {allowed}")]
    NoKeys {
        /// What was named.
        name: String,
        /// What has keys.
        allowed: String,
    },
    /// The pattern of the key is none, or can match no key.
    #[error("the key: {0}")]
    Pattern(#[from] InvalidPattern),
    /// A variable's name ends before the first `=`.
    #[error("the key: a variable's name has no `=` in it")]
    Equals,
}

/// Why rules are no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There are too many rules.
    #[error("a policy has at most {most} rules, and this one {count}")]
    Rules {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The rules have too many patterns.
    #[error("the rules of a policy have at most {most} patterns, and these {count}")]
    Patterns {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Two rules have one name.
    #[error("rules {first} and {second} are both called {}", quoted(.name))]
    Name {
        /// The number of the one, from 1.
        first: usize,
        /// That of the other.
        second: usize,
        /// Their name.
        name: String,
    },
}
