//! A plugin's life: Registering, Configuring, Synchronizing, Ready, and then it is over. Each stage
//! has what it needs, and becomes the next one or ends with a reason; none can be entered twice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nri_core::{Configuration, RegisteredPlugin};
use nri_proto::transport::{Connection, Limits, Role, Socket};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::engine::driver::Engine;
use crate::plugin::config_file::ConfigFile;
use crate::plugin::connected::{ConnectedPlugin, Origin};
use crate::plugin::end_reason::EndReason;
use crate::plugin::endpoint::Endpoint;
use crate::plugin::places::{Place, Stage};
use crate::plugin::remote::{LimitsNow, Remote};
use crate::session::registration::{Claim, Gate, Registration, RegistrationService};
use crate::telemetry::plugin_info::PluginKind;

/// Bytes that a peer may send before it is admitted.
const BYTES_BEFORE_ADMISSION: u64 = 64 << 10;
/// Bytes of requests of a plugin that are in progress. One that is larger than that is in progress
/// alone.
const BYTES_IN_PROGRESS: usize = 1 << 20;
/// How long an answer may take to get out, or in from a process that has ended, before the
/// connection is closed all the same.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Told once: whether the plugin is ready.
pub(crate) type Started = oneshot::Sender<Result<(), EndReason>>;

/// Closes the connection when the peer has broken the protocol and been told so. Never resolves.
pub(crate) async fn watch_over(
    connection: &Connection,
    service: &RegistrationService,
) -> Infallible {
    let reason = service.violated().await;
    tracing::warn!(
        reason,
        "closing a connection of a plugin that registers twice"
    );
    answered(connection).await;
    connection.close();
    std::future::pending().await
}

/// Waits until the answers to the peer's requests are written, or for a bounded time.
async fn answered(connection: &Connection) {
    // Whether or not they are all written by then.
    let _ = tokio::time::timeout(ANSWER_TIME, connection.answered()).await;
}

/// A connection whose plugin has not said who it is.
pub(crate) struct Registering {
    engine: Arc<Engine>,
    pub(crate) connection: Connection,
    pub(crate) service: Arc<RegistrationService>,
    introduced: oneshot::Receiver<Result<Registration, EndReason>>,
    origin: Origin,
    config: Option<ConfigFile>,
    /// When its time to register began.
    pub(crate) since: Instant,
    /// Its place among those that are not admitted, if it needs one.
    pub(crate) place: Option<Place>,
}

impl Registering {
    pub(crate) fn open(
        engine: &Arc<Engine>,
        stream: UnixStream,
        claim: Claim,
        origin: Origin,
        config: Option<ConfigFile>,
    ) -> Self {
        let (service, introduced) = RegistrationService::new(&engine.unsolicited, claim);
        let mut limits = Limits::default();
        limits.byte_budget = Some(BYTES_BEFORE_ADMISSION);
        limits.max_handler_bytes = BYTES_IN_PROGRESS;
        limits.write_timeout = engine.shared.config().plugin_request_timeout;
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .incomplete(&engine.shared.incomplete)
            .serve(Gate::before(&service))
            .start(Socket::new(stream));
        Self {
            engine: Arc::clone(engine),
            connection,
            service,
            introduced,
            origin,
            config,
            since: Instant::now(),
            place: None,
        }
    }

    /// Waits for the registration.
    pub(crate) async fn register(self) -> Result<Configuring, EndReason> {
        let Self {
            engine,
            connection,
            service,
            introduced,
            mut origin,
            config,
            since,
            place,
        } = self;
        let limit = engine.shared.config().plugin_registration_timeout;
        let introduction = tokio::select! {
            biased;
            introduction = introduced => introduction.unwrap_or(Err(EndReason::Gone)),
            reason = connection.closed() => Err(EndReason::Unregistered(reason)),
            () = sleep_until(since + limit) => Err(EndReason::RegistrationLate(limit)),
            () = engine.shared.stopping() => Err(EndReason::Stopped),
        };
        match introduction {
            Ok(Registration {
                plugin,
                nri_version,
            }) => {
                if let Some(place) = &place {
                    place.advance(Stage::Registered);
                }
                // Plugins take parts since v0.7, and say which version they are since v0.12.
                let takes_parts = !nri_version.is_empty();
                origin.nri_version = nri_version;
                let remote = Remote::new(
                    plugin.clone(),
                    connection,
                    Arc::clone(&engine.shared.reporter.observer),
                    limits_of(&engine),
                    takes_parts,
                    place,
                );
                let endpoint: Arc<dyn Endpoint> = Arc::new(remote);
                let plugin = engine.registration(plugin);
                service.registered(plugin.clone());
                Ok(Configuring {
                    engine,
                    plugin,
                    endpoint,
                    origin,
                    config,
                })
            }
            Err(reason) => {
                answered(&connection).await;
                connection.close();
                // As long as there is something of it, it has its place.
                connection.closed().await;
                drop(place);
                Err(reason)
            }
        }
    }
}

