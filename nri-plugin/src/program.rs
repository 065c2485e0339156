//! A plugin as a program: the standard command line, logs, signals and exit codes. What may not
//! enter: what a plugin does.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use nri_core::{NRI_VERSION, Plugin};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::backoff::Backoff;
use crate::configuration_file;
use crate::error::Error;
use crate::health;
use crate::runner::Runner;
use crate::source::DEFAULT_SOCKET;

/// Makes a plugin the program's `main`: who it is by default, and an expression for it, which is
/// evaluated inside of a tokio runtime.
///
/// What the program can do is described at [`Program`]; its version is that of the crate that it
/// stands in. A plugin with options of its own uses [`Program::run_with`].
///
/// ```no_run
/// use nri_plugin::prelude::*;
///
/// nri_plugin::main!(
///     "10-example",
///     handlers()
///         .on_create_container(|_cx, pod, _container| async move {
///             let mut adjust = Adjustment::new();
///             adjust.add_env("NAMESPACE", pod.namespace)?;
///             Ok(adjust)
///         })
///         .build()
/// );
/// ```
#[macro_export]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
macro_rules! main {
    ($identity:expr, $plugin:expr $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::Program::new($identity)
                .version(env!("CARGO_PKG_VERSION"))
                .about(env!("CARGO_PKG_DESCRIPTION"))
                .run(|| $plugin)
        }
    };
}

/// A plugin as a program.
///
/// | option | |
/// |---|---|
/// | `--socket PATH` | the runtime's socket; not used if a runtime launched the plugin |
/// | `--index NN`, `--name NAME` | who it is, in place of what the runtime or the file's name says |
/// | `--config FILE` | its configuration, if the runtime sends none; see [`configuration_file`](crate::Builder::configuration_file) |
/// | `--once` | ends with the connection, in place of connecting again |
/// | `--log-level LEVEL` | what is logged, see below; default the variable `RUST_LOG`, else `info` |
/// | `--log-format text\|json` | one line each, to stderr |
/// | `--healthz ADDRESS` | answers `GET /healthz` there: 200 while the plugin is ready, else 503, with its state |
/// | `--version`, `--help` | |
///
/// A level is `error`, `warn`, `info`, `debug`, `trace` or `off`. `nri_plugin=debug,warn` says one
/// for what targets begin with, and one for all others; without the latter nothing else is logged.
/// Filters of spans and fields (`[span{field=value}]=debug`), which `tracing` has, are not read:
/// they would be a fifth of a small plugin. In `RUST_LOG`, which may be meant for other programs,
/// what is not understood is a warning.
///
/// The command lines of Go plugins work too: long options with one dash (`-idx 10`), and `-idx`,
/// `-socket-path` and `-verbose` for `--index`, `--socket` and `--log-level debug`.
///
/// SIGTERM and SIGINT stop it: requests in progress get a second to be answered.
///
/// | exit code | |
/// |---|---|
/// | 0 | it was stopped, was shut down by the runtime, or the connection ended with `--once` |
/// | 1 | it could not connect or the connection broke |
/// | 2 | the command line is wrong |
/// | 3 | its identity or its configuration is wrong: to start it again does not help |
///
/// ```no_run
/// use nri_plugin::{Program, handlers};
///
/// #[derive(clap::Args)]
/// struct Options {
///     /// What to greet with.
///     #[arg(long, default_value = "hello")]
///     greeting: String,
/// }
///
/// fn main() -> std::process::ExitCode {
///     Program::new("10-greeter").run_with(|options: Options, _stop| {
///         let plugin = handlers().on_run_pod_sandbox(move |_cx, pod| {
///             println!("{}, {}", options.greeting, pod.name);
///             async { Ok(()) }
///         });
///         Ok(plugin.build())
///     })
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a program does nothing until it is run"]
pub struct Program {
    identity: &'static str,
    version: &'static str,
    about: &'static str,
}

/// Ends the program from inside, as a signal would; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Ends the program. Returns at once.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

#[derive(Debug, Parser)]
#[group(skip)]
struct CommandLine<A: Args> {
    #[command(flatten)]
    own: A,
    #[command(flatten)]
    standard: Options,
}

