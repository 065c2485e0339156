//! How an instance is described before it is built.

use std::fmt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nri_core::merge::Support;
use nri_core::validate::DefaultValidator;
use nri_core::{Domain, NRI_VERSION, Plugin, PluginId, RuntimeInfo};

use crate::config::Config;
use crate::engine::domains::Domains;
use crate::engine::side_effects::CarriedOut;
use crate::error::Error;
use crate::instance::lifecycle::{Instance, Parts};
use crate::nri::Nri;
use crate::telemetry::metrics::{Metrics, NoMetrics};
use crate::telemetry::observer::{NoObserver, Observer};

/// Describes an instance; made by [`Nri::builder`].
#[must_use = "nothing is built before `build`"]
pub struct Builder {
    config: Config,
    name: String,
    version: String,
    domains: Vec<Arc<dyn Domain>>,
    plugins: Vec<(PluginId, Arc<dyn Plugin>)>,
    listener: Option<UnixListener>,
    observer: Arc<dyn Observer>,
    metrics: Arc<dyn Metrics>,
    support: Support,
    carried_out: CarriedOut,
    busy_poll: Duration,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Nri {
    /// Begins to describe an instance.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }
}

impl Builder {
    fn new(config: Config) -> Self {
        Self {
            config,
            name: "unknown".to_owned(),
            version: "unknown".to_owned(),
            domains: Vec::new(),
            plugins: Vec::new(),
            listener: None,
            observer: Arc::new(NoObserver),
            metrics: Arc::new(NoMetrics),
            support: Support::default(),
            carried_out: CarriedOut::default(),
            busy_poll: Duration::ZERO,
        }
    }

    /// The runtime's name and version, as plugins get to know them. Both are `unknown` by default.
    pub fn runtime(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = name.into();
        self.version = version.into();
        self
    }

    /// Adds a domain.
    pub fn domain(mut self, domain: Arc<dyn Domain>) -> Self {
        self.domains.push(domain);
        self
    }

    /// Adds a plugin that is part of the runtime's program. If it cannot be configured or
    /// synchronised, the start fails.
    pub fn plugin(mut self, id: PluginId, plugin: Arc<dyn Plugin>) -> Self {
        self.plugins.push((id, plugin));
        self
    }

    /// Accepts plugins from this listener instead of opening the socket. Its file, if any, is the
    /// caller's to remove.
    pub fn listener(mut self, listener: UnixListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Has someone told what happens to plugins.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Has someone keep metrics. None are kept by default.
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Says what the runtime can apply, and what is done where plugins ask for more. By default it
    /// can apply everything.
    ///
    /// ```
    /// use nri_adaptation::{Config, Nri};
    /// use nri_core::api::Field;
    /// use nri_core::merge::{OnUnsupported, Support, SupportedFields};
    ///
    /// let fields = SupportedFields::ALL.without(Field::RdtClosId).without(Field::BlockioClass);
    /// let support = Support::only(fields).on_unsupported(OnUnsupported::LeaveOut);
    /// let nri = Nri::builder(Config::default()).support(support).build()?;
    /// # Ok::<(), nri_adaptation::Error>(())
    /// ```
    pub fn support(mut self, support: Support) -> Self {
        self.support = support;
        self
    }

    /// Says who carries out the updates and evictions of other containers that plugins ask for in
    /// their answers to creations, updates and stops. The domains do by default.
    ///
    /// [`CarriedOut::ByCaller`] is for runtimes that hand such wishes on, for example to a runtime
    /// above them, and must not do so before the request that they are part of is answered. They
    /// come merged and with their owners in [`Creation`](crate::Creation),
    /// [`UpdateResult`](crate::UpdateResult) and [`StopResult`](crate::StopResult);
    /// `to_response` of each makes the protocol's message of it. Nothing of it reaches the
    /// [`Domain`], is told to the [`Observer`] as done, or fails the request.
    ///
    /// The domains still get what no caller can be handed: what plugins ask for unsolicited and
    /// when they are synchronised, and in answer to a stop that has no caller (any more): that
    /// of an exit or of an undone creation, the one that a removal implies, and one whose
    /// caller has left or is out of time.
    ///
    /// ```
    /// use nri_adaptation::{CarriedOut, Config, Ctx, Nri, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).side_effects(CarriedOut::ByCaller).build()?;
    /// # nri.start().await?;
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let container = api::Container { id: "c1".into(), ..Default::default() };
    /// let creation = nri.create_container(&Ctx::new(), &pod, &container).await?;
    /// let answer: api::CreateContainerResponse = creation.to_response();
    /// creation.commit();
    /// assert!(answer.update.is_empty() && answer.evict.is_empty(), "no plugin is there");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn side_effects(mut self, carried_out: CarriedOut) -> Self {
        self.carried_out = carried_out;
        self
    }

    /// For how long a plugin's answer is looked for, from when the plugin is asked, before the
    /// thread sleeps until it is there. Zero, which is never, by default.
    ///
    /// To be woken takes a thread some 20 to 50 µs, which for plugins in other processes is a good
    /// part of a call. Looking takes a processor meanwhile, so it is for runtimes that have another
    /// one for the plugin. A plugin that took longer than this is not looked for in its next call,
    /// nor is one that only observes. It has an effect in tokio's current-thread runtime, since
    /// where there are several threads another one waits for the sockets, and where there is more
    /// than one processor.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nri_adaptation::{Config, Nri, RuntimeApi as _};
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).busy_poll(Duration::from_micros(200)).build()?;
    /// tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    ///     nri.start().await?;
    ///     // ... requests ...
    ///     nri.stop().await;
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # ?; Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.busy_poll = time;
        self
    }

    /// Builds the instance. Nothing is opened or launched before
    /// [`start`](nri_core::RuntimeApi::start).
    ///
    /// # Errors
    /// The configuration has an impossible value, or two domains or plugins have one name.
    pub fn build(self) -> Result<Nri, Error> {
        let config = self.config.into_force()?;
        let domains = Domains::default();
        for domain in self.domains {
            domains.register(domain)?;
        }
        let mut plugins = self.plugins;
        plugins.sort_by(|(a, _), (b, _)| a.cmp(b));
        // The default validator is one of them, whether it is enabled now or later.
        let validator = DefaultValidator::IDENTITY.parse()?;
        let twice = plugins.windows(2).find(|pair| pair[0].0 == pair[1].0);
        let twice = twice.map(|pair| &pair[0].0);
        let mut own = plugins.iter().map(|(id, _)| id);
        if let Some(id) = twice.or(own.find(|id| **id == validator)) {
            return Err(Error::DuplicatePlugin(id.clone()));
        }
        let info = RuntimeInfo::new(self.name, self.version, NRI_VERSION);
        Ok(Nri::new(Instance::new(Parts {
            config,
            info,
            domains,
            observer: self.observer,
            metrics: self.metrics,
            built_in: plugins,
            listener: self.listener,
            support: self.support,
            carried_out: self.carried_out,
            busy_poll: self.busy_poll,
        })))
    }
}
