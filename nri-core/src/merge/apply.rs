//! Doing to a container what an adjustment asks for.

use nri_proto::api::{Container, ContainerAdjustment};

use super::rule::Group as _;
use super::table::Adjustments;

/// The container as the adjustment makes it: removals first, then sets.
///
/// This is what later plugins see of earlier ones, and what a runtime's own application of an
/// adjustment has to agree with:
///
/// * annotations, kernel parameters, network devices: marked keys go, others are set;
/// * mounts, environment, devices, namespaces: all entries with a marked key go; a set replaces the
///   first entry of its key where it is and drops further ones; new entries go to the end;
/// * limits and cgroup v2 parameters are replaced by key, CDI devices added if absent;
/// * single values are overwritten, hooks and device rules added to;
/// * a memory policy has no place in a `Container`, so it changes nothing here.
///
/// The adjustment is a combined one, or one plugin's in [normal form](super::normal_form): it no
/// longer says whose values are taken over, so an empty first argument is an argument.
///
/// ```
/// use nri_core::api::{Container, ContainerAdjustment, KeyValue};
///
/// let container = Container { env: vec!["A=1".into(), "B=2".into()], ..Default::default() };
/// let env = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
/// let adjustment = ContainerAdjustment { env: vec![env("A", "9"), env("-B", "")], ..Default::default() };
/// assert_eq!(nri_core::merge::apply(&container, &adjustment).env, ["A=9"]);
/// ```
#[must_use]
pub fn apply(container: &Container, adjustment: &ContainerAdjustment) -> Container {
    let mut applied = container.clone();
    Adjustments::apply(adjustment, &mut applied);
    applied
}

#[cfg(test)]
mod tests {
    use nri_proto::api::{
        CdiDevice, Hook, Hooks, KeyValue, LinuxContainerAdjustment, LinuxMemoryPolicy, Mount,
    };

    use super::*;

    fn mount(destination: &str, source: &str) -> Mount {
        Mount {
            destination: destination.into(),
            source: source.into(),
            ..Default::default()
        }
    }

    fn variable(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: value.into(),
        }
    }

    #[test]
    fn a_mount_is_replaced_where_it_is_and_stays_before_what_is_below_it() {
        let container = Container {
            mounts: vec![
                mount("/a", "1"),
                mount("/a/b", "1"),
                mount("/a", "2"),
                mount("/c", "1"),
            ],
            ..Default::default()
        };
        let adjustment = ContainerAdjustment {
            mounts: vec![
                mount("/d", "9"),
                mount("-/c", ""),
                mount("-/a", ""),
                mount("/a", "9"),
                mount("-/none", ""),
            ],
            ..Default::default()
        };
        let applied = apply(&container, &adjustment);
        assert_eq!(
            applied.mounts,
            [mount("/a", "9"), mount("/a/b", "1"), mount("/d", "9")]
        );
    }

    #[test]
    fn many_entries_are_applied_as_few_are() {
        let name = |n: usize| format!("V{n}");
        let container = Container {
            env: (0..100).map(|n| format!("{}=old", name(n))).collect(),
            ..Default::default()
        };
        let sets = (0..200).step_by(2).map(|n| variable(&name(n), "new"));
        let removals = (1..200)
            .step_by(2)
            .map(|n| variable(&format!("-{}", name(n)), ""));
        let adjustment = ContainerAdjustment {
            env: sets.chain(removals).collect(),
            ..Default::default()
        };
        let expected: Vec<String> = (0..200)
            .step_by(2)
            .map(|n| format!("{}=new", name(n)))
            .collect();
        assert_eq!(apply(&container, &adjustment).env, expected);
    }

    #[test]
    fn what_is_appended_is_appended_and_what_is_there_is_not_doubled() {
        let hooks = |path: &str| Hooks {
            poststop: vec![Hook {
                path: path.into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let device = |name: &str| CdiDevice { name: name.into() };
        let container = Container {
            hooks: Some(hooks("/a")),
            cdi_devices: vec![device("x"), device("y")],
            ..Default::default()
        };
        let adjustment = ContainerAdjustment {
            hooks: Some(hooks("/b")),
            cdi_devices: vec![device("y"), device("z")],
            ..Default::default()
        };
        let applied = apply(&container, &adjustment);
        assert_eq!(applied.hooks.unwrap().poststop.len(), 2);
        assert_eq!(applied.cdi_devices, [device("x"), device("y"), device("z")]);
    }

    #[test]
    fn nothing_is_made_for_what_has_no_place_or_removes_nothing() {
        let mut linux = LinuxContainerAdjustment {
            memory_policy: Some(LinuxMemoryPolicy::default()),
            ..Default::default()
        };
        linux.sysctl.insert("-k".into(), String::new());
        let adjustment = ContainerAdjustment {
            linux: Some(linux),
            ..Default::default()
        };
        let container = Container::default();
        assert_eq!(apply(&container, &adjustment), container);
    }
}
