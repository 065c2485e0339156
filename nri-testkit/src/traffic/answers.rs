//! A recording played to a runtime: the plugin's registration and answers, as they were recorded.
//!
//! Where each answer is in the file is kept, the answers are read as they are needed. What may not
//! enter: how a plugin decides.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::api;
use nri_proto::rpc;
use nri_proto::transport::{
    CallContext, CallOptions, Code, Connection, Role, RuntimeClient, Service, Socket, Status,
    connect,
};
use prost::Message as _;
use serde::Serialize;
use tokio::sync::watch;

use super::entry::{Side, What};
use super::messages::subject;
use super::recording::{Recording, RecordingError};
use super::replay::choose;

/// How many answers of a recording are found again. Later ones are as if they were not there.
const ANSWERS: usize = 1 << 20;
/// How long the runtime may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of playing a recorded plugin to a runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswersReport {
    /// The connection that was played.
    pub connection: u64,
    /// How many requests were answered as recorded.
    pub answered: u64,
    /// How many requests came that are not in the recording, by method; they were answered with
    /// nothing.
    pub not_recorded: BTreeMap<String, u64>,
    /// How many recorded answers nobody asked for, by method.
    pub not_asked: BTreeMap<String, u64>,
    /// How many unsolicited updates were made.
    pub unsolicited: u64,
    /// Why the connection ended.
    pub ended: String,
}

/// Where the answers are.
#[derive(Debug, Default)]
struct Places {
    exact: HashMap<(String, String), VecDeque<u64>>,
    by_method: HashMap<String, VecDeque<u64>>,
    used: HashSet<u64>,
    /// How many answers go before an unsolicited update, and where that is.
    updates: VecDeque<(u64, u64)>,
}

impl Places {
    fn read(recording: &mut Recording, connection: u64) -> Result<Self, RecordingError> {
        let mut places = Self::default();
        let mut asked: HashMap<u32, String> = HashMap::new();
        let mut answers = 0;
        loop {
            let position = recording.position();
            let Some(entry) = recording.next_entry()? else {
                return Ok(places);
            };
            if entry.connection != connection || answers >= ANSWERS {
                continue;
            }
            match entry.what {
                What::Request {
                    from: Side::Runtime,
                    stream,
                    method,
                    payload,
                    ..
                } => {
                    asked.insert(stream, subject(&payload, &method));
                }
                What::Request {
                    from: Side::Plugin,
                    method,
                    ..
                } if method == "UpdateContainers" => {
                    places.updates.push_back((answers as u64, position));
                }
                What::Answer {
                    from: Side::Plugin,
                    stream,
                    method,
                    ..
                } => {
                    answers += 1;
                    let about = asked.remove(&stream).unwrap_or_default();
                    let exact = places.exact.entry((method.clone(), about)).or_default();
                    exact.push_back(position);
                    places
                        .by_method
                        .entry(method)
                        .or_default()
                        .push_back(position);
                }
                _ => {}
            }
        }
    }

    /// The place of the next answer: to the same about the same, else to the same.
    fn take(&mut self, method: &str, about: &str) -> Option<u64> {
        let key = (method.to_owned(), about.to_owned());
        let exact = self.exact.get_mut(&key);
        let exact = next(exact, &self.used);
        let place = match exact {
            Some(place) => place,
            None => next(self.by_method.get_mut(method), &self.used)?,
        };
        self.used.insert(place);
        Some(place)
    }

    fn not_asked(&self) -> BTreeMap<String, u64> {
        let left = self.by_method.iter().map(|(method, places)| {
            let left = places.iter().filter(|place| !self.used.contains(place));
            (method.clone(), left.count() as u64)
        });
        left.filter(|(_, left)| *left > 0).collect()
    }
}

/// The first that is not used.
fn next(places: Option<&mut VecDeque<u64>>, used: &HashSet<u64>) -> Option<u64> {
    let places = places?;
    while let Some(place) = places.pop_front() {
        if !used.contains(&place) {
            return Some(place);
        }
    }
    None
}

struct State {
    places: Places,
    recording: Recording,
    report: AnswersReport,
}

impl State {
    fn answer(&mut self, method: &str, payload: &[u8]) -> Result<Vec<u8>, Status> {
        let about = subject(payload, method);
        let Some(place) = self.places.take(method, &about) else {
            let count = &mut self.report.not_recorded;
            // A runtime may know methods that we do not, but not any number of them.
            if count.len() < 64 || count.contains_key(method) {
                *count.entry(method.to_owned()).or_default() += 1;
            }
            return nothing(method, payload);
        };
        self.report.answered += 1;
        match self.entry(place)? {
            What::Answer {
                error: Some((code, text)),
                ..
            } => Err(Status::new(Code::from(code), text)),
            What::Answer { payload, .. } => Ok(payload.into()),
            _ => Ok(Vec::new()),
        }
    }

