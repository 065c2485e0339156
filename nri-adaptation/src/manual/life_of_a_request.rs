//! What happens between a call of the API and the answers of plugins.
//!
//! The example is [`create_container`](crate::RuntimeApi::create_container), which has all there
//! is. Which modules do this is in the README of this crate, with a picture of its layers.
//!
//! # On the way out
//!
//! 1. **Read.** Pod and container are read from what the runtime hands in, once, before anything is
//!    awaited. Plugins see the same, whatever the runtime does meanwhile.
//! 2. **Due.** The [lifecycle](nri_core::lifecycle) says whether there is something to be told: a
//!    second stop is nothing, a removal may imply a stop, a creation of a known container is an
//!    error.
//! 3. **Order.** Requests of one pod wait for each other, and for exits that were queued before. A
//!    plugin that is being synchronised holds the request until it is ready.
//! 4. **Turn.** The first plugin, by index, that is subscribed has to have a turn free
//!    (`max_in_flight`); the caller's time runs, the plugin's does not.
//! 5. **Call.** The request is encoded once, for all plugins that get the same, and written. The
//!    plugin's time (`plugin_request_timeout`) begins with its turn.
//!
//! # On the way back
//!
//! 6. **Answer.** It is counted before it is decoded (`max_updates`, `max_items`). An error,
//!    lateness or a lost connection fails the request or skips the plugin, by
//!    [policy](super::configuration#when-a-plugin-does-not-answer).
//! 7. **Merge.** The adjustment goes into the combined one, with an owner for each item; a second
//!    owner is a conflict, and fails the request. What the runtime does not
//!    [support](crate::Builder::support) is refused or left out. The next plugin sees the container
//!    as adjusted so far: on with 4.
//! 8. **Validation.** When all have answered, validators get the combined adjustment, with its
//!    owners and the plugins that were consulted. One that does not accept it fails the request.
//! 9. **Side effects.** Evictions first, then updates of other containers, each by the domain that
//!    has the container, within `domain_timeout`.
//! 10. **Outcome.** The runtime gets a [`Creation`](crate::Creation): the adjustment, its owners,
//!     what was done to others, and what each plugin did. It commits it, or drops it: then the
//!     plugins that saw the request hear of a stop and a removal.
//!
//! If the request fails, what saw it hears the same. If the caller leaves, plugins that were not
//! called yet are not called. At the end of the caller's
//! [budget](crate::Ctx::with_budget) the same holds, but the request goes on with what is known:
//! those who have not answered count as late.
//!
//! # Other events
//!
//! | event | differs in |
//! |---|---|
//! | update of a container | 7: resources, over those requested; the runtime gets what to apply instead. No undo: those that were asked keep what they know |
//! | run, start, update of a pod | an error of a plugin is all that can come of it |
//! | stop of a container | every plugin is called, whatever the others answer; their updates are merged, and applied after the last |
//! | the other stops, removals and post events | every plugin is called; errors are collected |
//! | an exit | is queued; the rest is as for a stop |
//!
//! # Where that is
//!
//! | what | module |
//! |---|---|
//! | who is ready, what a plugin is sent when it is synchronised | `engine/membership`, `engine/synchronize`, `engine/inventory`, `engine/showing`, `engine/unlisted` |
//! | unsolicited updates of plugins: one door for all, and who reviews them | `engine/unsolicited`, `engine/review` |
//! | a connection from its first byte to its end | `listen/listener`, `listen/accept`, `session/external`, `session/registration`, `session/stages` |
//! | who may connect, as whom, who gives way, and at what rate it may ask for updates | `session/admission`, `plugin/places`, `rate`, `listen/socket` |
//! | pre-installed plugins: found, launched, kept going | `launch/discovery`, `launch/process`, `launch/output`, `launch/life`, `launch/supervisor`, `launch/restarts` |
//! | who could have changed a file, and what can be executed | `way`, `launch/program` |
//! | what an operator has written down for nobody, or in vain | `launch/overlooked`, `launch/without_effect` |
//! | events that come as messages, from a runtime above; what is gone there | `relaying`, `engine/relaying`, `engine/reconciling` |
//! | creations that the runtime has us hold; containers without pods; calls that wait | `pending`, `solo`, `blocking` |
//! | configuration, and another one for an instance that is up | `config`, `instance/reconfigure`, `plugin/live_validator` |
