//! Judging what a plugin answers by the policy, before it is merged.

use std::sync::Arc;

use nri_proto::api;

use super::Roster;
use crate::policy::{Denial, Judge, Verdict, trimmed};
use crate::{EncodedRequest, Error, Event, PluginId, Response};

/// What the answers to one request are judged by, and what came of it.
#[derive(Debug)]
pub(super) struct Judging {
    roster: Roster,
    /// The container of the request, and its pod as far as rules look at it.
    container: String,
    pod: Option<Arc<api::PodSandbox>>,
    verdicts: Vec<Verdict>,
}

impl Judging {
    /// The judging of the answers to a request; `None` if nothing is to be judged.
    pub(super) fn new(roster: &Roster, request: &EncodedRequest) -> Option<Self> {
        let asks = matches!(
            request.event(),
            Event::CreateContainer | Event::UpdateContainer | Event::StopContainer
        );
        if !asks || roster.policy().allows_everything() {
            return None;
        }
        Some(Self {
            roster: roster.clone(),
            container: request.container_id(),
            pod: request.pod().map(trimmed).map(Arc::new),
            verdicts: Vec::new(),
        })
    }

    /// Takes out of an answer what is to be dropped.
    ///
    /// # Errors
    /// Something in it is denied.
    pub(super) fn judge(
        &mut self,
        plugin: &PluginId,
        mut response: Response,
    ) -> Result<Response, Error> {
        let mut judge = self.roster.policy().judge(plugin);
        let judged = match &mut response {
            Response::CreateContainer(asked) => self
                .adjustment(&mut judge, asked.adjust.as_mut())
                .and_then(|()| self.updates(&mut judge, &mut asked.update))
                .and_then(|()| self.evictions(&mut judge, &mut asked.evict)),
            Response::UpdateContainer(asked) => self
                .updates(&mut judge, &mut asked.update)
                .and_then(|()| self.evictions(&mut judge, &mut asked.evict)),
            Response::StopContainer(asked) => self.updates(&mut judge, &mut asked.update),
            _ => Ok(()),
        };
        self.verdicts.extend(judge.into_verdicts());
        judged?;
        Ok(response)
    }

    fn adjustment(
        &self,
        judge: &mut Judge<'_>,
        asked: Option<&mut api::ContainerAdjustment>,
    ) -> Result<(), Denial> {
        match asked {
            Some(asked) => judge.adjustment(&self.container, self.pod.as_deref(), asked),
            None => Ok(()),
        }
    }

    fn updates(
        &self,
        judge: &mut Judge<'_>,
        updates: &mut Vec<api::ContainerUpdate>,
    ) -> Result<(), Denial> {
        let mut kept = Vec::with_capacity(updates.len());
        for update in std::mem::take(updates) {
            let pod = self.pod_of(&update.container_id);
            kept.extend(judge.update(pod.as_deref(), update)?);
        }
        *updates = kept;
        Ok(())
    }

    fn evictions(
        &self,
        judge: &mut Judge<'_>,
        evictions: &mut Vec<api::ContainerEviction>,
    ) -> Result<(), Denial> {
        let mut kept = Vec::with_capacity(evictions.len());
        for eviction in std::mem::take(evictions) {
            let pod = self.pod_of(&eviction.container_id);
            if judge.eviction(pod.as_deref(), &eviction)? {
                kept.push(eviction);
            }
        }
        *evictions = kept;
        Ok(())
    }

    /// The pod of a container that a plugin names.
    fn pod_of(&self, container: &str) -> Option<Arc<api::PodSandbox>> {
        match container == self.container {
            true => self.pod.clone(),
            false => self.roster.known_pods().pod_of(container),
        }
    }

    /// What was recorded.
    pub(super) fn into_verdicts(self) -> Vec<Verdict> {
        self.verdicts
    }
}
