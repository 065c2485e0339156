//! A vector with both sides, as an exception changes them.

use nri_core::api;

use super::super::observed::{Combined, Observed, Problem};
use super::super::record::MergeVector;

/// The vector and what it is about.
pub(super) struct Sides<'a> {
    pub(super) vector: &'a MergeVector,
    pub(super) recorded: &'a mut Observed,
    pub(super) ours: &'a mut Observed,
}

impl Sides<'_> {
    /// Every container that a plugin saw, on both sides.
    pub(super) fn each_view(&mut self, mut change: impl FnMut(&mut api::Container)) {
        let (recorded, ours) = (&mut self.recorded.containers, &mut self.ours.containers);
        recorded
            .values_mut()
            .chain(ours.values_mut())
            .for_each(&mut change);
    }

    /// The Linux part of every container that a plugin saw, on both sides.
    pub(super) fn each_linux_view(&mut self, mut change: impl FnMut(&mut api::LinuxContainer)) {
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
    pub(super) fn each_response(&mut self, mut change: impl FnMut(&mut Combined)) {
        for side in [&mut *self.recorded, &mut *self.ours] {
            if let Some(Ok(combined)) = &mut side.result {
                change(combined);
            }
        }
    }

    /// The combined adjustments, on both sides.
    pub(super) fn each_adjustment(
        &mut self,
        mut change: impl FnMut(&mut api::ContainerAdjustment),
    ) {
        self.each_response(|combined| {
            let mut adjustment = combined.adjustment.take().unwrap_or_default();
            change(&mut adjustment);
            combined.adjustment = nri_core::merge::compare::strip_go(adjustment);
        });
    }

    /// The owners that validators got, on both sides.
    pub(super) fn each_owners(&mut self, mut change: impl FnMut(&mut api::FieldOwners)) {
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

    /// Where a conflict was recorded, ours must not see it: it succeeds, or comes to another
    /// conflict that was hidden behind. What comes out then is ours alone.
    pub(super) fn must_get_past(&mut self) {
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
