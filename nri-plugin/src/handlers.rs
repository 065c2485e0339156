//! Plugins made of closures. What such a plugin subscribes to is what it was given handlers for.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use nri_core::{
    Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, ReceivedRequest, Request,
    Response, SyncPart, api,
};
use nri_proto::rpc;

use crate::answer::IntoAnswer;
use crate::event_table::{Proposal, Viewed, handled_events, missing, part_type, take_part};

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, HandlerError>> + Send>>;
type Taker = Box<dyn Fn(&Configuration) -> Result<(), HandlerError> + Send + Sync>;
type Listener = Box<dyn Fn(&PluginCtx, &Request) + Send + Sync>;
type Handler<Q, T> = Box<dyn Fn(PluginCtx, Q) -> Answer<T> + Send + Sync>;

/// Begins a plugin made of closures.
///
/// A handler is given what it is about: the pod, and the container where there is one. Of a request
/// without them, which no runtime should send, it is not called; the runtime gets an error. What it
/// may return says [`IntoAnswer`]. Handlers run side by side; those of
/// [`stateful`](crate::stateful) share a state.
///
/// ```
/// use nri_plugin::prelude::*;
///
/// let plugin = handlers()
///     .on_create_container(|_cx, pod, container| async move {
///         let mut adjust = Adjustment::new();
///         adjust.add_annotation("example.com/seen", format!("{}/{}", pod.name, container.name))?;
///         Ok(adjust)
///     })
///     .on_stop_pod_sandbox(|_cx, pod| async move {
///         println!("{} is over", pod.name);
///         Ok(())
///     })
///     .build();
/// assert_eq!(plugin.events(), EventMask::from_iter([Event::CreateContainer, Event::StopPodSandbox]));
/// ```
pub fn handlers() -> HandlersBuilder {
    HandlersBuilder::default()
}

/// A method of the builder. What is answered is of several types, unless there is nothing to
/// answer.
macro_rules! setter {
    (tells $event:ident $setter:ident $handler:ident($($part:ident)+) -> $answer:ty) => {
        #[doc = concat!("Subscribes to [`Event::", stringify!($event), "`] with this handler; see [`Plugin::", stringify!($handler), "`].")]
        pub fn $setter<F, R>(mut self, handler: F) -> Self
        where
            F: Fn(PluginCtx, $(part_type!($part)),+) -> R + Send + Sync + 'static,
            R: Future<Output = Result<(), HandlerError>> + Send + 'static,
        {
            self.$handler = Some(Box::new(move |cx, ($($part,)+)| Box::pin(handler(cx, $($part),+))));
            self
        }
    };
    (asks $event:ident $setter:ident $handler:ident($($part:ident)+) -> $answer:ty) => {
        #[doc = concat!("Subscribes to [`Event::", stringify!($event), "`] with this handler; see [`Plugin::", stringify!($handler), "`].")]
        pub fn $setter<F, R, A>(mut self, handler: F) -> Self
        where
            F: Fn(PluginCtx, $(part_type!($part)),+) -> R + Send + Sync + 'static,
            R: Future<Output = Result<A, HandlerError>> + Send + 'static,
            A: IntoAnswer<$answer>,
        {
            self.$handler = Some(Box::new(move |cx, ($($part,)+)| {
                let work = handler(cx, $($part),+);
                Box::pin(async move { Ok(work.await?.into_answer()?) })
            }));
            self
        }
    };
}

