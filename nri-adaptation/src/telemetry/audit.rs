//! Who changed what: one record for each request in which plugins asked for something. Fields and
//! the names of their entries, never values.

use std::fmt::Write as _;

use nri_core::merge::{Owner, Owners, SupportedFields};
use nri_core::{Event, PluginId, api};

use crate::text::sanitized;

/// What plugins asked for in one request. It says nothing of values.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// The request; `None` for unsolicited updates.
    pub event: Option<Event>,
    /// The pod's id; empty for unsolicited updates.
    pub pod: &'a str,
    /// The id of the container concerned; empty for unsolicited updates.
    pub container: &'a str,
    /// Who asked for what, by container: that of the request and others.
    pub owners: &'a Owners,
    /// Containers that are to be evicted, each with those who asked for it.
    pub evictions: &'a [(String, Vec<PluginId>)],
}

/// From how many bytes on a line only says how much more there is.
const LONGEST_LINE: usize = 8 << 10;

impl AuditRecord<'_> {
    /// Whether nobody asked for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.evictions.is_empty()
    }

    /// One line, which ends after some 8 KiB with how much more there is: `c1: Env "HOME" by 10-a,
    /// Args removed by 20-b; c2: evicted by 20-b`.
    ///
    /// ```
    /// # use nri_core::api::Field;
    /// # use nri_core::merge::{Owner, Owners};
    /// # struct Printer;
    /// impl nri_adaptation::Observer for Printer {
    ///     fn adjusted(&self, record: &nri_adaptation::AuditRecord<'_>) {
    ///         println!("{}", record.to_line());
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = String::new();
        let mut last = None;
        let mut owned = self.owners.iter();
        while line.len() < LONGEST_LINE {
            let Some(owned) = owned.next() else { break };
            if last == Some(owned.container) {
                line.push_str(", ");
            } else {
                if last.is_some() {
                    line.push_str("; ");
                }
                line.push_str(&sanitized(owned.container));
                line.push_str(": ");
            }
            last = Some(owned.container);
            line.push_str(owned.field.as_str_name());
            if let Some(key) = owned.key {
                let _ = write!(line, " {:?}", sanitized(key));
            }
            push_owner(owned.owner, &mut line);
        }
        let mut evictions = self.evictions.iter();
        while line.len() < LONGEST_LINE {
            let Some((container, plugins)) = evictions.next() else {
                break;
            };
            let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
            let separator = if line.is_empty() { "" } else { "; " };
            let container = sanitized(container);
            let _ = write!(
                line,
                "{separator}{container}: evicted by {}",
                plugins.join(" and ")
            );
        }
        let more = owned.count() + evictions.count();
        if more > 0 {
            let _ = write!(line, "; and {more} more");
        }
        line
    }

    /// Tells the log, under the target `nri::audit`.
    pub(crate) fn log(&self) {
        let event = self.event.map_or("UpdateContainers", Event::name);
        tracing::info!(
            target: "nri::audit", event, pod = self.pod, container = self.container,
            changes = self.owners.iter().count(), evictions = self.evictions.len(),
            "{}", self.to_line()
        );
    }

    /// The same where nothing of it is done.
    pub(crate) fn log_disregarded(&self) {
        let event = self.event.map_or("UpdateContainers", Event::name);
        tracing::warn!(
            target: "nri::audit", event, pod = self.pod, container = self.container,
            "asked for by a plugin that observes, and not done: {}", self.to_line()
        );
    }
}

fn push_owner(owner: &Owner, line: &mut String) {
    if let Owner::Removed(_) = owner {
        line.push_str(" removed");
    }
    let mut word = " by ";
    for plugin in owner.plugins() {
        let _ = write!(line, "{word}{plugin}");
        word = " and ";
    }
    if let Owner::Unrecognised(text) = owner {
        line.push_str(word);
        line.push_str(&sanitized(text));
    }
}

/// Who asked for what in unsolicited updates: the plugin, for all
/// that they say.
pub(crate) fn owners_of(plugin: &PluginId, updates: &[api::ContainerUpdate]) -> Owners {
    let owner = Owner::Set(plugin.clone());
    let mut owners = Owners::default();
    for update in updates {
        let resources = update
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.as_ref());
        // What a runtime that supports nothing would refuse is all there is.
        let said = resources.map(|said| SupportedFields::NONE.unsupported_resources(said));
        for part in said.into_iter().flatten() {
            let Some(field) = part.field else { continue };
            let mut own = |key: Option<&str>| {
                owners.insert(&update.container_id, field, key, owner.clone());
            };
            if part.keys.is_empty() {
                own(None);
            }
            part.keys.iter().for_each(|key| own(Some(key)));
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use nri_core::api::Field;

    fn id(text: &str) -> PluginId {
        text.parse().unwrap()
    }

    #[test]
    fn a_record_is_one_line_of_who_and_what() {
        let mut owners = Owners::default();
        owners.insert("c1", Field::Env, Some("HO\nME"), Owner::Set(id("10-a")));
        owners.insert("c1", Field::Args, None, Owner::Removed(id("20-b")));
        let hooks = Owner::Many(vec![id("10-a"), id("20-b")]);
        owners.insert("c1", Field::OciHooks, None, hooks);
        owners.insert("c2", Field::MemLimit, None, Owner::Set(id("20-b")));
        let evictions = [("c3".to_owned(), vec![id("10-a")])];
        let record = AuditRecord {
            event: Some(Event::CreateContainer),
            pod: "p",
            container: "c1",
            owners: &owners,
            evictions: &evictions,
        };
        assert_eq!(
            record.to_line(),
            "c1: OciHooks by 10-a and 20-b, Env \"HO\\\\nME\" by 10-a, Args removed by 20-b; c2: MemLimit by 20-b; \
             c3: evicted by 10-a"
        );
        assert!(!record.is_empty());
    }

    #[test]
    fn what_a_plugin_asks_for_by_itself_is_its_own() {
        let resources = api::LinuxResources {
            memory: Some(api::LinuxMemory {
                limit: Some(api::OptionalInt64 { value: 7 }),
                ..Default::default()
            }),
            unified: [("cpu.weight".to_owned(), "5".to_owned())].into(),
            ..Default::default()
        };
        let update = api::ContainerUpdate {
            container_id: "c".into(),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(resources),
            }),
            ..Default::default()
        };
        let owners = owners_of(&id("10-a"), &[update, api::ContainerUpdate::default()]);
        let says: Vec<_> = owners.iter().map(|o| (o.field, o.key)).collect();
        assert_eq!(
            says,
            [
                (Field::MemLimit, None),
                (Field::CgroupsUnified, Some("cpu.weight"))
            ]
        );
    }
}
