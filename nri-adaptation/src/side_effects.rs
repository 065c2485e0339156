//! What plugins ask for other containers: evictions first, then updates, through the domain that has the container.
//!
//! Runs while no lock, no pod's slot and (of the request that asked) no turn is held, so a domain may call back into the API.

use nri_core::merge::{Eviction, MergedUpdate, StopMerge, StopOutcome, Support};
use nri_core::{Ctx, DomainError, Error, PluginId, RegisteredPlugin, api};

use tokio::task::yield_now;

use crate::config::SideUpdateFailure;
use crate::instance::Instance;
use crate::observation::LINES_EACH;
use crate::text::sanitized;

impl Instance {
    /// Evicts a container, and has it observed.
    async fn evict(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
        reasons: &[(PluginId, String)],
    ) -> Result<(), DomainError> {
        let result = self.domains.evict(cx, eviction).await;
        let id = &eviction.container_id;
        self.observer
            .container_evicted(id, reasons, result.as_ref().copied());
        result
    }

    /// Updates a container, and has it observed.
    async fn update(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
        plugins: &[PluginId],
    ) -> Result<(), DomainError> {
        let result = self.domains.update(cx, update).await;
        self.observer
            .container_updated(plugins, update, result.as_ref().copied());
        result
    }

    /// Carries out what the answers to a request asked for, all of it, whatever fails. A container that is not there (any more)
    /// is reported and no failure.
    ///
    /// # Errors
    /// What could not be done, unless the configuration says that it is only to be logged, or the plugin that it does not
    /// matter.
    pub(crate) async fn side_effects(
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
                let plugin = eviction.reasons.first().map(|(plugin, _)| plugin);
                let id = &message.container_id;
                tally.add(plugin, "evict", id, &source);
                failures.extend(failure(plugin, "evict", id, source, false));
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
                failures.extend(failure(plugins.first(), "update", id, source, ignore));
            }
        }
        tally.log();
        match (self.config().side_update_failure, failures.len()) {
            (SideUpdateFailure::Log, _) | (SideUpdateFailure::Fail, 0) => Ok(()),
            (SideUpdateFailure::Fail, 1) => Err(failures.remove(0)),
            (SideUpdateFailure::Fail, _) => Err(Error::Several(failures)),
        }
    }

    /// Carries out what a plugin asks for on its own account, as far as validators that judge updates accept it; returns the
    /// updates that could not be applied. It waits for nothing that the plugin may hold up, so the plugin may wait for it inside
    /// a handler.
    ///
    /// Dropping the future leaves the rest undone.
    pub(crate) async fn unsolicited(
        &self,
        plugin: &PluginId,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Vec<api::ContainerUpdate> {
        self.asks(plugin, &updates, &evictions);
        let cx = Ctx::new();
        let mut tally = Tally::default();
        let count = evictions.len();
        for (at, mut eviction) in evictions.into_iter().enumerate() {
            others_have_their_turn(at).await;
            eviction.reason = sanitized(&eviction.reason);
            let (container, reason) = (&eviction.container_id, &eviction.reason);
            if at < LINES_EACH {
                let container = sanitized(container);
                tracing::info!(%plugin, container, reason, "evicting a container for a plugin");
            } else if at == LINES_EACH {
                tracing::info!(%plugin, more = count - at, "evicting more containers for a plugin");
            }
            let reasons = [(plugin.clone(), reason.clone())];
            if let Err(error) = self.evict(&cx, &eviction, &reasons).await {
                tally.add(Some(plugin), "evict", container, &error);
            }
        }
        let mut failed = Vec::new();
        for (at, update) in updates.into_iter().enumerate() {
            others_have_their_turn(at).await;
            if says_nothing(&update) {
                continue;
            }
            if let Err(error) = self.update_for(&cx, plugin, &update).await {
                tally.add(Some(plugin), "update", &update.container_id, &error);
                if !update.ignore_failure {
                    failed.push(update);
                }
            }
        }
        tally.log();
        failed
    }

    /// What the runtime can apply of an update that no event asked for; `None` if nothing is left of it.
    ///
    /// # Errors
    /// There is more, and that is to be refused.
    fn held(
        &self,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<Option<api::ContainerUpdate>, Error> {
        if self.support == Support::default() {
            return Ok(Some(update.clone()));
        }
        let mut merge = StopMerge::new().with_support(self.support);
        let update = vec![update.clone()];
        merge.apply(
            &RegisteredPlugin {
                id: plugin.clone(),
                registration: 0,
            },
            api::StopContainerResponse { update },
        )?;
        let StopOutcome {
            updates, omissions, ..
        } = merge.finish();
        self.omitted(&omissions);
        Ok(updates.into_iter().next().map(|merged| merged.update))
    }

    /// Has an update judged, and carries it out.
    async fn update_for(
        &self,
        cx: &Ctx,
        plugin: &PluginId,
        update: &api::ContainerUpdate,
    ) -> Result<(), Error> {
        let Some(update) = &self.held(plugin, update)? else {
            return Ok(());
        };
        self.judge(plugin, update).await?;
        let failed = |source| Error::SideEffect {
            plugin: plugin.clone(),
            action: "update",
            container: update.container_id.clone(),
            source,
        };
        let plugins = std::slice::from_ref(plugin);
        self.update(cx, update, plugins).await.map_err(failed)
    }

    /// Applies what a plugin asks for when it is shown what exists. Failures are logged.
    pub(crate) async fn synchronized_updates(
        &self,
        plugin: &PluginId,
        updates: Vec<api::ContainerUpdate>,
    ) {
        if !updates.is_empty() {
            self.unsolicited(plugin, updates, Vec::new()).await;
        }
    }
}

/// How many updates or evictions are carried out at a time.
const AT_A_TIME: usize = 128;

/// Lets others go on after every so many: a domain that answers at once never waits by itself.
async fn others_have_their_turn(at: usize) {
    if at % AT_A_TIME == AT_A_TIME - 1 {
        yield_now().await;
    }
}

/// What could not be done of what plugins ask for: the log gets the first of it, and how much there is.
#[derive(Debug, Default)]
struct Tally {
    count: usize,
    first: Option<(PluginId, &'static str, String, String)>,
}

impl Tally {
    fn add(
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
    fn log(self) {
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

/// Whether there is nothing to be done about an update: it changes nothing, so it is done already. One without an id is a
/// mistake, which must not vanish.
fn says_nothing(update: &api::ContainerUpdate) -> bool {
    let resources = update
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.as_ref());
    let changes = resources.is_some_and(|resources| *resources != api::LinuxResources::default());
    !changes && !update.container_id.is_empty()
}

/// What could not be done, as an error, if it is one.
fn failure(
    plugin: Option<&PluginId>,
    action: &'static str,
    container: &str,
    source: DomainError,
    ignore: bool,
) -> Option<Error> {
    let plugin = plugin?.clone();
    if ignore || matches!(source, DomainError::NotFound(_)) {
        return None;
    }
    Some(Error::SideEffect {
        plugin,
        action,
        container: container.to_owned(),
        source,
    })
}
