//! `nri-sim serve`: commands in, results out, until the input ends, `quit` comes, or a signal.

use std::future::Future;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::command::Command;
use super::error::SimError;
use super::lines::{self, Line, Results};
use super::options::RuntimeOptions;
use super::reply::{OutcomeReply, Reply};
use super::request::{BadRequest, Request};
use super::simulator::Simulator;

/// How many asynchronous commands may be under way.
const UNDER_WAY: usize = 1024;
/// How long the first command may take to come before the runtime is started without it.
const FIRST_COMMAND: Duration = Duration::from_millis(200);

/// One line of the output.
#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<&'a str>,
    #[serde(flatten)]
    reply: Option<Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outcomes: Vec<OutcomeReply>,
}

/// What went wrong with a command.
pub(super) struct Failure {
    error: String,
    outcomes: Vec<OutcomeReply>,
}

impl From<SimError> for Failure {
    fn from(error: SimError) -> Self {
        Self {
            outcomes: error.outcomes().to_vec(),
            error: error.to_string(),
        }
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self {
            error,
            outcomes: Vec::new(),
        }
    }
}

/// The line that answers a command.
pub(super) fn answer(
    id: Option<&Value>,
    cmd: Option<&str>,
    result: Result<Reply, Failure>,
) -> String {
    let line = |ok, reply, error, outcomes| Answer {
        ok,
        id,
        cmd,
        reply,
        error,
        outcomes,
    };
    let written = match result {
        Ok(reply) => serde_json::to_string(&line(true, Some(reply), None, Vec::new())),
        Err(Failure { error, outcomes }) => {
            serde_json::to_string(&line(false, None, Some(error), outcomes))
        }
    };
    written.unwrap_or_else(|error| {
        // A plugin may send enum numbers that have no name.
        let error = format!("it is done, but the result cannot be written as JSON: {error}");
        // Nothing is left in it that could fail.
        serde_json::to_string(&line(false, None, Some(error), Vec::new())).unwrap_or_default()
    })
}

/// Why no more commands are taken.
enum End {
    /// The input is over, or nobody reads the output any more.
    Input,
    /// `quit`, to be answered when all is done.
    Quit(Option<Value>),
    /// The program is to end at once.
    Stopped,
}

/// Reads commands from `input` and writes their results to `output`, until the input ends, `quit`
/// comes or `stop` resolves.
///
/// The socket opens and plugins are launched when the first command comes that is not `add-pod` or
/// `add-container`, or when none comes for a moment; so what is added first is there before any
/// plugin is. `ready` is called then.
///
/// # Errors
/// The runtime cannot be set up or started, or the results cannot be written.
pub async fn serve(
    options: &RuntimeOptions,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    ready: impl FnOnce(&Simulator),
    stop: impl Future<Output = ()>,
) -> Result<(), SimError> {
    let setup = options.setup()?;
    let sim = Arc::new(Simulator::build(setup.config.clone(), setup.restartable)?);
    let (results, written) = Results::to(output);
    let mut session = Session {
        sim: Arc::clone(&sim),
        results,
        under_way: JoinSet::new(),
        room: Arc::new(Semaphore::new(UNDER_WAY)),
    };
    let mut ready = Some(ready);
    let end = tokio::select! {
        biased;
        () = stop => Ok(End::Stopped),
        end = session.run(lines::read(input), &mut ready) => end,
    };
    let end = match end {
        Ok(end) => end,
        Err(error) => {
            sim.stop().await;
            return Err(error);
        }
    };
    if matches!(end, End::Stopped) {
        session.under_way.abort_all();
    }
    sim.stop().await;
    if let End::Quit(id) = &end {
        session
            .results
            .send(answer(id.as_ref(), Some("quit"), Ok(Reply::Done {})))
            .await;
    }
    let stopped = matches!(end, End::Stopped);
    drop(session);
    if stopped {
        // Whoever ends us with a signal may not be reading any more.
        return Ok(());
    }
    match written.await {
        Ok(Err(error)) => Err(SimError::Output(error)),
        _ => Ok(()),
    }
}

/// The commands of one input.
struct Session {
    sim: Arc<Simulator>,
    results: Results,
    under_way: JoinSet<()>,
    room: Arc<Semaphore>,
}

impl Session {
    async fn run(
        &mut self,
        mut lines: tokio::sync::mpsc::UnboundedReceiver<Line>,
        ready: &mut Option<impl FnOnce(&Simulator)>,
    ) -> Result<End, SimError> {
        loop {
            let line = match ready {
                Some(_) => match tokio::time::timeout(FIRST_COMMAND, lines.recv()).await {
                    Ok(line) => line,
                    Err(_) => {
                        self.start(ready).await?;
                        continue;
                    }
                },
                None => lines.recv().await,
            };
            let Some(line) = line else {
                self.start(ready).await?;
                self.wait_for_all().await;
                return Ok(End::Input);
            };
            let request = match line.text {
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => Request::read(&text),
                Err(reason) => Err(BadRequest {
                    id: None,
                    name: None,
                    reason,
                }),
            };
            let request = match request {
                Ok(request) => request,
                Err(BadRequest { id, name, reason }) => {
                    let line = answer(id.as_ref(), name.as_deref(), Err(reason.into()));
                    if !self.results.send(line).await {
                        return Ok(End::Input);
                    }
                    continue;
                }
            };
            if !matches!(
                request.command,
                Command::AddPod { .. } | Command::AddContainer { .. }
            ) {
                self.start(ready).await?;
            }
            if request.command == Command::Quit {
                self.wait_for_all().await;
                return Ok(End::Quit(request.id));
            }
            if !self.take(request).await {
                return Ok(End::Input);
            }
        }
    }

    async fn start(&self, ready: &mut Option<impl FnOnce(&Simulator)>) -> Result<(), SimError> {
        if let Some(ready) = ready.take() {
            self.sim.start().await?;
            ready(&self.sim);
        }
        Ok(())
    }

    async fn wait_for_all(&mut self) {
        while self.under_way.join_next().await.is_some() {}
    }

    /// Does what a command says, or has it done beside the others. `false` if nobody reads the
    /// results any more.
    async fn take(&mut self, request: Request) -> bool {
        let Request {
            id,
            asynchronous,
            name,
            command,
        } = request;
        let (sim, results) = (Arc::clone(&self.sim), self.results.clone());
        let work = async move {
            let result = sim.execute(command).await.map_err(Failure::from);
            results.send(answer(id.as_ref(), Some(name), result)).await
        };
        if !asynchronous {
            return work.await;
        }
        // Never closed.
        let room = Arc::clone(&self.room).acquire_owned().await;
        self.under_way.spawn(async move {
            let _room = room;
            work.await;
        });
        while self.under_way.try_join_next().is_some() {}
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_begins_with_what_one_looks_for_first() {
        let id = Value::from(7);
        assert_eq!(
            answer(Some(&id), Some("stop-pod"), Ok(Reply::Done {})),
            r#"{"ok":true,"id":7,"cmd":"stop-pod"}"#
        );
        assert_eq!(
            answer(None, None, Err("no".to_owned().into())),
            r#"{"ok":false,"error":"no"}"#
        );
    }
}
