//! The kinds of fields, one file each. A kind knows how values of several plugins combine, who owns
//! them then, and how they are applied; it does not know which fields there are.

mod appended;
mod args;
mod keyed_list;
mod keyed_map;
mod rdt;
mod single;

pub(super) use appended::{AppendedHooks, AppendedList};
pub(super) use args::Args;
pub(crate) use keyed_list::Entry;
pub(super) use keyed_list::KeyedList;
pub(super) use keyed_map::{AsKernelParameter, KeyedMap, LiteralMap};
pub(super) use rdt::Rdt;
pub(super) use single::Single;

#[cfg(test)]
mod tests {
    //! The state of one key: what every sequence of sets and removals comes to, for every kind that
    //! knows removal.

    use nri_proto::api::{
        Container, ContainerAdjustment, CreateContainerResponse, Field, LinuxDevice,
        LinuxNamespace, LinuxNetDevice, Mount,
    };

    use crate::build::Adjust as _;
    use crate::merge::{CreateMerge, MergeError, Owner};
    use crate::{PluginId, RegisteredPlugin};

    type Ask = fn(&mut ContainerAdjustment);

    /// A kind of field: how its key `k` is set and removed.
    struct Kind {
        field: Field,
        key: Option<&'static str>,
        set: Ask,
        remove: Ask,
    }

    const KINDS: [Kind; 9] = [
        Kind {
            field: Field::Annotations,
            key: Some("k"),
            set: |a| {
                a.add_annotation("k", "v").unwrap();
            },
            remove: |a| {
                a.remove_annotation("k");
            },
        },
        Kind {
            field: Field::Sysctl,
            key: Some("k"),
            set: |a| {
                a.add_sysctl("k", "v").unwrap();
            },
            remove: |a| {
                a.remove_sysctl("k");
            },
        },
        Kind {
            field: Field::LinuxNetDevices,
            key: Some("k"),
            set: |a| {
                a.add_net_device("k", LinuxNetDevice::default()).unwrap();
            },
            remove: |a| {
                a.remove_net_device("k");
            },
        },
        Kind {
            field: Field::Mounts,
            key: Some("k"),
            set: |a| {
                let destination = "k".into();
                let mount = Mount {
                    destination,
                    ..Default::default()
                };
                a.add_mount(mount).unwrap();
            },
            remove: |a| {
                a.remove_mount("k");
            },
        },
        Kind {
            field: Field::Env,
            key: Some("k"),
            set: |a| {
                a.add_env("k", "v").unwrap();
            },
            remove: |a| {
                a.remove_env("k");
            },
        },
        Kind {
            field: Field::Devices,
            key: Some("k"),
            set: |a| {
                let path = "k".into();
                a.add_device(LinuxDevice {
                    path,
                    ..Default::default()
                })
                .unwrap();
            },
            remove: |a| {
                a.remove_device("k");
            },
        },
        Kind {
            field: Field::Namespace,
            key: Some("k"),
            set: |a| {
                let (r#type, path) = ("k".into(), String::new());
                a.add_namespace(LinuxNamespace { r#type, path }).unwrap();
            },
            remove: |a| {
                a.remove_namespace("k");
            },
        },
        Kind {
            field: Field::Args,
            key: None,
            set: |a| a.args.push("v".into()),
            remove: |a| a.args.insert(0, String::new()),
        },
        Kind {
            field: Field::RdtClosId,
            key: None,
            set: |a| {
                a.set_rdt_clos_id("v");
            },
            remove: |a| {
                a.remove_rdt();
            },
        },
    ];

    /// What a plugin does with the key: `S`et, `R`emove, `B`oth.
    fn ask(kind: &Kind, what: char) -> ContainerAdjustment {
        let mut adjustment = ContainerAdjustment::default();
        if "SB".contains(what) {
            (kind.set)(&mut adjustment);
        }
        if "RB".contains(what) {
            (kind.remove)(&mut adjustment);
        }
        adjustment
    }

    #[test]
    fn every_sequence_of_sets_and_removals_has_one_outcome() {
        let plugin = |number: usize| -> PluginId { format!("{number}0-p").parse().unwrap() };
        for (sequence, last) in [
            ("S", Some('S')),
            ("R", Some('R')),
            ("B", Some('S')),
            ("SS", None),
            ("SR", Some('R')),
            ("SB", Some('S')),
            ("RS", Some('S')),
            ("RR", Some('R')),
            ("RB", Some('S')),
            ("BS", None),
            ("BR", Some('R')),
            ("BB", Some('S')),
            ("SRS", Some('S')),
            ("SRB", Some('S')),
            ("RRS", Some('S')),
            ("SBS", None),
            ("RSR", Some('R')),
        ] {
            for kind in &KINDS {
                let mut merge = CreateMerge::new(Container::default());
                let mut result = Ok(());
                for (number, what) in sequence.chars().enumerate() {
                    let registered = RegisteredPlugin {
                        id: plugin(number),
                        registration: 0,
                    };
                    let adjust = Some(ask(kind, what));
                    let response = CreateContainerResponse {
                        adjust,
                        ..Default::default()
                    };
                    result = merge.apply(&registered, response);
                }
                let by = plugin(sequence.len() - 1);
                let said = format!("{} of {:?}", sequence, kind.field);
                match last {
                    None => {
                        let other = plugin(sequence.len() - 2);
                        let expected = MergeError::Conflict {
                            container: String::new(),
                            plugin: by,
                            field: kind.field,
                            key: kind.key.map(str::to_owned),
                            other,
                        };
                        assert_eq!(result, Err(expected), "{said}");
                    }
                    Some(last) => {
                        assert_eq!(result, Ok(()), "{said}");
                        let owner = if last == 'S' {
                            Owner::Set(by)
                        } else {
                            Owner::Removed(by)
                        };
                        let owners = merge.finish().owners;
                        assert_eq!(
                            owners.owner("", kind.field, kind.key),
                            Some(&owner),
                            "{said}"
                        );
                    }
                }
            }
        }
    }
}