/// Makes builder and plugin from the table of events.
macro_rules! define {
    ($($kind:ident $event:ident $setter:ident $handler:ident($request:ident: $($part:ident)+) -> $answer:ty;)*) => {
        /// A plugin of closures in the making; see [`handlers`]. A second closure for the same
        /// event replaces the first.
        #[derive(Default)]
        #[must_use = "build() makes the plugin"]
        pub struct HandlersBuilder {
            configure: Option<Handler<Configuration, Option<EventMask>>>,
            synchronize: Option<Handler<(Vec<api::PodSandbox>, Vec<api::Container>), Vec<api::ContainerUpdate>>>,
            synchronize_part: Option<Handler<SyncPart, Vec<api::ContainerUpdate>>>,
            shutdown: Option<Handler<(), ()>>,
            failure_policy: Option<api::FailurePolicy>,
            /// What takes the configuration before [`on_configure`](Self::on_configure)'s handler.
            settings: Option<Taker>,
            /// What hears of every event of these.
            every: Option<(EventMask, Listener)>,
            /// Handlers of requests that are not decoded. They go before the others.
            views: BTreeMap<Event, Handler<ReceivedRequest, Response>>,
            $($handler: Option<Handler<($(part_type!($part),)+), $answer>>,)*
        }

        impl HandlersBuilder {
            $(setter! { $kind $event $setter $handler($($part)+) -> $answer })*

            fn events(&self) -> EventMask {
                let given = [$((Event::$event, self.$handler.is_some()),)*];
                let given = given.into_iter().filter(|(_, given)| *given).map(|(event, _)| event);
                let heard = self.every.as_ref().map_or(EventMask::NONE, |(events, _)| *events);
                given.chain(self.views.keys().copied()).collect::<EventMask>() | heard
            }
        }

        #[async_trait]
        impl Plugin for Handlers {
            fn events(&self) -> EventMask {
                self.events
            }

            fn failure_policy(&self) -> Option<api::FailurePolicy> {
                self.given.failure_policy
            }

            async fn configure(
                &self,
                cx: &PluginCtx,
                configuration: Configuration,
            ) -> Result<Option<EventMask>, HandlerError> {
                if let Some(take) = &self.given.settings {
                    take(&configuration)?;
                }
                call(&self.given.configure, cx, configuration).await
            }

            async fn synchronize(
                &self,
                cx: &PluginCtx,
                pods: Vec<api::PodSandbox>,
                containers: Vec<api::Container>,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                call(&self.given.synchronize, cx, (pods, containers)).await
            }

            fn takes_parts(&self) -> bool {
                self.given.synchronize_part.is_some()
            }

            async fn synchronize_part(
                &self,
                cx: &PluginCtx,
                part: SyncPart,
            ) -> Result<Vec<api::ContainerUpdate>, HandlerError> {
                call(&self.given.synchronize_part, cx, part).await
            }

            fn takes_undecoded(&self, event: Event) -> bool {
                let heard = self.given.every.is_some();
                !heard && self.given.views.contains_key(&event)
            }

            async fn receive(
                &self,
                cx: &PluginCtx,
                request: ReceivedRequest,
            ) -> Result<Response, HandlerError> {
                match self.given.views.get(&request.event()) {
                    Some(view) => view(cx.clone(), request).await,
                    None => self.relay(cx, request.decode()?).await,
                }
            }

            async fn shutdown(&self, cx: &PluginCtx) {
                // Its handler has no way to fail.
                let _ = call(&self.given.shutdown, cx, ()).await;
            }

            // As `async_trait` would have it, but that one future alone, the handler's, has room
            // for what it is given, which is large.
            fn relay<'life0, 'life1, 'async_trait>(
                &'life0 self,
                cx: &'life1 PluginCtx,
                request: Request,
            ) -> Answering<'async_trait>
            where
                'life0: 'async_trait,
                'life1: 'async_trait,
                Self: 'async_trait,
            {
                if let Some((_, listener)) = &self.given.every {
                    listener(cx, &request);
                }
                if self.given.views.contains_key(&request.event()) {
                    return self.receive(cx, ReceivedRequest::from(&request));
                }
                match request {
                    $(Request::$event(mut request) => {
                        let Some(handler) = &self.given.$handler else {
                            return at_once(Ok(Response::empty(Event::$event)));
                        };
                        match taken(|| Ok(($(take_part!($event request $part),)+))) {
                            Ok(parts) => answering::<rpc::plugin::$event>(handler(cx.clone(), parts)),
                            Err(error) => at_once(Err(error)),
                        }
                    })*
                    // There is no other.
                    other => at_once(Ok(Response::empty(other.event()))),
                }
            }

            $(
                async fn $handler(
                    &self,
                    cx: &PluginCtx,
                    request: api::$request,
                ) -> Result<response!($event $answer), HandlerError> {
                    match self.relay(cx, Request::$event(request)).await? {
                        Response::$event(answer) => Ok(from_response!($event answer)),
                        _ => Ok(Default::default()),
                    }
                }
            )*
        }
    };
}

