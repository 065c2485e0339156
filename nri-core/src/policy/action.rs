//! What a policy says of something that a plugin asks for.

use std::fmt;
use std::str::FromStr;

/// What becomes of something that a plugin asks for.
///
/// ```
/// use nri_core::policy::Action;
/// assert_eq!("Deny".parse(), Ok(Action::Deny));
/// assert_eq!(
///     "block".parse::<Action>().unwrap_err().to_string(),
///     "\"block\" is no action; the actions are `allow`, `deny`, `drop` and `audit`",
/// );
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]

pub enum Action {
    /// It is merged. The default.
    #[default]
    Allow,
    /// The request fails, and names rule and plugin.
    Deny,
    /// It is left out, as if the plugin had not asked for it, and that is recorded.
    Drop,
    /// It is merged, and that is recorded.
    Audit,
}

impl Action {
    /// Whether what it is said of is not merged.
    pub fn is_against(self) -> bool {
        matches!(self, Self::Deny | Self::Drop)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Drop => "drop",
            Self::Audit => "audit",
        })
    }
}

/// A word that is no [`Action`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no action; the actions are `allow`, `deny`, `drop` and `audit`")]
pub struct UnknownAction(String);

/// Without regard to case.
impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let all = [Self::Allow, Self::Deny, Self::Drop, Self::Audit];
        all.into_iter()
            .find(|action| action.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownAction(text.chars().take(64).collect()))
    }
}
