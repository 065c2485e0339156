//! NRI in your runtime: from nothing to a tested integration.
//!
//! Six steps, of which the first makes a runtime that works with every plugin. The examples of this
//! crate are programs of less than 120 lines, and run in CI:
//!
//! | example | shows |
//! |---|---|
//! | `minimal` | a domain, and the whole life of a pod and a container |
//! | `typed_spec` | adjustments applied to an OCI spec of the runtime's own types, and what they lose |
//! | `built_in_plugin` | a plugin that is part of the runtime's program |
//! | `validator` | rejecting what plugins ask for |
//! | `synchronous` | a runtime without async code |
//! | `toy_daemon` | containers without pods, that are started again and share a network |
//!
//! # 1. Depend on it
//!
//! This crate is all that a runtime depends on, besides tokio:
//!
//! ```toml
//! [dependencies]
//! nri-adaptation = { version = "0.1", features = ["oci"] } # without `oci` if there are no OCI specs
//!
//! [dev-dependencies]
//! nri-testkit = "0.1"
//! ```
//!
//! A runtime that serves CRI takes `nri-domain-cri` too, which has the domain, the mapping of pods
//! and containers, and a method for each RPC.
//!
//! # 2. Show what there is
//!
//! Implement [`PodSandbox`](crate::model::PodSandbox) and [`Container`](crate::model::Container)
//! for your records, or make messages of them ([`api::PodSandbox`](crate::api::PodSandbox),
//! [`api::Container`](crate::api::Container) implement the traits). With the feature `oci`,
//! `oci::read` has what plugins see of a container in its spec. Rules:
//!
//! * ids are full ids, and a container's
//!   [`pod_sandbox_id`](crate::model::Container::pod_sandbox_id) is that of its pod;
//! * identity and state come from your records, never from annotations of a spec: plugins adjust
//!   annotations;
//! * after a creation a container is shown as adjusted.
//!
//! Implement [`Domain`](crate::Domain): four ways to look things up, `update_container` and
//! `evict_container`. Listings return everything with its state; NRI decides what plugins are sent.
//!
//! Where your listings copy, or put together what they return, override
//! [`outline`](crate::Domain::outline) too: ids, states and what the policy looks at, of
//! everything. NRI keeps only that, at [`start`](crate::RuntimeApi::start) and while plugins join,
//! and looks each pod and container up when it is its turn to be sent; plugins that join together
//! share that. A node with ten thousand containers then takes no more memory than one with ten, but
//! for the ids.
//!
//! # 3. Build, start, stop
//!
//! ```no_run
//! use std::sync::Arc;
//! use nri_adaptation::{Config, Domain, Nri, RuntimeApi};
//!
//! async fn start(toml: &str, domain: Arc<dyn Domain>) -> Result<Nri, Box<dyn std::error::Error>> {
//!     let config = Config::from_toml(toml)?;
//!     let nri = Nri::builder(config).runtime("my-runtime", "1.0").domain(domain).build()?;
//!     nri.start().await?;
//!     Ok(nri)
//! }
//! ```
//!
//! In this order: recover pods and containers from disk; begin to watch for exits; build and
//! [`start`](crate::RuntimeApi::start), which launches and synchronises the installed plugins and
//! opens the socket; then serve requests. A plugin must not be synchronised from half of what there
//! is. At the end: no more requests, then [`stop`](crate::RuntimeApi::stop), which sends `Shutdown`
//! to the plugins.
//!
//! While NRI is off (`disable = true`) and after `stop`, every method is a no-op that succeeds, so
//! there is no second path through the runtime.
//!
//! # 4. Call it
//!
//! A method for each step. *Refuses*: an error of the method fails your request, and what you have
//! done for it so far is taken back. *Tells*: log the error, and go on.
//!
//! | your request | the calls, and where | an error |
//! |---|---|---|
//! | run a pod | network and sandbox are up, its pid and addresses known: [`run_pod_sandbox`](crate::RuntimeApi::run_pod_sandbox); then mark it ready | refuses: [`stop_pod_sandbox`](crate::RuntimeApi::stop_pod_sandbox), [`remove_pod_sandbox`](crate::RuntimeApi::remove_pod_sandbox), tear it down. The same if a later step fails |
//! | update a pod's resources | [`update_pod_sandbox`](crate::RuntimeApi::update_pod_sandbox); record them; [`post_update_pod_sandbox`](crate::RuntimeApi::post_update_pod_sandbox) with the pod as it is now | the first refuses, the second tells |
//! | stop a pod | stop its containers; [`stop_pod_sandbox`](crate::RuntimeApi::stop_pod_sandbox); then sandbox and network are torn down | tells |
//! | remove a pod | stop it; remove its containers; [`remove_pod_sandbox`](crate::RuntimeApi::remove_pod_sandbox); then forget it | tells |
//! | create a container | the spec is complete and nothing is created: [`create_container`](crate::RuntimeApi::create_container); apply the adjustment; create and store it; [`commit`](crate::Creation::commit); [`post_create_container`](crate::RuntimeApi::post_create_container) with the container as adjusted | the first refuses. From there to `commit`, dropping the [`Creation`](crate::Creation) undoes it. The last tells |
//! | start a container | [`start_container`](crate::RuntimeApi::start_container); start its process; record pid and time; [`post_start_container`](crate::RuntimeApi::post_start_container) | the first refuses: [`stop_container`](crate::RuntimeApi::stop_container). The same if the process does not start. The last tells |
//! | update its resources | [`update_container`](crate::RuntimeApi::update_container); apply what it returns in place of the request, or else the request; [`post_update_container`](crate::RuntimeApi::post_update_container) | the first refuses, and nothing has changed. If applying fails, take it back; no post event. The last tells |
//! | stop a container | signal, wait, kill; its process has ended: [`stop_container`](crate::RuntimeApi::stop_container) | tells |
//! | its process ended | record exit code and time: [`notify_container_exit`](crate::RuntimeApi::notify_container_exit), which is queued | |
//! | remove a container | stop it; [`remove_container`](crate::RuntimeApi::remove_container); then delete it | tells |
//! | stop or remove what you do not know | succeed, without a call | |
//!
//! Repeating a stop or removal has no effect, and a removal implies the stop that was not announced
//! yet. An exit and a stop of the same container are one event, whichever comes first. Calls for
//! one pod may overlap; plugins get its events in order.
//!
//! ## What must be undone
//!
//! `create_container` returns a guard. As long as it is a local variable, every early return after
//! it undoes the creation towards the plugins that saw it; `commit` it when the container exists:
//!
//! ```no_run
//! use nri_adaptation::model::{Container, PodSandbox};
//! use nri_adaptation::{Ctx, Nri, RuntimeApi, api};
//!
//! # fn make(_: &str, _: Option<&api::ContainerAdjustment>) -> std::io::Result<()> { Ok(()) }
//! async fn create(nri: &Nri, pod: &dyn PodSandbox, container: &dyn Container) -> Result<(), Box<dyn std::error::Error>> {
//!     let cx = Ctx::new();
//!     let creation = nri.create_container(&cx, pod, container).await?;
//!     make(&container.id(), creation.adjustment())?; // an error here is an undo there
//!     creation.commit();
//!     if let Err(error) = nri.post_create_container(&cx, pod, container).await {
//!         eprintln!("{error}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Hold it no longer than the creation takes: plugins that join wait for it. What plugins asked for
//! *other* containers was done when `create_container` returned, and is not taken back.
//!
//! ## Adjustments
//!
//! With the feature `oci`, `oci::apply(&spec, adjustment, &options, (creation.owners(), id))` makes
//! the adjusted spec of a JSON spec, and an [`UpdateResult`](crate::UpdateResult) goes through
//! `oci::apply_resources`. What they need of the host comes in through `oci::ApplyOptions`:
//! injection of CDI devices, block I/O and RDT classes, swap, mounts; `nri-domain-cri` has
//! resolvers for them, each a feature. A spec that has a type goes through `oci::apply_typed`,
//! which names what the type has no place for (`ApplyOptions::beyond_type` makes that an error) and
//! what it refuses.
//!
//! A runtime without OCI specs says in [`Builder::support`](crate::Builder::support) which fields
//! it can apply; what else plugins ask for is then refused, or left out and told.
//!
//! ## Domain
//!
//! `update_container` and `evict_container` are called for plugins while a request is under way.
//! They may call back into the API, but for waiting for
//! [`stop_container`](crate::RuntimeApi::stop_container). An eviction is a stop without grace,
//! returns when the process has ended, and is announced as any other exit.
//!
//! ## Other kinds of runtimes
//!
//! * *Without pods*, as Docker, podman and Nomad are: [`solo`](crate::solo) has a method for each
//!   thing that happens to a container, and makes the events of pods of that.
//! * *Containers that are started again* after a stop:
//!   [`Domain::restartable`](crate::Domain::restartable).
//! * *Without async code*: `blocking::Nri` (feature `blocking`) waits for each call, and has
//!   threads of its own on which plugins connect and answer.
//! * *A creation that cannot be a local variable*, since it would have to cross an interface of the
//!   runtime: [`Nri::hold`](crate::Nri::hold), and [`Nri::pending`](crate::Nri::pending) by the
//!   container's id when it is known what became of it. Every way out has to settle it then.
//!
//! # 5. Test it
//!
//! In `nri-testkit`, which a runtime's tests depend on:
//!
//! * `domain_conformance::check` makes pods and containers through an adapter of yours, uses your
//!   domain as NRI does, and names every rule that it breaks;
//! * `runtime_conformance::check` makes pods and containers through a driver of yours, connects
//!   plugins, and says what of NRI's promises does not hold: order, completeness, adjustments that
//!   are really applied, undoing, plugins that join late, a restart of the runtime;
//! * `FakePlugin` is a plugin whose answers, errors and delays a test says, and which records what
//!   it is called with;
//! * `FakeProcess` is the same as a process, for what you launch;
//! * `FaultProxy` breaks connections between your socket and a plugin.
//!
//! What to look at, beyond the happy path: a plugin that fails a creation, one that is late, one
//! that connects while containers are created, one that evicts a container from another's creation;
//! a restart of the runtime with pods that exist.
//!
//! # 6. Operate it
//!
//! Map [`Nri::watch_readiness`](crate::Nri::watch_readiness) to a condition of the node, show
//! [`Nri::plugins`](crate::Nri::plugins) to operators, hand your metrics in, and reload
//! configurations with [`Nri::reconfigure`](crate::Nri::reconfigure): see
//! [`observing`](super::observing) and [`configuration`](super::configuration).
//!
//! # Between a runtime and plugins
//!
//! What is one plugin to a runtime above and the runtime to plugins below embeds an instance too,
//! and has its events from [`Plugin::relay`](crate::Plugin::relay):
//!
//! * [`Nri::relay`](crate::Nri::relay) takes each event as it comes and returns the answer to it,
//!   with the updates and evictions that plugins ask for: they go up in the answer. What they ask
//!   for unsolicited reaches the [`Domain`](crate::Domain), which asks the runtime above for it;
//!   never from inside a request, or that waits for itself.
//! * [`Ctx::with_budget`](crate::Ctx::with_budget) has a call end before the runtime above loses
//!   patience: whoever has not answered is late by its policy. The budget is what `Configure` said,
//!   less a margin.
//! * [`Ctx::without_validation`](crate::Ctx::without_validation) leaves the judging to
//!   [`Nri::validate`](crate::Nri::validate), when everything is merged above;
//!   [`Behind::expand`](crate::Behind::expand) names the owners. Not where the runtime above is too
//!   old to ask for it.
//! * [`Nri::forget`](crate::Nri::forget) ends what failed above, and
//!   [`Nri::reconcile`](crate::Nri::reconcile) what is gone after a gap. Both are not needed in the
//!   middle of a life: an appearance that is repeated ends the former one.
//! * [`Nri::watch_events`](crate::Nri::watch_events) is what to subscribe to above.
//! * [`Builder::busy_poll`](crate::Builder::busy_poll) saves the time in which a thread is woken by
//!   each answer, where requests are relayed on one thread.
//!
//! # What others do
//!
//! As read in the sources of containerd and CRI-O (their main branches in August 2026), and of
//! crius, a CRI daemon in Rust with an NRI of its own (July 2026):
//!
//! | | containerd | CRI-O | crius | here |
//! |---|---|---|---|---|
//! | by default | on since 2.0 | on | off | on; the runtime's configuration says |
//! | a pod is refused | undone and torn down; if a later step fails, plugins hear of the removal only | refused in the same place | undone and torn down | the runtime calls stop and remove |
//! | `StopPodSandbox` is called | after the sandbox has ended, before the network is torn down | after both | after both | before both, as soon as the containers have stopped |
//! | its error | is logged | fails the request, which the kubelet repeats | is logged | is for the log; all plugins have been called |
//! | a creation that fails later | is undone on some paths | is undone while the spec is built | is undone where the path says so, and some do not | is undone by the guard |
//! | `StartContainer` fails | the container is stopped and exited | logged, and it is started | the start fails | the start fails; the runtime calls stop |
//! | failed updates of other containers | are logged | fail the creation | fail it | `side_update_failure` |
//! | evictions in answers | never arrive | never arrive | are carried out | are carried out |
//! | an exit | is announced by a task of its own, in no order | is announced by the path of a stop | is announced by the watcher of exits, which waits | is queued in the pod's order |
//! | a plugin joins during a creation | waits, behind a lock that handlers hold | may miss the container | waits, behind such a lock | waits for that creation; nothing else waits for it |
//! | `PostUpdatePodSandbox` | is called, with the values before | is not called | is called | the runtime shows the values after |
//! | an exited container | is shown as unknown | as stopped | as stopped | as the runtime says: stopped |
//! | pods that a restart of the runtime found | their stop and removal are lost | | | are announced |
//!
//! Mapping of CRI's fields, and annotations of each runtime: the crate `nri-domain-cri`.
