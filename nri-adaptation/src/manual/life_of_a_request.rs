//! What happens between a call of the API and a plugin, layer by layer.
//!
//! # The layers
//!
//! A folder uses only what is below it in this picture, and `cargo xtask circles` checks it. The
//! names are modules of this crate, which are private: read on there.
//!
//! ```text
//!  nri  builder                  what a runtime holds in its hands
//!  instance/                     the whole: start, stop, another configuration
//!  launch/        listen/        processes of pre-installed plugins | the socket
//!  session/                      a connection: who may be which plugin, and the stages of its life
//!  engine/                       requests on their way through the plugins, and their side effects
//!  plugin/        shared         one plugin, and how it is reached | what all parts share
//!  telemetry/                    what is told, counted and recorded
//!  error
//!  config/        rate
//!  clock  duration  tasks  text
//! ```
//!
//! Nobody below `instance/` knows the instance. The scheduler of [`nri_core::schedule`] decides who
//! is called with what and when; the engine (`engine/driver`) is the only one that performs what it
//! decides, and the layers below the engine return what came of their work.
//!
//! # A creation
//!
//! From [`create_container`](crate::RuntimeApi::create_container) to the wire and back:
//!
//! 1. `nri` is called, and `engine/target` reads the pod and the container, once, with their domain
//!    from `engine/domains`;
//! 2. `engine/creation` makes the request of it, which `engine/requests` submits and waits for;
//! 3. `engine/state` tells the core's scheduler under one short lock, and returns what it wants to
//!    be done: calls, and reports;
//! 4. `engine/driver` begins a task for a chain of calls, and each is made by `engine/call`;
//! 5. `plugin/prepared` encodes the request once for all plugins, and `plugin/remote` (or
//!    `plugin/builtin`) hands it to the connection of `nri_proto::transport`, or to the handler:
//!    that is the wire;
//! 6. on the way back the answer goes to the scheduler, whose [merging](crate::merge) may lead to
//!    the next call of the chain; what came of each call is told by `telemetry/reporter`, and when
//!    the chain is at its end, so is who submitted the request;
//! 7. `engine/side_effects` updates and evicts the other containers that plugins asked for, and the
//!    runtime has its [`Creation`](crate::Creation).
//!
//! # Everything else
//!
//! | what | module |
//! |---|---|
//! | who is ready, what a plugin is sent when it is synchronised | `engine/membership`, `engine/synchronize`, `engine/inventory`, `engine/unlisted` |
//! | unsolicited updates of plugins: one door for all, and who reviews them | `engine/unsolicited`, `engine/review` |
//! | a connection from its first byte to its end | `listen/listener`, `listen/accept`, `session/external`, `session/registration`, `session/stages` |
//! | who may connect, as whom, who gives way, and at what rate it may ask for updates | `session/admission`, `plugin/places`, `rate`, `listen/socket` |
//! | pre-installed plugins: found, launched, kept going | `launch/discovery`, `launch/process`, `launch/output`, `launch/life`, `launch/supervisor`, `launch/restarts` |
//! | who could have changed a file, and what can be executed | `launch/way`, `launch/program` |
//! | what an operator has written down for nobody | `launch/overlooked` |
//! | configuration, and another one for an instance that is up | `config`, `instance/reconfigure`, `plugin/live_validator` |
