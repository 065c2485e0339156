//! Playing a scenario: start, steps, expectations, end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nri_core::PluginId;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::asked::StandIns;
use super::expectation::{Mismatch, compare, present};
use super::file::{Action, PluginEntry, Scenario, Step};
use super::launch::{PluginCommand, Started};
use crate::sim::command::Command;
use crate::sim::error::SimError;
use crate::sim::options::RuntimeOptions;
use crate::sim::reply::{PluginReply, Reply};
use crate::sim::serve::{Failure, answer};
use crate::sim::simulator::Simulator;

/// How a scenario is played.
#[derive(Debug, Clone)]
pub struct PlayOptions {
    /// How plugins are started, in place of what the scenario says.
    pub plugins: Vec<PluginCommand>,
    /// The socket; in a temporary directory if absent.
    pub socket: Option<PathBuf>,
    /// How long plugins may take to come.
    pub wait: Duration,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self {
            plugins: Vec::new(),
            socket: None,
            wait: Duration::from_secs(10),
        }
    }
}

/// What is told while a scenario is played.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant)] // short-lived
#[non_exhaustive]
pub enum Progress {
    /// The socket is open, and plugins that nobody here starts are waited for.
    Waiting {
        /// The scenario.
        scenario: String,
        /// Where they connect.
        socket: String,
        /// Who is waited for.
        plugins: Vec<String>,
    },
    /// All plugins are there.
    Ready {
        /// The scenario.
        scenario: String,
        /// The plugins.
        plugins: Vec<PluginReply>,
    },
    /// A step is done.
    Step(StepReport),
    /// All steps are done.
    End(EndReport),
}

/// What came of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Its number, from 1.
    pub number: usize,
    /// Its line in the file.
    pub line: usize,
    /// What happened, in words: the command and what it is about.
    pub step: String,
    /// When it began, in milliseconds since the first step began.
    pub at_ms: f64,
    /// The result, as `serve` writes it.
    pub result: Value,
    /// What is not as expected.
    pub problems: Vec<Mismatch>,
}

/// What came of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct EndReport {
    /// How many steps were played.
    pub steps: usize,
    /// How many expectations there were, in steps and in the end.
    pub expectations: usize,
    /// How many things were not as expected.
    pub failed: usize,
    /// What is not as expected in the end.
    pub problems: Vec<Mismatch>,
}

impl EndReport {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed == 0
    }
}

