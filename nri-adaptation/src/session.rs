//! A plugin's life: Registering, Configuring, Synchronizing, Ready, and then it is over. Each stage has what it needs, and
//! becomes the next one or ends with a reason; none can be entered twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nri_core::{Configuration, RegisteredPlugin};
use nri_proto::transport::{Connection, Limits, Role, RuntimeServer};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::sleep;

use crate::active::{Active, Origin};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::handshake::{Claim, Desk, Introduction};
use crate::instance::Instance;
use crate::launch::launch;
use crate::observer::PluginKind;
use crate::remote::Remote;
use crate::supervision::Supervised;

/// Bytes that a peer may send before it has registered.
const BYTES_BEFORE_REGISTRATION: u64 = 64 << 10;
/// How long an answer may take to get out, or in from a process that has ended, before the connection is closed all the same.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Told once: whether the plugin takes part.
pub(crate) type Started = oneshot::Sender<Result<(), String>>;

/// Who is at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) pid: Option<i32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} of user {}", self.uid),
            None => write!(f, "a process of user {}", self.uid),
        }
    }
}

/// The life of a plugin that connected to the socket. `place` is given back when it has registered.
pub(crate) async fn external(
    instance: Arc<Instance>,
    stream: UnixStream,
    peer: Credentials,
    place: OwnedSemaphorePermit,
) {
    let origin = Origin {
        kind: PluginKind::External,
        pid: peer.pid,
        uid: Some(peer.uid),
        gid: Some(peer.gid),
        nri_version: String::new(),
    };
    let claim = Claim::Own(peer);
    let registering = Registering::open(&instance, stream, claim, origin, String::new());
    let (connection, desk) = (
        registering.connection.clone(),
        Arc::clone(&registering.desk),
    );
    let life = async {
        let registered = registering.register().await;
        drop(place);
        match registered {
            Ok(configuring) => {
                // Why it is over is logged where it ends.
                let _ = configuring.live(oneshot::channel().0).await;
            }
            Err(reason) => {
                tracing::warn!(%peer, reason, "a connection to the NRI socket did not become a plugin");
                instance.observer.plugin_refused(&peer.to_string(), &reason);
            }
        }
    };
    tokio::select! {
        () = life => {}
        () = watch_over(&connection, &desk) => {}
    }
}

/// One life of a pre-installed plugin, its process included. Returns why it is over.
pub(crate) async fn launched(
    instance: Arc<Instance>,
    supervised: Arc<Supervised>,
    started: Started,
) -> String {
    let installed = &supervised.installed;
    let plugin = &installed.plugin;
    let refused = |reason: &str| {
        tracing::warn!(%plugin, reason, "a pre-installed plugin does not take part");
        instance
            .observer
            .plugin_refused(&plugin.to_string(), reason);
    };
    let (mut process, stream) = match launch(installed) {
        Ok(launched) => launched,
        Err(error) => {
            let reason = format!("{} cannot be launched: {error}", installed.path.display());
            refused(&reason);
            // Whoever waited may have stopped waiting.
            let _ = started.send(Err(reason.clone()));
            return reason;
        }
    };
    let origin = Origin {
        kind: PluginKind::Launched,
        pid: Some(process.pid()),
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        nri_version: String::new(),
    };
    let claim = Claim::Given(plugin.clone());
    let registering = Registering::open(&instance, stream, claim, origin, installed.config.clone());
    let (connection, desk) = (
        registering.connection.clone(),
        Arc::clone(&registering.desk),
    );
    let life = async {
        match registering.register().await {
            Ok(configuring) => configuring.live(started).await,
            Err(reason) => {
                refused(&reason);
                let _ = started.send(Err(reason.clone()));
                reason
            }
        }
    };
    let end_of_process = async {
        process.ended().await;
        // What it said last is still to be read. But something of it may have kept the other end.
        let _ = tokio::time::timeout(ANSWER_TIME, connection.closed()).await;
        connection.close();
        std::future::pending::<()>().await;
    };
    let dismissal = async {
        supervised.told_to_stop().await;
        instance.dismiss(plugin, &connection).await;
        std::future::pending::<()>().await;
    };
    let reason = tokio::select! {
        reason = life => reason,
        () = watch_over(&connection, &desk) => String::new(),
        () = end_of_process => String::new(),
        () = dismissal => String::new(),
    };
    connection.close();
    let end = process.end().await;
    format!("{reason}; {end}")
}

/// Closes the connection when the peer has broken the protocol and been told so. Never resolves.
async fn watch_over(connection: &Connection, desk: &Desk) {
    let reason = desk.violated().await;
    tracing::warn!(
        reason,
        "closing a connection of a plugin that registers twice"
    );
    answered(connection).await;
    connection.close();
    std::future::pending::<()>().await;
}

/// Waits until the answers to the peer's requests are written, or for a bounded time.
async fn answered(connection: &Connection) {
    // Whether or not they are all written by then.
    let _ = tokio::time::timeout(ANSWER_TIME, connection.answered()).await;
}

/// A connection whose plugin has not said who it is.
pub(crate) struct Registering {
    instance: Arc<Instance>,
    connection: Connection,
    desk: Arc<Desk>,
    introduced: oneshot::Receiver<Result<Introduction, String>>,
    origin: Origin,
    config: String,
}

