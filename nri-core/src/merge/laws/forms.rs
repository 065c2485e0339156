//! Laws about the forms of adjustments and updates, and about encoding.

use nri_proto::api::{ContainerAdjustment, CreateContainerResponse, OwningPlugins};
use proptest::prelude::*;
use prost::Message as _;

use super::{compatible, merge};
use crate::merge::compare::{canonical, strip_go, strip_update_go};
use crate::merge::{Owners, normal_form, prune, strip, strip_update};
use crate::strategies::{self, OTHERS};

proptest! {
    /// Stripping, and bringing to normal form, is done once; the normal form does not see whether
    /// it was stripped.
    #[test]
    fn l18_forms_are_idempotent(asked in strategies::adjustment(), container in strategies::container()) {
        let twice = |form: fn(ContainerAdjustment) -> Option<ContainerAdjustment>| {
            let once = form(asked.clone());
            (once.clone().and_then(form), once)
        };
        for form in [strip, strip_go, normal_form, canonical] {
            let (twice, once) = twice(form);
            prop_assert_eq!(twice, once);
        }
        prop_assert_eq!(strip(asked.clone()).and_then(normal_form), normal_form(asked.clone()));
        let pruned = prune(asked, &container);
        prop_assert_eq!(pruned.clone().and_then(|pruned| prune(pruned, &container)), pruned);
    }

    /// The same for updates.
    #[test]
    fn l18_updates_are_stripped_once(update in strategies::update(&OTHERS)) {
        for form in [strip_update, strip_update_go] {
            let once = form(update.clone());
            prop_assert_eq!(once.clone().and_then(form), once);
        }
    }

    /// What is encoded can be decoded.
    #[test]
    fn l18_encoding_loses_nothing((container, responses) in compatible()) {
        let (merge, _) = merge(&container, &responses);
        let outcome = merge.finish();
        let reply = outcome.to_response();
        prop_assert_eq!(CreateContainerResponse::decode(&reply.encode_to_vec()[..]), Ok(reply));
        let owners = outcome.owners.to_message();
        let decoded = OwningPlugins::decode(&owners.encode_to_vec()[..]).unwrap();
        prop_assert_eq!(Owners::from_message(&decoded).to_message(), owners);
    }
}

#[test]
fn a_message_with_nothing_in_it_is_absent() {
    assert_eq!(strip(ContainerAdjustment::default()), None);
    assert_eq!(normal_form(ContainerAdjustment::default()), None);
}
