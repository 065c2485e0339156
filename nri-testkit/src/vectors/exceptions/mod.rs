//! Where something else than the record is expected: one entry per tag, and what is compared instead.

mod events;
mod requests;

use nri_core::api;
use serde_json::Value;

use events::EVENTS;
use requests::REQUESTS;

use super::observed::{Combined, Observed, Problem};
use super::record::{EventVector, MergeVector};

/// A documented exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exception {
    /// The tag that vectors carry; `kind:stop` stands for all vectors of that kind.
    pub tag: &'static str,
    /// What was recorded.
    pub recorded: &'static str,
    /// What is compared instead.
    pub instead: &'static str,
}

/// Every exception, in the order in which they are applied.
///
/// Whatever an exception leaves out of the views, one thing is compared always: the last plugin must see the original with the
/// combined adjustment applied.
pub fn exceptions() -> impl Iterator<Item = Exception> {
    let of_requests = REQUESTS.iter().map(|(exception, _)| *exception);
    of_requests.chain(EVENTS.iter().map(|(exception, _)| *exception))
}

/// Brings both sides to where they must agree.
pub(super) fn settle(vector: &MergeVector, recorded: &mut Observed, ours: &mut Observed) {
    for (exception, settle) in REQUESTS {
        let applies = match exception.tag.strip_prefix("kind:") {
            Some(kind) => vector.kind == kind,
            None => vector.has_tag(exception.tag),
        };
        if applies {
            settle(&mut Sides {
                vector,
                recorded,
                ours,
            });
        }
    }
}

/// What a call must give.
pub(super) fn expected_of_event(vector: &EventVector) -> Value {
    let mut expected = vector.out.clone();
    for (exception, rewrite) in EVENTS {
        if vector.tags.iter().any(|tag| tag == exception.tag) {
            expected = rewrite(vector, expected);
        }
    }
    expected
}

/// The vector and what it is about.
struct Sides<'a> {
    vector: &'a MergeVector,
    recorded: &'a mut Observed,
    ours: &'a mut Observed,
}

impl Sides<'_> {
    /// Every container that a plugin saw, on both sides.
    fn each_view(&mut self, mut change: impl FnMut(&mut api::Container)) {
        let (recorded, ours) = (&mut self.recorded.containers, &mut self.ours.containers);
        recorded
            .values_mut()
            .chain(ours.values_mut())
            .for_each(&mut change);
    }

    /// The Linux part of every container that a plugin saw, on both sides.
    fn each_linux_view(&mut self, mut change: impl FnMut(&mut api::LinuxContainer)) {
        self.each_view(|container| {
            if let Some(linux) = &mut container.linux {
                change(linux);
            }
        });
        self.each_view(|container| {
            container
                .linux
                .take_if(|linux| *linux == api::LinuxContainer::default());
        });
    }

    /// The combined responses, on both sides.
    fn each_response(&mut self, mut change: impl FnMut(&mut Combined)) {
        for side in [&mut *self.recorded, &mut *self.ours] {
            if let Some(Ok(combined)) = &mut side.result {
                change(combined);
            }
        }
    }

    /// The combined adjustments, on both sides.
    fn each_adjustment(&mut self, mut change: impl FnMut(&mut api::ContainerAdjustment)) {
        self.each_response(|combined| {
            let mut adjustment = combined.adjustment.take().unwrap_or_default();
            change(&mut adjustment);
            combined.adjustment = nri_core::merge::strip_go(adjustment);
        });
    }

    /// The owners that validators got, on both sides.
    fn each_owners(&mut self, mut change: impl FnMut(&mut api::FieldOwners)) {
        for side in [&mut *self.recorded, &mut *self.ours] {
            if let Some(validation) = &mut side.validation {
                validation.owners.owners.values_mut().for_each(&mut change);
                validation
                    .owners
                    .owners
                    .retain(|_, owners| *owners != api::FieldOwners::default());
            }
        }
    }

    /// Where a conflict was recorded, ours must not see it: it succeeds, or comes to another conflict that was hidden behind.
    /// What comes out then is ours alone.
    fn must_get_past(&mut self) {
        let about = |side: &Observed| match &side.result {
            Some(Err(Problem::Conflict(conflict))) => conflict.clone(),
            _ => None,
        };
        let conflict = about(self.recorded);
        if conflict.is_some() && about(self.ours) != conflict {
            self.recorded.result.clone_from(&self.ours.result);
            self.recorded.validation.clone_from(&self.ours.validation);
            self.recorded.called.clone_from(&self.ours.called);
        }
    }
}

const fn entry(tag: &'static str, recorded: &'static str, instead: &'static str) -> Exception {
    Exception {
        tag,
        recorded,
        instead,
    }
}
