//! `nri-sim policy check`: what a policy file says, and what it would do to an adjustment.

use std::fmt;

use nri_adaptation::Config;
use nri_core::PluginId;
use nri_core::api::{ContainerAdjustment, PodSandbox};
use nri_core::policy::{Action, Policy, Verdict, explain};

/// What a plugin may ask for, in a pod.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PolicyQuestion {
    /// The plugin.
    pub plugin: PluginId,
    /// The pod; namespace, labels and runtime handler count.
    pub pod: PodSandbox,
    /// What it asks for.
    pub adjustment: ContainerAdjustment,
}

impl PolicyQuestion {
    /// A plugin's question; `adjustment` is proto3 JSON.
    ///
    /// # Errors
    /// The text is no adjustment.
    pub fn new(plugin: PluginId, pod: PodSandbox, adjustment: &str) -> Result<Self, String> {
        let read = serde_json::from_str(adjustment);
        Ok(Self {
            plugin,
            pod,
            adjustment: read.map_err(|error| format!("this is no adjustment in JSON: {error}"))?,
        })
    }
}

/// What a policy says.
///
/// ```
/// use nri_core::api::PodSandbox;
/// use nri_testkit::sim::{PolicyCheck, PolicyQuestion};
///
/// let policy = "[[rules]]\nname = 'no-preload'\nfields = ['env:LD_*']\naction = 'deny'";
/// let adjustment = r#"{"env": [{"key": "LD_PRELOAD", "value": "/x.so"}]}"#;
/// let question = PolicyQuestion::new("10-a".parse()?, PodSandbox::default(), adjustment)?;
/// let check = PolicyCheck::new(policy, Some(&question))?;
/// assert!(check.is_denied());
/// assert_eq!(check.to_string(), "deny   Env \"LD_PRELOAD\" (rule \"no-preload\")\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PolicyCheck {
    policy: Policy,
    verdicts: Option<Vec<Verdict>>,
}

impl PolicyCheck {
    /// Reads a policy from a file of its own or a whole configuration, and asks it, if there is a
    /// question.
    ///
    /// # Errors
    /// What is wrong with the text, with its line.
    pub fn new(text: &str, question: Option<&PolicyQuestion>) -> Result<Self, String> {
        let policy = Config::policy_from_toml(text).map_err(|error| error.to_string())?;
        let verdicts = question.map(|question| {
            let PolicyQuestion {
                plugin,
                pod,
                adjustment,
            } = question;
            explain(&policy, plugin, pod, adjustment)
        });
        Ok(Self { policy, verdicts })
    }

    /// Whether the request would fail.
    pub fn is_denied(&self) -> bool {
        let mut verdicts = self.verdicts.iter().flatten();
        verdicts.any(|verdict| verdict.action == Action::Deny)
    }
}

/// The rules, one a line; or what becomes of each thing that was asked for.
impl fmt::Display for PolicyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(verdicts) = &self.verdicts else {
            for (number, rule) in (1..).zip(self.policy.rules()) {
                writeln!(f, "{number}. {rule}")?;
            }
            return writeln!(f, "Otherwise: {}.", self.policy.default_action());
        };
        if verdicts.is_empty() {
            return writeln!(f, "Nothing is asked for.");
        }
        for verdict in verdicts {
            write!(f, "{:6} {}", verdict.action.to_string(), verdict.target)?;
            for (at, key) in verdict.keys.iter().enumerate() {
                write!(f, "{} {key:?}", if at == 0 { "" } else { "," })?;
            }
            writeln!(f, " (rule {:?})", &*verdict.rule)?;
        }
        Ok(())
    }
}
