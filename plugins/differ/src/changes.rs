//! What plugins have changed of a container, by plugin. What may not enter: where that is written.

use std::collections::BTreeMap;

use nri_plugin::policy::{Action, Policy, Target, Verdict};
use nri_plugin::{HandlerError, PluginId, Proposal, api};

/// Who is named where the runtime does not say who it was.
const NOBODY: &str = "a plugin that the runtime does not name";

/// The changes of each plugin, in words: `Env "A"`.
///
/// # Errors
/// None that can happen: a policy that allows everything is one.
pub(crate) fn by_plugin(
    pod: &api::PodSandbox,
    container: &api::Container,
    proposal: &Proposal,
) -> Result<BTreeMap<String, Vec<String>>, HandlerError> {
    // A policy names all that it judges, and this one allows everything.
    let policy = Policy::new(Vec::new(), Action::Allow)?;
    let anybody: PluginId = "00-any".parse()?;
    let mut judge = policy.judge(&anybody).recording_all();
    judge.adjustment(&container.id, Some(pod), &mut proposal.adjust.clone())?;
    for update in &proposal.updates {
        judge.update(Some(pod), update.clone())?;
    }
    let mut changes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for verdict in judge.into_verdicts() {
        for key in keys(&verdict) {
            let of = match &*verdict.container {
                id if id == container.id => String::new(),
                id => format!(" of container {id:?}"),
            };
            let change = match key {
                Some(key) => format!("{} {key:?}{of}", verdict.target),
                None => format!("{}{of}", verdict.target),
            };
            for owner in owners(&verdict, key, proposal) {
                changes.entry(owner).or_default().push(change.clone());
            }
        }
    }
    Ok(changes)
}

/// The entries, or the field as a whole.
fn keys(verdict: &Verdict) -> Vec<Option<&str>> {
    match verdict.keys.as_slice() {
        [] => vec![None],
        keys => keys.iter().map(|key| Some(key.as_str())).collect(),
    }
}

fn owners(verdict: &Verdict, key: Option<&str>, proposal: &Proposal) -> Vec<String> {
    let owners: Vec<String> = match verdict.target {
        Target::Field(field) => {
            let owners = proposal.owners_of(&verdict.container, field, key);
            owners.map(str::to_owned).collect()
        }
        // An update as such says nothing: what is in it does.
        Target::Updates => return Vec::new(),
        _ => Vec::new(),
    };
    match owners.is_empty() {
        true => vec![NOBODY.to_owned()],
        false => owners,
    }
}
