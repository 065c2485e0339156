//! Forms of an adjustment: without empty messages, in normal form, in an order fit for comparison,
//! without removals of nothing.

use nri_proto::api::{Container, ContainerAdjustment, ContainerUpdate, LinuxResources};

use super::rule::Group as _;
use super::table::Adjustments;

/// Takes a message away if nothing is in it.
fn fold<M: Default + PartialEq>(message: &mut Option<M>) {
    message.take_if(|message| *message == M::default());
}

fn strip_resources(resources: &mut Option<LinuxResources>, presence_counts: bool) {
    if let Some(resources) = resources {
        fold(&mut resources.memory);
        fold(&mut resources.cpu);
        if !presence_counts {
            fold(&mut resources.pids);
        }
    }
    fold(resources);
}

fn strip_adjustment(
    mut adjustment: ContainerAdjustment,
    presence_counts: bool,
) -> Option<ContainerAdjustment> {
    fold(&mut adjustment.hooks);
    if let Some(linux) = &mut adjustment.linux {
        strip_resources(&mut linux.resources, presence_counts);
        fold(&mut linux.rdt);
        if !presence_counts {
            fold(&mut linux.io_priority);
            fold(&mut linux.seccomp_policy);
            fold(&mut linux.scheduler);
            fold(&mut linux.memory_policy);
        }
    }
    fold(&mut adjustment.linux);
    Some(adjustment).filter(|adjustment| *adjustment != ContainerAdjustment::default())
}

/// The adjustment without empty messages; `None` if nothing is left.
///
/// A wrapper is never empty, nor is a message that replaces a value as a unit (pids, io priority,
/// scheduler, seccomp and memory policy): present with zeros, it asks for zeros.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, LinuxContainerAdjustment};
/// let empty = ContainerAdjustment { linux: Some(LinuxContainerAdjustment::default()), ..Default::default() };
/// assert_eq!(nri_core::merge::strip(empty), None);
/// ```
#[must_use]
pub fn strip(adjustment: ContainerAdjustment) -> Option<ContainerAdjustment> {
    strip_adjustment(adjustment, true)
}

/// [`strip`] as the Go implementation does it: there a unit with zeros counts as empty too. For
/// comparing with what has gone through it.
#[must_use]
pub fn strip_go(adjustment: ContainerAdjustment) -> Option<ContainerAdjustment> {
    strip_adjustment(adjustment, false)
}

fn strip_one_update(mut update: ContainerUpdate, presence_counts: bool) -> Option<ContainerUpdate> {
    if let Some(linux) = &mut update.linux {
        strip_resources(&mut linux.resources, presence_counts);
    }
    fold(&mut update.linux);
    Some(update).filter(|update| *update != ContainerUpdate::default())
}

/// [`strip`] for an update.
#[must_use]
pub fn strip_update(update: ContainerUpdate) -> Option<ContainerUpdate> {
    strip_one_update(update, true)
}

/// [`strip_go`] for an update.
#[must_use]
pub fn strip_update_go(update: ContainerUpdate) -> Option<ContainerUpdate> {
    strip_one_update(update, false)
}

/// The normal form of an adjustment: the shortest way to ask for the same.
///
/// Without empty messages; removals without those of keys that are set, each once and with nothing
/// but the key, after the sets; a command line without the element that says "take over"; no RDT
/// removal beside all three values.
#[must_use]
pub fn normal_form(adjustment: ContainerAdjustment) -> Option<ContainerAdjustment> {
    let mut adjustment = strip(adjustment)?;
    Adjustments::normalise(&mut adjustment);
    strip(adjustment)
}

/// The [`normal_form`] with keyed lists in order of their keys, for comparisons in which their
/// order means nothing.
#[must_use]
pub fn canonical(adjustment: ContainerAdjustment) -> Option<ContainerAdjustment> {
    let mut adjustment = normal_form(adjustment)?;
    Adjustments::sort(&mut adjustment);
    Some(adjustment)
}

/// The adjustment without removals of what the container does not have: applied to it, both come to
/// the same.
#[must_use]
pub fn prune(
    mut adjustment: ContainerAdjustment,
    container: &Container,
) -> Option<ContainerAdjustment> {
    Adjustments::prune(&mut adjustment, Some(container));
    strip(adjustment)
}

#[cfg(test)]
mod tests {
    use nri_proto::api::{KeyValue, LinuxContainerAdjustment, LinuxRdt};

    use super::*;

    fn adjustment(
        change: impl FnOnce(&mut ContainerAdjustment, &mut LinuxContainerAdjustment),
    ) -> ContainerAdjustment {
        let mut adjustment = ContainerAdjustment::default();
        let mut linux = LinuxContainerAdjustment::default();
        change(&mut adjustment, &mut linux);
        adjustment.linux = Some(linux);
        adjustment
    }

    fn variables(keys: &[&str]) -> Vec<KeyValue> {
        let variable = |key: &&str| KeyValue {
            key: (*key).to_owned(),
            value: if key.starts_with('-') {
                String::new()
            } else {
                "v".to_owned()
            },
        };
        keys.iter().map(variable).collect()
    }

    #[test]
    fn markers_come_last_and_only_where_they_say_something() {
        let form = |keys: &[&str]| {
            normal_form(adjustment(|a, _| a.env = variables(keys)))
                .unwrap()
                .env
        };
        assert_eq!(
            form(&["-b", "a", "-a", "-b", "c"]),
            variables(&["a", "c", "-b"])
        );
        assert_eq!(form(&["-"]), variables(&["-"]));
    }

    #[test]
    fn the_canonical_form_is_in_order_of_keys() {
        let form = canonical(adjustment(|a, _| a.env = variables(&["c", "-b", "a"]))).unwrap();
        assert_eq!(form.env, variables(&["-b", "a", "c"]));
    }

    #[test]
    fn take_overs_and_needless_removals_are_gone() {
        let asked = adjustment(|a, l| {
            a.args = vec![String::new(), "x".into()];
            a.annotations.insert("-k".into(), "ignored".into());
            a.annotations.insert("k".into(), "v".into());
            a.annotations.insert("-gone".into(), "ignored".into());
            l.rdt = Some(LinuxRdt {
                clos_id: Some(Default::default()),
                schemata: Some(Default::default()),
                enable_monitoring: Some(Default::default()),
                remove: true,
            });
        });
        let form = normal_form(asked).unwrap();
        assert_eq!(form.args, ["x"]);
        let annotations: Vec<_> = form.annotations.into_iter().collect();
        assert_eq!(
            annotations,
            [("-gone".into(), String::new()), ("k".into(), "v".into())]
        );
        assert!(!form.linux.unwrap().rdt.unwrap().remove);
        assert_eq!(
            normal_form(adjustment(|a, _| a.args = vec![String::new()])),
            None
        );
    }

    #[test]
    fn a_literal_dash_is_no_marker() {
        let device = nri_proto::api::CdiDevice { name: "-x".into() };
        let asked = ContainerAdjustment {
            cdi_devices: vec![device],
            ..Default::default()
        };
        let container = Container::default();
        assert_eq!(prune(asked.clone(), &container), Some(asked));
    }
}
