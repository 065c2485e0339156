//! The laws of merging, as properties of arbitrary containers and arbitrary answers. `cargo xtask
//! laws` makes long runs.
//!
//! Where a law says nothing about a case, the case passes: rejecting it would end long runs. The
//! strategies see to it that this is the smaller part.

mod creation;
mod forms;
mod healing;
mod oracle;
mod updates;
mod validation;

use nri_proto::api::{Container, ContainerAdjustment, CreateContainerResponse};
use proptest::prelude::*;

use super::{CreateMerge, CreateOutcome, MergeError};
use crate::{RegisteredPlugin, strategies};

/// The plugin with this number: all have their own identity.
fn plugin(number: usize) -> RegisteredPlugin {
    RegisteredPlugin {
        id: format!("{number:02}-p{number}").parse().unwrap(),
        registration: number as u64,
    }
}

fn adjusts(adjustment: ContainerAdjustment) -> CreateContainerResponse {
    CreateContainerResponse {
        adjust: Some(adjustment),
        ..Default::default()
    }
}

/// Merges as far as it goes: the merge, and the number of the response that failed with its error.
fn merge(
    container: &Container,
    responses: &[CreateContainerResponse],
) -> (CreateMerge, Option<(usize, MergeError)>) {
    let mut merge = CreateMerge::new(container.clone());
    for (number, response) in responses.iter().enumerate() {
        if let Err(error) = merge.apply(&plugin(number), response.clone()) {
            return (merge, Some((number, error)));
        }
    }
    (merge, None)
}

/// Everything that can be seen of a merge.
fn seen(merge: &CreateMerge) -> (Container, Container, CreateOutcome) {
    (
        merge.view().clone(),
        merge.original(),
        merge.clone().finish(),
    )
}

/// The combined adjustment, empty if there is none.
fn reply(merge: &CreateMerge) -> ContainerAdjustment {
    merge.clone().finish().adjustment.unwrap_or_default()
}

/// Answers of one to four plugins.
fn responses() -> impl Strategy<Value = Vec<CreateContainerResponse>> {
    proptest::collection::vec(strategies::create_response(), 1..5)
}

/// Answers of which at least two are the same, so that they nearly always conflict.
fn repeated() -> impl Strategy<Value = Vec<CreateContainerResponse>> {
    let own = strategies::create_response();
    let shared = proptest::sample::Index::arbitrary_with(());
    (proptest::collection::vec(own, 1..4), shared).prop_map(|(mut responses, shared)| {
        responses.push(shared.get(&responses).clone());
        responses
    })
}

/// Answers of which those that cannot be combined with the earlier ones are left out, so that
/// merging succeeds and still much is taken over and removed.
fn compatible() -> impl Strategy<Value = (Container, Vec<CreateContainerResponse>)> {
    (
        strategies::container(),
        proptest::collection::vec(strategies::create_response(), 1..7),
    )
        .prop_map(|(container, responses)| {
            let mut merge = CreateMerge::new(container.clone());
            let compatible = responses
                .into_iter()
                .filter(|response| merge.apply(&plugin(0), response.clone()).is_ok());
            let compatible = compatible.collect();
            (container, compatible)
        })
}
