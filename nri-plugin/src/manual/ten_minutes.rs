//! A plugin in ten minutes.
//!
//! # 1. A project
//!
//! `cargo new node`, and in its `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! nri-plugin = { version = "0.1", features = ["cli"] } # or path = "CHECKOUT/nri-plugin"
//! ```
//!
//! # 2. The plugin
//!
//! It sets the variable `NODE` in every container, unless the pod's annotation `example.com/node`
//! says no. `src/main.rs`:
#![cfg_attr(feature = "cli", doc = "```no_run")]
#![cfg_attr(not(feature = "cli"), doc = "```ignore")]
//! use nri_plugin::prelude::*;
//!
//! fn plugin() -> impl Plugin {
//!     handlers()
//!         .on_create_container(|_cx, pod, container| async move {
//!             let key = "example.com/node";
//!             let said = effective_annotation(&pod.annotations, key, &container.name);
//!             let mut adjust = Adjustment::new();
//!             if said.is_none_or(|(_, value)| value != "no") {
//!                 adjust.add_env("NODE", "node-1")?;
//!             }
//!             Ok(adjust)
//!         })
//!         .build()
//! }
//!
//! nri_plugin::main!("10-node", plugin());
//! ```
//!
//! [`handlers`](crate::handlers) subscribes to what it is given handlers for. A plugin with state
//! is made with [`stateful`](crate::stateful), which gives its handlers the state to change.
//! `main!` is the feature `cli`: it gives the program the command line of every plugin (`--socket`,
//! `--config`, `--healthz` ...), logs, signals and exit codes, and connects again when the runtime
//! restarts. A program with a `main` of its own has a [`Runner`](crate::Runner).
//!
//! # 3. Try it
//!
//! Started by hand as a user who may, `cargo run` connects to the runtime of the node, at
//! `/var/run/nri/nri.sock`. Without a runtime, `nri-sim` of the crate `nri-testkit` is one that has
//! no containers:
//! ```console
//! $ nri-sim serve --socket /tmp/nri.sock
//! {"cmd":"wait-plugins","count":1,"timeout_ms":60000}
//! {"cmd":"run-pod","pod":{"id":"p1","name":"web-1","namespace":"default"}}
//! {"cmd":"create-container","pod_id":"p1","container":{"id":"c1","name":"nginx"}}
//! ```
//!
//! and in another terminal
//! ```console
//! $ cargo run -- --socket /tmp/nri.sock
//! ```
//!
//! In a CI, `nri-sim run scenario.toml --plugin '10-node=target/debug/node'` plays pods from a file
//! against the program, and says where an expectation does not hold; `nri-sim check --plugin
//! 'target/debug/node --socket {socket}'` says whether it is fit for any runtime. `nri-sim new`
//! makes a crate that has all of this.
//!
//! # 4. Test it
//!
//! `Harness` of the crate `nri-testkit` (a dependency of tests, beside tokio with `macros` and
//! `rt`) calls the handlers as a runtime would, and merges what they answer. In a test, which is
//! `#[tokio::test] async`, after `use nri_testkit::{Harness, container, pod}`:
//! ```ignore
//! let created = Harness::new(plugin()).create(pod("web-1"), container("nginx")).await;
//! assert_eq!(created.env("NODE"), Some("node-1"));
//! ```
//!
//! In one process with a runtime: `TestRuntime` of the same crate. What is subscribed to needs
//! neither:
//! ```
//! use nri_plugin::prelude::*;
//!
//! let plugin = handlers()
//!     .on_create_container(|_cx, _pod, _container| async { Ok(Adjustment::new()) })
//!     .build();
//! assert_eq!(plugin.events(), EventMask::from(Event::CreateContainer));
//! ```
//!
//! # 5. Install it
//!
//! `cargo build --release`. As the executable file `10-node` in the runtime's plugin directory
//! (`/opt/nri/plugins`), the program is launched with the runtime: by the name of its file, over a
//! socket that it inherits. As a container, for example of a DaemonSet, mount the *directory* of
//! the socket, not the socket, which a restarted runtime replaces.
