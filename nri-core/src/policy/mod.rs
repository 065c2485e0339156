//! What plugins may ask for: an operator's rules, judged before anything is merged.
//!
//! A [`Policy`] is an ordered list of [rules](Rule) and a default. A rule says of which plugins, in
//! which pods, which fields and entries are concerned, and what becomes of them; the first that
//! matches an item counts. In the configuration of `nri-adaptation` it is written like this:
//!
//! ```toml
//! [policy]
//! default = "allow"
//!
//! [[policy.rules]]
//! name = "hooks-of-the-gpu-plugin"
//! plugins = ["gpu"]                     # by name, or by identity as "10-gpu"; `*` is a wildcard
//! fields = ["oci-hooks"]
//! action = "audit"
//!
//! [[policy.rules]]
//! name = "no-hooks-in-production"
//! namespaces = ["prod", "prod-*"]
//! pod_labels = { tier = "*" }           # all of them; `*` means: it is there
//! runtime_handlers = ["runc"]
//! fields = ["oci-hooks", "env:LD_*", "mounts:/var/run/**", "devices:/dev/nvidia*"]
//! action = "deny"
//! ```
//!
//! # Actions
//!
//! | action | what becomes of the item |
//! |---|---|
//! | `allow` | it is merged |
//! | `audit` | it is merged, and recorded |
//! | `drop` | it is left out and recorded; all else is as if the plugin had not asked for it |
//! | `deny` | the request fails, with an error that names rule, plugin, field and key |
//!
//! # What is judged
//!
//! Each plugin's answer by itself, before it is merged: no later plugin and no validator sees what
//! is not allowed, and it has no owner and conflicts with nothing. That goes for the answers to
//! creations, updates, stops and synchronisation, and for what plugins ask for on their own
//! account. Of the latter, and of the answer to a synchronisation, each update and eviction is a
//! request of its own: one that is denied fails alone.
//!
//! An update is judged as a whole first (`updates`), then each thing in it by the name of its
//! field. So a policy whose default is `deny` has to allow `updates` *and* `mem-limit`. Updates
//! and evictions are judged by the pod of the container that they are of, which need not be that of
//! the request. Where that pod is not known, rules with conditions on pods hold if they deny or
//! drop, and do not hold if they allow or audit: what is not known is not allowed.
//!
//! * Keys are compared in their [normal form](crate::keys), patterns too: `mounts:/data/` is
//!   `/data`. It is lexical: whoever means `/run` and `/var/run` names both.
//! * A removal (`-KEY`) is judged as its key. RDT is removed as a whole, so the removal is judged
//!   as all three of its fields, and goes if one of them is dropped.
//! * Of a variable the name counts that the process will see: the key up to the first `=`.
//! * `*` does not match `/` in keys of mounts, devices, annotations and CDI devices, `**` does; see
//!   [`Pattern`].
//! * A mount above a path hides what is below it: `mounts:/var/run/**` says nothing of `/var`. A
//!   CDI device brings mounts, variables and hooks of its own, which no plugin asks for and no rule
//!   sees: `cdi-devices` is the field to name.
//!
//! # Limits
//!
//! [`MAX_RULES`] rules, [`MAX_PATTERNS`] patterns in all, [`MAX_PATTERN_LENGTH`] bytes in each.
//! Judging an answer costs at most its items times the patterns, and a pattern at most the key's
//! length times its own; nothing is ever tried twice.
//!
//! What may not enter: how rules are written down, and what a runtime does with a verdict.

mod action;
mod error;
mod explain;
mod judge;
mod known;
#[cfg(test)]
mod laws;
pub mod openshift;
mod pattern;
mod rule;
mod rules;
mod target;
mod verdict;
#[cfg(feature = "policy-serde")]
mod written;

pub use action::{Action, UnknownAction};
pub use error::{InvalidPattern, InvalidSelector, PolicyError};
pub use explain::explain;
pub use judge::Judge;
pub use known::KnownPods;
pub(crate) use known::trimmed;
pub use pattern::{MAX_PATTERN_LENGTH, Pattern};
pub use rule::Rule;
pub use rules::{MAX_PATTERNS, MAX_RULES, Policy};
pub use target::{Selector, Target};
pub use verdict::{Denial, Verdict};
