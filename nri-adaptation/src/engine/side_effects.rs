//! What plugins ask for other containers in their answers: evictions first, then updates, through
//! the domain that has the container.
//!
//! Runs while no lock, no pod's slot and (of the request that asked) no turn is held, so a domain
//! may call back into the API.

use std::sync::Arc;

use nri_core::merge::{Eviction, MergedUpdate};
use nri_core::{Ctx, DomainError, EncodedRequest, Error, PluginId, api};
use tokio::task::yield_now;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::config::SideUpdateFailure;
use crate::engine::domains::Domains;
use crate::engine::target::Keys;
use crate::shared::Shared;
use crate::text::sanitized;

/// Who carries out what plugins ask for other containers in their answers to a request, see
/// [`Builder::side_effects`](crate::Builder::side_effects).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CarriedOut {
    /// The instance, through the domain that has the container, before the request returns. The
    /// default.
    #[default]
    ByDomain,
    /// Whoever made the request: it finds updates and evictions in what the request returns, and
    /// nothing was done about them.
    ByCaller,
}

/// Carries them out.
pub(crate) struct SideEffects {
    pub(crate) shared: Arc<Shared>,
    pub(crate) domains: Arc<Domains>,
    /// Who carries out those of answers.
    pub(crate) carried_out: CarriedOut,
}

impl SideEffects {
    pub(crate) fn new(shared: Arc<Shared>, domains: Arc<Domains>, carried_out: CarriedOut) -> Self {
        Self {
            shared,
            domains,
            carried_out,
        }
    }

    /// Evicts a container, and has it observed.
    pub(crate) async fn evict(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
        reasons: &[(PluginId, String)],
    ) -> Result<(), DomainError> {
        let result = self.domains.evict(cx, eviction).await;
        let id = &eviction.container_id;
        self.shared
            .reporter
            .observer
            .container_evicted(id, reasons, result.as_ref().copied());
        result
    }

    /// Updates a container, and has it observed.
    pub(crate) async fn update(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
        plugins: &[PluginId],
    ) -> Result<(), DomainError> {
        let result = self.domains.update(cx, update).await;
        self.shared
            .reporter
            .observer
            .container_updated(plugins, update, result.as_ref().copied());
        result
    }

    /// Carries out what the answers to a request asked for, all of it, whatever fails. A container
    /// that is not there (any more) is reported and no failure.
    ///
    /// # Errors
    /// What could not be done, unless the configuration says that it is only to be logged, or the
    /// plugin that it does not matter.
    pub(crate) async fn apply(
        &self,
        cx: &Ctx,
        evictions: &[Eviction],
        updates: &[MergedUpdate],
    ) -> Result<(), Error> {
        let mut failures = Vec::new();
        let mut tally = Tally::default();
        for (at, eviction) in evictions.iter().enumerate() {
            others_have_their_turn(at).await;
            let message = eviction_message(eviction);
            if let Err(source) = self.evict(cx, &message, &eviction.reasons).await {
                let mut plugins: Vec<PluginId> = Vec::new();
                plugins.extend(eviction.reasons.iter().map(|(plugin, _)| plugin.clone()));
                // Those of one plugin follow each other.
                plugins.dedup();
                let id = &message.container_id;
                tally.add(plugins.first(), "evict", id, &source);
                failures.extend(failure(&plugins, "evict", id, source, false));
            }
        }
        for (at, merged) in updates.iter().enumerate() {
            others_have_their_turn(at).await;
            let MergedUpdate {
                update, plugins, ..
            } = merged;
            if says_nothing(update) {
                continue;
            }
            if let Err(source) = self.update(cx, update, plugins).await {
                let ignore = update.ignore_failure;
                let id = &update.container_id;
                tally.add(plugins.first(), "update", id, &source);
                failures.extend(failure(plugins, "update", id, source, ignore));
            }
        }
        tally.log();
        match (self.shared.config().side_update_failure, failures.len()) {
            (SideUpdateFailure::Log, _) | (SideUpdateFailure::Fail, 0) => Ok(()),
            (SideUpdateFailure::Fail, 1) => Err(failures.remove(0)),
            (SideUpdateFailure::Fail, _) => Err(Error::Several(failures)),
        }
    }

