//! Prints the events of a runtime, as text or as JSON, and on request shows in containers that it
//! has seen them. The README says how.

mod config;
mod line;
mod output;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nri_plugin::prelude::*;
use nri_plugin::{
    Configuration, IntoAnswer as _, Observer, PluginCtx, Program, Request, Response, async_trait,
    observe, request_to_json,
};
use serde_json::json;

use config::Config;
use line::Format;
use output::Output;

#[derive(clap::Args)]
struct Options {
    #[command(flatten)]
    config: Config,
    /// How to print them.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Prints what an observer hears, and answers creations at once.
struct Logger {
    observer: Observer,
    current: Arc<Mutex<Config>>,
}

#[async_trait]
impl Plugin for Logger {
    fn events(&self) -> EventMask {
        self.observer.events()
    }

    async fn configure(
        &self,
        cx: &PluginCtx,
        configuration: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        self.observer.configure(cx, configuration).await
    }

    async fn synchronize(
        &self,
        cx: &PluginCtx,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        self.observer.synchronize(cx, pods, containers).await
    }

    async fn shutdown(&self, cx: &PluginCtx) {
        self.observer.shutdown(cx).await;
    }

    async fn finish(&self) {
        self.observer.finish().await;
    }

    async fn relay(&self, cx: &PluginCtx, request: Request) -> Result<Response, HandlerError> {
        match self.observer.relay(cx, request).await? {
            Response::CreateContainer(_) => {
                let adjust = in_force(&self.current).adjustment()?;
                Ok(Response::CreateContainer(adjust.into_answer()?))
            }
            other => Ok(other),
        }
    }
}

fn in_force(current: &Mutex<Config>) -> MutexGuard<'_, Config> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints each event, and takes the configuration.
struct Lines {
    given: Config,
    current: Arc<Mutex<Config>>,
    events: EventMask,
    format: Format,
    output: Arc<Output>,
}

impl Lines {
    async fn print(&self, event: &str, message: &serde_json::Value) {
        let left_out = self.output.left_out();
        let line = self.format.line(event, message, left_out);
        self.output.line(line).await;
    }
}

#[async_trait]
impl Plugin for Lines {
    fn events(&self) -> EventMask {
        self.events
    }

    async fn configure(
        &self,
        _: &PluginCtx,
        sent: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        let config = self.given.and(&sent)?;
        let mask = config.mask()?;
        match &config.log_file {
            Some(file) if in_force(&self.current).log_file != config.log_file => {
                self.output.append_to(file)?;
            }
            _ => {}
        }
        *in_force(&self.current) = config;
        let runtime = &sent.runtime;
        let message = json!({
            "runtimeName": runtime.name,
            "runtimeVersion": runtime.version,
            "nriVersion": runtime.nri_version,
        });
        let line = self.format.line("Configure", &message, 0);
        self.output.line_if_there_is_room(line);
        Ok(Some(mask))
    }

    async fn synchronize(
        &self,
        _: &PluginCtx,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
        let message = json!({"pods": pods, "containers": containers});
        self.print("Synchronize", &message).await;
        Ok(Vec::new())
    }

    async fn shutdown(&self, _: &PluginCtx) {
        self.print("Shutdown", &json!({})).await;
    }

    async fn relay(&self, _: &PluginCtx, request: Request) -> Result<Response, HandlerError> {
        let event = request.event();
        self.print(event.name(), &request_to_json(&request)).await;
        Ok(Response::empty(event))
    }
}

fn plugin(options: Options, output: Output) -> Result<Logger, HandlerError> {
    let Options {
        config: given,
        format,
    } = options;
    let output = Arc::new(output);
    let events = given.mask()?;
    drop(given.adjustment()?);
    if let Some(file) = &given.log_file {
        output.append_to(file)?;
    }
    let current = Arc::new(Mutex::new(given.clone()));
    let observer = observe(Lines {
        given,
        current: Arc::clone(&current),
        events,
        format,
        output: Arc::clone(&output),
    });
    output.counts(observer.observed());
    Ok(Logger { observer, current })
}

fn main() -> ExitCode {
    let mut printer = None;
    let program = Program::new("90-logger")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"));
    let code = program.run_with(|options: Options, stop| {
        let (output, thread) = Output::start(move || stop.stop());
        printer = Some(thread);
        plugin(options, output).map_err(|error| error.to_string().into())
    });
    // The plugin is gone, so this ends when all is printed.
    match printer.map(JoinHandle::join) {
        Some(Ok(Err(error))) => {
            eprintln!("logger: the output cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}
