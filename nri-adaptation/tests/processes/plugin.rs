//! This program as a plugin: what its name and configuration have it do.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_core::{Event, EventMask, api};
use nri_proto::transport::{
    CallContext, CallOptions, Connection, PluginServer, PluginService, Role, RuntimeClient, Status,
};
use tokio::net::UnixStream;

/// A plugin that answers with what it knows of itself.
pub(crate) struct Witness {
    inherited: String,
    config: Mutex<String>,
    last_word: tokio::sync::Notify,
}

#[async_trait]
impl PluginService for Witness {
    async fn configure(
        &self,
        _: CallContext,
        request: api::ConfigureRequest,
    ) -> Result<api::ConfigureResponse, Status> {
        if request.config == "crash" {
            std::process::exit(3);
        }
        // As a reader of configurations may put it.
        if request.config.starts_with("wrong") {
            let reason = "parse error at line 2, column 1\n  |\n2 | level = \\d\n  | ^^^^^\nunknown key `level`\n";
            return Err(Status::unknown(reason));
        }
        // Begins a process that goes on without it, and does not take a request to end for an
        // answer.
        if let Some(path) = request.config.strip_prefix("beget ") {
            beget(path);
        }
        if let Some(bytes) = request.config.strip_prefix("flood ") {
            flood(bytes.parse().unwrap());
        }
        // Ends once: a file says that it has.
        if let Some(path) = request.config.strip_prefix("crash once ")
            && std::fs::File::create_new(path).is_ok()
        {
            std::process::exit(4);
        }
        *self.config.lock().unwrap() = request.config;
        let events: EventMask = Event::CreateContainer.into();
        Ok(api::ConfigureResponse {
            events: events.bits(),
            ..Default::default()
        })
    }

    async fn synchronize(
        &self,
        _: CallContext,
        request: api::SynchronizeRequest,
    ) -> Result<api::SynchronizeResponse, Status> {
        Ok(api::SynchronizeResponse {
            more: request.more,
            update: Vec::new(),
        })
    }

    async fn create_container(
        &self,
        _: CallContext,
        _: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, Status> {
        let mut adjust = api::ContainerAdjustment::default();
        let name = std::env::var("NRI_PLUGIN_NAME").unwrap();
        if name == "dies" {
            std::process::exit(7);
        }
        let mut environment: Vec<String> =
            std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
        environment.sort();
        let mut say = |what: &str, value: String| {
            adjust.annotations.insert(format!("{name}.{what}"), value);
        };
        say("environment", environment.join(" "));
        say("config", self.config.lock().unwrap().clone());
        say("arguments", std::env::args().count().to_string());
        say("called", std::env::args().next().unwrap_or_default());
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        say("program", program.display().to_string());
        say("descriptors", self.inherited.clone());
        println!("creating\x1b[31m a container");
        Ok(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: CallContext, _: api::Empty) -> Result<api::Empty, Status> {
        self.last_word.notify_one();
        Ok(api::Empty::default())
    }
}

/// Begins a process, and returns when it has written down its number, behind those that are there.
#[allow(
    clippy::zombie_processes,
    reason = "nobody waits for it: that is what is tested"
)]
fn beget(path: &str) {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let script = "trap '' TERM; echo $$ >> \"$0\"; exec sleep 1000";
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", script, path])
        .stdin(std::process::Stdio::null());
    let _ = shell.spawn().unwrap();
    while std::fs::read_to_string(path).unwrap_or_default().len() <= before.len() {
        std::thread::yield_now();
    }
}

/// Prints so many bytes in lines of 64.
fn flood(bytes: usize) {
    let line = format!("{}\n", "x".repeat(63));
    let mut output = std::io::stdout().lock();
    for _ in 0..bytes / line.len() {
        std::io::Write::write_all(&mut output, line.as_bytes()).unwrap();
    }
    std::io::Write::flush(&mut output).unwrap();
}

/// An owned copy of descriptor 3, which is what a launched plugin has been given.
pub(crate) fn given_socket() -> OwnedFd {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&me, 3, PidfdGetfdFlags::empty()).unwrap()
}

pub(crate) async fn be_a_plugin(inherited: String) {
    let name = std::env::var("NRI_PLUGIN_NAME").unwrap();
    if name == "silent" {
        return std::future::pending().await;
    }
    let stream = std::os::unix::net::UnixStream::from(given_socket());
    stream.set_nonblocking(true).unwrap();
    let witness = Arc::new(Witness {
        inherited,
        config: Mutex::default(),
        last_word: Default::default(),
    });
    let connection = Connection::builder(Role::Plugin)
        .serve(PluginServer::new(Arc::clone(&witness)))
        .start(UnixStream::from_std(stream).unwrap());
    let request = api::RegisterPluginRequest {
        // Ignored: the file's name counts.
        plugin_name: "!".into(),
        plugin_idx: "x".into(),
        nri_version: "v0.12.5".into(),
    };
    let runtime = RuntimeClient::new(connection.client());
    runtime
        .register_plugin(&request, CallOptions::default())
        .await
        .unwrap();
    if name == "stubborn" {
        // Takes neither a good-bye nor the end of its connection for an answer.
        let mut terminations =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        loop {
            terminations.recv().await;
        }
    }
    tokio::select! {
        _ = connection.closed() => {}
        () = witness.last_word.notified() => {}
    }
}
