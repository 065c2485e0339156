//! A scenario as a test of a program. What may not enter: how a scenario is played.

use std::future::pending;
use std::path::Path;

use nri_core::PluginId;

use super::file::Scenario;
use super::launch::PluginCommand;
use super::play::{PlayOptions, Progress, play};
use super::print::Text;
use crate::journal::TEST_TIMEOUT;

/// Plays a scenario with a plugin's program, twice: launched by the runtime, and connecting to the
/// runtime's socket with the options `--socket`, `--index` and `--name`, as every plugin of
/// `nri_plugin::main!` has them.
///
/// `command` is for a shell. In a test of the plugin's package:
///
/// ```no_run
/// # async fn test() {
/// // let program = env!("CARGO_BIN_EXE_my-plugin");
/// # let program = "my-plugin";
/// nri_testkit::sim::assert_scenario("scenario.toml", "10-my-plugin", program).await;
/// # }
/// ```
///
/// # Panics
/// Something is not as expected; the text is the report of `nri-sim run`.
pub async fn assert_scenario(file: impl AsRef<Path>, plugin: &str, command: &str) {
    let scenario = match Scenario::load(file.as_ref()) {
        Ok(scenario) => scenario,
        Err(error) => panic!("{error}"),
    };
    let id: PluginId = match plugin.parse() {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    };
    let (index, name) = (id.index(), id.name());
    let connecting = format!("{command} --socket {{socket}} --index {index} --name {name}");
    for command in [command.to_owned(), connecting] {
        let options = PlayOptions {
            plugins: vec![PluginCommand {
                id: id.clone(),
                command: command.clone(),
            }],
            socket: None,
            wait: TEST_TIMEOUT,
        };
        let mut report = Text(Vec::new());
        // Written to memory, which takes everything.
        let print = |progress: &Progress| drop(report.print(progress));
        match play(&scenario, &options, print, pending()).await {
            Ok(end) if end.is_success() => {}
            Ok(_) => panic!("{command}:\n{}", String::from_utf8_lossy(&report.0)),
            Err(error) => panic!("{command}: {error}\n{}", String::from_utf8_lossy(&report.0)),
        }
    }
}
