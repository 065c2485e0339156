//! What scenes are played with: plugins that join, pods and containers that are taken away
//! afterwards, waits that end, and findings.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_core::{Event, Request, api};

use super::driver::{ContainerSpec, Driver, DriverError, Inside, PodSpec};
use super::report::{Check, Report};
use crate::conformance::Findings;
use crate::{Connected, FakePlugin, ReceivedCall};

/// The memory limit of containers, in bytes.
pub(super) const MEMORY: i64 = 64 << 20;

#[derive(Default)]
struct Notes {
    findings: Findings<Check>,
    pods: Vec<String>,
    containers: Vec<String>,
    names: usize,
}

pub(super) struct Bench<'a> {
    pub(super) driver: &'a dyn Driver,
    time: Duration,
    notes: Mutex<Notes>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(driver: &'a dyn Driver, time: Duration) -> Self {
        Self {
            driver,
            time,
            notes: Mutex::default(),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(self) -> Report {
        let notes = self
            .notes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        notes.findings.report(Check::ALL)
    }

    /// Ends a scene: what it could not do is on record, and what it has made is taken away.
    pub(super) async fn end(&self, checks: &[Check], ended: Result<(), DriverError>) {
        match ended {
            Ok(()) => self.notes().findings.saw(checks),
            Err(DriverError::Unsupported(what)) => {
                for check in checks {
                    self.skip(*check, what);
                }
            }
            Err(DriverError::Failed(reason)) => {
                for check in checks {
                    self.found(*check, format!("it came to no end: {reason}"));
                }
            }
        }
        let (containers, pods) = {
            let mut notes = self.notes();
            let containers = std::mem::take(&mut notes.containers);
            (containers, std::mem::take(&mut notes.pods))
        };
        // Most of it is gone already, and what cannot be taken away was a finding before.
        for container in containers {
            let _ = self.driver.stop_container(&container).await;
            let _ = self.driver.remove_container(&container).await;
        }
        for pod in pods {
            let _ = self.driver.stop_pod(&pod).await;
            let _ = self.driver.remove_pod(&pod).await;
        }
    }

    pub(super) fn skip(&self, check: Check, what: &str) {
        let why = format!("the driver cannot {what}");
        self.notes().findings.skip(check, why);
    }

    pub(super) fn found(&self, check: Check, seen: impl Into<String>) {
        self.notes().findings.found(check, seen);
    }

    pub(super) fn expect(&self, check: Check, holds: bool, seen: impl FnOnce() -> String) {
        if !holds {
            self.found(check, seen());
        }
    }

    /// Something that the runtime must refuse.
    pub(super) fn expect_refused<T>(
        &self,
        check: Check,
        what: &str,
        result: Result<T, DriverError>,
    ) -> Result<(), DriverError> {
        match result {
            Ok(_) => self.found(check, format!("{what} was to be refused, and was not")),
            Err(DriverError::Failed(_)) => {}
            Err(unsupported) => return Err(unsupported),
        }
        Ok(())
    }

    /// The number of another name.
    fn number(&self) -> usize {
        let mut notes = self.notes();
        notes.names += 1;
        notes.names
    }

    pub(super) fn pod_spec(&self) -> PodSpec {
        let number = self.number();
        PodSpec {
            name: format!("conformance-{number}"),
            namespace: "nri-conformance".to_owned(),
            uid: format!("00000000-0000-0000-0000-{number:012}"),
            labels: one("nri-conformance", "pod"),
            annotations: one("nri.conformance/pod", "yes"),
        }
    }

    pub(super) fn container_spec(&self) -> ContainerSpec {
        ContainerSpec {
            name: format!("conformance-{}", self.number()),
            args: self.driver.command(),
            env: vec!["NRI_CONFORMANCE_OWN=1".to_owned()],
            labels: one("nri-conformance", "container"),
            annotations: one("nri.conformance/container", "yes"),
            memory_limit: MEMORY,
        }
    }

    pub(super) async fn run(&self, spec: &PodSpec) -> Result<String, DriverError> {
        let id = self.driver.run_pod(spec).await?;
        self.notes().pods.push(id.clone());
        Ok(id)
    }

    pub(super) async fn pod(&self) -> Result<String, DriverError> {
        self.run(&self.pod_spec()).await
    }

    pub(super) async fn create_as(
        &self,
        pod: &str,
        spec: &ContainerSpec,
    ) -> Result<String, DriverError> {
        let id = self.driver.create_container(pod, spec).await?;
        self.notes().containers.push(id.clone());
        Ok(id)
    }

    pub(super) async fn create(&self, pod: &str) -> Result<String, DriverError> {
        self.create_as(pod, &self.container_spec()).await
    }

    /// A container that runs.
    pub(super) async fn started(&self, pod: &str) -> Result<String, DriverError> {
        let id = self.create(pod).await?;
        self.driver.start_container(&id).await?;
        Ok(id)
    }

    /// Ends a pod without containers, and waits until a plugin has heard of it: then it has heard
    /// of all that happened to the pod.
    pub(super) async fn end_pod(&self, pod: &str, plugin: &FakePlugin) -> Result<(), DriverError> {
        self.driver.stop_pod(pod).await?;
        self.driver.remove_pod(pod).await?;
        self.hears(plugin, Event::RemovePodSandbox, pod).await;
        Ok(())
    }

    /// What a container has; `None`, and the check is skipped, where that cannot be said.
    pub(super) async fn inside(
        &self,
        check: Check,
        id: &str,
    ) -> Result<Option<Inside>, DriverError> {
        match self.driver.inspect(id).await {
            Ok(inside) => Ok(Some(inside)),
            Err(DriverError::Unsupported(what)) => {
                self.skip(check, what);
                Ok(None)
            }
            Err(failed) => Err(failed),
        }
    }

    /// Expects a container's memory limit, if the probe can tell it.
    pub(super) async fn expect_memory(
        &self,
        check: Check,
        id: &str,
        limit: i64,
        when: &str,
    ) -> Result<(), DriverError> {
        let inside = self.inside(check, id).await?;
        if let Some(is) = inside.and_then(|inside| inside.memory_limit) {
            self.expect(check, is == limit, || {
                format!("{when}, the memory limit is {is}, and was to be {limit}")
            });
        }
        Ok(())
    }

    /// Connects a plugin, and waits until it is synchronised.
    pub(super) async fn join(&self, plugin: &FakePlugin) -> Result<Connected, DriverError> {
        let who = plugin.identity();
        let socket = self.driver.socket();
        let connected = plugin.connect(&socket).await;
        let connected =
            connected.map_err(|error| format!("{who} cannot connect to {socket:?}: {error}"))?;
        let registered = connected.register().await;
        registered.map_err(|error| format!("{who} cannot register: {error}"))?;
        match self.sees(plugin, last_part).await {
            true => Ok(connected),
            false => Err(format!("{who} is not synchronised within {:?}", self.time).into()),
        }
    }

    async fn within<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.time, future).await.ok()
    }

    /// Waits until a plugin has got something; false if it does not come.
    pub(super) async fn sees(
        &self,
        plugin: &FakePlugin,
        what: impl Fn(&ReceivedCall) -> bool,
    ) -> bool {
        let record = plugin.record();
        let comes = record.wait_for("it", |all| all.iter().any(&what));
        self.within(comes).await.is_some()
    }

    /// Waits until a plugin has heard of an event.
    pub(super) async fn hears(&self, plugin: &FakePlugin, event: Event, id: &str) -> bool {
        self.sees(plugin, |call| is(call, event, id)).await
    }

    /// Waits until a plugin has heard of an event, and how often it has. Not having heard of it is
    /// a finding.
    pub(super) async fn expect_heard(
        &self,
        check: Check,
        plugin: &FakePlugin,
        event: Event,
        id: &str,
    ) {
        if !self.hears(plugin, event, id).await {
            let heard = heard(plugin, &[id]);
            self.found(
                check,
                format!("{event} of {id:?} does not reach a plugin, which heard {heard:?} of it"),
            );
        }
    }

    /// The first request of an event that a plugin got about something. That there is none is a
    /// finding.
    pub(super) fn request(
        &self,
        check: Check,
        plugin: &FakePlugin,
        event: Event,
        id: &str,
    ) -> Option<Request> {
        let seen = plugin.seen();
        let request = seen
            .iter()
            .find(|call| is(call, event, id))
            .and_then(ReceivedCall::request);
        self.expect(check, request.is_some(), || {
            format!("a plugin got no {event} of {id:?}")
        });
        request
    }
}