/// Plays a scenario and tells `progress` what happens, unless `stop` resolves before the end. Then
/// the runtime and the plugins that were started are shut down all the same: nothing is left of
/// them once this has returned, as it might be if the future was dropped.
///
/// # Errors
/// It cannot be played: the runtime does not start, a plugin does not come, or it was stopped. That
/// something is not as expected is no error.
pub async fn play(
    scenario: &Scenario,
    options: &PlayOptions,
    mut progress: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<EndReport, SimError> {
    let plugins = with_commands(&scenario.plugins, &options.plugins);
    let mut started = Started::prepare(&plugins)?;
    let paths = RuntimeOptions {
        socket: options.socket.clone(),
        plugins: Some(started.plugins()),
        plugin_config: Some(started.configs()),
        config: None,
        restartable: scenario.restartable,
    };
    let setup = paths.setup_with(scenario.config.clone())?;
    let sim = Simulator::build(setup.config.clone(), setup.restartable)?;
    let mut stand_ins = StandIns::of(scenario.steps.iter().flat_map(|step| &step.asked));
    let played = async {
        come_together(
            scenario,
            &plugins,
            &sim,
            &mut started,
            &mut stand_ins,
            options,
            &mut progress,
        )
        .await?;
        steps(scenario, &sim, &started, &stand_ins, &mut progress).await
    };
    let result = tokio::select! {
        result = played => result,
        () = stop => Err(SimError::Stopped),
    };
    sim.stop().await;
    if matches!(result, Err(SimError::Stopped)) {
        // Nobody waits for what plugins might do yet.
        started.kill();
    }
    started.finish().await;
    let end = result?;
    progress(&Progress::End(end.clone()));
    Ok(end)
}

/// The scenario's plugins with the commands that are given for them; those that only a command
/// names come after.
fn with_commands(plugins: &[PluginEntry], commands: &[PluginCommand]) -> Vec<PluginEntry> {
    let mut plugins = plugins.to_vec();
    for PluginCommand { id, command } in commands {
        match plugins.iter_mut().find(|plugin| plugin.id == *id) {
            Some(plugin) => plugin.command = Some(command.clone()),
            None => plugins.push(PluginEntry {
                id: id.clone(),
                command: Some(command.clone()),
                config: String::new(),
            }),
        }
    }
    plugins
}

/// Puts in what exists, starts the runtime and the plugins, and waits for them.
async fn come_together(
    scenario: &Scenario,
    plugins: &[PluginEntry],
    sim: &Simulator,
    started: &mut Started,
    stand_ins: &mut StandIns,
    options: &PlayOptions,
    progress: &mut impl FnMut(&Progress),
) -> Result<(), SimError> {
    for pod in &scenario.pods {
        sim.execute(Command::AddPod { pod: pod.clone() }).await?;
    }
    for container in &scenario.containers {
        sim.execute(Command::AddContainer {
            container: container.clone(),
        })
        .await?;
    }
    sim.start().await?;
    if let Some(socket) = sim.socket() {
        started.start_beside(&socket)?;
        stand_ins.connect(&socket).await?;
    }
    let others: Vec<String> = plugins
        .iter()
        .filter(|plugin| plugin.command.is_none())
        .map(|plugin| plugin.id.to_string())
        .collect();
    if !others.is_empty() {
        progress(&Progress::Waiting {
            scenario: scenario.name.clone(),
            socket: sim
                .socket()
                .map(|socket| socket.display().to_string())
                .unwrap_or_default(),
            plugins: others,
        });
    }
    let ids = plugins.iter().map(|plugin| &plugin.id);
    let ids: Vec<PluginId> = ids.chain(stand_ins.ids()).cloned().collect();
    let missing = sim.missing(&ids, options.wait).await;
    if let Some(id) = missing.first() {
        return Err(SimError::NoPlugin {
            plugin: id.to_string(),
            after: options.wait,
            details: format!(
                "{}. It connects to {}, or is started with --plugin '{id}=COMMAND'; the log on stderr says what became of those that tried (--log debug says more)",
                started.tail(id).await,
                sim.socket()
                    .map(|socket| socket.display().to_string())
                    .unwrap_or_default(),
            ),
        });
    }
    progress(&Progress::Ready {
        scenario: scenario.name.clone(),
        plugins: sim.plugins(),
    });
    Ok(())
}

async fn steps(
    scenario: &Scenario,
    sim: &Simulator,
    started: &Started,
    stand_ins: &StandIns,
    progress: &mut impl FnMut(&Progress),
) -> Result<EndReport, SimError> {
    let begin = Instant::now();
    let (mut expectations, mut failed) = (0, 0);
    for (at, step) in scenario.steps.iter().enumerate() {
        let at_ms = (begin.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        stand_ins.ask(&step.asked, false);
        let result = act(step, sim, started).await;
        stand_ins.ask(&step.asked, true);
        let expect = with_ok(&step.expect);
        let mut problems = compare(&expect, &result);
        problems.extend(present(&step.expect_absent, &result));
        expectations += leaves(&expect) + step.expect_absent.len();
        failed += problems.len();
        progress(&Progress::Step(StepReport {
            number: at + 1,
            line: step.line,
            step: in_words(&step.action),
            at_ms,
            result,
            problems,
        }));
    }
    let state = by_id(sim).await?;
    let mut problems = compare(&scenario.expect, &state);
    problems.extend(present(&scenario.expect_absent, &state));
    expectations += leaves(&scenario.expect) + scenario.expect_absent.len();
    Ok(EndReport {
        steps: scenario.steps.len(),
        expectations,
        failed: failed + problems.len(),
        problems,
    })
}

/// What is expected of a step: that it works, unless something else is said.
fn with_ok(expect: &Map<String, Value>) -> Map<String, Value> {
    let mut expect = expect.clone();
    let works = !expect.contains_key("error");
    expect.entry("ok").or_insert(Value::Bool(works));
    expect
}

/// How many single things are expected.
fn leaves(members: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Object(members) if !members.is_empty() => leaves(members),
            _ => 1,
        }
    }
    members.values().map(of).sum()
}

/// Does a step; the result is as `serve` writes it.
async fn act(step: &Step, sim: &Simulator, started: &Started) -> Value {
    let line = match &step.action {
        Action::Command(request) => {
            let result = sim.execute(request.command.clone()).await;
            answer(None, Some(request.name), result.map_err(Failure::from))
        }
        Action::Output {
            plugin,
            contains,
            timeout_ms,
        } => {
            let within = Duration::from_millis(*timeout_ms);
            let printed = started.prints(plugin, contains, within).await;
            let result = printed.map(|()| Reply::Done {});
            answer(None, Some("expect-output"), result.map_err(Failure::from))
        }
    };
    // It was just written.
    serde_json::from_str(&line).unwrap_or_default()
}

fn in_words(action: &Action) -> String {
    match action {
        Action::Command(request) => match request.command.about() {
            Some(id) => format!("{} {id}", request.name),
            None => request.name.to_owned(),
        },
        Action::Output {
            plugin, contains, ..
        } => format!("expect-output of {plugin}: {contains:?}"),
    }
}

/// The state with pods and containers by id.
async fn by_id(sim: &Simulator) -> Result<Value, SimError> {
    let state = sim.execute(Command::State).await?;
    let mut state =
        serde_json::to_value(state).unwrap_or_else(|error| json!({"error": error.to_string()}));
    for list in ["pods", "containers"] {
        if let Some(entry) = state.get_mut(list) {
            let entries = entry.as_array().cloned().unwrap_or_default();
            let by_id = entries
                .into_iter()
                .map(|value| (value["id"].as_str().unwrap_or_default().to_owned(), value));
            *entry = Value::Object(by_id.collect());
        }
    }
    Ok(state)
}
