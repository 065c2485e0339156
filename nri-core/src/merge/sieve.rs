//! Going through what a plugin asks for, item by item, before it is merged: what a runtime cannot
//! apply, and what an operator does not allow, is found and taken out in one walk over the table of
//! fields.
//!
//! What may not enter: why something stays or goes.

use nri_proto::api::{ContainerAdjustment, Field, LinuxResources};

use super::rule::Group as _;
use super::table::{Adjustments, Resources};

/// Who says what stays.
pub(crate) trait Sieve {
    /// Whether what cannot be divided and concerns several fields (the removal of RDT) stays as
    /// long as one of them does; otherwise it goes as soon as one of them goes.
    const A_PART_STAYS: bool;

    /// Whether an item stays. It is of a field (the number that means "no field" stands for the
    /// rules of the device cgroup), and has a key, as it was spelled and without a removal marker,
    /// where the field has entries.
    fn keeps(&mut self, field: Field, key: Option<&str>) -> bool;
}

/// Passes all items of an adjustment through a sieve.
pub(crate) fn sift_adjustment(asked: &mut ContainerAdjustment, sieve: &mut impl Sieve) {
    Adjustments::sift(asked, sieve);
}

/// Passes all items of an update's resources through a sieve.
pub(crate) fn sift_resources(asked: &mut LinuxResources, sieve: &mut impl Sieve) {
    Resources::sift(asked, sieve);
}

/// All fields, each with whether it has entries with keys, in the order of the table; the rules of
/// the device cgroup are there under the number that means "no field".
pub(crate) fn fields() -> Vec<(Field, bool)> {
    Adjustments::fields()
}

/// Those of them that are resources, which updates can carry too.
pub(crate) fn resource_fields() -> Vec<(Field, bool)> {
    Resources::fields()
}