/// What comes of an event.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, HandlerError>> + Send + 'a>>;

/// The parts of a request that a handler is given, if they are all there.
fn taken<T>(take: impl FnOnce() -> Result<T, HandlerError>) -> Result<T, HandlerError> {
    take()
}

fn at_once<'a>(answer: Result<Response, HandlerError>) -> Answering<'a> {
    Box::pin(std::future::ready(answer))
}

/// What comes of an event whose handler answers this.
fn answering<'a, V: Viewed + 'a>(answer: Answer<V::Answer>) -> Answering<'a> {
    Box::pin(async move { answer.await.map(V::response) })
}

/// What a method of [`Plugin`] returns: of a validation the message, in which there is nothing to
/// say, since an error is what rejects.
macro_rules! response {
    (ValidateContainerAdjustment $answer:ty) => {
        api::ValidateContainerAdjustmentResponse
    };
    ($event:ident $answer:ty) => {
        $answer
    };
}

/// The same of the response.
macro_rules! from_response {
    (CreateContainer $answer:ident) => {
        $answer
    };
    (UpdateContainer $answer:ident) => {
        $answer
    };
    (StopContainer $answer:ident) => {
        $answer
    };
    (ValidateContainerAdjustment $answer:ident) => {
        $answer
    };
    ($event:ident $answer:ident) => {{
        let _ = $answer;
    }};
}

handled_events!(define);

/// A plugin made of closures; see [`handlers`].
pub struct Handlers {
    given: HandlersBuilder,
    events: EventMask,
}

impl HandlersBuilder {
    /// Says what is to happen when the plugin does not answer; see [`Plugin::failure_policy`].
    pub fn failure_policy(mut self, policy: api::FailurePolicy) -> Self {
        self.failure_policy = Some(policy);
        self
    }

    /// Subscribes to these events with a function that hears of each, as the runtime tells it; the
    /// event's own handler, if there is one, is called after that. Of an event to which `configure`
    /// subscribes beside these, it hears too. It should not block.
    ///
    /// ```
    /// use nri_plugin::prelude::*;
    ///
    /// let plugin = handlers()
    ///     .on_every(EventMask::ALL, |_cx, request| println!("{} of {}", request.event(), request.subject()))
    ///     .build();
    /// assert_eq!(plugin.events(), EventMask::ALL);
    /// ```
    pub fn on_every(
        mut self,
        events: EventMask,
        listener: impl Fn(&PluginCtx, &Request) + Send + Sync + 'static,
    ) -> Self {
        self.every = Some((events, Box::new(listener)));
        self
    }

