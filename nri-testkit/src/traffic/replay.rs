//! A recording played to a plugin: the runtime's requests in their order, and what is different in
//! the answers.
//!
//! The recording is read as it is needed. What may not enter: which differences are good.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use nri_core::api;
use nri_proto::transport::Pending;
use prost::Message as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::difference::{Difference, differences};
use super::entry::{Side, What};
use super::messages::{self, Part, subject};
use super::recording::{Recording, RecordingError};
use crate::tested_plugin::{Bench, Fault, Manner, Peer, Subject};

/// How many of the runtime's answers to unsolicited updates are played.
const UPDATES: usize = 1024;
/// How many requests may be under way. Older ones are given up, as a recording has them that were
/// never answered.
const UNDER_WAY: usize = 256;

/// How a recording is played to a plugin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// How the plugin is started, for a shell; as
    /// [`Options::command`](crate::plugin_conformance::Options::command).
    pub command: String,
    /// Which connection of the recording is played. Default: the first on which a plugin
    /// registered.
    pub connection: Option<u64>,
    /// How long the plugin may take to come, and to answer. Default 10 s.
    pub patience: Duration,
}

impl ReplayOptions {
    /// For a plugin that is started by a command.
    pub fn of(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            connection: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// An answer that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The method.
    pub method: String,
    /// The id of the pod or container that it is about; empty for others.
    pub about: String,
    /// When it was asked, in microseconds since the recording began.
    pub at_us: u64,
    /// What is different.
    pub differences: Vec<Difference>,
}

/// What came of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The connection that was played.
    pub connection: u64,
    /// How many requests were made.
    pub requests: u64,
    /// How many recorded requests have a method that this version does not know. They are not
    /// made.
    pub unknown: u64,
    /// How many answers were compared.
    pub compared: u64,
    /// How many of those were different.
    pub different: u64,
    /// How many unsolicited updates are recorded, and came now. That is no difference: when a
    /// plugin asks for them is its own affair.
    pub unsolicited: (u64, u64),
    /// Whether values were hidden in the recording, so that answers may differ for that reason.
    pub hidden: bool,
    /// Whether the recording's last line was torn.
    pub torn: bool,
}

impl ReplayReport {
    /// Whether nothing was different, and something was compared.
    pub fn is_ok(&self) -> bool {
        self.different == 0 && self.compared > 0
    }
}

/// What is played of a recording.
pub(super) struct Chosen {
    pub(super) connection: u64,
    pub(super) registration: Bytes,
    /// What the runtime answered to unsolicited updates.
    updates: Vec<api::UpdateContainersResponse>,
}

/// Finds what is played.
pub(super) fn choose(path: &Path, wanted: Option<u64>) -> Result<Chosen, RecordingError> {
    let mut recording = Recording::open(path)?;
    let mut chosen: Option<Chosen> = None;
    while let Some(entry) = recording.next_entry()? {
        match (&entry.what, &mut chosen) {
            (
                What::Request {
                    from: Side::Plugin,
                    method,
                    payload,
                    ..
                },
                None,
            ) if method == "RegisterPlugin"
                && wanted.is_none_or(|wanted| wanted == entry.connection) =>
            {
                chosen = Some(Chosen {
                    connection: entry.connection,
                    registration: payload.clone(),
                    updates: Vec::new(),
                });
            }
            (
                What::Answer {
                    from: Side::Runtime,
                    method,
                    payload,
                    ..
                },
                Some(chosen),
            ) if method == "UpdateContainers"
                && entry.connection == chosen.connection
                && chosen.updates.len() < UPDATES =>
            {
                // What cannot be read is answered as if all had worked.
                let answer = api::UpdateContainersResponse::decode(payload.clone());
                chosen.updates.push(answer.unwrap_or_default());
            }
            _ => {}
        }
    }
    chosen.ok_or_else(|| {
        recording.lacks(match wanted {
            None => "no plugin registers in it".to_owned(),
            Some(wanted) => format!("no plugin registers in its connection {wanted}"),
        })
    })
}