    /// Carries out what plugins asked for by the way, as long as the caller has time.
    pub(crate) async fn apply_in_time(
        &self,
        cx: &Ctx,
        keys: &Keys,
        request: &EncodedRequest,
        evictions: &[Eviction],
        updates: &[MergedUpdate],
    ) -> Result<(), Error> {
        if evictions.is_empty() && updates.is_empty() {
            return Ok(());
        }
        let effects = self
            .apply(cx, evictions, updates)
            .instrument(keys.span(request.event(), cx));
        match cx.deadline() {
            None => effects.await,
            Some(deadline) => match timeout_at(deadline.into(), effects).await {
                Ok(done) => done,
                Err(_) => Err(out_of_time(request)),
            },
        }
    }
}

/// That the caller's time for a request is over.
pub(crate) fn out_of_time(request: &EncodedRequest) -> Error {
    Error::OutOfTime {
        event: request.event(),
        subject: request.subject(),
    }
}

/// How many updates or evictions are carried out at a time.
const AT_A_TIME: usize = 128;

/// Lets others go on after every so many: a domain that answers at once never waits by itself.
pub(crate) async fn others_have_their_turn(at: usize) {
    if at % AT_A_TIME == AT_A_TIME - 1 {
        yield_now().await;
    }
}

/// What could not be done of what plugins ask for: the log gets the first of it, and how much there
/// is.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: usize,
    first: Option<(PluginId, &'static str, String, String)>,
}

impl Tally {
    pub(crate) fn add(
        &mut self,
        plugin: Option<&PluginId>,
        action: &'static str,
        container: &str,
        error: &impl ToString,
    ) {
        // Merged side effects have someone who asked; there is no plugin to blame otherwise.
        let Some(plugin) = plugin else { return };
        self.count += 1;
        self.first.get_or_insert_with(|| {
            let (container, error) = (sanitized(container), sanitized(&error.to_string()));
            (plugin.clone(), action, container, error)
        });
    }

    /// One line, however much it is.
    pub(crate) fn log(self) {
        if let Some((plugin, action, container, error)) = self.first {
            let more = self.count - 1;
            tracing::warn!(%plugin, container, action, error, more, "cannot do what a plugin asks for another container");
        }
    }
}

/// One message for all who ask for it, with the first reason of each of them.
fn eviction_message(eviction: &Eviction) -> api::ContainerEviction {
    let mut reasons: Vec<String> = Vec::new();
    let mut last = None;
    for (plugin, reason) in &eviction.reasons {
        // Those of one plugin follow each other.
        if last.replace(plugin) == Some(plugin) {
            continue;
        }
        reasons.push(match reason.as_str() {
            "" => format!("evicted by NRI plugin {plugin}"),
            reason => format!("evicted by NRI plugin {plugin}: {}", sanitized(reason)),
        });
    }
    api::ContainerEviction {
        container_id: eviction.container_id.clone(),
        reason: reasons.join("; "),
    }
}

/// Whether there is nothing to be done about an update: it changes nothing, so it is done already.
/// One without an id is a mistake, which must not vanish.
pub(crate) fn says_nothing(update: &api::ContainerUpdate) -> bool {
    let resources = update
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.as_ref());
    let changes = resources.is_some_and(|resources| *resources != api::LinuxResources::default());
    !changes && !update.container_id.is_empty()
}

/// What could not be done, as an error, if it is one.
fn failure(
    plugins: &[PluginId],
    action: &'static str,
    container: &str,
    source: DomainError,
    ignore: bool,
) -> Option<Error> {
    if ignore || matches!(source, DomainError::NotFound(_)) {
        return None;
    }
    Some(Error::SideEffect {
        plugins: plugins.to_vec(),
        action,
        container: container.to_owned(),
        source,
    })
}
