//! The words of NRI, and what holds of them.
//!
//! # Words
//!
//! *Plugin*: a program, or a part of the runtime ([`Builder::plugin`](crate::Builder::plugin)),
//! that watches or adjusts containers. Its [identity](crate::PluginId) is an index of two digits
//! and a name, `10-memory`; plugins are called in the order of index, name and registration. One
//! with a process of its own is *launched* by NRI, or *external*: see
//! [`PluginKind`](crate::PluginKind).
//!
//! *Connected, ready, disconnected*: a plugin that has registered and is configured is connected;
//! one that was synchronised too is ready, and is called from then on; one whose connection has
//! ended is disconnected. [`PluginState`](crate::PluginState) has the states between.
//!
//! *Synchronise*: a plugin is sent all pods and containers that exist, before it is sent anything
//! else. It may answer with updates.
//!
//! *Event*: a step in the life of a pod or a container, one of [fourteen](crate::Event). A plugin
//! says which ones it subscribes to.
//!
//! *Request*: one call of the [API](crate::RuntimeApi) by the runtime, and the calls of plugins
//! that it consists of. What became of each is an [`Outcome`](nri_core::flow::Outcome) (for the
//! runtime) and a [`CallOutcome`](crate::CallOutcome) (for logs and metrics).
//!
//! *Adjustment*: what plugins change in a container that is created. Their adjustments are merged
//! into one. *Update*: what they change in the resources of any container. *Eviction*: a container
//! that they want to be stopped.
//!
//! *Owner*: the plugin that set a field, or an entry of a list or map. Two plugins cannot set one
//! item in one request: that is a conflict, and the request fails. See [`merge`](crate::merge).
//!
//! *Creation*: the outcome of `create_container`, a [value](crate::Creation) that is *committed*
//! when the container exists. *Undo*: dropping it instead tells the plugins that saw the request
//! that the container is stopped and removed.
//!
//! *Domain*: a namespace of the runtime, such as CRI's `k8s.io`: its pods and containers, and the
//! power to update and evict them for plugins. See [`Domain`](crate::Domain).
//!
//! *Validator*: a plugin that accepts or rejects what others ask for. *Required plugin*: one
//! without which no pod is run and no container is created.
//!
//! *Late*: a plugin that did not answer within its time. It is kept, as a rule, and not called
//! until it has answered. *Failure policy*: what lateness, an error and a lost connection mean for
//! the request and for the plugin. See [when a plugin does not
//! answer](super::configuration#when-a-plugin-does-not-answer).
//!
//! # What holds
//!
//! **Order.** Events of one pod are in order, those of different pods overlap. A plugin gets its
//! requests in turns, one at a time unless its configuration says otherwise (`max_in_flight`). No
//! lock is held while a plugin or a domain is called, and a domain may call back into the API from
//! `update_container` and `evict_container`.
//!
//! **Time.** A plugin's deadline begins with its turn. One that misses it is late, not closed: the
//! request goes on by policy, the late answer is dropped, and only when it misses its deadline
//! several times in a row is it closed. The caller's own deadline ([`Ctx`](crate::Ctx)) is never
//! held against a plugin.
//!
//! **Synchronisation.** A plugin that joins misses nothing and hears nothing twice: later requests
//! wait for it, earlier ones (creations until they are committed or dropped) are waited for before
//! it is synchronised. What was relayed and no domain lists yet is sent all the same. So commit a
//! creation soon; a later event of its container shows that it exists, too. Of what had ended
//! before, stopped containers and what is being removed, it is sent nothing and hears nothing more
//! (outcome `Unaware`); only what existed before the runtime itself started still ends for
//! everybody.
//!
//! **Ends.** Stop, remove and post events reach all plugins, even if one fails or the caller
//! leaves; each stop and removal once, and in order with all other events of the pod, queued exits
//! included. The others end with their caller: see [cancel
//! safety](crate::RuntimeApi#cancel-safety).
//!
//! **Updates.** A plugin may ask for updates from inside a handler and wait for them: they are
//! applied at once, whatever the plugin owes.
//!
//! **Validation.** Validators that are part of the runtime's program judge every mutation, updates
//! in any answer and those that no event asked for included; those over a connection judge
//! creations, and updates only with `validate_updates`. One that rejects, fails or does not answer
//! keeps it from being applied. Required plugins must have done their part in running a pod and in
//! creating a container, by what became of that very request; updates are not held up for their
//! sake.
//!
//! **Support.** What the runtime cannot apply ([`Builder::support`](crate::Builder::support)) is
//! refused, or left out and told to the observer; never dropped in silence.
//!
//! **Instances.** Nothing is global: configuration, domains, timeouts and plugins belong to the
//! instance.
