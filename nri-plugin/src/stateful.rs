//! Plugins with a state: handlers that get it to change, one at a time. What may not enter: how
//! handlers are called by a runtime; that is [`handlers`]'s.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use nri_core::{Configuration, EventMask, HandlerError, PluginCtx, SyncPart, api};

use crate::answer::IntoAnswer;
use crate::event_table::{Proposal, handled_events, part_type};
use crate::handlers::{Handlers, HandlersBuilder, handlers};

/// Begins a plugin with a state: any type, of which the handlers are methods.
///
/// A handler gets the state to change, and nothing else runs with it meanwhile: handlers are called
/// one at a time, in the order of the requests as far as the runtime keeps one. So they are plain
/// functions, and nothing is awaited while the others wait. What takes long goes into a task of its
/// own, or into a plugin of [`handlers`](crate::handlers).
///
/// ```
/// use std::collections::BTreeMap;
/// use nri_plugin::prelude::*;
///
/// /// A slot for each container, given back when it stops.
/// #[derive(Default)]
/// struct Slots(BTreeMap<String, u32>);
///
/// impl Slots {
///     fn create(
///         &mut self,
///         _cx: &PluginCtx,
///         _pod: api::PodSandbox,
///         container: api::Container,
///     ) -> Result<Adjustment, HandlerError> {
///         let is_free = |slot: &u32| !self.0.values().any(|taken| taken == slot);
///         let slot = (0..16).find(is_free).ok_or("all slots are taken")?;
///         self.0.insert(container.id, slot);
///         let mut adjust = Adjustment::new();
///         adjust.add_env("SLOT", slot.to_string())?;
///         Ok(adjust)
///     }
///
///     fn stop(
///         &mut self,
///         _cx: &PluginCtx,
///         _pod: api::PodSandbox,
///         container: api::Container,
///     ) -> Result<(), HandlerError> {
///         self.0.remove(&container.id);
///         Ok(())
///     }
/// }
///
/// let plugin = stateful(Slots::default())
///     .on_create_container(Slots::create)
///     .on_stop_container(Slots::stop)
///     .build();
/// assert_eq!(plugin.events(), EventMask::from_iter([Event::CreateContainer, Event::StopContainer]));
/// ```
pub fn stateful<S: Send + 'static>(state: S) -> StatefulBuilder<S> {
    StatefulBuilder {
        state: SharedState(Arc::new(Mutex::new(state))),
        handlers: handlers(),
    }
}

/// The state of a plugin, to be looked at and changed from outside of its handlers: from a task
/// that does something now and then, or from a test. Cheap to clone.
///
/// ```
/// use nri_plugin::prelude::*;
///
/// let builder = stateful(0_u32).on_run_pod_sandbox(|pods, _cx, _pod| {
///     *pods += 1;
///     Ok(())
/// });
/// let state = builder.state();
/// let plugin = builder.build();
/// assert_eq!(state.with(|pods| *pods), 0);
/// ```
pub struct SharedState<S>(Arc<Mutex<S>>);

impl<S> SharedState<S> {
    /// Calls a function with the state; handlers wait until it returns.
    pub fn with<T>(&self, function: impl FnOnce(&mut S) -> T) -> T {
        // A handler that panicked is answered with an error; the plugin goes on with what it left.
        function(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S> Clone for SharedState<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for SharedState<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedState").finish_non_exhaustive()
    }
}

/// A plugin with a state in the making; see [`stateful`]. A second handler for the same event
/// replaces the first.
#[must_use = "build() makes the plugin"]
pub struct StatefulBuilder<S> {
    state: SharedState<S>,
    handlers: HandlersBuilder,
}

/// Makes the setters from the table of events.
macro_rules! define {
    ($($kind:ident $event:ident $setter:ident $handler:ident($request:ident: $($part:ident)+) -> $answer:ty;)*) => {
        impl<S: Send + 'static> StatefulBuilder<S> {
            $(setter! { $kind $event $setter $handler($($part)+) -> $answer })*
        }
    };
}