impl Registering {
    pub(crate) fn open(
        instance: &Arc<Instance>,
        stream: UnixStream,
        claim: Claim,
        origin: Origin,
        config: String,
    ) -> Self {
        let (desk, introduced) = Desk::new(Arc::downgrade(instance), claim);
        let mut limits = Limits::default();
        limits.byte_budget = Some(BYTES_BEFORE_REGISTRATION);
        limits.write_timeout = instance.config().plugin_request_timeout;
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .serve(RuntimeServer::new(Arc::clone(&desk)))
            .start(stream);
        Self {
            instance: Arc::clone(instance),
            connection,
            desk,
            introduced,
            origin,
            config,
        }
    }

    /// Waits for the registration.
    pub(crate) async fn register(self) -> Result<Configuring, String> {
        let Self {
            instance,
            connection,
            introduced,
            mut origin,
            config,
            ..
        } = self;
        let limit = instance.config().plugin_registration_timeout;
        let introduction = tokio::select! {
            biased;
            introduction = introduced => introduction.unwrap_or_else(|_| Err("it has gone".to_owned())),
            reason = connection.closed() => Err(format!("it did not register: {reason}")),
            () = sleep(limit) => Err(format!("it did not register within {limit:?}")),
            () = instance.stopping() => Err(Error::Stopped.to_string()),
        };
        match introduction {
            Ok(Introduction {
                plugin,
                nri_version,
            }) => {
                connection.lift_budget();
                origin.nri_version = nri_version;
                let endpoint: Arc<dyn Endpoint> = Arc::new(Remote::new(
                    plugin.clone(),
                    connection,
                    Arc::clone(&instance.observer),
                ));
                let plugin = instance.registration(plugin);
                Ok(Configuring {
                    instance,
                    plugin,
                    endpoint,
                    origin,
                    config,
                })
            }
            Err(reason) => {
                answered(&connection).await;
                connection.close();
                Err(reason)
            }
        }
    }
}

/// A plugin that does not know its configuration.
pub(crate) struct Configuring {
    pub(crate) instance: Arc<Instance>,
    pub(crate) plugin: RegisteredPlugin,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) origin: Origin,
    pub(crate) config: String,
}

impl Configuring {
    /// The rest of its life. Returns why it is over.
    pub(crate) async fn live(self, started: Started) -> String {
        let (plugin, instance) = (self.plugin.clone(), Arc::clone(&self.instance));
        let result = match self.configure().await {
            Ok(synchronizing) => synchronizing.synchronize().await,
            Err(reason) => {
                instance
                    .observer
                    .plugin_refused(&plugin.to_string(), &reason);
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
                tracing::warn!(%plugin, reason, "a plugin does not take part");
                let _ = started.send(Err(reason.clone()));
                reason
            }
        }
    }

    async fn configure(self) -> Result<Synchronizing, String> {
        let Self {
            instance,
            plugin,
            endpoint,
            origin,
            config,
        } = self;
        let settings = instance.config().plugin(&plugin.id);
        let mut configuration = Configuration::default();
        configuration.config = config;
        configuration.runtime = (*instance.info).clone();
        configuration.registration_timeout = instance.config().plugin_registration_timeout;
        configuration.request_timeout = settings.request_timeout;
        let time = settings.request_timeout;
        let subscription = tokio::select! {
            configured = endpoint.configure(configuration, time) => configured.map_err(|e| e.to_string()),
            () = instance.stopping() => Err(Error::Stopped.to_string()),
        };
        match subscription {
            Ok(subscription) => {
                let wish = subscription.wish.as_ref();
                let settings = instance.config().wishing_plugin(&plugin.id, wish);
                if let Some(wish) = wish {
                    tracing::info!(
                        %plugin, wish.fail_request, wish.keep_connected, ?settings.policy, ?settings.after_late,
                        "the plugin says what is to happen when it does not answer"
                    );
                }
                let active = Active::new(plugin, settings, subscription, endpoint, origin);
                Ok(Synchronizing {
                    instance,
                    active: Arc::new(active),
                })
            }
            Err(reason) => {
                endpoint.close();
                Err(format!("it cannot be configured: {reason}"))
            }
        }
    }
}

/// A plugin that does not know what exists.
struct Synchronizing {
    instance: Arc<Instance>,
    active: Arc<Active>,
}

impl Synchronizing {
    async fn synchronize(self) -> Result<Ready, String> {
        let Self { instance, active } = self;
        let info = active.info();
        tracing::info!(
            plugin = %active.plugin, kind = ?info.kind, pid = info.pid, uid = info.uid, events = ?info.events,
            nri_version = info.nri_version, "a plugin has connected"
        );
        instance.observer.plugin_connected(&info);
        match instance.join(&active).await {
            Ok(()) => Ok(Ready { instance, active }),
            Err(reason) => {
                instance.observer.plugin_gone(&active.info(), &reason);
                Err(reason)
            }
        }
    }
}

/// A plugin that takes part.
struct Ready {
    instance: Arc<Instance>,
    active: Arc<Active>,
}

impl Ready {
    /// Waits until it is gone, and sees to it that nobody waits for it.
    async fn serve(self) -> String {
        let Self { instance, active } = self;
        let reason = active.endpoint.closed().await;
        // If we closed it, that reason counts.
        active.close(reason);
        instance.leave(&active);
        let reason = active.close_reason().unwrap_or_default();
        tracing::info!(plugin = %active.plugin, reason, "a plugin is gone");
        instance.observer.plugin_gone(&active.info(), &reason);
        reason
    }
}