fn one(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

/// Whether this is the last part of a synchronisation.
fn last_part(call: &ReceivedCall) -> bool {
    call.synchronization().is_some_and(|part| !part.more)
}

pub(super) fn is(call: &ReceivedCall, event: Event, id: &str) -> bool {
    let request = call.request();
    request.is_some_and(|it| it.event() == event) && call.id().as_deref() == Some(id)
}

/// The events that a plugin has heard of, of these pods and containers.
pub(super) fn heard(plugin: &FakePlugin, ids: &[&str]) -> Vec<&'static str> {
    let seen = plugin.seen();
    let of = |call: &&ReceivedCall| call.id().is_some_and(|id| ids.contains(&&*id));
    let requests = seen.iter().filter(of).filter_map(ReceivedCall::request);
    requests.map(|request| request.event().name()).collect()
}

/// How often a plugin has heard of an event of something.
pub(super) fn times(plugin: &FakePlugin, event: Event, id: &str) -> usize {
    let seen = plugin.seen();
    seen.iter().filter(|call| is(call, event, id)).count()
}

/// The id of what a plugin was asked first about in an event.
pub(super) fn first_id(plugin: &FakePlugin, event: Event) -> Option<String> {
    let seen = plugin.seen();
    let first = seen
        .iter()
        .find(|call| call.request().is_some_and(|it| it.event() == event));
    first.and_then(ReceivedCall::id)
}

/// What a plugin was shown when it joined.
pub(super) fn shown(plugin: &FakePlugin) -> (Vec<api::PodSandbox>, Vec<api::Container>) {
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for part in plugin
        .seen()
        .iter()
        .filter_map(ReceivedCall::synchronization)
    {
        pods.extend(part.pods);
        containers.extend(part.containers);
    }
    (pods, containers)
}

/// An update of a container's memory limit.
pub(super) fn memory_update(id: &str, limit: i64) -> api::ContainerUpdate {
    api::ContainerUpdate {
        container_id: id.to_owned(),
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(memory(limit)),
        }),
        ignore_failure: false,
    }
}

/// Resources that set a memory limit.
pub(super) fn memory(limit: i64) -> api::LinuxResources {
    api::LinuxResources {
        memory: Some(api::LinuxMemory {
            limit: Some(api::OptionalInt64 { value: limit }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
