//! Resource Director Technology: three values with owners of their own, and one removal for all of
//! them.

use nri_proto::api::{Field, LinuxRdt, OptionalBool, OptionalRepeatedString, OptionalString};

use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::rule::Rule;
use crate::merge::sieve::Sieve;

/// The three values and what was removed.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct Rdt {
    clos_id: Part<OptionalString>,
    schemata: Part<OptionalRepeatedString>,
    enable_monitoring: Part<OptionalBool>,
    removed: bool,
    /// Once something was asked for.
    original: Option<Option<LinuxRdt>>,
}

/// One value: the plugin that touched it last, which removed it if there is none.
#[derive(Debug, Clone)]
struct Part<V> {
    owner: Option<PluginId>,
    value: Option<V>,
}

impl<V> Default for Part<V> {
    fn default() -> Self {
        Self {
            owner: None,
            value: None,
        }
    }
}

impl<V> Part<V> {
    fn check(&self, field: Field, asked: Option<&V>) -> Result<(), Clash> {
        match &self.owner {
            Some(other) if self.value.is_some() && asked.is_some() => Err(Clash {
                field,
                key: None,
                other: Some(other.clone()),
            }),
            _ => Ok(()),
        }
    }

    fn take(&mut self, removes: bool, asked: Option<V>, plugin: &PluginId) {
        if removes || asked.is_some() {
            self.value = asked;
            self.owner = Some(plugin.clone());
        }
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Option<V> {
        if let Some(owner) = self.owner {
            let owner = match self.value {
                Some(_) => Owner::Set(owner),
                None => Owner::Removed(owner),
            };
            owners.insert(field, owner);
        }
        self.value
    }
}

impl Rdt {
    /// What the plugins asked for so far, as one of them could.
    fn reply(&self) -> LinuxRdt {
        let mut reply = LinuxRdt {
            clos_id: self.clos_id.value.clone(),
            schemata: self.schemata.value.clone(),
            enable_monitoring: self.enable_monitoring.value,
            remove: self.removed,
        };
        drop_needless_removal(&mut reply);
        reply
    }
}

fn has_values(rdt: &LinuxRdt) -> bool {
    rdt.clos_id.is_some() || rdt.schemata.is_some() || rdt.enable_monitoring.is_some()
}

/// Where all three values are set, nothing is left to remove.
fn drop_needless_removal(rdt: &mut LinuxRdt) {
    if rdt.clos_id.is_some() && rdt.schemata.is_some() && rdt.enable_monitoring.is_some() {
        rdt.remove = false;
    }
}

impl Rule for Rdt {
    type Asked = Option<LinuxRdt>;
    type Shown = Option<LinuxRdt>;

    fn fields(_field: Field) -> Vec<(Field, bool)> {
        vec![
            (Field::RdtClosId, false),
            (Field::RdtSchemata, false),
            (Field::RdtEnableMonitoring, false),
        ]
    }

    fn asks(asked: &Option<LinuxRdt>) -> bool {
        asked
            .as_ref()
            .is_some_and(|rdt| rdt.remove || has_values(rdt))
    }

    fn check(&self, _field: Field, asked: &Option<LinuxRdt>) -> Result<(), Clash> {
        match asked {
            Some(asked) if !asked.remove => {
                self.clos_id
                    .check(Field::RdtClosId, asked.clos_id.as_ref())?;
                self.schemata
                    .check(Field::RdtSchemata, asked.schemata.as_ref())?;
                self.enable_monitoring
                    .check(Field::RdtEnableMonitoring, asked.enable_monitoring.as_ref())
            }
            _ => Ok(()),
        }
    }

    fn take(
        &mut self,
        asked: Option<LinuxRdt>,
        plugin: &PluginId,
        view: Option<&mut Option<LinuxRdt>>,
    ) {
        let LinuxRdt {
            clos_id,
            schemata,
            enable_monitoring,
            remove,
        } = asked.unwrap_or_default();
        self.removed |= remove;
        self.clos_id.take(remove, clos_id, plugin);
        self.schemata.take(remove, schemata, plugin);
        self.enable_monitoring
            .take(remove, enable_monitoring, plugin);
        if let Some(view) = view {
            view.clone_from(self.original.get_or_insert_with(|| view.clone()));
            Self::apply(&Some(self.reply()), view);
        }
    }

    fn restore(&mut self, view: &mut Option<LinuxRdt>) {
        if let Some(original) = self.original.take() {
            *view = original;
        }
    }

    fn finish(self, _field: Field, owners: &mut ContainerOwners) -> Option<LinuxRdt> {
        let mut reply = LinuxRdt {
            clos_id: self.clos_id.finish(Field::RdtClosId, owners),
            schemata: self.schemata.finish(Field::RdtSchemata, owners),
            enable_monitoring: self
                .enable_monitoring
                .finish(Field::RdtEnableMonitoring, owners),
            remove: self.removed,
        };
        drop_needless_removal(&mut reply);
        Some(reply)
    }

    fn apply(asked: &Option<LinuxRdt>, shown: &mut Option<LinuxRdt>) {
        let Some(asked) = asked else { return };
        if asked.remove {
            *shown = None;
        }
        if has_values(asked) {
            let shown = shown.get_or_insert_default();
            // The flag asks for something; a container has nothing to ask for.
            shown.remove = false;
            let set = asked.clone();
            shown.clos_id = set.clos_id.or(shown.clos_id.take());
            shown.schemata = set.schemata.or(shown.schemata.take());
            shown.enable_monitoring = set.enable_monitoring.or(shown.enable_monitoring);
        }
    }

    fn normalise(asked: &mut Option<LinuxRdt>) {
        if let Some(asked) = asked {
            drop_needless_removal(asked);
        }
    }

    /// The removal is of all three at once.
    fn sift<S: Sieve>(_field: Field, asked: &mut Option<LinuxRdt>, sieve: &mut S) {
        let Some(rdt) = asked else { return };
        let removes = rdt.remove;
        let mut keeps = |field, asked: bool| !(asked || removes) || sieve.keeps(field, None);
        let kept = [
            keeps(Field::RdtClosId, rdt.clos_id.is_some()),
            keeps(Field::RdtSchemata, rdt.schemata.is_some()),
            keeps(Field::RdtEnableMonitoring, rdt.enable_monitoring.is_some()),
        ];
        rdt.clos_id.take_if(|_| !kept[0]);
        rdt.schemata.take_if(|_| !kept[1]);
        rdt.enable_monitoring.take_if(|_| !kept[2]);
        rdt.remove &= match S::A_PART_STAYS {
            true => kept.contains(&true),
            false => !kept.contains(&false),
        };
    }
}
