//! Plugins that nri-sim plays itself: what they ask for stands in the steps of a scenario. A plugin
//! that judges what others want needs others. What may not enter: any other plugin.

use std::collections::BTreeMap;
use std::path::Path;

use nri_core::{Event, EventMask, PluginId, api};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::identity::plugin_id;
use crate::fake_plugin::{Behavior, Connected, FakePlugin};
use crate::sim::error::SimError;
use crate::sim::members::in_plain_words;

/// What a plugin that nri-sim plays asks for in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The plugin.
    pub plugin: PluginId,
    event: Event,
    answer: Vec<u8>,
}

/// Reads an answer as the message that it must be, and encodes it.
type Encode = fn(Value) -> Result<Vec<u8>, String>;

/// Reads what is asked for in a step with this command.
pub(super) fn read(command: &str, asked: Value) -> Result<Vec<Asked>, String> {
    let (event, encode): (_, Encode) = match command {
        "create-container" => (
            Event::CreateContainer,
            encoded::<api::CreateContainerResponse>,
        ),
        "update-container" => (
            Event::UpdateContainer,
            encoded::<api::UpdateContainerResponse>,
        ),
        "stop-container" => (Event::StopContainer, encoded::<api::StopContainerResponse>),
        _ => {
            return Err(format!(
                "`asked` is for create-container, update-container and stop-container: in {command} a plugin can ask for nothing"
            ));
        }
    };
    let Value::Object(members) = asked else {
        return Err(format!(
            "`asked` is a table of plugins and what they ask for, such as asked.10-other.adjust.env = [...], not {asked}"
        ));
    };
    let members = members.into_iter().map(|(plugin, answer)| {
        Ok(Asked {
            event,
            answer: encode(answer).map_err(|reason| format!("asked.{plugin}: {reason}"))?,
            plugin: plugin_id(&plugin)?,
        })
    });
    members.collect()
}

fn encoded<M: DeserializeOwned + prost::Message>(answer: Value) -> Result<Vec<u8>, String> {
    let message: M = serde_json::from_value(answer).map_err(|error| in_plain_words(&error))?;
    Ok(message.encode_to_vec())
}

/// The plugins that are played, and their connections.
pub(super) struct StandIns {
    plugins: BTreeMap<PluginId, FakePlugin>,
    connected: Vec<Connected>,
}

impl StandIns {
    /// Those of whom something is asked for in some step.
    pub(super) fn of<'a>(asked: impl Iterator<Item = &'a Asked>) -> Self {
        let mut events: BTreeMap<&PluginId, EventMask> = BTreeMap::new();
        for asked in asked {
            let events = events.entry(&asked.plugin).or_default();
            *events |= EventMask::from(asked.event);
        }
        let played = |(id, events): (&PluginId, EventMask)| {
            (
                id.clone(),
                FakePlugin::new(id.to_string()).subscribe(events),
            )
        };
        Self {
            plugins: events.into_iter().map(played).collect(),
            connected: Vec::new(),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PluginId> {
        self.plugins.keys()
    }

    /// Has them join.
    pub(super) async fn connect(&mut self, socket: &Path) -> Result<(), SimError> {
        for plugin in self.plugins.values() {
            let broken = |reason: String| SimError::Setup {
                path: socket.to_owned(),
                reason: format!("{} cannot join: {reason}", plugin.identity()),
            };
            let connected = plugin.connect(socket).await;
            let connected = connected.map_err(|error| broken(error.to_string()))?;
            let registered = connected.register().await;
            registered.map_err(|error| broken(error.to_string()))?;
            self.connected.push(connected);
        }
        Ok(())
    }

    /// Has them ask for what a step says, or for nothing again.
    pub(super) fn ask(&self, asked: &[Asked], is_over: bool) {
        for asked in asked {
            if let Some(plugin) = self.plugins.get(&asked.plugin) {
                plugin.change(
                    asked.event,
                    match is_over {
                        false => Behavior::answer_bytes(asked.answer.clone()),
                        true => Behavior::usual(),
                    },
                );
            }
        }
    }
}
