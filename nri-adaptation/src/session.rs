//! A plugin's life: Registering, Configuring, Synchronizing, Ready, and then it is over. Each stage has what it needs, and
//! becomes the next one or ends with a reason; none can be entered twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nri_core::{Configuration, RegisteredPlugin};
use nri_proto::transport::{Connection, Limits, Role};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::active::{Active, Origin};
use crate::config::Config;
use crate::discovery::ConfigFile;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::handshake::{Claim, Desk, Gate, Introduction};
use crate::instance::Instance;
use crate::launch::launch;
use crate::observer::PluginKind;
use crate::places::{GivesWay, Place, Stage};
use crate::remote::{LimitsNow, Remote};
use crate::supervision::Supervised;
use crate::text::printable_path;

/// Bytes that a peer may send before it is admitted.
const BYTES_BEFORE_ADMISSION: u64 = 64 << 10;
/// Bytes of requests of a plugin that are in progress. One that is larger than that is in progress alone.
const BYTES_IN_PROGRESS: usize = 1 << 20;
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

/// The life of a plugin that connected to the socket, with its place among those that are not admitted.
pub(crate) async fn external(
    instance: Arc<Instance>,
    stream: UnixStream,
    peer: Credentials,
    (place, mut gives_way): (Place, GivesWay),
) {
    let since = Instant::now();
    let refused = |reason: &str| {
        let what = "a connection to the NRI socket did not become a plugin";
        instance.refused(&peer.to_string(), reason, what);
    };
    let crowded = || {
        let places = instance.places.most();
        format!(
            "it gave way to another one: all {places} places of connections that are no plugins yet were taken"
        )
    };
    // Until it says something, it costs a descriptor and no buffer.
    let limit = instance.config().plugin_registration_timeout;
    let silent = tokio::select! {
        biased;
        said = stream.readable() => said.err().map(|error| format!("it did not register: {error}")),
        () = told(&mut gives_way) => Some(crowded()),
        () = sleep_until(since + limit) => Some(out_of_time(limit)),
        () = instance.stopping() => Some(Error::Stopped.to_string()),
    };
    if let Some(reason) = silent {
        drop(stream);
        drop(place);
        refused(&reason);
        return;
    }
    place.advance(Stage::Speaking);
    let origin = Origin {
        kind: PluginKind::External,
        pid: peer.pid,
        uid: Some(peer.uid),
        gid: Some(peer.gid),
        nri_version: String::new(),
    };
    let claim = Claim::Own(peer);
    let mut registering = Registering::open(&instance, stream, claim, origin, None);
    (registering.since, registering.place) = (since, Some(place));
    let (connection, desk) = (
        registering.connection.clone(),
        Arc::clone(&registering.desk),
    );
    let gave_way = AtomicBool::new(false);
    let life = async {
        match registering.register().await {
            Ok(configuring) => {
                // Why it is over is logged where it ends.
                let _ = configuring.live(oneshot::channel().0).await;
            }
            Err(_) if gave_way.load(Ordering::Relaxed) => refused(&crowded()),
            Err(reason) => refused(&reason),
        }
    };
    let giving_way = async {
        told(&mut gives_way).await;
        gave_way.store(true, Ordering::Relaxed);
        // Its life ends by that.
        connection.close();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = life => {}
        () = watch_over(&connection, &desk) => {}
        () = giving_way => {}
    }
}

/// Resolves when it is told to give way, and never once it has no place to give away.
async fn told(gives_way: &mut GivesWay) {
    if gives_way.await.is_err() {
        std::future::pending().await
    }
}

