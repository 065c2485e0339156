//! What only shows in a process of its own: launched plugins, and what is left of plugins that come and go. This program is
//! both ends: launched with a socket in its environment it is a plugin, otherwise it is the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nri_adaptation::{Api, Config, Ctx, Nri, Observer, PluginInfo, PluginKind};
use nri_core::{Event, EventMask, api};
use nri_proto::transport::{
    CallContext, CallOptions, Connection, PluginServer, PluginService, Role, RuntimeClient, Status,
};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// How long the test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let inherited = open_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if std::env::var_os("NRI_PLUGIN_SOCKET").is_some() {
        runtime.block_on(be_a_plugin(inherited));
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
        plugins_are_launched_in_order_configured_and_ended(&inherited).await;
        bad_files_are_skipped_or_strictly_refused().await;
        odd_processes_hold_nobody_up().await;
        plugins_that_come_and_go_leave_nothing_behind().await;
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

/// A plugin that answers with what it knows of itself.
struct Witness {
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
        *self.config.lock().unwrap() = request.config;
        let events: EventMask = Event::CreateContainer.into();
        Ok(api::ConfigureResponse {
            events: events.bits(),
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

/// An owned copy of descriptor 3, which is what a launched plugin has been given.
fn given_socket() -> OwnedFd {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&me, 3, PidfdGetfdFlags::empty()).unwrap()
}

async fn be_a_plugin(inherited: String) {
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
        nri_version: "v0.12.2".into(),
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

/// What the instance told; one can wait for it.
struct Notices(watch::Sender<Vec<String>>);

impl Notices {
    fn push(&self, notice: String) {
        self.0.send_modify(|notices| notices.push(notice));
    }
}

impl Observer for Notices {
    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.push(format!("synchronized {}", plugin.plugin));
    }
    fn plugin_gone(&self, plugin: &PluginInfo, reason: &str) {
        self.push(format!("gone {}: {reason}", plugin.plugin));
    }
    fn plugin_refused(&self, peer: &str, reason: &str) {
        self.push(format!("refused {peer}: {reason}"));
    }
}

struct Setup {
    dir: tempfile::TempDir,
    notices: Arc<Notices>,
}

impl Setup {
    fn new(plugins: &[&str], configs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (plugin_dir, config_dir) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        std::fs::create_dir_all(&plugin_dir).unwrap();
        std::fs::create_dir_all(&config_dir).unwrap();
        for plugin in plugins {
            std::os::unix::fs::symlink(std::env::current_exe().unwrap(), plugin_dir.join(plugin))
                .unwrap();
        }
        for (name, text) in configs {
            std::fs::write(config_dir.join(name), text).unwrap();
        }
        Self {
            dir,
            notices: Arc::new(Notices(watch::Sender::new(Vec::new()))),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(name)
    }

    fn instance(&self, configure: impl FnOnce(&mut Config)) -> Nri {
        let mut config = Config::default();
        config.socket_path = self.dir.path().join("nri.sock");
        config.plugin_path = self.dir.path().join("plugins");
        config.plugin_config_path = self.dir.path().join("conf.d");
        // The machine may be busy; a process takes its time to start.
        config.plugin_registration_timeout = Duration::from_secs(20);
        config.plugin_request_timeout = Duration::from_secs(20);
        configure(&mut config);
        let builder = Nri::builder(config)
            .runtime("test-runtime", "1")
            .observer(self.notices.clone());
        builder.build().unwrap()
    }

    fn notices(&self) -> Vec<String> {
        self.notices.0.borrow().clone()
    }

    async fn wait_for(&self, notice: &str) {
        let mut notices = self.notices.0.subscribe();
        let there = notices.wait_for(|all| all.iter().any(|n| n.contains(notice)));
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            panic!("no {notice:?} in {:?}", self.notices());
        }
    }
}

fn names(nri: &Nri) -> Vec<String> {
    nri.plugins()
        .iter()
        .map(|info| info.plugin.to_string())
        .collect()
}

fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn created(nri: &Nri, id: &str) -> BTreeMap<String, String> {
    let pod = api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    };
    let container = api::Container {
        id: id.into(),
        pod_sandbox_id: "p".into(),
        ..Default::default()
    };
    let creation = nri
        .create_container(&Ctx::new(), &pod, &container)
        .await
        .unwrap();
    let annotations = creation
        .adjustment()
        .map(|adjust| adjust.annotations.clone());
    creation.commit();
    annotations.unwrap_or_default()
}

async fn plugins_are_launched_in_order_configured_and_ended(inherited: &str) {
    let setup = Setup::new(
        &["20-b", "10-a"],
        &[("10-a.conf", "for a"), ("b.conf", "for b")],
    );
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-a", "20-b"]);
    let infos = nri.plugins();
    assert!(infos.iter().all(|info| info.kind == PluginKind::Launched));
    let pids: Vec<i32> = infos.iter().map(|info| info.pid.unwrap()).collect();
    assert!(pids.iter().all(|pid| is_there(*pid)));

    let said = created(&nri, "c").await;
    assert_eq!(
        said["a.environment"],
        "NRI_PLUGIN_IDX=10 NRI_PLUGIN_NAME=a NRI_PLUGIN_SOCKET=3"
    );
    assert_eq!(
        (said["a.config"].as_str(), said["b.config"].as_str()),
        ("for a", "for b")
    );
    assert_eq!(said["a.arguments"], "1");
    // Nothing of the runtime's own leaks into it; what this program was itself given is not its to close.
    let expected: BTreeSet<&str> = ["0", "1", "2", "3"]
        .into_iter()
        .chain(inherited.split(' '))
        .collect();
    assert_eq!(
        said["b.descriptors"].split(' ').collect::<BTreeSet<_>>(),
        expected
    );

    // What it printed is in the log, with its name and without its control characters; what it knows is not.
    let begun = Instant::now();
    nri.stop().await;
    let log = LOG.lock().unwrap().clone();
    let line = log
        .lines()
        .find(|line| line.contains("creating"))
        .unwrap_or_default()
        .to_owned();
    assert!(
        line.contains("plugin=10-a") || line.contains("plugin=20-b"),
        "{log}"
    );
    assert!(line.contains("creating\\u{1b}[31m a container"), "{line}");
    assert!(!log.contains("NRI_PLUGIN_IDX=10"), "{log}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        pids.iter().all(|pid| !is_there(*pid)),
        "they are ended and reaped"
    );
}

async fn bad_files_are_skipped_or_strictly_refused() {
    let setup = Setup::new(&["10-good", "bad"], &[]);
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-good"]);
    let bad = setup.path("bad").display().to_string();
    assert!(
        setup
            .notices()
            .iter()
            .any(|notice| notice.starts_with(&format!("refused {bad}")))
    );
    nri.stop().await;

    let strict = setup.instance(|config| config.strict_discovery = true);
    let text = strict.start().await.unwrap_err().to_string();
    assert!(text.contains(&bad) && !text.contains('\n'), "{text}");
    assert!(!strict.is_enabled());
}

async fn odd_processes_hold_nobody_up() {
    let setup = Setup::new(
        &["10-good", "20-silent", "30-crash", "40-stubborn", "60-dies"],
        &[("crash.conf", "crash")],
    );
    // It can be executed, but not by anything.
    std::fs::write(setup.path("50-no-program"), "not a program").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(setup.path("50-no-program"), mode).unwrap();
    let nri = setup.instance(|config| {
        config.plugin_registration_timeout = Duration::from_secs(3);
    });
    nri.start().await.unwrap();
    let all = names(&nri);
    assert!(
        all.contains(&"10-good".to_owned()) && all.contains(&"40-stubborn".to_owned()),
        "{all:?}"
    );
    for refused in [
        "20-silent: it did not register",
        "30-crash: it cannot be configured",
        "50-no-program: ",
    ] {
        setup.wait_for(refused).await;
    }
    // One that dies while it is asked: the container is created without it.
    let said = created(&nri, "c").await;
    assert!(
        said.contains_key("good.config") && !said.contains_key("dies.config"),
        "{said:?}"
    );
    setup.wait_for("gone 60-dies").await;

    let stubborn = nri
        .plugins()
        .iter()
        .find(|p| p.plugin.to_string() == "40-stubborn")
        .unwrap()
        .pid
        .unwrap();
    let begun = Instant::now();
    nri.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert!(!is_there(stubborn), "it was made to end");
}

/// Answers everything, and counts the pods that it is told of.
struct Counter {
    events: EventMask,
    pods: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl PluginService for Counter {
    async fn configure(
        &self,
        _: CallContext,
        _: api::ConfigureRequest,
    ) -> Result<api::ConfigureResponse, Status> {
        Ok(api::ConfigureResponse {
            events: self.events.bits(),
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

    async fn run_pod_sandbox(
        &self,
        _: CallContext,
        request: api::RunPodSandboxRequest,
    ) -> Result<api::RunPodSandboxResponse, Status> {
        let first = self.pods.lock().unwrap().insert(request.pod.unwrap().id);
        assert!(first, "each pod is told of once");
        Ok(api::RunPodSandboxResponse {})
    }
}

async fn external(socket: &Path, index: &str, name: &str) -> (Arc<Counter>, Connection) {
    let events = Event::RunPodSandbox.into();
    let counter = Arc::new(Counter {
        events,
        pods: Mutex::default(),
    });
    let connection = Connection::builder(Role::Plugin)
        .serve(PluginServer::new(Arc::clone(&counter)))
        .start(UnixStream::connect(socket).await.unwrap());
    let request = api::RegisterPluginRequest {
        plugin_name: name.into(),
        plugin_idx: index.into(),
        nri_version: String::new(),
    };
    // Some are refused, and some are gone before they know.
    let _ = RuntimeClient::new(connection.client())
        .register_plugin(&request, CallOptions::default())
        .await;
    (counter, connection)
}

async fn plugins_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 300;
    let setup = Setup::new(&[], &[]);
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    let socket = nri.config().socket_path.clone();
    let (healthy, _connection) = external(&socket, "50", "healthy").await;
    setup.wait_for("synchronized 50-healthy").await;
    let count = || {
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        (tasks, std::fs::read_dir("/proc/self/fd").unwrap().count())
    };
    let before = count();
    let events = tokio::spawn({
        let nri = nri.clone();
        async move {
            for n in 0..ROUNDS {
                let pod = api::PodSandbox {
                    id: n.to_string(),
                    ..Default::default()
                };
                nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0..ROUNDS {
        match n % 4 {
            0 => drop(UnixStream::connect(&socket).await.unwrap()),
            1 => drop(external(&socket, "no", "index").await),
            // Gone at some point between its registration and its first events.
            2 => drop(external(&socket, "10", &format!("p{n}")).await),
            _ => {
                let (_, connection) = external(&socket, "90", "again").await;
                tokio::task::yield_now().await;
                drop(connection);
            }
        }
    }
    events.await.unwrap();
    assert_eq!(healthy.pods.lock().unwrap().len(), ROUNDS);
    // Nobody tells when a task or a descriptor is gone, so they are counted until they are.
    let all_gone = async {
        while names(&nri) != ["50-healthy"] || count().0 > before.0 || count().1 > before.1 {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, all_gone).await.is_err() {
        panic!("{:?}, {before:?} before and {:?} now", names(&nri), count());
    }
    nri.stop().await;
}
