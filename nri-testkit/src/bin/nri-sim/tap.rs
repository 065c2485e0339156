//! `nri-sim tap`: what a runtime and its plugins say to one another; and `nri-sim replay`, which
//! plays it again.

use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nri_testkit::traffic::{
    Changed, Entries, Form, Printer, Recorder, ReplayOptions, Sink, Tap, TapOptions,
    replay_to_plugin, replay_to_runtime,
};

use crate::say::say;

/// Where the tap is, and what it prints.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct TapArgs {
    /// The runtime's socket.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Where plugins connect to be watched. Only the own user can.
    #[arg(long, value_name = "PATH")]
    listen: PathBuf,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Hide what may be secret: values of variables, annotations and labels, command lines,
    /// configurations and the texts of errors; in a recording too.
    #[arg(long)]
    hide_values: bool,
    /// Record all messages in a new file, for `nri-sim replay`. Without --hide-values it holds
    /// what is in the pods' environments: keep it as safe as those.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print nothing.
    #[arg(long)]
    quiet: bool,
}

/// What is played, and to whom.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ReplayArgs {
    /// The recording, as `nri-sim tap --record` makes it.
    #[arg(value_name = "FILE")]
    recording: PathBuf,
    /// Play the runtime to a plugin that is started so, as in `nri-sim check`, and print what is
    /// different in its answers.
    #[arg(long, value_name = "COMMAND", required_unless_present = "runtime")]
    plugin: Option<String>,
    /// Play the plugin to the runtime at this socket: register and answer as recorded.
    #[arg(long, value_name = "SOCKET", conflicts_with = "plugin")]
    runtime: Option<PathBuf>,
    /// Play this connection of the recording [default: the first on which a plugin registered].
    #[arg(long, value_name = "NUMBER")]
    connection: Option<u64>,
    /// How long the plugin may take to come, and to answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u32,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Watches until a signal comes.
pub(crate) async fn tap(
    arguments: &TapArgs,
    stop: impl Future<Output = ()>,
) -> Result<bool, String> {
    let form = match arguments.json {
        true => Form::Json,
        false => Form::Text,
    };
    let printer = (!arguments.quiet).then(|| {
        let output = BufWriter::new(io::stdout());
        Printer::new(output, form, arguments.hide_values)
    });
    let (sink, entries) = Sink::new();
    let listen = arguments.listen.clone();
    let options = TapOptions {
        runtime: arguments.socket.clone(),
        listen: listen.clone(),
    };
    let tap = Tap::open(options, sink)
        .await
        .map_err(|error| error.to_string())?;
    // A recording of nothing would be in the way of the next attempt.
    let recorder = match &arguments.record {
        None => None,
        Some(file) => {
            let made = Recorder::create(file, arguments.hide_values);
            Some(made.map_err(|error| format!("{}: {error}", file.display()))?)
        }
    };
    eprintln!(
        "nri-sim: plugins that connect to {} are watched",
        listen.display()
    );
    let (ended, writer_ended) = tokio::sync::oneshot::channel();
    let writer = std::thread::spawn(move || {
        let written = write(entries, printer, recorder);
        // It fails if nobody waits for it.
        let _ = ended.send(());
        written
    });
    tokio::select! {
        () = tap.run() => {}
        () = stop => {}
        // Its own result says why.
        _ = writer_ended => {}
    }
    drop(tap);
    let written = tokio::task::spawn_blocking(|| writer.join());
    match written.await {
        Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Ok(Ok(Err(error))) => return Err(format!("what is seen cannot be written: {error}")),
        _ => {}
    }
    Ok(true)
}

/// Prints and records what comes, and hands it on whenever nothing waits.
fn write(
    mut entries: Entries,
    mut printer: Option<Printer<impl io::Write>>,
    mut recorder: Option<Recorder<impl io::Write>>,
) -> io::Result<()> {
    while let Some(entry) = entries.blocking_next() {
        if let Some(recorder) = &mut recorder {
            recorder.write(&entry)?;
        }
        if let Some(printer) = &mut printer {
            printer.print(&entry)?;
        }
        if entries.is_empty() {
            if let Some(recorder) = &mut recorder {
                recorder.flush()?;
            }
            if let Some(printer) = &mut printer {
                printer.flush()?;
            }
        }
    }
    Ok(())
}

/// Plays a recording; whether nothing was different.
pub(crate) async fn replay(
    arguments: &ReplayArgs,
    stop: impl Future<Output = ()>,
) -> Result<bool, String> {
    match (&arguments.plugin, &arguments.runtime) {
        (Some(command), _) => {
            tokio::select! {
                played = to_plugin(arguments, command) => played,
                () = stop => Err("ended by a signal".to_owned()),
            }
        }
        (None, Some(socket)) => {
            let played =
                replay_to_runtime(&arguments.recording, socket, arguments.connection, stop);
            let report = played.await?;
            if arguments.json {
                say!("{}", json(&report)?);
                return Ok(true);
            }
            say!(
                "{} requests answered as recorded, {} unsolicited updates made; ended: {}",
                report.answered,
                report.unsolicited,
                report.ended
            );
            for (what, counts) in [
                ("asked for, and not recorded", &report.not_recorded),
                ("recorded, and not asked for", &report.not_asked),
            ] {
                for (method, count) in counts {
                    say!("  {what}: {count} of {method}");
                }
            }
            Ok(true)
        }
        (None, None) => Err("say --plugin COMMAND or --runtime SOCKET".to_owned()),
    }
}

async fn to_plugin(arguments: &ReplayArgs, command: &str) -> Result<bool, String> {
    let mut options = ReplayOptions::of(command);
    options.connection = arguments.connection;
    options.patience = Duration::from_secs(arguments.patience.into());
    let mut unprinted = None;
    let changed = |changed: &Changed| match arguments.json {
        true => match json(changed) {
            Ok(line) => say!("{line}"),
            Err(error) => unprinted = Some(error),
        },
        false => {
            let about = changed.about.escape_debug();
            say!("{} {about} differs:", changed.method.escape_debug());
            for difference in &changed.differences {
                let at = if difference.at.is_empty() {
                    "/"
                } else {
                    &difference.at
                };
                say!(
                    "  {at}: recorded {}, now {}",
                    difference.recorded,
                    difference.now
                );
            }
        }
    };
    let report = replay_to_plugin(&arguments.recording, &options, changed).await?;
    if let Some(error) = unprinted {
        return Err(error);
    }
    if arguments.json {
        say!("{}", json(&report)?);
        return Ok(report.is_ok());
    }
    say!(
        "connection {}: {} requests, {} answers compared, {} different; unsolicited updates: {} recorded, {} now",
        report.connection,
        report.requests,
        report.compared,
        report.different,
        report.unsolicited.0,
        report.unsolicited.1
    );
    if report.unknown > 0 {
        say!(
            "{} requests have methods that this version does not know, and were left out: use a newer nri-sim",
            report.unknown
        );
    }
    if report.hidden {
        say!("values were hidden in this recording: the plugin was shown *** in their place");
    }
    if report.torn {
        say!("the recording ends in the middle of a line, as that of a program that was killed");
    }
    if report.compared == 0 {
        say!("nothing was compared: there is no answer in the recording");
    }
    Ok(report.is_ok())
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}
