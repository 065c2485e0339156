//! A runtime and a plugin that do no more than is measured, each a program of its own: what
//! `cargo xtask bench pair` sets beside the same two on the reference's libraries
//! (`interop/cmd/gopair`). Arguments, commands and answers are the same, so one driver drives both.
//!
//! ```text
//! pair runtime --socket PATH --request FILE [--containers N] [--in-flight N] [--current-thread]
//! pair plugin --socket PATH [--index NN] [--items N] [--undecoded]
//! pair bare-runtime --socket PATH --request FILE [--containers N]
//! pair bare-plugin --socket PATH [--index NN] [--items N]
//! pair floor --socket PATH [--calls N]
//! ```
//!
//! The runtime takes commands, one JSON object in a line each, and answers in lines:
//! `{"cmd":"wait","plugins":N}` waits until so many more plugins are synchronised,
//! `{"cmd":"measure","what":"create","callers":N,"calls":N}` makes calls and says what they took in
//! nanoseconds. The plugin adds so many annotations to each container, and prints how long its
//! synchronisation took. The bare ones do the same with the least that it can be done with, so that
//! what is at the other end is measured alone; the floor is bytes there and back, with nothing
//! around them.
//!
//! What may not enter: an assertion on a time.

mod bare;
mod commands;
mod floor;
mod plugin;
mod runtime;
mod work;

use std::error::Error;
use std::path::PathBuf;

type Failure = Box<dyn Error + Send + Sync>;

/// What the command line says; each end reads what concerns it.
struct Options {
    socket: PathBuf,
    request: PathBuf,
    containers: usize,
    in_flight: usize,
    current_thread: bool,
    index: String,
    items: usize,
    undecoded: bool,
    calls: Option<usize>,
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let end = match args.next() {
        // `cargo bench` and `cargo test --benches` add flags of their own.
        None => "--bench".to_owned(),
        Some(end) => end,
    };
    let run = match end.as_str() {
        "runtime" => runtime::serve,
        "plugin" => plugin,
        "bare-runtime" => bare::serve,
        "bare-plugin" => bare::join,
        "floor" => floor::run,
        _ => {
            println!("nothing is measured by itself; use `cargo xtask bench pair`");
            return Ok(());
        }
    };
    run(&options(args)?)
}

fn plugin(options: &Options) -> Result<(), Failure> {
    let Options { socket, index, .. } = options;
    plugin::join(socket, index, options.items, options.undecoded)
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        socket: PathBuf::new(),
        request: PathBuf::new(),
        containers: 0,
        in_flight: 1,
        current_thread: false,
        index: "10".to_owned(),
        items: 0,
        undecoded: false,
        calls: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--socket" => options.socket = value()?.into(),
            "--request" => options.request = value()?.into(),
            "--containers" => options.containers = value()?.parse()?,
            "--in-flight" => options.in_flight = value()?.parse()?,
            "--current-thread" => options.current_thread = true,
            "--index" => options.index = value()?,
            "--items" => options.items = value()?.parse()?,
            "--undecoded" => options.undecoded = true,
            "--calls" => options.calls = Some(value()?.parse()?),
            _ => return Err(format!("{arg} is not known").into()),
        }
    }
    Ok(options)
}
