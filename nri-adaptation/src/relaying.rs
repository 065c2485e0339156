//! The instance between a runtime above and plugins below: events that come as the protocol's
//! messages, validation that the one above asks for, and what is to be done when it was away.

use nri_core::{Ctx, Error, EventMask, ReceivedRequest, Relayed, Request, RuntimeApi as _, api};
use tokio::sync::watch;

use crate::engine::reconciling::Reconciled;
use crate::nri::Nri;

impl Nri {
    /// Relays any event that comes as a message of the protocol, for what is a runtime to its
    /// plugins and a plugin to a runtime above: it calls this in [`Plugin::relay`]. Where there is
    /// one domain at most.
    ///
    /// [`Plugin::relay`]: nri_core::Plugin::relay
    ///
    /// It does what the method of [`RuntimeApi`](nri_core::RuntimeApi) for the event does, but:
    ///
    /// * Updates and evictions of other containers that plugins ask for in answers are in the
    ///   answer, and nothing is done about them, whatever
    ///   [`Builder::side_effects`](crate::Builder::side_effects) says.
    /// * A creation counts as committed when this returns, and is recorded right after that, so
    ///   that the one above does not wait for it. It tells what became of it by further events; for
    ///   one that never does, there is [`forget`](Nri::forget).
    /// * A pod or container that appears again, though it exists as far as the instance knows, ends
    ///   first towards the plugins: the one above knows better.
    /// * A validation is [`validate`](Nri::validate); a rejection is its answer, and no error.
    ///
    /// Its future may be dropped as those of the method of the event.
    ///
    /// # Errors
    /// Those of the method of the event; [`Error::Invalid`] if the request does not say what it is
    /// about.
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri, Request, Response, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).build()?;
    /// # nri.start().await?;
    /// // As it comes from the runtime above:
    /// let request = Request::CreateContainer(api::CreateContainerRequest {
    ///     pod: Some(api::PodSandbox { id: "p1".into(), ..Default::default() }),
    ///     container: Some(api::Container { id: "c1".into(), ..Default::default() }),
    /// });
    /// let relayed = nri.relay(&Ctx::new(), request).await?;
    /// assert!(matches!(relayed.response, Response::CreateContainer(_)));
    /// let who = relayed.behind(); // to be kept until the one above has it validated
    /// assert!(who.owners.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn relay(&self, cx: &Ctx, request: Request) -> Result<Relayed, Error> {
        match self.is_enabled() {
            true => self.engine().relay(cx, request).await,
            false => Ok(Relayed::untouched(request.event())),
        }
    }

    /// [`relay`](Nri::relay) of a request that is not decoded, for one that
    /// [takes it so](nri_core::Plugin::takes_undecoded): plugins get the bytes as they came, and
    /// with them what a newer protocol says of the pod and the container. It is decoded here only
    /// if it says more than what it is about: resources, or what is to be validated.
    ///
    /// # Errors
    /// Those of [`relay`](Nri::relay), and [`Error::Invalid`] if it is to be decoded and cannot be.
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri, ReceivedRequest, Request, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).build()?;
    /// # nri.start().await?;
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let request = Request::RunPodSandbox(api::RunPodSandboxRequest { pod: Some(pod) });
    /// // As it comes from the runtime above:
    /// let request = ReceivedRequest::from(&request);
    /// let relayed = nri.relay_received(&Ctx::new(), request).await?;
    /// assert!(relayed.outcomes.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn relay_received(
        &self,
        cx: &Ctx,
        request: ReceivedRequest,
    ) -> Result<Relayed, Error> {
        match self.is_enabled() {
            true => self.engine().relay_received(cx, request).await,
            false => Ok(Relayed::untouched(request.event())),
        }
    }

    /// Has the validators judge what a runtime above has merged, of this instance's plugins and of
    /// others: for creations that were made
    /// [without validation](Ctx::without_validation). Where there is one domain at most.
    ///
    /// The request is theirs as it is. Above, this instance is one plugin: [`Behind::expand`] names
    /// the plugins behind it instead. A request with an adjustment is judged by all validators, one
    /// with updates alone by those that judge updates.
    ///
    /// [`Behind::expand`]: nri_core::Behind::expand
    ///
    /// # Errors
    /// [`Error::Rejected`]: a validator does not accept it, or did not judge it.
    /// [`Error::OutOfTime`]; [`Error::Invalid`] if it does not say which container it is about.
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).build()?;
    /// # nri.start().await?;
    /// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
    /// let container = api::Container { id: "c1".into(), ..Default::default() };
    /// let cx = Ctx::new().without_validation();
    /// nri.create_container(&cx, &pod, &container).await?.commit();
    /// let merged = api::ValidateContainerAdjustmentRequest {
    ///     pod: Some(pod),
    ///     container: Some(container),
    ///     adjust: Some(Default::default()),
    ///     ..Default::default()
    /// };
    /// nri.validate(&Ctx::new(), merged).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn validate(
        &self,
        cx: &Ctx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<(), Error> {
        match self.is_enabled() {
            true => self.engine().validate(cx, request).await,
            false => Ok(()),
        }
    }

    /// Brings plugins up to date after a gap in what a runtime above has told, for example while
    /// the connection to it was lost. `pods` and `containers` are all that it has now. Where
    /// there is one domain.
    ///
    /// 1. What the domain still lists and is not there any more ends: plugins hear of the stop, if
    ///    that is due, and of the removal, of containers before that of their pod.
    /// 2. `put` is called: the domain is to list what is there now from here on.
    /// 3. Plugins hear of the end of containers that have stopped meanwhile.
    /// 4. If anything is new, or other than the domain listed it, all plugins that knew the
    ///    domain's old list are synchronised again. This goes on when the call returns; requests
    ///    wait for it, as they do for a plugin that joins. Where nothing differs, nobody notices.
    ///
    /// What plugins ask for in answer to a stop reaches the domain. Events that come from above
    /// meanwhile are relayed as ever; tell of them after this call.
    ///
    /// Dropping the future leaves out what has not begun.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the domain cannot list, or there is none, or several. Nothing was
    /// announced then, and `put` not called.
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let nri = Nri::builder(Config::default()).build()?;
    /// // Connected again: `pods` and `containers` come with the runtime's Synchronize.
    /// let (pods, containers) = (vec![], vec![]);
    /// let put = || { /* `mirror.replace(..)`: what the domain lists from now on */ };
    /// let reconciled = nri.reconcile(&Ctx::new(), &pods, &containers, put).await;
    /// assert!(reconciled.is_err(), "there is no domain");
    /// # Ok::<(), nri_adaptation::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn reconcile(
        &self,
        cx: &Ctx,
        pods: &[api::PodSandbox],
        containers: &[api::Container],
        put: impl FnOnce() + Send,
    ) -> Result<Reconciled, Error> {
        if !self.is_enabled() {
            put();
            return Ok(Reconciled::default());
        }
        let engine = self.engine();
        engine.reconcile(cx, pods, containers, put).await
    }

    /// The events that any plugin wants to hear of, those that join included, to be waited for:
    /// what is to be subscribed to above. It ends with the instance.
    ///
    /// ```
    /// use nri_adaptation::{Config, EventMask, Nri};
    /// let nri = Nri::builder(Config::default()).build()?;
    /// assert_eq!(*nri.watch_events().borrow(), EventMask::NONE, "no plugin is there");
    /// # Ok::<(), nri_adaptation::Error>(())
    /// ```
    pub fn watch_events(&self) -> watch::Receiver<EventMask> {
        self.engine().dispatch.watch_events()
    }

    /// Ends the life of a container by its full id alone, towards the plugins that know of it: they
    /// hear of its stop, if that is still due, and of its removal. False if it does not live as far
    /// as is known.
    ///
    /// For one whose creation was committed and of which a runtime above will not tell any more:
    /// it failed there after it was answered here. What is known of it comes from the last event,
    /// or from the domain that has it.
    ///
    /// # Errors
    /// Those of [`remove_container`](nri_core::RuntimeApi::remove_container).
    ///
    /// ```
    /// use nri_adaptation::{Config, Ctx, Nri, RuntimeApi, api};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let mut config = Config::default();
    /// # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
    /// let nri = Nri::builder(config).build()?;
    /// # nri.start().await?;
    /// let (pod, cx) = (api::PodSandbox { id: "p1".into(), ..Default::default() }, Ctx::new());
    /// let container = api::Container { id: "c1".into(), ..Default::default() };
    /// nri.create_container(&cx, &pod, &container).await?.commit();
    /// assert!(nri.forget(&cx, "c1").await?);
    /// assert!(!nri.forget(&cx, "c1").await?, "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn forget(&self, cx: &Ctx, container: &str) -> Result<bool, Error> {
        match self.is_enabled() {
            true => self.engine().forget(cx, container).await,
            false => Ok(false),
        }
    }
}
