//! Calls of a domain that end in time, whatever it does, and the findings.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nri_core::api::{self, ContainerState, LinuxResources};
use nri_core::model::Container;
use nri_core::{Ctx, Domain, DomainError};

use super::adapter::Adapter;
use super::report::{Finding, Report, Rule};

/// A domain under examination.
pub(super) struct Probe<'a> {
    pub(super) domain: Arc<dyn Domain>,
    pub(super) adapter: &'a dyn Adapter,
    pub(super) time: Duration,
    findings: Mutex<Vec<Finding>>,
}

/// What a call did instead of returning.
pub(super) struct NoAnswer;

impl<'a> Probe<'a> {
    pub(super) fn new(domain: Arc<dyn Domain>, adapter: &'a dyn Adapter, time: Duration) -> Self {
        Self {
            domain,
            adapter,
            time,
            findings: Mutex::default(),
        }
    }

    pub(super) fn report(self) -> Report {
        Report::new(
            self.findings
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn findings(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_found(&self, rule: Rule) -> bool {
        self.findings().iter().any(|finding| finding.rule == rule)
    }

    pub(super) fn found(&self, rule: Rule, seen: impl Into<String>) {
        let seen = seen.into();
        let finding = Finding { rule, seen };
        let mut findings = self.findings();
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    pub(super) fn expect(&self, rule: Rule, holds: bool, seen: impl FnOnce() -> String) {
        if !holds {
            self.found(rule, seen());
        }
    }

    /// Calls the domain in a task of its own, so that neither a panic nor a wait gets any further.
    pub(super) async fn call<T, F, R>(&self, what: &str, call: F) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Domain>) -> R,
        R: Future<Output = T> + Send + 'static,
    {
        let mut task = tokio::spawn(call(Arc::clone(&self.domain)));
        match tokio::time::timeout(self.time, &mut task).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.found(Rule::Answers, format!("{what}: {error}"));
                Err(NoAnswer)
            }
            Err(_) => {
                task.abort();
                let time = self.time;
                self.found(
                    Rule::Answers,
                    format!("{what} did not return within {time:?}"),
                );
                Err(NoAnswer)
            }
        }
    }

    /// The ids that are listed; none if that fails, which is a finding.
    pub(super) async fn listed_pods(&self) -> Vec<String> {
        let listed = self.call("list_pod_sandboxes", |domain| async move {
            let pods = domain.list_pod_sandboxes().await;
            pods.map(|pods| pods.iter().map(|pod| pod.id()).collect::<Vec<_>>())
        });
        self.listed("list_pod_sandboxes", listed.await)
    }

    /// As [`listed_pods`](Self::listed_pods).
    pub(super) async fn listed_containers(&self) -> Vec<Arc<dyn Container>> {
        let listed = self.call("list_containers", |domain| async move {
            domain.list_containers().await
        });
        self.listed("list_containers", listed.await)
    }

    fn listed<T>(
        &self,
        what: &str,
        listed: Result<Result<Vec<T>, DomainError>, NoAnswer>,
    ) -> Vec<T> {
        match listed {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => {
                self.found(Rule::Listed, format!("{what}: {error}"));
                Vec::new()
            }
            Err(NoAnswer) => Vec::new(),
        }
    }

    pub(super) async fn pod(&self, id: &str) -> Option<String> {
        let owned = id.to_owned();
        let pod = self.call("get_pod_sandbox", |domain| async move {
            let pod = domain.get_pod_sandbox(&owned).await;
            pod.map(|pod| pod.id())
        });
        pod.await.unwrap_or(None)
    }

    pub(super) async fn container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let owned = id.to_owned();
        let container = self.call("get_container", |domain| async move {
            domain.get_container(&owned).await
        });
        container.await.unwrap_or(None)
    }

    pub(super) async fn has_container(&self, id: &str) -> Option<bool> {
        let owned = id.to_owned();
        let has = self.call("has_container", |domain| async move {
            domain.has_container(&owned).await
        });
        has.await.ok()
    }

    /// The resources that a container shows.
    pub(super) async fn resources(&self, id: &str) -> LinuxResources {
        match self.container(id).await {
            Some(container) => resources(&*container),
            None => LinuxResources::default(),
        }
    }

    pub(super) async fn update(
        &self,
        id: &str,
        resources: Option<LinuxResources>,
    ) -> Result<Result<(), DomainError>, NoAnswer> {
        let update = update(id, resources);
        self.call("update_container", |domain| async move {
            domain.update_container(&Ctx::new(), &update).await
        })
        .await
    }

    pub(super) async fn evict(&self, id: &str) -> Result<Result<(), DomainError>, NoAnswer> {
        let eviction = api::ContainerEviction {
            container_id: id.to_owned(),
            reason: "conformance".to_owned(),
        };
        self.call("evict_container", |domain| async move {
            domain.evict_container(&Ctx::new(), &eviction).await
        })
        .await
    }

    /// That a call was a success; otherwise it is a finding.
    pub(super) fn succeeded(
        &self,
        rule: Rule,
        what: &str,
        result: &Result<Result<(), DomainError>, NoAnswer>,
    ) -> bool {
        match result {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.found(rule, format!("{what}: {error}"));
                false
            }
            Err(NoAnswer) => false,
        }
    }
}

pub(super) fn update(id: &str, resources: Option<LinuxResources>) -> api::ContainerUpdate {
    api::ContainerUpdate {
        container_id: id.to_owned(),
        linux: resources.map(|resources| api::LinuxContainerUpdate {
            resources: Some(resources),
        }),
        ignore_failure: false,
    }
}

/// The resources that a snapshot has.
pub(super) fn resources(container: &dyn Container) -> LinuxResources {
    let linux = container.to_message().linux;
    linux.and_then(|linux| linux.resources).unwrap_or_default()
}

/// Whether a container is over.
pub(super) fn is_stopped(container: Option<&dyn Container>) -> bool {
    container.is_none_or(|c| c.status().state == ContainerState::ContainerStopped)
}

/// As it is printed in findings.
pub(super) fn shown<T: Debug>(value: &T) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
