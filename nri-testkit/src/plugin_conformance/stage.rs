//! What scenes are played with: the plugin, connections to it, what is shown to it, and findings.

use std::time::Duration;

use nri_core::{Event, EventMask, NRI_VERSION, PluginId, Request, Response, api};
use prost::Message as _;

use super::check::{Check, Report};
use super::options::{Options, subject};
use crate::TestRuntime;
use crate::conformance::Findings;
use crate::tested_plugin::{Bench, Ended, Fault, Manner, Peer};

/// The runtime's name and version, as plugins see them.
const RUNTIME: &str = "nri-sim";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A scene that came to no end, and why.
pub(super) type Played = Result<(), String>;

pub(super) struct Stage {
    pub(super) bench: Bench,
    config: String,
    request_timeout: Duration,
    findings: Findings<Check>,
}

/// A plugin that is connected, configured and synchronised.
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) events: EventMask,
}

impl Session {
    /// The events of a life that the plugin subscribes to.
    pub(super) fn life(&self) -> impl Iterator<Item = Event> {
        let events = self.events;
        TestRuntime::LIFE
            .into_iter()
            .filter(move |event| events.contains(*event))
    }

    /// Asks about an event of this pod and container.
    pub(super) async fn ask(
        &self,
        event: Event,
        pod: &api::PodSandbox,
        container: &api::Container,
    ) -> Result<Response, Fault> {
        self.peer.ask(&request(event, pod, container)).await
    }

    /// An event that the plugin subscribes to, preferably this one.
    pub(super) fn preferably(&self, event: Event) -> Event {
        let other = || self.events.iter().next().unwrap_or(event);
        match self.events.contains(event) {
            true => event,
            false => other(),
        }
    }
}

