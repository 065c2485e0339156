//! A plugin in ten minutes.
//!
//! # 1. A project
//!
//! ```toml
//! [dependencies]
//! nri-plugin = "0.1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! # 2. The plugin
//!
//! It sets the variable `NODE` in every container, unless the pod's annotation `example.com/node`
//! says no:
//!
//! ```no_run
//! use nri_plugin::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let plugin = handlers()
//!         .on_create_container(|_cx, pod, container| async move {
//!             let key = "example.com/node";
//!             let said = effective_annotation(&pod.annotations, key, &container.name);
//!             let mut adjust = Adjustment::new();
//!             if said.is_none_or(|(_, value)| value != "no") {
//!                 adjust.add_env("NODE", "node-1")?;
//!             }
//!             Ok(adjust)
//!         })
//!         .build();
//!     let runner = Runner::builder(plugin).default_identity("10-node").build()?;
//!     println!("{}", runner.run_forever(Backoff::default()).await?);
//!     Ok(())
//! }
//! ```
//!
//! [`handlers`](crate::handlers) subscribes to what it is given handlers for. A plugin with state
//! is made with [`stateful`](crate::stateful), which gives its handlers the state to change.
//!
//! With the features `cli` and `config` the program needs no `main`: `nri_plugin::main!("10-node",
//! plugin())` gives it the command line of every plugin (`--socket`, `--config`, `--healthz` ...),
//! logs, signals and exit codes.
//!
//! # 3. Try it
//!
//! Started by hand as a user who may, it connects to the runtime of the node, at
//! `/var/run/nri/nri.sock`. Without a runtime, `nri-sim` of the crate `nri-testkit` is one that has
//! no containers:
//!
//! ```console
//! $ nri-sim serve --socket /tmp/nri.sock
//! {"cmd":"wait-plugins","count":1,"timeout_ms":60000}
//! {"cmd":"run-pod","pod":{"id":"p1","name":"web-1","namespace":"default"}}
//! {"cmd":"create-container","pod_id":"p1","container":{"id":"c1","name":"nginx"}}
//! ```
//!
//! (The plugin must know the socket: [`Builder::socket`](crate::Builder::socket).) In a CI,
//! `nri-sim run scenario.toml --plugin '10-node=./node'` plays pods from a file against the
//! program, and says where an expectation does not hold; `nri-sim check --plugin './node'` says
//! whether it is fit for any runtime. `nri-sim new NAME` makes a crate that has all of this.
//!
//! # 4. Test it
//!
//! `Harness` of the crate `nri-testkit` calls the handlers as a runtime would, and merges what they
//! answer:
//!
//! ```ignore
//! let created = Harness::new(plugin()).create(pod("web-1"), container("nginx")).await;
//! assert_eq!(created.env("NODE"), Some("node-1"));
//! ```
//!
//! In one process with a runtime: `TestRuntime` of the same crate. What is subscribed to needs
//! neither:
//!
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
//! As an executable file `10-node` in the runtime's plugin directory (`/opt/nri/plugins`), it is
//! launched with the runtime: by the name of its file, over a socket that it inherits. As a
//! container, for example of a DaemonSet, mount the *directory* of the socket, not the socket,
//! which a restarted runtime replaces.
