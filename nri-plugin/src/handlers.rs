//! Plugins made of closures. What such a plugin subscribes to is what it was given handlers for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use nri_core::{Configuration, Event, EventMask, HandlerError, Plugin, PluginCtx, Request, api};

use crate::answer::IntoAnswer;
use crate::event_table::{Proposal, handled_events, missing, part_type, take_part};

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
            shutdown: Option<Handler<(), ()>>,
            failure_policy: Option<api::FailurePolicy>,
            /// What takes the configuration before [`on_configure`](Self::on_configure)'s handler.
            settings: Option<Taker>,
            /// What hears of every event of these.
            every: Option<(EventMask, Listener)>,
            $($handler: Option<Handler<($(part_type!($part),)+), $answer>>,)*
        }

        impl HandlersBuilder {
            $(setter! { $kind $event $setter $handler($($part)+) -> $answer })*

            fn events(&self) -> EventMask {
                let given = [$((Event::$event, self.$handler.is_some()),)*];
                let given = given.into_iter().filter(|(_, given)| *given).map(|(event, _)| event);
                let heard = self.every.as_ref().map_or(EventMask::NONE, |(events, _)| *events);
                given.collect::<EventMask>() | heard
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

            async fn shutdown(&self, cx: &PluginCtx) {
                // Its handler has no way to fail.
                let _ = call(&self.given.shutdown, cx, ()).await;
            }

            $(
                async fn $handler(
                    &self,
                    cx: &PluginCtx,
                    request: api::$request,
                ) -> Result<response!($event $answer), HandlerError> {
                    let request = Request::$event(request);
                    if let Some((_, listener)) = &self.given.every {
                        listener(cx, &request);
                    }
                    let Request::$event(request) = request else {
                        return Ok(Default::default());
                    };
                    if self.given.$handler.is_none() {
                        return Ok(Default::default());
                    }
                    // What is left of it does not wait for the handler.
                    let answer = {
                        let mut request = request;
                        let parts = ($(take_part!($event request $part),)+);
                        call(&self.given.$handler, cx, parts)
                    };
                    answer.await.map(to_response!($event))
                }
            )*
        }
    };
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

macro_rules! to_response {
    (ValidateContainerAdjustment) => {
        |()| api::ValidateContainerAdjustmentResponse::default()
    };
    ($event:ident) => {
        std::convert::identity
    };
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