fn out_of_time(limit: Duration) -> String {
    format!("it did not register within {limit:?}")
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
        tracing::warn!(%plugin, %reason, "a pre-installed plugin does not take part");
        instance
            .observer
            .plugin_refused(&plugin.to_string(), reason);
    };
    let (mut process, stream) = match launch(installed) {
        Ok(launched) => launched,
        Err(reason) => {
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
    config: Option<ConfigFile>,
    /// When its time to register began.
    since: Instant,
    /// Its place among those that are not admitted, if it needs one.
    place: Option<Place>,
}

impl Registering {
    pub(crate) fn open(
        instance: &Arc<Instance>,
        stream: UnixStream,
        claim: Claim,
        origin: Origin,
        config: Option<ConfigFile>,
    ) -> Self {
        let (desk, introduced) = Desk::new(Arc::downgrade(instance), claim);
        let mut limits = Limits::default();
        limits.byte_budget = Some(BYTES_BEFORE_ADMISSION);
        limits.max_handler_bytes = BYTES_IN_PROGRESS;
        limits.write_timeout = instance.config().plugin_request_timeout;
        let connection = Connection::builder(Role::Runtime)
            .limits(limits)
            .serve(Gate::before(&desk))
            .start(stream);
        Self {
            instance: Arc::clone(instance),
            connection,
            desk,
            introduced,
            origin,
            config,
            since: Instant::now(),
            place: None,
        }
    }

    /// Waits for the registration.
    pub(crate) async fn register(self) -> Result<Configuring, String> {
        let Self {
            instance,
            connection,
            desk,
            introduced,
            mut origin,
            config,
            since,
            place,
        } = self;
        let limit = instance.config().plugin_registration_timeout;
        let introduction = tokio::select! {
            biased;
            introduction = introduced => introduction.unwrap_or_else(|_| Err("it has gone".to_owned())),
            reason = connection.closed() => Err(format!("it did not register: {reason}")),
            () = sleep_until(since + limit) => Err(out_of_time(limit)),
            () = instance.stopping() => Err(Error::Stopped.to_string()),
        };
        match introduction {
            Ok(Introduction {
                plugin,
                nri_version,
            }) => {
                if let Some(place) = &place {
                    place.advance(Stage::Registered);
                }
                origin.nri_version = nri_version;
                let remote = Remote::new(
                    plugin.clone(),
                    connection,
                    Arc::clone(&instance.observer),
                    limits_of(&instance),
                    place,
                );
                let endpoint: Arc<dyn Endpoint> = Arc::new(remote);
                let plugin = instance.registration(plugin);
                desk.registered(plugin.clone());
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
                // As long as there is something of it, it has its place.
                connection.closed().await;
                drop(place);
                Err(reason)
            }
        }
    }
}

/// What limits the messages of a plugin, at any time.
fn limits_of(instance: &Arc<Instance>) -> LimitsNow {
    let instance = Arc::downgrade(instance);
    Box::new(move || match instance.upgrade() {
        Some(instance) => instance.config().item_limits(),
        None => Config::default().item_limits(),
    })
}

/// A plugin that does not know its configuration.
pub(crate) struct Configuring {
    pub(crate) instance: Arc<Instance>,
    pub(crate) plugin: RegisteredPlugin,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) origin: Origin,
    pub(crate) config: Option<ConfigFile>,
}

impl Configuring {
    /// The rest of its life. Returns why it is over.
    pub(crate) async fn live(self, started: Started) -> String {
        let (plugin, instance) = (self.plugin.clone(), Arc::clone(&self.instance));
        let kind = self.origin.kind;
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
                let what = "a plugin does not take part";
                match kind {
                    // They come as often as they like.
                    PluginKind::External => {
                        instance.log_refusal(&plugin.to_string(), &reason, what)
                    }
                    _ => tracing::warn!(%plugin, %reason, "{what}"),
                }
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
        let (path, text) = config.map(|file| (file.path, file.text)).unzip();
        configuration.config = text.unwrap_or_default();
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
                let file =
                    path.map(|path| format!(" (its configuration is {})", printable_path(&path)));
                Err(format!(
                    "it cannot be configured: {reason}{}",
                    file.unwrap_or_default()
                ))
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
            plugin = %active.plugin, kind = %info.kind, pid = info.pid, uid = info.uid, events = %info.events,
            nri_version = %info.nri_version, "a plugin has connected"
        );
        instance.observer.plugin_connected(&info);
        match instance.join(&active).await {
            Ok(()) => Ok(Ready { instance, active }),
            Err(reason) => {
                instance
                    .observer
                    .plugin_disconnected(&active.info(), &reason);
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
        tracing::info!(plugin = %active.plugin, %reason, "a plugin is gone");
        instance
            .observer
            .plugin_disconnected(&active.info(), &reason);
        reason
    }
}
