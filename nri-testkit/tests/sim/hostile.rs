//! Plugins that do their worst, and what that costs the runtime: its memory as the operating system
//! counts it, lines of its log, and what becomes of the others. Each test has a runtime of its own,
//! in a process of its own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nri_core::{Event, EventMask, Response, api};
use nri_proto::transport::{
    CallContext, CallError, CallOptions, Code, Connection, Limits, Role, RuntimeClient, Service,
    Status,
};
use nri_proto::{Method as _, rpc};
use prost::Message as _;
use serde_json::Value;

use crate::support::*;

/// By how many bytes the runtime's memory may grow, whatever plugins do.
const MOST_MEMORY: usize = 64 << 20;
/// As many as fit into a message, with its envelope.
const MANY: usize = (4 << 20) / 2 - 4096;
/// How many hostile plugins there are.
const PLUGINS: usize = 8;

/// The number of `events` in `ConfigureResponse`.
const EVENTS: u32 = 2;

/// So many empty messages in the field with this number: two bytes each.
fn empties(field: u8, count: usize) -> Bytes {
    [field << 3 | 2, 0].repeat(count).into()
}

/// A hostile plugin: what it gets, and what it answers to one method.
struct Hostile {
    events: EventMask,
    method: &'static str,
    answer: Bytes,
}

struct Attacker {
    connection: Connection,
}

#[async_trait::async_trait]
impl Service for Hostile {
    fn name(&self) -> &'static str {
        rpc::plugin::SERVICE
    }

    async fn call(&self, _: CallContext, method: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
        if method == self.method {
            return Ok(self.answer.to_vec());
        }
        match method {
            "Configure" => {
                let mut answer = Vec::new();
                prost::encoding::int32::encode(EVENTS, &self.events.bits(), &mut answer);
                Ok(answer)
            }
            "Synchronize" => {
                let more = api::SynchronizeRequest::decode(payload).unwrap().more;
                let response = api::SynchronizeResponse {
                    more,
                    ..Default::default()
                };
                Ok(response.encode_to_vec())
            }
            name => Ok(Event::ALL
                .into_iter()
                .find(|event| event.name() == name)
                .map_or_else(Vec::new, |event| Response::empty(event).encode())),
        }
    }
}

impl Hostile {
    fn asking() -> Self {
        Self {
            events: Event::RunPodSandbox.into(),
            method: "",
            answer: Bytes::new(),
        }
    }

    fn answering(event: EventMask, method: &'static str, answer: Bytes) -> Self {
        Self {
            events: event,
            method,
            answer,
        }
    }

    async fn register(self, socket: &Path, index: usize) -> Attacker {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let mut limits = Limits::default();
        limits.queue_bytes = 64 << 20;
        let connection = Connection::builder(Role::Plugin)
            .limits(limits)
            .serve(self)
            .start(stream);
        let request = api::RegisterPluginRequest {
            plugin_name: "bad".into(),
            plugin_idx: index.to_string(),
            ..Default::default()
        };
        let runtime = RuntimeClient::new(connection.client());
        runtime
            .register_plugin(&request, CallOptions::timeout(TEST_TIMEOUT))
            .await
            .unwrap();
        Attacker { connection }
    }
}

impl Attacker {
    /// Asks for updates, in bytes of its own.
    async fn asks(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let options = CallOptions::timeout(TEST_TIMEOUT);
        let client = self.connection.client();
        let (service, method) = (rpc::runtime::SERVICE, rpc::runtime::UpdateContainers::NAME);
        let pending = client.begin(service, method, payload, options).await?;
        tokio::time::timeout(TEST_TIMEOUT, pending).await.unwrap()
    }
}

/// The most memory that a process has had since its peak was forgotten, in bytes; it is forgotten
/// then.
fn peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

/// A runtime with a plugin that is no trouble to anybody.
struct Stage {
    serve: Serve,
    good: Peer,
    idle: usize,
    created: usize,
}

impl Stage {
    async fn set() -> Self {
        let mut serve = Serve::start();
        let good = annotates().join(&mut serve, "90-good").await;
        serve.container();
        // What there is once and for all does not count.
        peak(serve.pid());
        let idle = peak(serve.pid());
        Self {
            serve,
            good,
            idle,
            created: 0,
        }
    }

    /// Another container is created, and the good plugin had its part in it.
    fn creates(&mut self) {
        self.created += 1;
        let line = format!(
            r#"{{"cmd":"create-container","pod_id":"p1","container":{{"id":"x{}","name":"x"}}}}"#,
            self.created
        );
        let result = self.serve.ok(&line);
        let outcomes = result["outcomes"].as_array().unwrap();
        // Its outcome in the command's own event has no name of an event.
        let good = outcomes
            .iter()
            .find(|outcome| outcome["plugin"] == "90-good" && outcome["event"].is_null());
        assert_eq!(good.unwrap()["outcome"], "answered", "{result}");
    }

