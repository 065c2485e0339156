//! Prints the events of a runtime, as text or as JSON, and on request shows in containers that it
//! has seen them. The README says how.

mod config;
mod line;
mod output;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nri_plugin::prelude::*;
use nri_plugin::{Program, request_to_json};
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

fn plugin(options: Options, output: Output) -> Result<impl Plugin, HandlerError> {
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
    let log = {
        let output = Arc::clone(&output);
        move |event: &str, message: serde_json::Value| {
            output.line(|left_out| format.line(event, &message, left_out))
        }
    };
    let current = Arc::new(Mutex::new(given.clone()));
    let now = Arc::clone(&current);
    let (configured, synchronized, shut_down) = (log.clone(), log.clone(), log.clone());
    let plugin = handlers()
        .on_every(events, move |_cx, request| log(request.event().name(), request_to_json(request)))
        .on_configure(move |_cx, sent| {
            let runtime = &sent.runtime;
            configured(
                "Configure",
                json!({"runtimeName": runtime.name, "runtimeVersion": runtime.version, "nriVersion": runtime.nri_version}),
            );
            let taken = given.and(&sent).and_then(|config| {
                let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
                match &config.log_file {
                    Some(file) if now.log_file != config.log_file => output.append_to(file)?,
                    _ => {}
                }
                let mask = config.mask()?;
                *now = config;
                Ok(Some(mask))
            });
            async { taken }
        })
        .on_synchronize(move |_cx, pods, containers| {
            synchronized("Synchronize", json!({"pods": pods, "containers": containers}));
            async { Ok(()) }
        })
        .on_create_container(move |_cx, _pod, _container| {
            let adjustment = current.lock().unwrap_or_else(PoisonError::into_inner).adjustment();
            async { adjustment }
        })
        .on_shutdown(move |_cx| {
            shut_down("Shutdown", json!({}));
            async {}
        })
        .build();
    Ok(plugin)
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