    fn entry(&mut self, place: u64) -> Result<What, Status> {
        let read = self
            .recording
            .seek(place)
            .and_then(|()| self.recording.next_entry());
        match read {
            Ok(Some(entry)) => Ok(entry.what),
            Ok(None) => Err(Status::unknown("the recording is shorter than it was")),
            Err(error) => Err(Status::unknown(error.to_string())),
        }
    }
}

/// What a plugin answers that has nothing to say.
fn nothing(method: &str, payload: &[u8]) -> Result<Vec<u8>, Status> {
    match method {
        "Synchronize" => {
            let asked = api::SynchronizeRequest::decode(payload).unwrap_or_default();
            let answer = api::SynchronizeResponse {
                more: asked.more,
                ..Default::default()
            };
            Ok(answer.encode_to_vec())
        }
        method if rpc::plugin::METHODS.contains(&method) => Ok(Vec::new()),
        method => Err(Status::unknown_method(method)),
    }
}

/// Answers as recorded.
struct Recorded {
    state: Arc<Mutex<State>>,
    answered: watch::Sender<u64>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No foreign code runs under the lock, so a poisoned one is whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Service for Recorded {
    fn name(&self) -> &'static str {
        rpc::plugin::SERVICE
    }

    async fn call(&self, _: CallContext, method: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
        let answer = lock(&self.state).answer(method, &payload);
        self.answered.send_modify(|answered| *answered += 1);
        answer
    }
}

/// Connects to a runtime as the recorded plugin, and answers as that did, until the connection ends
/// or `stop` does.
///
/// # Errors
/// The recording cannot be read, there is no runtime, or it refuses the registration.
pub async fn replay_to_runtime(
    path: &Path,
    socket: &Path,
    connection: Option<u64>,
    stop: impl Future<Output = ()>,
) -> Result<AnswersReport, String> {
    let text = |error: RecordingError| error.to_string();
    let chosen = choose(path, connection).map_err(text)?;
    let mut recording = Recording::open(path).map_err(text)?;
    let places = Places::read(&mut recording, chosen.connection).map_err(text)?;
    let state = Arc::new(Mutex::new(State {
        places,
        recording,
        report: AnswersReport {
            connection: chosen.connection,
            ..AnswersReport::default()
        },
    }));
    let registration = api::RegisterPluginRequest::decode(chosen.registration)
        .map_err(|error| format!("{}: the registration is damaged: {error}", path.display()))?;
    let stream = connect(socket).await;
    let stream = stream.map_err(|error| format!("{}: {error}", socket.display()))?;
    let (answered, answers) = watch::channel(0);
    let served = Recorded {
        state: Arc::clone(&state),
        answered,
    };
    let connection = Connection::builder(Role::Plugin)
        .serve(served)
        .start(Socket::new(stream));
    let runtime = RuntimeClient::new(connection.client());
    let registered = runtime.register_plugin(&registration, CallOptions::timeout(PATIENCE));
    registered
        .await
        .map_err(|error| format!("the runtime refuses the registration: {error}"))?;
    tokio::select! {
        reason = connection.closed() => lock(&state).report.ended = reason.to_string(),
        () = stop => lock(&state).report.ended = "stopped".to_owned(),
        // It never ends.
        () = update(&state, &runtime, answers) => {}
    }
    let mut state = lock(&state);
    let mut report = std::mem::take(&mut state.report);
    report.not_asked = state.places.not_asked();
    Ok(report)
}

/// Makes each unsolicited update when as much was answered as before it in the recording.
async fn update(state: &Mutex<State>, runtime: &RuntimeClient, mut answers: watch::Receiver<u64>) {
    loop {
        let next = lock(state).places.updates.pop_front();
        let Some((after, place)) = next else { break };
        if answers
            .wait_for(|answered| *answered >= after)
            .await
            .is_err()
        {
            break;
        }
        let entry = lock(state).entry(place);
        let Ok(What::Request { payload, .. }) = entry else {
            continue;
        };
        if let Ok(request) = api::UpdateContainersRequest::decode(payload) {
            // What the runtime makes of it is its own affair.
            let _ = runtime
                .update_containers(&request, CallOptions::timeout(PATIENCE))
                .await;
            lock(state).report.unsolicited += 1;
        }
    }
    std::future::pending().await
}
