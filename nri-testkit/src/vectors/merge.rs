//! Vectors about requests that are merged: replayed, brought into comparable shape, compared.

use nri_core::policy::{Action, Policy};

use super::difference::difference;
use super::error::VectorError;
use super::exceptions;
use super::observed::{Observed, Problem, strip_container};
use super::record::MergeVector;
use super::script::replay;
use super::verdict::Verdict;

pub(super) fn judge(vector: &MergeVector) -> Result<Verdict, VectorError> {
    let mut recorded = Observed::recorded(vector)?;
    let mut ours = Observed::ours(replay(vector, Policy::default())?);
    let mut unlawful = law_of_the_policy(vector, &ours)?;
    unlawful.extend(law_of_the_view(&ours));
    exceptions::settle(vector, &mut recorded, &mut ours);
    let mut differences = compare(&recorded, &ours);
    differences.extend(unlawful);
    Ok(Verdict::of(differences))
}

/// A policy that is for everything, and records it, changes nothing.
fn law_of_the_policy(vector: &MergeVector, ours: &Observed) -> Result<Vec<String>, VectorError> {
    let watching = Policy::new(Vec::new(), Action::Audit).unwrap_or_default();
    let watched = Observed::ours(replay(vector, watching)?);
    let differences = compare(ours, &watched).into_iter();
    Ok(differences
        .map(|difference| format!("under a policy that only records: {difference}"))
        .collect())
}

/// Compares two recordings by the exceptions of the first.
pub(super) fn compare_recordings(
    vector: &MergeVector,
    ours: &MergeVector,
) -> Result<Vec<String>, VectorError> {
    let mut recorded = Observed::recorded(vector)?;
    let mut ours = Observed::recorded(ours)?;
    exceptions::settle(vector, &mut recorded, &mut ours);
    Ok(compare(&recorded, &ours))
}

/// The last plugin of a creation (which changes nothing itself, in all vectors) sees the original
/// with the combined adjustment applied. Holds whatever was recorded, so it stands for the parts of
/// views that exceptions leave out.
fn law_of_the_view(ours: &Observed) -> Option<String> {
    let Some(Ok(combined)) = &ours.result else {
        return None;
    };
    let original = &ours.validation.as_ref()?.container;
    let (_, seen) = ours.containers.last_key_value()?;
    let adjustment = combined.adjustment.clone().unwrap_or_default();
    let applied = strip_container(nri_core::merge::apply(original, &adjustment));
    difference(
        "the original as adjusted, and the last view",
        &applied,
        seen,
    )
}

fn compare(recorded: &Observed, ours: &Observed) -> Vec<String> {
    let mut differences = Vec::new();
    let mut note = |found: Option<String>| differences.extend(found);
    note(difference("plugins called", &recorded.called, &ours.called));
    for (number, container) in &recorded.containers {
        let what = format!("container as plugin {number} saw it");
        note(difference(
            &what,
            &Some(container),
            &ours.containers.get(number),
        ));
    }
    for (number, resources) in &recorded.resources {
        let what = format!("resources as plugin {number} saw them");
        note(difference(
            &what,
            &Some(resources),
            &ours.resources.get(number),
        ));
    }
    note(difference("result", &recorded.result, &ours.result));
    let failed = matches!(recorded.result, Some(Err(ref problem)) if *problem != Problem::Rejected);
    if !failed {
        note(difference(
            "what validators got",
            &recorded.validation,
            &ours.validation,
        ));
    }
    differences
}