/// The standard options. A group would take its name from the plugin's own.
#[derive(Debug, Args)]
#[group(skip)]
struct Options {
    /// The runtime's socket; not used when a runtime launched this plugin.
    #[arg(long, alias = "socket-path", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The plugin's place in the order, two digits [default: what the runtime or the file's name
    /// says].
    #[arg(long, alias = "idx", value_name = "NN")]
    index: Option<String>,
    /// The plugin's name [default: what the runtime or the file's name says].
    #[arg(long)]
    name: Option<String>,
    /// The plugin's configuration; used unless the runtime sends one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End with the connection instead of connecting again.
    #[arg(long)]
    once: bool,
    /// What is logged: error, warn, info, debug, trace, off, or a filter such as
    /// nri_plugin=debug,warn [default: RUST_LOG, else info].
    #[arg(long, value_name = "LEVEL", value_parser = filter)]
    log_level: Option<Targets>,
    /// The same as --log-level debug, as Go plugins have it.
    #[arg(long, hide = true)]
    verbose: bool,
    /// How it is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Answers GET /healthz on this address, such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS")]
    healthz: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Options with one dash, as Go's flag package has them, as clap has them: `-idx 10` is `--idx 10`.
/// What is one letter, a number or a dash alone stays as it is.
fn with_two_dashes(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut only_operands = false;
    arguments.map(move |argument| {
        only_operands |= argument == "--";
        match argument.to_str().and_then(|text| text.strip_prefix('-')) {
            Some(word)
                if !only_operands
                    && word.len() > 1
                    && word.starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                format!("--{word}").into()
            }
            _ => argument,
        }
    })
}

/// Levels, and targets with levels.
fn filter(text: &str) -> Result<Targets, String> {
    let mut filter = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) = match part.rsplit_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part),
        };
        let read = level.parse::<LevelFilter>().ok();
        let Some(read) = read.filter(|_| !level.is_empty()) else {
            return Err(format!("{level:?} is no level: {FORM}"));
        };
        filter = match target {
            None => filter.with_default(read),
            Some(target)
                if target.contains(['[', ']', '{', '}', '"', '=']) || target.is_empty() =>
            {
                return Err(format!("{target:?} is no target: {FORM}"));
            }
            Some(target) => filter.with_target(target, read),
        };
    }
    Ok(filter)
}

/// What is wanted of a filter.
const FORM: &str = "write error, warn, info, debug, trace or off, or targets with levels such as nri_plugin=debug,warn";

/// Why the program failed: a code, and what to say.
struct Failure {
    code: u8,
    reason: String,
}

impl<E: StdError> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            reason: error.to_string(),
        }
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let is_in_vain = matches!(
            error,
            Error::Identity { .. }
                | Error::NoIdentity { .. }
                | Error::Socket { .. }
                | Error::Configure { .. }
        );
        Self {
            code: if is_in_vain { 3 } else { 1 },
            reason: error.to_string(),
        }
    }
}

impl Program {
    /// A program that is `identity`, for example `10-logger`, unless the command line, a runtime
    /// that launched it, or the file's name says otherwise.
    pub fn new(identity: &'static str) -> Self {
        Self {
            identity,
            version: "",
            about: "",
        }
    }

    /// What `--version` says, beside the level of the protocol. Default: the level alone.
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// What the plugin does, for `--help`.
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Runs the plugin, which is made inside of a tokio runtime, and returns the exit code.
    pub fn run<P: Plugin>(self, plugin: impl FnOnce() -> P) -> ExitCode {
        self.run_with(|(), _stop| Ok(plugin()))
    }

    /// The same for a plugin with options of its own, which come before the standard ones in
    /// `--help`. The error of `plugin` is one of the command line.
    pub fn run_with<A: Args, P: Plugin>(
        self,
        plugin: impl FnOnce(A, Stop) -> Result<P, Box<dyn StdError>>,
    ) -> ExitCode {
        let name = match self.identity.split_once('-') {
            Some((_, name)) => name,
            None => self.identity,
        };
        let version = format!("{} (NRI {NRI_VERSION})", self.version);
        let command = CommandLine::<A>::command()
            .name(name)
            .version(version.trim_start().to_owned())
            .about(self.about);
        let mut matches = command.get_matches_from(with_two_dashes(std::env::args_os()));
        let line = match CommandLine::<A>::from_arg_matches_mut(&mut matches) {
            Ok(line) => line,
            Err(error) => error.exit(),
        };
        log(&line.standard);
        match self.run_line(line, plugin) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{name}: {}", failure.reason);
                failure.code.into()
            }
        }
    }

    fn run_line<A: Args, P: Plugin>(
        self,
        line: CommandLine<A>,
        plugin: impl FnOnce(A, Stop) -> Result<P, Box<dyn StdError>>,
    ) -> Result<(), Failure> {
        // Two, so that a handler that blocks does not hold the connection up.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let stop = Stop::default();
            let plugin = plugin(line.own, stop.clone()).map_err(|error| Failure {
                code: 2,
                reason: error.to_string(),
            })?;
            self.serve(line.standard, plugin, stop).await
        })
    }

    async fn serve(self, options: Options, plugin: impl Plugin, stop: Stop) -> Result<(), Failure> {
        let mut builder = Runner::builder(plugin)
            .default_identity(self.identity)
            .socket(options.socket);
        if let Some(index) = options.index {
            builder = builder.index(index);
        }
        if let Some(name) = options.name {
            builder = builder.name(name);
        }
        if let Some(file) = options.config {
            // It is read on every connection; a mistake is better said now.
            let read = configuration_file::read(&file).await;
            read.map_err(|reason| Failure { code: 3, reason })?;
            builder = builder.configuration_file(file);
        }
        let runner = builder.build().map_err(|error| Failure::of(&error))?;
        let handle = runner.handle();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signal = signal(kind)?;
            handle.stop_on(async move {
                signal.recv().await;
            });
        }
        handle.stop_on(async move { stop.0.notified().await });
        if let Some(address) = options.healthz {
            let listener = TcpListener::bind(address).await.map_err(|error| Failure {
                code: 1,
                reason: format!("cannot answer /healthz on {address}: {error}"),
            })?;
            let address = listener.local_addr()?;
            tracing::info!(%address, "answering GET /healthz");
            tokio::spawn(health::serve(listener, handle.state()));
        }
        let ended = match options.once {
            true => runner.run().await,
            false => runner.run_forever(Backoff::default()).await,
        };
        let ended = ended.map_err(|error| Failure::of(&error))?;
        tracing::info!("{ended}");
        Ok(())
    }
}

