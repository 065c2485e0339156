//! What a policy said of what a plugin asked for.

use std::fmt;
use std::sync::Arc;

use super::action::Action;
use super::target::Target;
use crate::PluginId;
use crate::brief::{listed, quoted};

/// What a policy said of one thing that a plugin asked for, or of several entries of a field alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// The plugin.
    pub plugin: PluginId,
    /// The container for which it asked.
    pub container: Arc<str>,
    /// The rule, by its name or number, or `default`.
    pub rule: Arc<str>,
    /// What it asked for.
    pub target: Target,
    /// The entries concerned, as the plugin spells their keys, without removal markers; none for
    /// what has no keys.
    pub keys: Vec<String>,
    /// What becomes of it.
    pub action: Action,
}

/// How many keys a line names.
const MOST_KEYS: usize = 8;

/// One line: `plugin "10-a" asks for Env "LD_PRELOAD" in container "c1": deny by rule
/// "no-preload"`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin \"{}\" asks for {}", self.plugin, self.target)?;
        for (at, key) in self.keys.iter().take(MOST_KEYS).enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator} {}", quoted(key))?;
        }
        if let Some(more @ 1..) = self.keys.len().checked_sub(MOST_KEYS) {
            write!(f, " and {more} more")?;
        }
        let (container, rule) = (quoted(&self.container), quoted(&self.rule));
        write!(
            f,
            " in container {container}: {} by rule {rule}",
            self.action
        )
    }
}

/// What a plugin asked for and may not. The request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy denies it: {}", listed(.denied, "; "))]
#[non_exhaustive]
pub struct Denial {
    /// What is denied, all of one plugin. Never empty.
    pub denied: Vec<Verdict>,
}