    /// The end: the memory that was used, and the log.
    fn end(self) -> String {
        let grown = peak(self.serve.pid()).saturating_sub(self.idle);
        assert!(grown <= MOST_MEMORY, "memory grew by {} MiB", grown >> 20);
        self.good.leave();
        let (_, status, log) = self.serve.finish();
        assert!(status.success());
        log
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn millions_of_empty_updates_cost_nobody_anything() {
    let mut stage = Stage::set().await;
    let socket = stage.serve.socket();
    let payloads = [
        empties(1, MANY),
        empties(2, MANY),
        // The same in metadata would be the envelope's, which is counted as well.
        [&empties(1, MANY / 2)[..], &empties(2, MANY / 2)]
            .concat()
            .into(),
    ];
    let mut attacks = tokio::task::JoinSet::new();
    // They stay when they have asked: their connections are not to end before all have come.
    let mut attackers = Vec::new();
    for n in 0..PLUGINS {
        let attacker = Arc::new(Hostile::asking().register(&socket, 10 + n).await);
        attackers.push(Arc::clone(&attacker));
        stage.serve.wait_plugins(n + 2);
        for payload in payloads.clone() {
            let attacker = Arc::clone(&attacker);
            attacks.spawn(async move { attacker.asks(payload).await });
        }
    }
    for _ in 0..10 {
        stage.creates();
    }
    while let Some(answer) = attacks.join_next().await {
        match answer.unwrap() {
            Err(CallError::Status(status)) => {
                assert_eq!(status.code, Code::ResourceExhausted, "{status:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    stage.creates();
    let log = stage.end();
    assert!(log.len() < 64 << 10, "{} bytes of log", log.len());
    for word in ["late", "gone"] {
        assert!(!log.contains(&format!("90-good {word}")), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_updates_in_the_answer_to_synchronize_are_refused() {
    let mut stage = Stage::set().await;
    let socket = stage.serve.socket();
    let mut attackers = Vec::new();
    for n in 0..PLUGINS {
        let answer = empties(1, MANY);
        let hostile = Hostile::answering(Event::RunPodSandbox.into(), "Synchronize", answer);
        attackers.push(hostile.register(&socket, 10 + n).await);
    }
    for attacker in attackers {
        let closed = tokio::time::timeout(TEST_TIMEOUT, attacker.connection.closed());
        closed.await.unwrap();
    }
    stage.creates();
    // One whose connection is closed may be listed for a moment more; it is not ready.
    let listed = stage.serve.ok(r#"{"cmd":"plugins"}"#)["plugins"].take();
    let ready: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|plugin| plugin["state"] == "ready")
        .map(|plugin| &plugin["plugin"])
        .collect();
    assert_eq!(ready, ["90-good"], "{listed}");
    let log = stage.end();
    assert!(
        log.contains("more than 4096 updates and evictions"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_millions_of_items_is_its_plugins_failure() {
    let nested = |field: u8, inner: Bytes| -> Bytes {
        let mut bytes = vec![field << 3 | 2];
        prost::encode_length_delimiter(inner.len(), &mut bytes).unwrap();
        [&bytes[..], &inner].concat().into()
    };
    let answers = [
        ("updates and evictions", empties(2, MANY)),
        ("updates and evictions", empties(3, MANY)),
        // Mounts, devices, variables and hooks of an adjustment, whatever their numbers are.
        ("entries", nested(1, empties(3, MANY - 8))),
        ("entries", nested(1, empties(4, MANY - 8))),
    ];
    for (what, answer) in answers {
        let mut stage = Stage::set().await;
        let socket = stage.serve.socket();
        let hostile = Hostile::answering(Event::CreateContainer.into(), "CreateContainer", answer);
        let _attacker = hostile.register(&socket, 10).await;
        stage.serve.wait_plugins(2);
        let error = stage.serve.error(
            r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c2","name":"x"}}"#,
        );
        for part in ["10-bad", what, "code 8"] {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
        assert!(!error.contains("90-good"), "{error}");
        stage.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_thousands_of_updates_come_to_is_a_line_in_the_log() {
    let mut stage = Stage::set().await;
    let socket = stage.serve.socket();
    let attacker = Hostile::asking().register(&socket, 10).await;
    stage.serve.wait_plugins(2);
    let unknown = shares(&"x".repeat(500), 2);
    let eviction = api::ContainerEviction {
        container_id: "nobody".into(),
        reason: "\n".repeat(500),
    };
    let request = api::UpdateContainersRequest {
        update: vec![unknown; 2000],
        evict: vec![eviction; 1000],
    };
    let answer = attacker.asks(request.encode_to_vec().into()).await.unwrap();
    let failed = api::UpdateContainersResponse::decode(answer)
        .unwrap()
        .failed;
    assert_eq!(failed.len(), 2000);
    stage.creates();
    let log = stage.end();
    assert!(log.lines().count() < 200, "{} lines", log.lines().count());
    assert!(log.len() < 128 << 10, "{} bytes of log", log.len());
}
