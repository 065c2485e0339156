//! Judging what all plugins together want for a container. What may not enter: where the policy is
//! from, and where pods are known from.

use nri_plugin::policy::{Action, Policy, Target, Verdict};
use nri_plugin::{PluginId, Proposal, api};

/// Who is judged for what has no owner: older runtimes do not say who asked. No rule about a plugin
/// is about it.
const NOBODY: &str = "00-unknown";

/// What a policy says, in lines: what is refused, and what is to be recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) refused: Vec<String>,
    pub(crate) recorded: Vec<String>,
}

/// As many lines of either kind as are said.
const MOST_LINES: usize = 32;

/// Judges a proposal. `pod_of` is the pod of another container, if it is known.
pub(crate) fn judge<P: std::ops::Deref<Target = api::PodSandbox>>(
    policy: &Policy,
    pod: &api::PodSandbox,
    container: &api::Container,
    proposal: &Proposal,
    pod_of: impl Fn(&str) -> Option<P>,
) -> Said {
    let mut said = Said::default();
    for plugin in plugins(proposal) {
        let mut judge = policy.judge(&plugin).recording_all();
        // What is denied is among the verdicts.
        let _ = judge.adjustment(&container.id, Some(pod), &mut proposal.adjust.clone());
        for update in &proposal.updates {
            let pod = pod_of(&update.container_id);
            let _ = judge.update(pod.as_deref(), update.clone());
        }
        for verdict in judge.into_verdicts() {
            said.add(&plugin, verdict, proposal);
        }
    }
    said
}

/// Who has asked for something, and [`NOBODY`].
fn plugins(proposal: &Proposal) -> Vec<PluginId> {
    let owners = proposal.all_owners().chain([NOBODY]);
    owners.filter_map(|owner| owner.parse().ok()).collect()
}

impl Said {
    /// Adds a verdict, as far as it is of what the plugin has asked for.
    fn add(&mut self, plugin: &PluginId, mut verdict: Verdict, proposal: &Proposal) {
        let lines = match verdict.action {
            Action::Allow => return,
            Action::Audit => &mut self.recorded,
            // Nothing can be left out any more.
            _ => &mut self.refused,
        };
        if verdict.keys.is_empty() {
            if !is_of(plugin, &verdict, None, proposal) {
                return;
            }
        } else {
            let keys = std::mem::take(&mut verdict.keys).into_iter();
            let keys: Vec<String> = keys
                .filter(|key| is_of(plugin, &verdict, Some(key), proposal))
                .collect();
            if keys.is_empty() {
                return;
            }
            verdict.keys = keys;
        }
        if lines.len() < MOST_LINES {
            lines.push(verdict.to_string());
        }
    }
}

/// Whether a plugin is an owner of something, or, if it is nobody, whether nobody is.
fn is_of(plugin: &PluginId, verdict: &Verdict, key: Option<&str>, proposal: &Proposal) -> bool {
    let plugin = plugin.to_string();
    let Target::Field(field) = verdict.target else {
        return plugin == NOBODY;
    };
    let mut owners = proposal
        .owners_of(&verdict.container, field, key)
        .peekable();
    match owners.peek() {
        Some(_) => owners.any(|owner| owner == plugin),
        None => plugin == NOBODY,
    }
}