/// What limits the messages of a plugin, at any time.
fn limits_of(engine: &Engine) -> LimitsNow {
    let shared = Arc::downgrade(&engine.shared);
    Box::new(move || match shared.upgrade() {
        Some(shared) => shared.config().item_limits(),
        None => Config::default().item_limits(),
    })
}

/// A plugin that does not know its configuration.
pub(crate) struct Configuring {
    pub(crate) engine: Arc<Engine>,
    pub(crate) plugin: RegisteredPlugin,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) origin: Origin,
    pub(crate) config: Option<ConfigFile>,
}

impl Configuring {
    /// The rest of its life. Returns why it is over.
    pub(crate) async fn live(self, started: Started) -> EndReason {
        let (plugin, engine) = (self.plugin.clone(), Arc::clone(&self.engine));
        let kind = self.origin.kind;
        let result = match self.configure().await {
            Ok(synchronizing) => synchronizing.synchronize().await,
            Err(reason) => {
                engine
                    .shared
                    .reporter
                    .observer
                    .plugin_refused(&plugin.to_string(), &reason.to_string());
                Err(reason)
            }
        };
        // Whoever waits for it may have stopped waiting.
        match result {
            Ok(ready) => {
                let _ = started.send(Ok(()));
                ready.serve().await
            }
            Err(reason) => {
                let what = "a plugin is not ready";
                match kind {
                    // They come as often as they like.
                    PluginKind::External => engine.shared.reporter.log_refusal(
                        &plugin.to_string(),
                        &reason.to_string(),
                        what,
                    ),
                    _ => tracing::warn!(%plugin, %reason, "{what}"),
                }
                let _ = started.send(Err(reason.clone()));
                reason
            }
        }
    }

    async fn configure(self) -> Result<Synchronizing, EndReason> {
        let Self {
            engine,
            plugin,
            endpoint,
            origin,
            config,
        } = self;
        let settings = engine.shared.config().plugin(&plugin.id);
        let mut configuration = Configuration::default();
        let (path, text) = config.map(|file| (file.path, file.text)).unzip();
        configuration.config = text.unwrap_or_default();
        configuration.runtime = (*engine.shared.info).clone();
        configuration.registration_timeout = engine.shared.config().plugin_registration_timeout;
        configuration.request_timeout = settings.request_timeout;
        let time = settings.request_timeout;
        let subscription = tokio::select! {
            configured = endpoint.configure(configuration, time) => configured.map_err(Some),
            () = engine.shared.stopping() => Err(None),
        };
        match subscription {
            Ok(subscription) => {
                let wish = subscription.wish.as_ref();
                let settings = engine.shared.config().wishing_plugin(&plugin.id, wish);
                if let Some(wish) = wish {
                    tracing::info!(
                        %plugin, wish.fail_request, wish.keep_connected, ?settings.policy, ?settings.after_late,
                        "the plugin says what is to happen when it does not answer"
                    );
                }
                let active = ConnectedPlugin::new(plugin, settings, subscription, endpoint, origin);
                Ok(Synchronizing {
                    engine,
                    active: Arc::new(active),
                })
            }
            Err(failure) => {
                endpoint.close();
                Err(match failure.map(Box::new) {
                    Some(failure) => EndReason::NotConfigured {
                        failure,
                        file: path,
                    },
                    None => EndReason::StoppedConfiguring(path),
                })
            }
        }
    }
}

/// A plugin that does not know what exists.
struct Synchronizing {
    engine: Arc<Engine>,
    active: Arc<ConnectedPlugin>,
}

impl Synchronizing {
    async fn synchronize(self) -> Result<Ready, EndReason> {
        let Self { engine, active } = self;
        let info = active.info();
        tracing::info!(
            plugin = %active.plugin, kind = %info.kind, pid = info.pid, uid = info.uid, events = %info.events,
            nri_version = %info.nri_version, "a plugin has connected"
        );
        engine.shared.reporter.observer.plugin_connected(&info);
        match engine.join(&active).await {
            Ok(()) => Ok(Ready { engine, active }),
            Err(reason) => {
                engine
                    .shared
                    .reporter
                    .observer
                    .plugin_disconnected(&active.info(), &reason.to_string());
                Err(reason)
            }
        }
    }
}

/// A plugin that is ready.
struct Ready {
    engine: Arc<Engine>,
    active: Arc<ConnectedPlugin>,
}

impl Ready {
    /// Waits until it is disconnected, and sees to it that nobody waits for it.
    async fn serve(self) -> EndReason {
        let Self { engine, active } = self;
        let reason = active.endpoint.closed().await;
        // If we closed it, that reason counts.
        let reason = active.close(reason);
        engine.leave(&active);
        tracing::info!(plugin = %active.plugin, %reason, "a plugin is disconnected");
        engine
            .shared
            .reporter
            .observer
            .plugin_disconnected(&active.info(), &reason.to_string());
        reason
    }
}
