//! What the hub remembers of what happened: the last requests with the calls of plugins in them,
//! the last audit records, and how long plugins took. All of it is bounded.
//!
//! Requests do not wait for it: what is noted is made readable when somebody reads it.
//!
//! What may not enter: values of what plugins ask for; names of fields and entries only.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nri_adaptation::policy::Verdict;
use nri_adaptation::{
    AuditRecord, CallOutcome, Event, EventError, Observer, PluginCallReport, PluginId, PluginInfo,
    ReceivedRequest,
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
    open: BTreeMap<u64, (Instant, Vec<Call>)>,
    requests: VecDeque<Noted>,
    audit: VecDeque<AuditEntry>,
    times: BTreeMap<PluginId, Histogram>,
    /// Requests since the start, and those that failed.
    counts: (u64, u64),
}

/// A plugin's part in a request, as it is noted.
#[derive(Debug)]
struct Call {
    plugin: PluginId,
    event: Event,
    after: Duration,
    took: Duration,
    outcome: Cow<'static, str>,
}

impl Call {
    fn record(&self) -> CallRecord {
        CallRecord {
            plugin: self.plugin.to_string(),
            event: self.event.name().to_owned(),
            after_us: micros(self.after),
            took_us: micros(self.took),
            outcome: self.outcome.clone().into_owned(),
        }
    }
}

/// A request, as it is noted.
#[derive(Debug)]
struct Noted {
    number: u64,
    at_ms: u64,
    event: Event,
    namespace: String,
    pod: String,
    container: String,
    took: Duration,
    error: Option<String>,
    calls: Vec<Call>,
}

impl Noted {
    fn record(&self) -> RequestRecord {
        RequestRecord {
            number: self.number,
            at_ms: self.at_ms,
            event: self.event.name().to_owned(),
            pod: format!("{}/{}", self.namespace, self.pod),
            container: self.container.clone(),
            took_us: micros(self.took),
            error: self.error.clone(),
            calls: self.calls.iter().map(Call::record).collect(),
        }
    }
}

/// A request that has begun. It has to end.
#[derive(Debug)]
pub(crate) struct Open {
    records: Arc<Records>,
    since: Instant,
    noted: Option<Noted>,
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>, request: &ReceivedRequest) -> Open {
        let since = Instant::now();
        let mut kept = self.lock();
        kept.next += 1;
        let number = kept.next;
        if kept.open.len() < MOST_OPEN {
            kept.open.insert(number, (since, Vec::new()));
        }
        drop(kept);
        let pod = request.pod();
        Open {
            records: Arc::clone(self),
            since,
            noted: Some(Noted {
                number,
                at_ms: now_ms(),
                event: request.event(),
                namespace: short(pod.namespace()),
                pod: short(pod.name()),
                container: short(request.container().name()),
                took: Duration::ZERO,
                error: None,
                calls: Vec::new(),
            }),
        }
    }

    /// The last requests, the newest last.
    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        self.lock().requests.iter().map(Noted::record).collect()
    }

    /// The last audit records, the newest last.
    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.lock().audit.iter().cloned().collect()
    }

    /// How many requests there were, and how many failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.lock().counts
    }

    pub(crate) fn percentiles(&self, plugin: &PluginId) -> Percentiles {
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

    /// Something that an operator should know.
    pub(crate) fn note(&self, event: &str, what: &str) {
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
        self.noted.as_ref().map_or(0, |noted| noted.number)
    }

    /// The request is over.
    pub(crate) fn end(mut self, error: Option<&EventError>) {
        self.finish(error.map(|error| short(&error.to_string())));
    }

    fn finish(&mut self, error: Option<String>) {
        let Some(mut noted) = self.noted.take() else {
            return;
        };
        noted.took = self.since.elapsed();
        let mut kept = self.records.lock();
        if let Some((_, calls)) = kept.open.remove(&noted.number) {
            noted.calls = calls;
        }
        kept.counts.0 += 1;
        kept.counts.1 += u64::from(error.is_some());
        noted.error = error;
        push(&mut kept.requests, noted);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.finish(Some("the runtime above gave up".to_owned()));
    }
}

impl Observer for Records {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        let plugin = &report.plugin.id;
        let mut kept = self.lock();
        if *report.outcome == CallOutcome::Answered {
            let is_full = kept.times.len() >= MOST_PLUGINS;
            match kept.times.get_mut(plugin) {
                Some(times) => times.add(report.duration),
                None if is_full => {}
                None => {
                    let times = kept.times.entry(plugin.clone()).or_default();
                    times.add(report.duration);
                }
            }
        }
        let open = report.tag.and_then(|number| kept.open.get_mut(&number));
        if let Some((since, calls)) = open
            && calls.len() < MOST_CALLS
        {
            calls.push(Call {
                plugin: plugin.clone(),
                event: report.event,
                after: report.started.saturating_duration_since(*since),
                took: report.duration,
                outcome: match report.outcome {
                    CallOutcome::Answered => "answered".into(),
                    CallOutcome::Failed { code, message } => {
                        short(&format!("failed: {message} (code {code})")).into()
                    }
                    CallOutcome::Late => "late".into(),
                    CallOutcome::Busy => "busy".into(),
                    _ => "gone".into(),
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
    let end = text.char_indices().nth(LONGEST_TEXT);
    text[..end.map_or(text.len(), |(end, _)| end)].to_owned()
}
