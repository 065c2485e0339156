//! `nri-fake-plugin`: a plugin that does what a script says, to test runtimes with. What it does is
//! in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nri_testkit::{FakeProcessOptions, play};

/// A plugin that does what a script says: answers, fails, hangs, dies, sends garbage.
#[derive(Parser)]
#[command(name = "nri-fake-plugin", version, after_long_help = SCRIPT)]
struct Cli {
    /// The script: TOML, or JSON if its name ends in .json.
    ///
    /// Without it, the file beside the program that is called like it, with .toml or .json behind
    /// (for plugins in a runtime's plugin directory, which get no arguments); without that, a
    /// plugin that has nothing to say.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The runtime's socket.
    ///
    /// Without it, the descriptor that a runtime leaves to the plugins that it launches, else
    /// /var/run/nri/nri.sock.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

const SCRIPT: &str = "\
SCRIPT
  identity = \"10-fake\"            who it says it is; a runtime that launched it knows better
  events = [\"pod\", \"container\"]   events by name or group; default all but validation
  event_bits = 0                  the same as bits of the mask, valid or not
  old_protocol = false            behave as built against protocol v0.2
  nri_version = \"v0.12.5\"         what it says of its protocol level
  failure_policy.fail_request = true    what it says of requests that it does not answer
  failure_policy.keep_connected = true
  register = true                 whether to register at all
  reconnect = false               whether to connect again

  [[rule]]                        any number; the latest that holds counts
  call = \"CreateContainer\"        an event's name, Configure, Synchronize, Shutdown or StateChange
  of = \"c1\"                       only for this container (or pod)
  nth = 1                         only this time, counted from 1
  after = \"100ms\"                 wait before
  do = \"answer\"                   and one of:

  usual                           answer as a plugin that has nothing to say
  answer          (answer)        answer with this message, in the form of proto3 JSON
  bad_answer                      answer with what is no message
  fail            (code, message) answer with an error; default code 2
  unimplemented                   answer that there is no such method
  hang                            never answer
  exit, answer_and_exit           drop the connection, at once or after the answer
  kill                            kill the own process
  garbage         (size)          write bytes that are no frames; default 64
  flood           (size)          write frames that nobody asked for; default 1000
  stop_reading                    read nothing any more
  half_close                      close the own direction of the connection
  register        (identity)      register again, then answer

OUTPUT
  One line of JSON for everything: {\"saw\":\"CreateContainer c1\"}, {\"is\":\"registered\"},
  {\"is\":\"refused\",\"why\":\"...\"}, {\"is\":\"closed\",\"why\":\"...\"}.

EXIT STATUS
  0 when the connection has ended, 1 when the script cannot be played or there is no runtime.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { script, socket } = Cli::parse();
    let mut options = FakeProcessOptions::default();
    options.script = script;
    options.socket = socket;
    match play(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("nri-fake-plugin: {message}");
            ExitCode::FAILURE
        }
    }
}
