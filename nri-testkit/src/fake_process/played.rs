//! What the program `nri-fake-plugin` does.

use std::env;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use nri_plugin::DEFAULT_SOCKET;
use nri_proto::SocketPath;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::net::UnixStream;

use super::script::Script;
use crate::fake_plugin::connect;
use crate::{Connected, FakePlugin};

/// Set by a runtime for a plugin that it launches: the number of the inherited descriptor.
const SOCKET_VARIABLE: &str = "NRI_PLUGIN_SOCKET";

/// How the program was called.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// The script. Without one: the file beside the program that is called like it, with `.toml`
    /// or `.json` behind, if there is one; else a plugin that has nothing to say.
    pub script: Option<PathBuf>,
    /// The runtime's socket. Without one: the inherited descriptor, or the usual place.
    pub socket: Option<PathBuf>,
}

/// Plays a script in this process, until the connection ends. Every request, and what else happens,
/// is a line of JSON on the standard output: `{"saw":"CreateContainer c1"}`, `{"is":"registered"}`,
/// `{"is":"closed","why":"..."}`.
///
/// # Errors
/// The script cannot be played, or there is no runtime.
pub async fn play(options: Options) -> Result<(), String> {
    let script = script(options.script)?;
    let plugin = script.plugin().map_err(|error| error.to_string())?;
    tokio::spawn(tell(plugin.clone()));
    let inherited = match options.socket {
        Some(_) => None,
        None => env::var(SOCKET_VARIABLE).ok(),
    };
    let socket = options.socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
    let socket = SocketPath::parse(socket).map_err(|error| error.to_string())?;
    loop {
        let stream = match &inherited {
            Some(number) => {
                inherit(number).map_err(|error| format!("descriptor {number}: {error}"))
            }
            None => connect(socket.as_path())
                .await
                .map_err(|error| format!("{}: {error}", socket)),
        };
        let connected = stream.and_then(|stream| plugin.over(stream).map_err(|e| e.to_string()))?;
        run(&connected, script.register).await;
        if !script.reconnect || inherited.is_some() {
            return Ok(());
        }
    }
}

/// One connection, to its end.
async fn run(connected: &Connected, register: bool) {
    let life = async {
        if register {
            match connected.register().await {
                Ok(()) => say("is", "registered", None),
                Err(error) => say("is", "refused", Some(&error.to_string())),
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = life => {}
        reason = connected.connection().closed() => say("is", "closed", Some(&reason.to_string())),
    }
}

fn script(path: Option<PathBuf>) -> Result<Script, String> {
    let path = path.or_else(|| {
        let program = env::args_os().next()?;
        let beside = ["toml", "json"].map(|extension| {
            let mut name = program.clone();
            name.push(".");
            name.push(extension);
            PathBuf::from(name)
        });
        beside.into_iter().find(|path| Path::exists(path))
    });
    match path {
        Some(path) => Script::from_file(&path).map_err(|error| error.to_string()),
        None => Ok(Script::default()),
    }
}

/// An owned copy of a descriptor that the runtime left us.
fn inherit(number: &str) -> io::Result<UnixStream> {
    let number = number.parse().map_err(io::Error::other)?;
    let me = pidfd_open(getpid(), PidfdFlags::empty())?;
    let fd: OwnedFd = pidfd_getfd(me, number, PidfdGetfdFlags::empty())?;
    let stream = StdStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Writes what the plugin sees, as it sees it.
async fn tell(plugin: FakePlugin) {
    let mut told = 0;
    loop {
        let all = plugin.record().longer_than(told).await;
        for seen in &all[told..] {
            say("saw", &seen.to_string(), None);
        }
        told = all.len();
    }
}

fn say(what: &str, value: &str, why: Option<&str>) {
    let mut line = serde_json::Map::new();
    line.insert(what.to_owned(), value.into());
    if let Some(why) = why {
        line.insert("why".to_owned(), why.into());
    }
    // Whoever started it may not listen.
    let _ = writeln!(io::stdout(), "{}", serde_json::Value::Object(line));
}