    /// Subscribes to an event with a handler that gets the request undecoded, and decodes of it
    /// what it needs: a fraction of the work where that is a name and an annotation. What it
    /// may answer says [`IntoAnswer`], as with the event's other handler, of which it takes the
    /// place.
    ///
    /// ```
    /// use nri_plugin::prelude::*;
    /// use nri_plugin::rpc::plugin::CreateContainer;
    ///
    /// let plugin = handlers()
    ///     .on_view(CreateContainer, |_cx, request| async move {
    ///         let Some(mode) = request.pod().annotation("example.com/mode") else {
    ///             return Ok(None);
    ///         };
    ///         let mut adjust = Adjustment::new();
    ///         adjust.add_env("MODE", mode)?;
    ///         Ok(Some(adjust))
    ///     })
    ///     .build();
    /// assert_eq!(plugin.events(), EventMask::from(Event::CreateContainer));
    /// ```
    pub fn on_view<V, F, R, A>(mut self, event: V, handler: F) -> Self
    where
        V: Viewed + 'static,
        F: Fn(PluginCtx, ReceivedRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
        A: IntoAnswer<V::Answer>,
    {
        let _ = event;
        let handler: Handler<ReceivedRequest, _> = Box::new(move |cx, request| {
            let work = handler(cx, request);
            Box::pin(async move { Ok(V::response(work.await?.into_answer()?)) })
        });
        self.views.insert(V::EVENT, handler);
        self
    }

    /// Takes the pods and containers that exist in parts, as they come; see
    /// [`Plugin::synchronize_part`]. It takes the place of
    /// [`on_synchronize`](Self::on_synchronize)'s handler.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use nri_plugin::prelude::*;
    ///
    /// let names = Arc::new(Mutex::new(Vec::new()));
    /// let plugin = handlers()
    ///     .on_synchronize_part(move |_cx, part| {
    ///         let mut names = names.lock().unwrap();
    ///         if part.first {
    ///             names.clear(); // what is known from an earlier connection
    ///         }
    ///         names.extend(part.containers.into_iter().map(|container| container.name));
    ///         async { Ok(()) }
    ///     })
    ///     .build();
    /// assert!(plugin.takes_parts());
    /// ```
    pub fn on_synchronize_part<F, R, A>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx, SyncPart) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
        A: IntoAnswer<Vec<api::ContainerUpdate>>,
    {
        self.synchronize_part = Some(Box::new(move |cx, part| {
            let work = handler(cx, part);
            Box::pin(async move { Ok(work.await?.into_answer()?) })
        }));
        self
    }

    /// Takes the configuration; see [`Plugin::configure`]. `Some` replaces the subscription.
    pub fn on_configure<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx, Configuration) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<EventMask>, HandlerError>> + Send + 'static,
    {
        self.configure = Some(Box::new(move |cx, it| Box::pin(handler(cx, it))));
        self
    }

    /// Has the plugin's configuration read into these settings, on every connection, before the
    /// handler of [`on_configure`](Self::on_configure) is called; see
    /// [`configuration`](crate::configuration).
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn configured_by<T>(mut self, settings: &crate::Settings<T>) -> Self
    where
        T: serde::de::DeserializeOwned + Default + Send + Sync + 'static,
    {
        let settings = settings.clone();
        self.settings = Some(Box::new(move |configuration| settings.take(configuration)));
        self
    }

    /// Takes the pods and containers that exist; see [`Plugin::synchronize`].
    pub fn on_synchronize<F, R, A>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx, Vec<api::PodSandbox>, Vec<api::Container>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
        A: IntoAnswer<Vec<api::ContainerUpdate>>,
    {
        self.synchronize = Some(Box::new(move |cx, (pods, containers)| {
            let work = handler(cx, pods, containers);
            Box::pin(async move { Ok(work.await?.into_answer()?) })
        }));
        self
    }

    /// Handles the runtime's `Shutdown`; see [`Plugin::shutdown`].
    pub fn on_shutdown<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(PluginCtx) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.shutdown = Some(Box::new(move |cx, ()| {
            let work = handler(cx);
            Box::pin(async move {
                work.await;
                Ok(())
            })
        }));
        self
    }

    /// The plugin.
    pub fn build(self) -> Handlers {
        Handlers {
            events: self.events(),
            given: self,
        }
    }
}

/// Calls a handler; without one the answer is the default. What it is given is in its own future
/// only: requests are large.
fn call<Q, T: Default + Send + 'static>(
    handler: &Option<Handler<Q, T>>,
    cx: &PluginCtx,
    request: Q,
) -> Answer<T> {
    match handler {
        Some(handler) => handler(cx.clone(), request),
        None => Box::pin(std::future::ready(Ok(T::default()))),
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HandlersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlersBuilder")
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}
