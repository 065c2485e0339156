//! What a handler gets, what it may answer, and how long it may take.
//!
//! # Events
//!
//! | event | when | the answer |
//! |---|---|---|
//! | [`RunPodSandbox`](crate::Plugin::run_pod_sandbox) | a pod's sandbox is up, not ready yet | an error refuses the pod |
//! | [`UpdatePodSandbox`](crate::Plugin::update_pod_sandbox) | a pod's resources are about to change | an error refuses that |
//! | [`PostUpdatePodSandbox`](crate::Plugin::post_update_pod_sandbox) | they have changed | |
//! | [`StopPodSandbox`](crate::Plugin::stop_pod_sandbox), [`RemovePodSandbox`](crate::Plugin::remove_pod_sandbox) | a pod ends | |
//! | [`CreateContainer`](crate::Plugin::create_container) | a container is about to be created | an adjustment of it; updates and evictions of others; an error refuses it |
//! | [`PostCreateContainer`](crate::Plugin::post_create_container) | it is created, and shown as adjusted | |
//! | [`StartContainer`](crate::Plugin::start_container) | it is about to be started | an error refuses that |
//! | [`PostStartContainer`](crate::Plugin::post_start_container) | it was started | |
//! | [`UpdateContainer`](crate::Plugin::update_container) | its resources are about to change | updates of this one and of others, evictions; an error refuses it |
//! | [`PostUpdateContainer`](crate::Plugin::post_update_container) | they have changed | |
//! | [`StopContainer`](crate::Plugin::stop_container) | it was stopped, or has ended | updates of others: hand its resources on |
//! | [`RemoveContainer`](crate::Plugin::remove_container) | it is removed | |
//! | [`ValidateContainerAdjustment`](crate::Plugin::validate_container_adjustment) | all plugins have answered a creation | `reject` with a reason, or an error |
//!
//! Before them, on every connection, come [`configure`](crate::Plugin::configure) and
//! [`synchronize`](crate::Plugin::synchronize) with all pods and containers that exist, to which
//! updates may be the answer; at its end, if the runtime can, comes
//! [`shutdown`](crate::Plugin::shutdown).
//!
//! A plugin may hear of the end of what it never saw begin: another plugin may have refused it, or
//! the runtime was restarted. Handlers of different pods may run at the same time.
//!
//! # Answers
//!
//! The answer to a creation is an [`Adjustment`](crate::Adjustment), that to an update or a stop
//! are [`Updates`](crate::Updates); `()` changes nothing. They are filled with the traits of
//! [`build`](crate::build), which refuse what a runtime would refuse. All of what may be returned
//! says [`IntoAnswer`](crate::IntoAnswer).
//!
//! ```
//! use nri_plugin::prelude::*;
//!
//! # fn main() -> Result<(), nri_plugin::build::BuildError> {
//! let mut adjust = Adjustment::new();
//! adjust.add_env("MODE", "fast")?.remove_mount("/tmp").set_memory_limit(1 << 30);
//!
//! let mut update = api::ContainerUpdate::of_container("other")?;
//! update.set_cpu_shares(512).set_ignore_failure(true);
//!
//! let evict = api::ContainerEviction::of_container("third", "it is in the way")?;
//! adjust.also_update(update).also_evict(evict);
//! # Ok(())
//! # }
//! ```
//!
//! What one plugin has set another cannot set in the same request: the request fails, and names
//! both. `replace_...` and `remove_...` take over what the container itself has. Adding a device
//! also makes the rule that lets the container use it; a rule alone is
//! [`add_cgroup_device_rule`](crate::build::Adjust::add_cgroup_device_rule).
//!
//! An annotation that holds for a pod (`KEY` or `KEY/pod`) or for one of its containers
//! (`KEY/container.NAME`) is read with [`effective_annotation`](crate::effective_annotation).
//!
//! # Large nodes, and many events
//!
//! What exists on a node is thousands of messages on a large one. A plugin that keeps less than all
//! of it takes it in parts, of which there is one in memory at a time; whoever keeps state of its
//! own has the same for [`stateful`](crate::stateful):
//!
//! ```
//! use nri_plugin::prelude::*;
//!
//! /// How much memory the containers of each pod may use together.
//! #[derive(Default)]
//! struct Limits(std::collections::BTreeMap<String, i64>);
//!
//! let plugin = stateful(Limits::default())
//!     .on_synchronize_part(|limits, _cx, part| {
//!         if part.first {
//!             limits.0.clear(); // what is known from an earlier connection
//!         }
//!         for container in part.containers {
//!             let memory = container.linux.and_then(|linux| linux.resources?.memory?.limit);
//!             *limits.0.entry(container.pod_sandbox_id).or_default() += memory.map_or(0, |it| it.value);
//!         }
//!         Ok(())
//!     })
//!     .build();
//! assert!(plugin.takes_parts());
//! ```
//!
//! Each part may be answered with updates; they are sent to the runtime with the last one.
//!
//! To decode a request is most of what a call costs a plugin: a pod and a container are some
//! hundred texts. [`on_view`](crate::HandlersBuilder::on_view) subscribes to an event with a
//! handler that gets the request as it came, and reads a name or an annotation out of its bytes;
//! `decode` is there for the rest, where it is needed. An event that the plugin has no handler for
//! is never decoded.
//!
//! More than half of the instructions of a decoded request are the allocator's. With glibc's they
//! are fewer if it keeps more freed memory at hand: the environment
//! `GLIBC_TUNABLES=glibc.malloc.tcache_count=500` takes a creation of 8 KiB from 272,000
//! instructions in the plugin to 190,000 (callgrind, glibc 2.36, on 2026-11-27); a handler that
//! gets the request undecoded takes 27,500 and what it reads.
//!
//! # Errors
//!
//! Everything that is an error converts into a [`HandlerError`](crate::HandlerError) with `?`, and
//! so does a text. The runtime gets it as text, and usually fails the operation. A handler that
//! panics does not end the plugin: the runtime gets an error.
//!
//! # Time
//!
//! A runtime waits for an answer for 2 s by default, waiting for the plugin's turn not included,
//! then goes on without it; some close it at once. The deadline is
//! [`cx.deadline()`](crate::PluginCtx::deadline). A handler that has used half of its time is
//! warned about in the log, again at 80 %, and if it is late.
//! [`failure_policy`](crate::Plugin::failure_policy) says what is to happen to the request and the
//! plugin then: `fail_request` for plugins without which nothing may start, `keep_connected` for
//! those that would rather miss something than be closed.
//!
//! **Handlers that block.** A handler runs on tokio's workers, so one that blocks (a file on a slow
//! disk, a program, a lock that is held for long) stalls what else runs there, this plugin's
//! connection included. Move such work away with `tokio::task::spawn_blocking`, or wrap it in
//! `tokio::task::block_in_place` on a multi-threaded runtime:
//!
//! ```
//! use nri_plugin::handlers;
//!
//! let plugin = handlers().on_start_container(|_cx, _pod, _container| async {
//!     let text = tokio::task::spawn_blocking(|| std::fs::read_to_string("/etc/hostname")).await??;
//!     println!("starts on {}", text.trim());
//!     Ok(())
//! });
//! ```
//!
//! **Waiting for the runtime.** Do not await an [unsolicited update](super::unsolicited_updates) in
//! a handler: many runtimes handle one request at a time, so both would wait.
