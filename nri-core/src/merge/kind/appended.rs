//! What is only ever added to: OCI hooks and rules of the device cgroup.

use nri_proto::api::{Field, Hooks};

use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::rule::Rule;

/// A list to which every plugin may add. It has no owner.
#[derive(Debug, Clone)]
pub(in crate::merge) struct AppendedList<T> {
    added: Vec<T>,
    /// How many entries the original has, once something was added.
    original: Option<usize>,
}

impl<T> Default for AppendedList<T> {
    fn default() -> Self {
        Self {
            added: Vec::new(),
            original: None,
        }
    }
}

impl<T: Clone> Rule for AppendedList<T> {
    type Asked = Vec<T>;
    type Shown = Vec<T>;

    fn asks(asked: &Vec<T>) -> bool {
        !asked.is_empty()
    }

    fn check(&self, _field: Field, _asked: &Vec<T>) -> Result<(), Clash> {
        Ok(())
    }

    fn take(&mut self, asked: Vec<T>, _plugin: &PluginId, view: Option<&mut Vec<T>>) {
        if let Some(view) = view {
            self.original.get_or_insert(view.len());
            view.extend_from_slice(&asked);
        }
        self.added.extend(asked);
    }

    fn restore(&mut self, view: &mut Vec<T>) {
        view.truncate(self.original.unwrap_or(view.len()));
    }

    fn finish(self, _field: Field, _owners: &mut ContainerOwners) -> Vec<T> {
        self.added
    }

    fn apply(asked: &Vec<T>, shown: &mut Vec<T>) {
        shown.extend_from_slice(asked);
    }
}

/// The six lists of hooks. Every plugin that adds any is an owner.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct AppendedHooks {
    hooks: Hooks,
    owners: Vec<PluginId>,
    original: Option<Hooks>,
}

/// Appends each of the six lists.
fn append(to: &mut Hooks, from: Hooks) {
    let Hooks {
        prestart,
        create_runtime,
        create_container,
        start_container,
        poststart,
        poststop,
    } = from;
    to.prestart.extend(prestart);
    to.create_runtime.extend(create_runtime);
    to.create_container.extend(create_container);
    to.start_container.extend(start_container);
    to.poststart.extend(poststart);
    to.poststop.extend(poststop);
}

impl Rule for AppendedHooks {
    type Asked = Option<Hooks>;
    type Shown = Option<Hooks>;

    fn asks(asked: &Option<Hooks>) -> bool {
        asked
            .as_ref()
            .is_some_and(|hooks| *hooks != Hooks::default())
    }

    fn check(&self, _field: Field, _asked: &Option<Hooks>) -> Result<(), Clash> {
        Ok(())
    }

    fn take(&mut self, asked: Option<Hooks>, plugin: &PluginId, view: Option<&mut Option<Hooks>>) {
        let asked = asked.unwrap_or_default();
        if let Some(view) = view {
            if self.owners.is_empty() {
                self.original.clone_from(view);
            }
            append(view.get_or_insert_default(), asked.clone());
        }
        append(&mut self.hooks, asked);
        if self.owners.last() != Some(plugin) {
            self.owners.push(plugin.clone());
        }
    }

    fn restore(&mut self, view: &mut Option<Hooks>) {
        if !self.owners.is_empty() {
            *view = self.original.take();
        }
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Option<Hooks> {
        if !self.owners.is_empty() {
            owners.insert(field, Owner::Many(self.owners));
        }
        Some(self.hooks)
    }

    fn apply(asked: &Option<Hooks>, shown: &mut Option<Hooks>) {
        if let Some(asked) = asked {
            append(shown.get_or_insert_default(), asked.clone());
        }
    }
}