/// One of them. What is answered is of several types, unless there is nothing to answer.
macro_rules! setter {
    (tells $event:ident $setter:ident $handler:ident($($part:ident)+) -> $answer:ty) => {
        setter! { @ $event $setter $handler($($part)+) [] () }
    };
    (asks $event:ident $setter:ident $handler:ident($($part:ident)+) -> $answer:ty) => {
        setter! { @ $event $setter $handler($($part)+) [A: IntoAnswer<$answer> + Send + 'static] A }
    };
    (@ $event:ident $setter:ident $handler:ident($($part:ident)+) [$($generic:ident: $($bound:tt)+)?] $answer:ty) => {
        #[doc = concat!("Subscribes to [`Event::", stringify!($event), "`](crate::Event::", stringify!($event),
            ") with this handler; see [`Plugin::", stringify!($handler), "`](crate::Plugin::", stringify!($handler), ").")]
        pub fn $setter<F $(, $generic)?>(mut self, handler: F) -> Self
        where
            F: Fn(&mut S, &PluginCtx, $(part_type!($part)),+) -> Result<$answer, HandlerError> + Send + Sync + 'static,
            $($generic: $($bound)+)?
        {
            let state = self.state();
            self.handlers = self.handlers.$setter(move |cx, $($part),+| {
                let answer = state.with(|state| handler(state, &cx, $($part),+));
                std::future::ready(answer)
            });
            self
        }
    };
}

handled_events!(define);

impl<S: Send + 'static> StatefulBuilder<S> {
    /// The state, to keep beside the plugin.
    pub fn state(&self) -> SharedState<S> {
        self.state.clone()
    }

    /// Says what is to happen when the plugin does not answer; see
    /// [`Plugin::failure_policy`](crate::Plugin::failure_policy).
    pub fn failure_policy(mut self, policy: api::FailurePolicy) -> Self {
        self.handlers = self.handlers.failure_policy(policy);
        self
    }

    /// Takes the configuration; see [`Plugin::configure`](crate::Plugin::configure). `Some`
    /// replaces the subscription.
    pub fn on_configure<F>(mut self, handler: F) -> Self
    where
        F: Fn(&mut S, &PluginCtx, Configuration) -> Result<Option<EventMask>, HandlerError>
            + Send
            + Sync
            + 'static,
    {
        let state = self.state();
        self.handlers = self.handlers.on_configure(move |cx, configuration| {
            let chosen = state.with(|state| handler(state, &cx, configuration));
            std::future::ready(chosen)
        });
        self
    }

    /// Has the plugin's configuration read into these settings, on every connection; see
    /// [`configuration`](crate::configuration).
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn configured_by<T>(mut self, settings: &crate::Settings<T>) -> Self
    where
        T: serde::de::DeserializeOwned + Default + Send + Sync + 'static,
    {
        self.handlers = self.handlers.configured_by(settings);
        self
    }

    /// Takes the pods and containers that exist, on every connection anew; see
    /// [`Plugin::synchronize`](crate::Plugin::synchronize). What the state has of an earlier
    /// connection may be out of date: begin afresh.
    pub fn on_synchronize<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(
                &mut S,
                &PluginCtx,
                Vec<api::PodSandbox>,
                Vec<api::Container>,
            ) -> Result<A, HandlerError>
            + Send
            + Sync
            + 'static,
        A: IntoAnswer<Vec<api::ContainerUpdate>> + Send + 'static,
    {
        let state = self.state();
        self.handlers = self.handlers.on_synchronize(move |cx, pods, containers| {
            let answer = state.with(|state| handler(state, &cx, pods, containers));
            std::future::ready(answer)
        });
        self
    }

    /// Takes the pods and containers that exist in parts, as they come; see
    /// [`Plugin::synchronize_part`](crate::Plugin::synchronize_part). At the
    /// [first](nri_core::SyncPart::first) one, begin afresh.
    pub fn on_synchronize_part<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(&mut S, &PluginCtx, SyncPart) -> Result<A, HandlerError> + Send + Sync + 'static,
        A: IntoAnswer<Vec<api::ContainerUpdate>> + Send + 'static,
    {
        let state = self.state();
        self.handlers = self.handlers.on_synchronize_part(move |cx, part| {
            let answer = state.with(|state| handler(state, &cx, part));
            std::future::ready(answer)
        });
        self
    }

    /// Hears the runtime's good-bye; see [`Plugin::shutdown`](crate::Plugin::shutdown).
    pub fn on_shutdown<F>(mut self, handler: F) -> Self
    where
        F: Fn(&mut S, &PluginCtx) + Send + Sync + 'static,
    {
        let state = self.state();
        self.handlers = self.handlers.on_shutdown(move |cx| {
            state.with(|state| handler(state, &cx));
            std::future::ready(())
        });
        self
    }

    /// The plugin.
    pub fn build(self) -> Handlers {
        self.handlers.build()
    }
}

impl<S> fmt::Debug for StatefulBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatefulBuilder")
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}
