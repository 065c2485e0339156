//! The program with pipes in our hands, and plugins in this process that write down what they hear.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use nri_plugin::{
    Configuration, EventMask, HandlerError, Plugin, PluginCtx, Runner, RuntimeLink, State, api,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must happen before it fails.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// `nri-sim serve`, running.
pub(crate) struct Serve {
    child: Child,
    input: Option<ChildStdin>,
    results: Receiver<String>,
    log: Option<JoinHandle<String>>,
    home: TempDir,
}

impl Serve {
    pub(crate) fn start() -> Self {
        Self::with(|_, _| {})
    }

    /// Starts it with more arguments; the directory is gone with the value. Without a configuration
    /// of its own it waits for plugins for as long as a test does.
    pub(crate) fn with(more: impl FnOnce(&mut Command, &Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = program();
        command
            .arg("serve")
            .arg("--socket")
            .arg(home.path().join("nri.sock"))
            // What it leaves behind when it is killed goes with the test.
            .env("TMPDIR", home.path());
        more(&mut command, home.path());
        if !command.get_args().any(|arg| arg == "--config") {
            // Nobody is late, on a machine however busy.
            let (config, seconds) = (home.path().join("patient.toml"), TEST_TIMEOUT.as_secs());
            let keys = ["plugin_registration_timeout", "plugin_request_timeout"];
            let text = keys.map(|key| format!("{key} = '{seconds}s'\n")).concat();
            std::fs::write(&config, text).unwrap();
            command.arg("--config").arg(config);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, results) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            errors.read_to_string(&mut log).unwrap();
            log
        });
        Self {
            input: child.stdin.take(),
            child,
            results,
            log: Some(log),
            home,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("nri.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line.
    pub(crate) fn send(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The next result; `None` when there will be no more.
    pub(crate) fn next(&self) -> Option<Value> {
        match self.results.recv_timeout(TEST_TIMEOUT) {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(timeout) => panic!("no result: {timeout}"),
        }
    }

    /// Sends a line and returns its result.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.next()
            .unwrap_or_else(|| panic!("no result for {line}"))
    }

    /// Sends a line whose result must be a good one.
    pub(crate) fn ok(&mut self, line: &str) -> Value {
        let result = self.ask(line);
        assert_eq!(result["ok"], true, "{line}: {result}");
        result
    }

    /// Waits until so many plugins are ready; returns all that are connected.
    pub(crate) fn wait_plugins(&mut self, count: usize) -> Value {
        let within = TEST_TIMEOUT.as_millis();
        let line = format!(r#"{{"cmd":"wait-plugins","count":{count},"timeout_ms":{within}}}"#);
        self.ok(&line)["plugins"].take()
    }

    /// Sends a line whose result must be an error; returns its text.
    pub(crate) fn error(&mut self, line: &str) -> String {
        let result = self.ask(line);
        assert_eq!(result["ok"], false, "{line}: {result}");
        result["error"].as_str().unwrap().to_owned()
    }

    /// Runs the pod `p1` and creates the container `c1` in it; returns the result of the creation.
    pub(crate) fn container(&mut self) -> Value {
        self.ok(r#"{"cmd":"run-pod","pod":{"id":"p1","name":"web","namespace":"default"}}"#);
        self.ok(
            r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1","name":"nginx"}}"#,
        )
    }

    /// Ends the input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for the program's end; returns what it printed that was not read, how it ended, and
    /// what it logged.
    pub(crate) fn finish(mut self) -> (Vec<Value>, ExitStatus, String) {
        self.input = None;
        let rest = std::iter::from_fn(|| self.next()).collect();
        let log = self.log.take().unwrap().join().unwrap();
        (rest, self.child.wait().unwrap(), log)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The program.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nri-sim"))
}

type Adjust = dyn Fn(&api::CreateContainerRequest) -> Result<api::CreateContainerResponse, String>
    + Send
    + Sync;
type Update = dyn Fn(&api::UpdateContainerRequest) -> Vec<api::ContainerUpdate> + Send + Sync;
type Stop = dyn Fn(&api::StopContainerRequest) -> Vec<api::ContainerUpdate> + Send + Sync;

/// A plugin that writes down what it hears, and answers what it is told to.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) create: Option<Box<Adjust>>,
    pub(crate) update: Option<Box<Update>>,
    pub(crate) stop: Option<Box<Stop>>,
    pub(crate) synchronize: Vec<api::ContainerUpdate>,
    /// The event that it answers with an error.
    pub(crate) refuses: Option<&'static str>,
    /// Answers creations only when this can be had.
    pub(crate) gate: Option<Arc<tokio::sync::Semaphore>>,
}

/// Such a plugin, connected.
pub(crate) struct Peer {
    heard: Arc<tokio::sync::watch::Sender<Vec<String>>>,
    pub(crate) link: RuntimeLink,
    task: tokio::task::JoinHandle<()>,
    handle: nri_plugin::Handle,
}

struct Recorder {
    script: Script,
    heard: Arc<tokio::sync::watch::Sender<Vec<String>>>,
}

impl Recorder {
    fn hear(&self, event: &'static str, id: &str) -> Result<(), HandlerError> {
        self.heard
            .send_modify(|heard| heard.push(format!("{event} {id}")));
        match self.script.refuses {
            Some(refused) if refused == event => Err(format!("no {event} today").into()),
            _ => Ok(()),
        }
    }
}

macro_rules! recorder {
    ($($event:literal $handler:ident($request:ident, $of:ident);)*) => {
        #[async_trait]
        impl Plugin for Recorder {
            fn events(&self) -> EventMask {
                "pod,container".parse().unwrap()
            }

            async fn configure(&self, _: &PluginCtx, configuration: Configuration) -> Result<Option<EventMask>, HandlerError> {
                self.hear("Configure", &configuration.runtime.name)?;
                Ok(None)
            }

            async fn synchronize(
                &self,
                _: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                let ids = pods.into_iter().map(|pod| pod.id).chain(containers.into_iter().map(|c| c.id));
                self.hear("Synchronize", &ids.collect::<Vec<_>>().join(" "))?;
                Ok(self.script.synchronize.clone())
            }

            async fn shutdown(&self, _: &PluginCtx) {
                let _ = self.hear("Shutdown", "");
            }

            async fn create_container(
                &self,
                _: &PluginCtx,
                request: api::CreateContainerRequest,
            ) -> Result<api::CreateContainerResponse, HandlerError> {
                self.hear("CreateContainer", &request.container.as_ref().unwrap().id)?;
                if let Some(gate) = &self.script.gate {
                    gate.acquire().await.unwrap().forget();
                }
                match &self.script.create {
                    Some(create) => Ok(create(&request)?),
                    None => Ok(Default::default()),
                }
            }

            async fn update_container(
                &self,
                _: &PluginCtx,
                request: api::UpdateContainerRequest,
            ) -> Result<api::UpdateContainerResponse, HandlerError> {
                self.hear("UpdateContainer", &request.container.as_ref().unwrap().id)?;
                let update = self.script.update.as_ref().map(|update| update(&request)).unwrap_or_default();
                Ok(api::UpdateContainerResponse { update, ..Default::default() })
            }

            async fn stop_container(
                &self,
                _: &PluginCtx,
                request: api::StopContainerRequest,
            ) -> Result<api::StopContainerResponse, HandlerError> {
                let container = request.container.as_ref().unwrap();
                self.hear("StopContainer", &format!("{} {}", container.id, container.exit_code))?;
                let update = self.script.stop.as_ref().map(|stop| stop(&request)).unwrap_or_default();
                Ok(api::StopContainerResponse { update })
            }

            $(
                async fn $handler(&self, _: &PluginCtx, request: api::$request) -> Result<(), HandlerError> {
                    self.hear($event, &request.$of.unwrap().id)
                }
            )*
        }
    };
}

recorder! {
    "RunPodSandbox" run_pod_sandbox(RunPodSandboxRequest, pod);
    "UpdatePodSandbox" update_pod_sandbox(UpdatePodSandboxRequest, pod);
    "PostUpdatePodSandbox" post_update_pod_sandbox(PostUpdatePodSandboxRequest, pod);
    "StopPodSandbox" stop_pod_sandbox(StopPodSandboxRequest, pod);
    "RemovePodSandbox" remove_pod_sandbox(RemovePodSandboxRequest, pod);
    "PostCreateContainer" post_create_container(PostCreateContainerRequest, container);
    "StartContainer" start_container(StartContainerRequest, container);
    "PostStartContainer" post_start_container(PostStartContainerRequest, container);
    "PostUpdateContainer" post_update_container(PostUpdateContainerRequest, container);
    "RemoveContainer" remove_container(RemoveContainerRequest, container);
}

impl Script {
    /// Connects it, and returns when the runtime says that it is ready.
    pub(crate) async fn join(self, serve: &mut Serve, identity: &str) -> Peer {
        let there = serve.ok(r#"{"cmd":"plugins"}"#)["plugins"]
            .as_array()
            .unwrap()
            .len();
        let peer = self.connect(&serve.socket(), identity).await;
        serve.wait_plugins(there + 1);
        peer
    }

    /// Connects it.
    pub(crate) async fn connect(self, socket: &Path, identity: &str) -> Peer {
        let heard = Arc::new(tokio::sync::watch::Sender::new(Vec::new()));
        let recorder = Recorder {
            script: self,
            heard: Arc::clone(&heard),
        };
        let runner = Runner::builder(recorder)
            .identity(identity)
            .socket(socket)
            .use_environment(false)
            .build()
            .unwrap();
        let handle = runner.handle();
        let link = handle.runtime();
        let task = tokio::spawn(async move {
            runner.run().await.unwrap();
        });
        let mut state = handle.state();
        let ready = state.wait_for(|state| matches!(state, State::Ready(_) | State::Ended));
        drop(
            tokio::time::timeout(TEST_TIMEOUT, ready)
                .await
                .expect("the plugin is synchronised")
                .unwrap(),
        );
        Peer {
            heard,
            link,
            task,
            handle,
        }
    }
}

impl Peer {
    /// What it has heard so far, from the events of pods and containers on.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = self.heard.borrow().clone();
        heard.retain(|event| !event.starts_with("Configure") && !event.starts_with("Synchronize"));
        heard
    }

    /// What it was shown when it came.
    pub(crate) fn shown(&self) -> String {
        let heard = self.heard.borrow();
        let shown = heard
            .iter()
            .find_map(|event| event.strip_prefix("Synchronize "));
        shown.expect("it was synchronised").to_owned()
    }

    /// Waits until it has heard something.
    pub(crate) async fn hears(&self, event: &str) {
        let mut heard = self.heard.subscribe();
        let waited = heard.wait_for(|heard| heard.iter().any(|one| one == event));
        if tokio::time::timeout(TEST_TIMEOUT, waited).await.is_err() {
            panic!("it did not hear {event}, but {:?}", self.heard.borrow());
        }
    }

    /// Waits until its connection is over.
    pub(crate) async fn ended(&mut self) {
        tokio::time::timeout(TEST_TIMEOUT, &mut self.task)
            .await
            .expect("the connection ends")
            .unwrap();
    }

    pub(crate) fn leave(&self) {
        self.handle.stop();
    }
}

/// An update of a container's CPU shares.
pub(crate) fn shares(container: &str, shares: u64) -> api::ContainerUpdate {
    let cpu = api::LinuxCpu {
        shares: Some(api::OptionalUInt64 { value: shares }),
        ..Default::default()
    };
    api::ContainerUpdate {
        container_id: container.into(),
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(api::LinuxResources {
                cpu: Some(cpu),
                ..Default::default()
            }),
        }),
        ignore_failure: false,
    }
}

/// Annotates every container, and adds a variable.
pub(crate) fn annotates() -> Script {
    let create = |_: &api::CreateContainerRequest| {
        let adjust = api::ContainerAdjustment {
            annotations: BTreeMap::from([("example.com/owner".into(), "platform".into())]),
            env: vec![api::KeyValue {
                key: "TZ".into(),
                value: "UTC".into(),
            }],
            ..Default::default()
        };
        Ok(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        })
    };
    Script {
        create: Some(Box::new(create)),
        ..Default::default()
    }
}

/// The example plugins of `nri-plugin`, built, by name.
pub(crate) fn examples() -> &'static BTreeMap<String, PathBuf> {
    static EXAMPLES: Mutex<Option<&'static BTreeMap<String, PathBuf>>> = Mutex::new(None);
    let mut examples = EXAMPLES.lock().unwrap();
    examples.get_or_insert_with(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args([
                "build",
                "--quiet",
                "--package",
                "nri-plugin",
                "--all-features",
                "--examples",
                "--message-format",
                "json-render-diagnostics",
            ])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "the example plugins cannot be built"
        );
        let found = String::from_utf8(built.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| {
                let message: Value = serde_json::from_str(line).ok()?;
                let program = PathBuf::from(message["executable"].as_str()?);
                Some((message["target"]["name"].as_str()?.to_owned(), program))
            })
            .collect();
        Box::leak(Box::new(found))
    })
}
