//! Prints every event of a runtime, as text (one line each) or as JSON (one object per line, with
//! all that the runtime says).
//!
//! Every JSON object has the members `event` and `time` (seconds since 1970), and those of the
//! protocol's request, in proto3 JSON. What exists at the start comes as the event `Synchronize`.
//! If the output cannot keep up, events are left out and counted rather than holding up the
//! runtime.

mod selection;
mod text;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use clap::ValueEnum;
use nri_plugin::{Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, Program, api};
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(clap::Args)]
struct Options {
    /// The events to print: names such as CreateContainer, and the groups pod, container and all,
    /// separated by commas.
    #[arg(long, default_value = "all", value_parser = selection::parse)]
    events: EventMask,
    /// How to print them.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How many events may wait to be printed.
const WAITING: usize = 4096;

struct Logger {
    events: EventMask,
    lines: SyncSender<Line>,
    left_out: AtomicU64,
}

/// An event to be printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    event: &'static str,
    time: f64,
    /// How many events before this one were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
    #[serde(flatten)]
    message: Map<String, Value>,
}

impl Logger {
    /// Queues an event to be printed.
    fn log(&self, event: &'static str, message: &impl Serialize) {
        let message = match serde_json::to_value(message) {
            Ok(Value::Object(members)) => members,
            Ok(other) => Map::from_iter([("message".to_owned(), other)]),
            // Something that is newer than the protocol known here.
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let line = Line {
            event,
            time: seconds_since_1970(),
            left_out: (left_out > 0).then_some(left_out),
            message,
        };
        if self.lines.try_send(line).is_err() {
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
    }
}

/// One handler per event, all alike.
macro_rules! handlers {
    ($($event:ident $handler:ident($request:ident) -> $response:ty;)*) => {
        #[async_trait]
        impl Plugin for Logger {
            fn events(&self) -> EventMask {
                self.events
            }

            async fn configure(
                &self,
                _cx: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                let runtime = configuration.runtime;
                let message = json!({
                    "runtimeName": runtime.name, "runtimeVersion": runtime.version, "nriVersion": runtime.nri_version,
                });
                self.log("Configure", &message);
                Ok(None)
            }

            async fn synchronize(
                &self,
                _cx: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                self.log("Synchronize", &json!({ "pods": pods, "containers": containers }));
                Ok(Vec::new())
            }

            async fn shutdown(&self, _cx: &PluginCtx) {
                self.log("Shutdown", &json!({}));
            }

            $(
                async fn $handler(&self, _cx: &PluginCtx, request: api::$request) -> Result<$response, HandlerError> {
                    self.log(Event::$event.name(), &request);
                    Ok(Default::default())
                }
            )*
        }
    };
}

handlers! {
    RunPodSandbox run_pod_sandbox(RunPodSandboxRequest) -> ();
    UpdatePodSandbox update_pod_sandbox(UpdatePodSandboxRequest) -> ();
    PostUpdatePodSandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest) -> ();
    StopPodSandbox stop_pod_sandbox(StopPodSandboxRequest) -> ();
    RemovePodSandbox remove_pod_sandbox(RemovePodSandboxRequest) -> ();
    CreateContainer create_container(CreateContainerRequest) -> api::CreateContainerResponse;
    PostCreateContainer post_create_container(PostCreateContainerRequest) -> ();
    StartContainer start_container(StartContainerRequest) -> ();
    PostStartContainer post_start_container(PostStartContainerRequest) -> ();
    UpdateContainer update_container(UpdateContainerRequest) -> api::UpdateContainerResponse;
    PostUpdateContainer post_update_container(PostUpdateContainerRequest) -> ();
    StopContainer stop_container(StopContainerRequest) -> api::StopContainerResponse;
    RemoveContainer remove_container(RemoveContainerRequest) -> ();
    ValidateContainerAdjustment validate_container_adjustment(ValidateContainerAdjustmentRequest)
        -> api::ValidateContainerAdjustmentResponse;
}

fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_millis() as f64 / 1000.0)
}

/// Prints until there is nothing more to come, in a thread of its own: output may block.
fn print(lines: &Receiver<Line>, format: Format) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in lines {
        match format {
            Format::Json => writeln!(output, "{}", serde_json::to_string(&line)?)?,
            Format::Text => writeln!(output, "{}", text::line(&line))?,
        }
        output.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut printer = None;
    let program = Program::new("90-logger").about("Prints the events of a container runtime.");
    let code = program.run_with(|options: Options, stop| {
        let (lines, to_print) = sync_channel(WAITING);
        printer = Some(std::thread::spawn(move || {
            let printed = print(&to_print, options.format);
            if printed.is_err() {
                stop.stop();
            }
            printed
        }));
        Ok(Logger {
            events: options.events,
            lines,
            left_out: AtomicU64::new(0),
        })
    });
    // The logger is gone, so this ends when all is printed.
    match printer.map(JoinHandle::join) {
        Some(Ok(Err(error))) => {
            eprintln!("logger: the output cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}