/// Logs to stderr. A program that logs in its own way already goes on to do so.
fn log(options: &Options) {
    let (said, mut ignored) = (options.log_level.clone(), None);
    let filter = said.unwrap_or_else(|| match std::env::var("RUST_LOG") {
        _ if options.verbose => Targets::new().with_default(LevelFilter::DEBUG),
        Ok(text) if !text.trim().is_empty() => filter(&text).unwrap_or_else(|error| {
            ignored = Some(error);
            Targets::new().with_default(LevelFilter::INFO)
        }),
        _ => Targets::new().with_default(LevelFilter::INFO),
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // An error says that there is a subscriber.
    let _ = match options.log_format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    if let Some(error) = ignored {
        tracing::warn!("RUST_LOG is ignored: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_go_plugins_are_understood() {
        let line = [
            "p",
            "-idx",
            "07",
            "-socket-path=/a b",
            "-verbose",
            "--name",
            "x",
            "-once",
        ];
        let line = with_two_dashes(line.map(OsString::from).into_iter());
        let read = CommandLine::<Own>::try_parse_from(line).unwrap();
        assert_eq!(read.standard.index.as_deref(), Some("07"));
        assert_eq!(read.standard.socket, PathBuf::from("/a b"));
        assert!(read.standard.verbose && read.standard.once);
        assert_eq!(read.own.most, -12);
    }

    #[derive(Debug, Args)]
    struct Own {
        #[arg(long, default_value_t = -12, allow_hyphen_values = true)]
        most: i32,
    }

    /// Law: nothing that is written as a filter is swallowed.
    #[test]
    fn a_filter_is_levels_and_targets_with_levels_and_nothing_else() {
        use tracing::Level;
        for (text, target, most) in [
            ("warn", "a", Level::WARN),
            ("DEBUG", "a", Level::DEBUG),
            ("nri_plugin=debug,warn", "nri_plugin::session", Level::DEBUG),
            ("nri_plugin=debug, warn", "a", Level::WARN),
            ("info,a=error,a::b=trace", "a::b", Level::TRACE),
            ("info,a=error,a::b=trace", "a::c", Level::ERROR),
        ] {
            let filter = filter(text).unwrap();
            let levels = [
                Level::ERROR,
                Level::WARN,
                Level::INFO,
                Level::DEBUG,
                Level::TRACE,
            ];
            for level in levels {
                let wanted = filter.would_enable(target, &level);
                assert_eq!(wanted, level <= most, "{text}: {target} {level}");
            }
        }
        assert!(!filter("off").unwrap().would_enable("a", &Level::ERROR));
        assert!(!filter("b=info").unwrap().would_enable("a", &Level::ERROR));
        for (text, says) in [
            ("debgu", "\"debgu\" is no level: write error"),
            ("", "\"\" is no level"),
            ("info,", "\"\" is no level"),
            ("a=", "\"\" is no level"),
            ("a=loud", "\"loud\" is no level"),
            ("=info", "\"\" is no target"),
            ("a[b]=info", "\"a[b]\" is no target"),
            ("[b{c=1}]=info", "is no target"),
            ("a[{b,c}]=info", "is no level"),
        ] {
            let error = filter(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_option_stays() {
        let line = ["-h", "-", "-1", "--", "-idx"].map(OsString::from);
        assert!(with_two_dashes(line.clone().into_iter()).eq(line));
    }
}
