//! The command line: one value that can be taken over. A leading empty element says so; what
//! follows is the new value, and if nothing follows, the command line is the original one again.

use nri_proto::api::Field;

use crate::PluginId;
use crate::merge::error::Clash;
use crate::merge::owners::{ContainerOwners, Owner};
use crate::merge::rule::Rule;

/// The command line.
#[derive(Debug, Clone, Default)]
pub(in crate::merge) struct Args {
    /// The plugin that touched it last. It removed what there was if there is no value.
    owner: Option<PluginId>,
    value: Vec<String>,
    original: Vec<String>,
}

/// Whether the command line is to be taken over. An empty program name can therefore not be
/// expressed.
fn takes_over(asked: &[String]) -> bool {
    asked.first().is_some_and(String::is_empty)
}

impl Rule for Args {
    type Asked = Vec<String>;
    type Shown = Vec<String>;

    fn asks(asked: &Vec<String>) -> bool {
        !asked.is_empty()
    }

    fn check(&self, field: Field, asked: &Vec<String>) -> Result<(), Clash> {
        match &self.owner {
            Some(other) if !self.value.is_empty() && !asked.is_empty() && !takes_over(asked) => {
                Err(Clash {
                    field,
                    key: None,
                    other: Some(other.clone()),
                })
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, mut asked: Vec<String>, plugin: &PluginId, view: Option<&mut Vec<String>>) {
        if takes_over(&asked) {
            asked.remove(0);
        }
        if let Some(view) = view {
            if self.owner.is_none() {
                self.original = std::mem::take(view);
            }
            view.clone_from(if asked.is_empty() {
                &self.original
            } else {
                &asked
            });
        }
        self.value = asked;
        self.owner = Some(plugin.clone());
    }

    fn restore(&mut self, view: &mut Vec<String>) {
        if self.owner.is_some() {
            *view = std::mem::take(&mut self.original);
        }
    }

    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Vec<String> {
        if let Some(owner) = self.owner {
            let owner = if self.value.is_empty() {
                Owner::Removed(owner)
            } else {
                Owner::Set(owner)
            };
            owners.insert(field, owner);
        }
        self.value
    }

    /// Takes the list as it is: an element that says "take over" is gone from what is combined or
    /// in normal form.
    fn apply(asked: &Vec<String>, shown: &mut Vec<String>) {
        if !asked.is_empty() {
            shown.clone_from(asked);
        }
    }

    fn normalise(asked: &mut Vec<String>) {
        let program = asked.iter().position(|arg| !arg.is_empty());
        asked.drain(..program.unwrap_or(asked.len()));
    }
}
