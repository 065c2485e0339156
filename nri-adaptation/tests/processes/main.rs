//! What only shows in a process of its own: launched plugins, and what is left of plugins that come
//! and go. This program is both ends: launched with a socket in its environment it is a plugin,
//! otherwise it is the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

mod churn;
mod ending;
mod judging;
mod launching;
mod operators;
mod plugin;
mod setup;
mod supervising;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

/// How long the test waits for what must happen before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let inherited = open_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if std::env::var_os("NRI_PLUGIN_SOCKET").is_some() {
        runtime.block_on(plugin::be_a_plugin(inherited));
        return ExitCode::SUCCESS;
    }
    // Cargo and its helpers may ask what tests there are.
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(|| LogWriter);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    runtime.block_on(async {
        launching::plugins_are_launched_in_order_configured_and_ended(&inherited).await;
        launching::bad_files_are_skipped_or_strictly_refused().await;
        launching::odd_processes_hold_nobody_up().await;
        launching::programs_and_scripts_are_called_as_by_their_paths(&inherited).await;
        launching::a_flood_of_output_holds_nobody_up_and_is_summed_up().await;
        judging::nothing_runs_that_is_no_program_for_this_machine().await;
        judging::every_launch_is_judged_anew().await;
        judging::what_another_user_owns_on_the_way_is_not_trusted().await;
        judging::odd_configuration_files_hold_nobody_up().await;
        ending::what_a_plugin_has_begun_ends_with_it().await;
        ending::what_a_plugin_has_left_is_gone_before_it_is_launched_again().await;
        operators::what_was_configured_by_mistake_is_told().await;
        operators::what_was_configured_by_mistake_is_an_error_if_that_is_wanted().await;
        operators::an_error_of_configuring_names_the_file_and_can_be_read().await;
        churn::plugins_that_come_and_go_leave_nothing_behind().await;
        supervising::a_plugin_that_ends_is_launched_again_and_synchronised().await;
        supervising::a_plugin_that_keeps_ending_is_given_up().await;
        supervising::restarting_can_be_off().await;
        supervising::what_others_can_change_is_not_launched().await;
        supervising::reconfiguring_looks_at_the_plugin_directory_again().await;
        // Last, since it gets at every child of this process.
        supervising::a_host_that_reaps_our_children_does_no_harm().await;
    });
    println!("processes: ok");
    ExitCode::SUCCESS
}

/// The descriptors that are open, without the one that it takes to look.
fn open_descriptors() -> String {
    let look = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = look
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.exists());
    let mut names: Vec<String> = numbers
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| Path::new("/proc/self/fd").join(name).exists());
    names.sort();
    names.join(" ")
}

/// Everything that was logged.
static LOG: Mutex<String> = Mutex::new(String::new());

struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().push_str(&String::from_utf8_lossy(text));
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
