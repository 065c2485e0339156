//! A plugin on our library that does what it is told: the counterpart of the Go peers' `goplugin`,
//! with the same commands, rules and reports. It runs as a process of its own, so that it can be
//! launched and killed: `nri-interop --scripted-plugin`.

use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use nri_plugin::{
    Backoff, Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, Runner,
    RuntimeHandle as _, RuntimeLink, State, api,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The options of `goplugin`.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct Options {
    /// Be the scripted plugin instead.
    #[arg(long, hide = true)]
    pub(super) scripted_plugin: bool,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    commands: bool,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    socket: Option<PathBuf>,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    idx: Option<String>,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    name: Option<String>,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    report: Option<PathBuf>,
    #[arg(long, hide = true, requires = "scripted_plugin")]
    script: Option<PathBuf>,
    #[arg(long, hide = true, requires = "scripted_plugin", value_delimiter = ',')]
    failure_policy: Option<Vec<String>>,
    /// Without commands: connect again whenever the connection is lost.
    #[arg(long, hide = true, requires = "scripted_plugin")]
    forever: bool,
}

/// How an event is answered; the README of the Go peers says what each member means.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    on: String,
    id: String,
    answer: Option<Value>,
    pad: usize,
    error: String,
    sleep: u64,
    hang: bool,
    kill: bool,
    keep: bool,
    events: String,
}

#[derive(Deserialize)]
struct Command {
    cmd: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    update: Vec<api::ContainerUpdate>,
}

/// Reports every event and answers by the rules.
struct Scripted {
    report: Option<Mutex<File>>,
    rules: Mutex<Vec<Rule>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    fn take(&self, event: &str, id: &str) -> Rule {
        let mut rules = lock(&self.rules);
        let place = rules
            .iter()
            .position(|rule| rule.on == event && (rule.id.is_empty() || rule.id == id));
        match place {
            Some(place) if rules[place].keep => rules[place].clone(),
            Some(place) => rules.remove(place),
            None => Rule::default(),
        }
    }