impl Stage {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        Ok(Self {
            bench: Bench::new(subject(options))?,
            config: options.config.clone(),
            request_timeout: options.request_timeout,
            findings: Findings::default(),
        })
    }

    pub(super) fn report(self, checks: &[Check]) -> Report {
        self.findings.report(checks)
    }

    pub(super) fn found(&mut self, check: Check, seen: impl Into<String>) {
        self.findings.found(check, seen);
    }

    pub(super) fn has_found(&self, checks: &[Check]) -> bool {
        checks.iter().any(|check| self.findings.has_found(check))
    }

    pub(super) fn skip(&mut self, check: Check, why: &str) {
        self.findings.skip(check, why);
    }

    pub(super) fn patience(&self) -> Duration {
        self.bench.subject.patience
    }

    /// Ends a scene, and the plugin with it, if it is ours. A crash in any scene is a finding.
    pub(super) async fn end(&mut self, checks: &[Check], ended: Played) {
        self.findings.saw(checks);
        if let (Err(why), [first, others @ ..]) = (ended, checks) {
            self.found(*first, why);
            for check in others {
                self.skip(
                    *check,
                    "the plugin does not come as far as that: see what failed before",
                );
            }
        }
        self.bench.stop_listening();
        let process = self.bench.process.take();
        let ended = process.and_then(|mut process| process.has_ended());
        if let Some(ended) = ended.filter(Ended::is_crash) {
            for check in checks {
                self.found(*check, format!("it crashed: {ended}"));
            }
        }
    }

    /// The plugin on a connection, before it has registered.
    pub(super) async fn connected(&mut self, manner: Manner) -> Result<Peer, String> {
        let stream = self.bench.connect().await?;
        Peer::on(stream, manner, self.request_timeout)
    }

    /// The plugin on a connection that it has made, before it has registered.
    pub(super) async fn comes_back(&mut self) -> Result<Peer, String> {
        let stream = self.bench.accept().await?;
        Peer::on(stream, Manner::default(), self.request_timeout)
    }

    /// The plugin, launched.
    pub(super) async fn launched(&mut self) -> Result<Peer, String> {
        let stream = self.bench.launch().await?;
        Peer::on(stream, Manner::default(), self.request_timeout)
    }

    /// The plugin, on a connection to the socket.
    pub(super) async fn by_socket(&mut self) -> Result<Peer, String> {
        let stream = self.bench.by_socket().await?;
        Peer::on(stream, Manner::default(), self.request_timeout)
    }

    /// Registers and configures.
    pub(super) async fn configured(&mut self, peer: Peer) -> Result<Session, String> {
        let asked = self.configuration();
        self.configured_with(peer, &asked).await
    }

    pub(super) fn configuration(&self) -> api::ConfigureRequest {
        api::ConfigureRequest {
            config: self.config.clone(),
            runtime_name: RUNTIME.to_owned(),
            runtime_version: VERSION.to_owned(),
            registration_timeout: 5000,
            request_timeout: i64::try_from(self.request_timeout.as_millis()).unwrap_or(i64::MAX),
            nri_version: NRI_VERSION.to_owned(),
        }
    }

    pub(super) async fn configured_with(
        &mut self,
        peer: Peer,
        asked: &api::ConfigureRequest,
    ) -> Result<Session, String> {
        let patience = self.patience();
        let registered = peer.registered(patience).await;
        registered.map_err(|why| format!("{why}{}", self.bench.printed()))?;
        let answer: api::ConfigureResponse = peer.get("Configure", asked).await?;
        let events = match answer.events {
            // As runtimes read it.
            0 => EventMask::ALL,
            bits => EventMask::from_bits(bits).map_err(|error| error.to_string())?,
        };
        Ok(Session { peer, events })
    }

    /// Synchronises with these pods and containers, in one message.
    pub(super) async fn synchronised(
        &mut self,
        session: &Session,
        pods: Vec<api::PodSandbox>,
        containers: Vec<api::Container>,
    ) -> Result<api::SynchronizeResponse, Fault> {
        let request = api::SynchronizeRequest {
            pods,
            containers,
            more: false,
        };
        session.peer.get("Synchronize", &request).await
    }

    /// The plugin as most scenes need it: connected, configured, and shown that there is nothing.
    pub(super) async fn joined(&mut self, manner: Manner) -> Result<Session, String> {
        let peer = self.connected(manner).await?;
        self.joined_on(peer).await
    }

    pub(super) async fn joined_on(&mut self, peer: Peer) -> Result<Session, String> {
        let session = self.configured(peer).await?;
        self.synchronised(&session, Vec::new(), Vec::new()).await?;
        Ok(session)
    }

    /// Waits until the plugin has coped with the end of its connection: it is back (then this is
    /// its connection), or its process has ended. That it did neither is a finding.
    pub(super) async fn copes(&mut self, check: Check) -> Option<Peer> {
        if self.bench.subject.connects() {
            if let Err(why) = self.bench.go_on_listening() {
                self.found(check, why);
                return None;
            }
            match self.back_or_ended().await {
                Ok(back) => return back,
                Err(why) => self.found(check, why),
            }
            return None;
        }
        match self.bench.ends().await {
            Some(ended) => self.expect_no_crash(check, &ended),
            None => {
                let text = format!(
                    "its process is still there {:?} after its connection was lost{}",
                    self.patience(),
                    self.bench.printed()
                );
                self.found(check, text);
            }
        }
        None
    }

    /// A new connection; `None` if its process has ended as it should instead.
    async fn back_or_ended(&mut self) -> Result<Option<Peer>, String> {
        let came = self.comes_back().await;
        match came {
            Ok(peer) => Ok(Some(peer)),
            Err(why) => match self.bench.process.as_mut().and_then(|it| it.has_ended()) {
                Some(ended) if ended.is_crash() => Err(format!("it crashed: {ended}")),
                Some(_) => Ok(None),
                None => Err(why),
            },
        }
    }

    pub(super) fn expect_no_crash(&mut self, check: Check, ended: &Ended) {
        if ended.is_crash() {
            self.found(check, format!("it crashed: {ended}"));
        }
    }

    /// A connection that is still there, and a plugin that still answers. Otherwise that is a
    /// finding, with what went before.
    pub(super) async fn still_answers(&mut self, check: Check, session: &Session, after: &str) {
        let event = session.preferably(Event::RunPodSandbox);
        let (pod, container) = (
            crate::pod("still-there"),
            in_pod("still-there", "still-there"),
        );
        let fault = session.ask(event, &pod, &container).await.err();
        if let Some(fault) = fault.filter(Fault::is_breakdown) {
            let printed = self.bench.printed();
            self.found(check, format!("after {after}, {}{printed}", fault.what));
        }
    }
}

/// A realistic container in the pod of a name.
pub(super) fn in_pod(container: &str, pod: &str) -> api::Container {
    api::Container {
        pod_sandbox_id: crate::pod(pod).id,
        ..crate::container(container)
    }
}

/// The bytes of a request about this pod and container: they have the same place in all.
pub(super) fn encoded(event: Event, pod: &api::PodSandbox, container: &api::Container) -> Vec<u8> {
    let about_pod = event.subject() == nri_core::Subject::Pod;
    api::PostStartContainerRequest {
        pod: Some(pod.clone()),
        container: (!about_pod).then(|| container.clone()),
    }
    .encode_to_vec()
}

/// A request about this pod and container.
pub(super) fn request(event: Event, pod: &api::PodSandbox, container: &api::Container) -> Request {
    let bytes = encoded(event, pod, container);
    let mut request = match Request::decode(event, &bytes) {
        Ok(request) => request,
        // It was just encoded, and the two are in all of them.
        Err(_) => Request::RunPodSandbox(api::RunPodSandboxRequest::default()),
    };
    // Resources that are to be, as a runtime has them.
    let resources = container
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.clone());
    match &mut request {
        Request::UpdateContainer(update) => update.linux_resources = resources,
        Request::UpdatePodSandbox(update) => update.linux_resources = resources,
        _ => {}
    }
    request
}

/// Whether a plugin may be called this.
pub(super) fn identity(request: &api::RegisterPluginRequest) -> Result<PluginId, String> {
    let parts = PluginId::from_parts(&request.plugin_idx, &request.plugin_name);
    parts.map_err(|error| error.to_string())
}