/// Plays a recording to a plugin, and tells `changed` each answer that is different.
///
/// # Errors
/// The recording cannot be read, or the plugin does not come.
pub async fn replay_to_plugin(
    path: &Path,
    options: &ReplayOptions,
    changed: impl FnMut(&Changed),
) -> Result<ReplayReport, String> {
    let chosen = choose(path, options.connection).map_err(|error| error.to_string())?;
    let mut bench = Bench::new(Subject {
        command: Some(options.command.clone()),
        launch: None,
        identity: None,
        socket: None,
        patience: options.patience,
    })?;
    let manner = Manner {
        answers: chosen.updates,
        ..Manner::default()
    };
    let peer = Peer::on(bench.connect().await?, manner, options.patience)?;
    let registered = peer.registered(options.patience).await;
    registered.map_err(|why| format!("{why}{}", bench.printed()))?;
    let mut play = Play {
        peer: &peer,
        patience: options.patience,
        changed,
        under_way: HashMap::new(),
        report: ReplayReport {
            connection: chosen.connection,
            ..ReplayReport::default()
        },
    };
    let mut recording = Recording::open(path).map_err(|error| error.to_string())?;
    play.report.hidden = recording.is_hidden();
    while let Some(entry) = recording.next_entry().map_err(|error| error.to_string())? {
        if entry.connection == chosen.connection {
            let went = play.entry(entry.at_us, entry.what).await;
            went.map_err(|why| format!("{why}{}", bench.printed()))?;
        }
    }
    let mut report = play.report;
    report.torn = recording.is_torn();
    report.unsolicited.1 = peer.updates().len() as u64;
    peer.close();
    Ok(report)
}

/// A request that the plugin has got.
struct Asked {
    number: u64,
    at_us: u64,
    about: String,
    answer: Result<Pending, Fault>,
}

struct Play<'a, C> {
    peer: &'a Peer,
    patience: Duration,
    changed: C,
    /// By the number that it has in the recording.
    under_way: HashMap<u32, Asked>,
    report: ReplayReport,
}

impl<C: FnMut(&Changed)> Play<'_, C> {
    async fn entry(&mut self, at_us: u64, what: What) -> Result<(), String> {
        match what {
            What::Request {
                from: Side::Runtime,
                stream,
                method,
                payload,
                ..
            } => self.ask(at_us, stream, &method, payload).await,
            What::Request { method, .. } if method == "UpdateContainers" => {
                self.report.unsolicited.0 += 1;
                Ok(())
            }
            What::Answer {
                from: Side::Plugin,
                stream,
                method,
                payload,
                error,
            } => {
                self.compare(stream, &method, &payload, error).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn ask(
        &mut self,
        at_us: u64,
        stream: u32,
        method: &str,
        payload: Bytes,
    ) -> Result<(), String> {
        // What nobody knows cannot be compared either.
        let Some(known) = messages::known(method) else {
            self.report.unknown += 1;
            return Ok(());
        };
        if self.under_way.len() >= UNDER_WAY {
            let oldest = self.under_way.iter().min_by_key(|(_, asked)| asked.number);
            if let Some(oldest) = oldest.map(|(stream, _)| *stream) {
                self.under_way.remove(&oldest);
            }
        }
        let about = subject(&payload, method);
        let answer = self.peer.begin(known, payload).await;
        if let (0, Err(fault)) = (self.report.requests, &answer) {
            return Err(fault.what.clone());
        }
        self.report.requests += 1;
        let asked = Asked {
            number: self.report.requests,
            at_us,
            about,
            answer,
        };
        self.under_way.insert(stream, asked);
        Ok(())
    }

    /// Compares with what was recorded.
    async fn compare(
        &mut self,
        stream: u32,
        method: &str,
        payload: &[u8],
        error: Option<(i32, String)>,
    ) {
        let Some(asked) = self.under_way.remove(&stream) else {
            return;
        };
        let now = match asked.answer {
            Ok(pending) => self.peer.finish(method, pending, self.patience).await,
            Err(fault) => Err(fault),
        };
        let recorded = match error {
            Some((code, text)) => json!({"error": {"code": code, "text": text}}),
            None => message(method, payload),
        };
        let now = match now {
            Ok(payload) => message(method, &payload),
            Err(fault) => match fault.status {
                Some(status) => {
                    json!({"error": {"code": status.code.value(), "text": status.message}})
                }
                None => json!({"error": fault.what}),
            },
        };
        self.report.compared += 1;
        let differences = differences(&recorded, &now);
        if !differences.is_empty() {
            self.report.different += 1;
            (self.changed)(&Changed {
                method: method.to_owned(),
                about: asked.about,
                at_us: asked.at_us,
                differences,
            });
        }
    }
}

fn message(method: &str, payload: &[u8]) -> Value {
    messages::to_json(method, Part::Answer, payload)
        .unwrap_or_else(|| json!({ "undecoded_bytes": payload.len() }))
}
