//! What the hub remembers of what happened: the last requests with the calls of plugins in them,
//! the last audit records, and how long plugins took. All of it is bounded.
//!
//! What may not enter: values of what plugins ask for; names of fields and entries only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nri_adaptation::policy::Verdict;
use nri_adaptation::{
    AuditRecord, CallOutcome, EventError, Observer, PluginCallReport, PluginInfo, Request,
};
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// How many requests and how many audit records are remembered.
const MOST: usize = 128;
/// How many requests may be open, as far as their calls are remembered.
const MOST_OPEN: usize = 1024;
/// How many calls of one request are remembered.
const MOST_CALLS: usize = 64;
/// Of how many plugins times are remembered.
const MOST_PLUGINS: usize = 512;
/// How long a remembered text is.
const LONGEST_TEXT: usize = 1024;

/// A request of the runtime above, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// Counts up.
    pub number: u64,
    /// When it came, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The event.
    pub event: String,
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The container's name; empty for pods.
    pub container: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// The calls of plugins, in the order in which they ended.
    pub calls: Vec<CallRecord>,
}

/// A plugin's part in a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallRecord {
    /// The plugin.
    pub plugin: String,
    /// What it was asked.
    pub event: String,
    /// From the beginning of the request to when its turn was asked for, in microseconds.
    pub after_us: u64,
    /// How long it took, waiting for the turn included, in microseconds.
    pub took_us: u64,
    /// `answered`, or what happened instead.
    pub outcome: String,
}

/// Something that plugins asked for, or that the policy said of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// In which event; `UpdateContainers` for unsolicited requests, `policy` for what the policy
    /// says.
    pub event: String,
    /// Who and what, in one line, without values.
    pub what: String,
}

/// Percentiles of how long a plugin took to answer, since it was first seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of the answers took no longer, in microseconds.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// 99 in a hundred.
    pub p99_us: u64,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    open: BTreeMap<u64, (Instant, Vec<CallRecord>)>,
    requests: VecDeque<RequestRecord>,
    audit: VecDeque<AuditEntry>,
    times: BTreeMap<String, Histogram>,
    /// Requests since the start, and those that failed.
    counts: (u64, u64),
}

/// A request that has begun. It has to end.
#[derive(Debug)]
pub(crate) struct Open {
    records: Arc<Records>,
    since: Instant,
    record: Option<RequestRecord>,
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>, request: &Request) -> Open {
        let since = Instant::now();
        let mut kept = self.lock();
        kept.next += 1;
        let number = kept.next;
        if kept.open.len() < MOST_OPEN {
            kept.open.insert(number, (since, Vec::new()));
        }
        let pod = request.pod();
        Open {
            records: Arc::clone(self),
            since,
            record: Some(RequestRecord {
                number,
                at_ms: now_ms(),
                event: request.event().name().to_owned(),
                pod: pod.map_or_else(String::new, |pod| {
                    short(&format!("{}/{}", pod.namespace, pod.name))
                }),
                container: request
                    .container()
                    .map_or_else(String::new, |container| short(&container.name)),
                took_us: 0,
                error: None,
                calls: Vec::new(),
            }),
        }
    }

    /// The last requests, the newest last.
    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        self.lock().requests.iter().cloned().collect()
    }

    /// The last audit records, the newest last.
    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.lock().audit.iter().cloned().collect()
    }

    /// How many requests there were, and how many failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.lock().counts
    }

    pub(crate) fn percentiles(&self, plugin: &str) -> Percentiles {
        let kept = self.lock();
        let Some(times) = kept.times.get(plugin) else {
            return Percentiles::default();
        };
        let of = |part| times.percentile(part).map_or(0, micros);
        Percentiles {
            p50_us: of(0.5),
            p90_us: of(0.9),
            p99_us: of(0.99),
        }
    }

    fn note(&self, event: &str, what: &str) {
        let entry = AuditEntry {
            at_ms: now_ms(),
            event: event.to_owned(),
            what: short(what),
        };
        push(&mut self.lock().audit, entry);
    }
}

impl Open {
    /// The request's number.
    pub(crate) fn number(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.number)
    }

    /// The request is over.
    pub(crate) fn end(mut self, error: Option<&EventError>) {
        self.finish(error.map(|error| short(&error.to_string())));
    }

    fn finish(&mut self, error: Option<String>) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        let mut kept = self.records.lock();
        if let Some((_, calls)) = kept.open.remove(&record.number) {
            record.calls = calls;
        }
        record.took_us = micros(self.since.elapsed());
        kept.counts.0 += 1;
        kept.counts.1 += u64::from(error.is_some());
        record.error = error;
        push(&mut kept.requests, record);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.finish(Some("the runtime above gave up".to_owned()));
    }
}

impl Observer for Records {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let plugin = report.plugin.id.to_string();
        let mut kept = self.lock();
        if *report.outcome == CallOutcome::Answered {
            let times = &mut kept.times;
            if times.len() < MOST_PLUGINS || times.contains_key(&plugin) {
                times
                    .entry(plugin.clone())
                    .or_default()
                    .add(report.duration);
            }
        }
        let open = report.tag.and_then(|number| kept.open.get_mut(&number));
        if let Some((since, calls)) = open
            && calls.len() < MOST_CALLS
        {
            calls.push(CallRecord {
                plugin,
                event: report.event.name().to_owned(),
                after_us: micros(report.started.saturating_duration_since(*since)),
                took_us: micros(report.duration),
                outcome: match report.outcome {
                    CallOutcome::Answered => "answered".to_owned(),
                    CallOutcome::Failed { code, message } => {
                        short(&format!("failed: {message} (code {code})"))
                    }
                    CallOutcome::Late => "late".to_owned(),
                    CallOutcome::Busy => "busy".to_owned(),
                    _ => "gone".to_owned(),
                },
            });
        }
    }

    fn adjusted(&self, record: &AuditRecord<'_>) {
        let event = record
            .event
            .map_or("UpdateContainers", |event| event.name());
        self.note(event, &record.to_line());
    }

    fn disregarded(&self, record: &AuditRecord<'_>) {
        self.note("not done", &record.to_line());
    }

    fn plugin_fell_behind(&self, plugin: &PluginInfo, missed: usize) {
        let what = format!(
            "plugin {} observes and missed {missed} events: it is synchronised again",
            plugin.id()
        );
        self.note("behind", &what);
    }

    fn policy_applied(&self, verdict: &Verdict) {
        self.note("policy", &verdict.to_string());
    }

    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        self.note("disconnected", &format!("plugin {}: {reason}", plugin.id()));
    }
}

fn push<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() >= MOST {
        kept.pop_front();
    }
    kept.push_back(new);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A text from others, as far as it is remembered.
fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}