    fn write(&self, event: &str, mut line: Value) -> Result<(), HandlerError> {
        line["event"] = event.into();
        if let Some(report) = &self.report {
            // One write, so that nobody reads half a line.
            lock(report).write_all(format!("{line}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Reports an event, and does what its rule says short of an answer.
    async fn called(
        &self,
        event: &str,
        id: &str,
        message: &impl Serialize,
    ) -> Result<Rule, HandlerError> {
        let rule = self.take(event, id);
        self.write(event, serde_json::to_value(message)?)?;
        if rule.kill {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        if rule.sleep > 0 {
            tokio::time::sleep(Duration::from_millis(rule.sleep)).await;
        }
        if rule.hang {
            std::future::pending::<()>().await;
        }
        match rule.error.is_empty() {
            true => Ok(rule),
            false => Err(rule.error.into()),
        }
    }

    async fn answered<R: Default + for<'de> Deserialize<'de>>(
        &self,
        event: Event,
        id: &str,
        message: &impl Serialize,
    ) -> Result<(R, usize), HandlerError> {
        let rule = self.called(event.name(), id, message).await?;
        let answer = match rule.answer {
            Some(answer) => R::deserialize(answer)?,
            None => R::default(),
        };
        Ok((answer, rule.pad))
    }
}

fn id_of(container: Option<&api::Container>) -> &str {
    container.map_or("", |container| &container.id)
}

fn id_of_pod(pod: Option<&api::PodSandbox>) -> &str {
    pod.map_or("", |pod| &pod.id)
}

/// The plugin, with the events that are only heard.
macro_rules! scripted {
    ($($event:ident $handler:ident($request:ident) by $id:ident($about:ident);)*) => {
#[async_trait]
impl Plugin for Scripted {
    fn events(&self) -> EventMask {
        EventMask::ALL
    }

    async fn configure(
        &self,
        _cx: &PluginCtx,
        configuration: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        let runtime = configuration.runtime;
        let message = json!({"config": configuration.config, "runtime": runtime.name, "version": runtime.version});
        let rule = self.called("Configure", "", &message).await?;
        match rule.events.is_empty() {
            true => Ok(None),
            false => Ok(Some(EventMask::parse(rule.events.split(','))?)),
        }
    }

    async fn synchronize(
        &self,
        _cx: &PluginCtx,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        let message = json!({"pods": pods, "containers": containers});
        let rule = self.called("Synchronize", "", &message).await?;
        let answer = match rule.answer {
            Some(answer) => api::SynchronizeResponse::deserialize(answer)?,
            None => api::SynchronizeResponse::default(),
        };
        Ok(answer.update)
    }

    async fn shutdown(&self, _cx: &PluginCtx) {
        // There is nobody left to tell that it cannot be reported.
        let _ = self.write("Shutdown", json!({}));
    }

    $(
        async fn $handler(&self, _cx: &PluginCtx, request: api::$request) -> Result<(), HandlerError> {
            let id = $id(request.$about.as_ref());
            self.called(Event::$event.name(), id, &request).await.map(drop)
        }
    )*

    async fn update_pod_sandbox(
        &self,
        _cx: &PluginCtx,
        request: api::UpdatePodSandboxRequest,
    ) -> Result<(), HandlerError> {
        let message = json!({
            "pod": request.pod,
            "overhead": request.overhead_linux_resources,
            "resources": request.linux_resources,
        });
        let id = id_of_pod(request.pod.as_ref());
        self.called("UpdatePodSandbox", id, &message)
            .await
            .map(drop)
    }

    async fn create_container(
        &self,
        _cx: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let id = id_of(request.container.as_ref());
        let (mut answer, pad): (api::CreateContainerResponse, _) =
            self.answered(Event::CreateContainer, id, &request).await?;
        if pad > 0 {
            let adjustment = answer.adjust.get_or_insert_default();
            adjustment.env.push(api::KeyValue {
                key: "PAD".to_owned(),
                value: "x".repeat(pad),
            });
        }
        Ok(answer)
    }

    async fn update_container(
        &self,
        _cx: &PluginCtx,
        request: api::UpdateContainerRequest,
    ) -> Result<api::UpdateContainerResponse, HandlerError> {
        let mut message = json!({"pod": request.pod, "container": request.container});
        if let Some(resources) = &request.linux_resources {
            message["resources"] = serde_json::to_value(resources)?;
        }
        let id = id_of(request.container.as_ref());
        let (answer, _) = self.answered(Event::UpdateContainer, id, &message).await?;
        Ok(answer)
    }

    async fn stop_container(
        &self,
        _cx: &PluginCtx,
        request: api::StopContainerRequest,
    ) -> Result<api::StopContainerResponse, HandlerError> {
        let id = id_of(request.container.as_ref());
        let (answer, _) = self.answered(Event::StopContainer, id, &request).await?;
        Ok(answer)
    }

    async fn validate_container_adjustment(
        &self,
        _cx: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        let id = id_of(request.container.as_ref());
        let message = json!({"request": request});
        // An error becomes a rejection, as in the reference's library.
        self.called("ValidateContainerAdjustment", id, &message)
            .await?;
        Ok(api::ValidateContainerAdjustmentResponse::default())
    }
}
    };
}

scripted! {
    RunPodSandbox run_pod_sandbox(RunPodSandboxRequest) by id_of_pod(pod);
    PostUpdatePodSandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest) by id_of_pod(pod);
    StopPodSandbox stop_pod_sandbox(StopPodSandboxRequest) by id_of_pod(pod);
    RemovePodSandbox remove_pod_sandbox(RemovePodSandboxRequest) by id_of_pod(pod);
    PostCreateContainer post_create_container(PostCreateContainerRequest) by id_of(container);
    StartContainer start_container(StartContainerRequest) by id_of(container);
    PostStartContainer post_start_container(PostStartContainerRequest) by id_of(container);
    PostUpdateContainer post_update_container(PostUpdateContainerRequest) by id_of(container);
    RemoveContainer remove_container(RemoveContainerRequest) by id_of(container);
}

/// Is the plugin until its input ends, or, without commands, until the runtime goes away.
pub(super) fn run(options: &Options) -> Result<(), String> {
    let open = |path: &PathBuf| {
        let file = File::options().create(true).append(true).open(path);
        file.map(Mutex::new)
            .map_err(|e| format!("{}: {e}", path.display()))
    };
    let rules = match &options.script {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?
        }
        None => Vec::new(),
    };
    let plugin = Arc::new(Scripted {
        report: options.report.as_ref().map(open).transpose()?,
        rules: Mutex::new(rules),
    });
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    if !options.commands {
        let runner = runner(options, &plugin)?;
        let ended = runtime.block_on(async {
            match options.forever {
                true => runner.run_forever(Backoff::default()).await,
                false => runner.run().await,
            }
        });
        return ended.map(drop).map_err(|e| e.to_string());
    }
    let mut life = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let result = runtime.block_on(obey(options, &plugin, &mut life, &line));
        let mut answer = match result {
            Ok(answer) => answer,
            Err(error) => json!({"error": error}),
        };
        answer["ok"] = Value::Bool(answer.get("error").is_none());
        println!("{answer}");
    }
    Ok(())
}

fn runner(options: &Options, plugin: &Arc<Scripted>) -> Result<Runner, String> {
    let mut builder = Runner::builder_shared(Arc::clone(plugin) as Arc<dyn Plugin>);
    if let Some(socket) = &options.socket {
        builder = builder.socket(socket);
    }
    if let Some(index) = &options.idx {
        builder = builder.index(index);
    }
    if let Some(name) = &options.name {
        builder = builder.name(name);
    }
    if let Some(words) = &options.failure_policy {
        let says = |word: &str| words.iter().any(|said| said == word);
        builder = builder.failure_policy(api::FailurePolicy {
            fail_request: says("fail_request"),
            keep_connected: says("keep_connected"),
        });
    }
    builder.build().map_err(|e| e.to_string())
}

/// One life at a runtime.
struct Life {
    state: watch::Receiver<State>,
    link: RuntimeLink,
}

async fn obey(
    options: &Options,
    plugin: &Arc<Scripted>,
    life: &mut Option<Life>,
    line: &str,
) -> Result<Value, String> {
    let command: Command = serde_json::from_str(line).map_err(|e| e.to_string())?;
    match (command.cmd.as_str(), life) {
        ("connect", life) => {
            let runner = runner(options, plugin)?;
            let handle = runner.handle();
            let mut state = handle.state();
            let ended = tokio::spawn(runner.run());
            let registered = |state: &State| {
                matches!(state, State::Configured(_) | State::Ready(_) | State::Ended)
            };
            let reached = state.wait_for(registered).await.map(|state| state.clone());
            if !matches!(reached, Ok(State::Configured(_) | State::Ready(_))) {
                return Err(match ended.await {
                    Ok(Err(error)) => error.to_string(),
                    other => format!("registration failed: {other:?}"),
                });
            }
            *life = Some(Life {
                state,
                link: handle.runtime(),
            });
            Ok(json!({}))
        }
        ("script", _) => {
            *lock(&plugin.rules) = command.rules;
            Ok(json!({}))
        }
        ("update", Some(life)) => {
            let failed = life
                .link
                .update_containers(command.update, Vec::new())
                .await;
            match failed {
                Ok(failed) => Ok(json!({"failed": failed})),
                Err(error) => Err(error.to_string()),
            }
        }
        ("synchronized", Some(life)) => {
            let shown = |state: &State| matches!(state, State::Ready(_) | State::Ended);
            match life.state.wait_for(shown).await.map(|state| state.clone()) {
                Ok(State::Ready(_)) => Ok(json!({})),
                _ => Err("the connection is closed".to_owned()),
            }
        }
        ("closed", Some(life)) => {
            // The sender goes with the runner.
            let _ = life.state.wait_for(|state| *state == State::Ended).await;
            Ok(json!({}))
        }
        (cmd, Some(_)) => Err(format!("no such command: {cmd:?}")),
        (_, None) => Err("not connected".to_owned()),
    }
}
