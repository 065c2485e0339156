//! Shipping a plugin: as a static program, an image, a DaemonSet, or installed with the runtime.
//!
//! # A static program
//!
//! With this in the plugin's `Cargo.toml` (what `nri-sim new` makes has it already):
//!
//! ```toml
//! [profile.size]
//! inherits = "release"
//! opt-level = "z"
//! lto = "fat"
//! codegen-units = 1
//! panic = "abort" # a handler that panics ends the plugin; else it is an error to the runtime
//! strip = true
//! ```
//!
//! ```console
//! $ rustup target add x86_64-unknown-linux-musl
//! $ cargo build --profile size --target x86_64-unknown-linux-musl
//! ```
//!
//! Nothing that a plugin needs is C: the program, of less than two megabytes, has no dependency on
//! the node's libraries, and runs in an image from `scratch`.
//!
//! # Less time in the allocator
//!
//! A request that a handler gets decoded is some 400 allocations, and as many that are freed: with
//! the allocators of glibc and musl that is half of what the plugin does for it. Of what a plugin
//! with an ordinary handler executes per creation (8 KB, 30 mounts), there is left:
//!
//! | with | of its instructions |
//! |---|---|
//! | [`on_view`](crate::HandlersBuilder::on_view) in place of `on_create_container`: nothing is decoded that is not asked for | 0.10 |
//! | the crate `mimalloc` as the global allocator | 0.57 |
//! | `GLIBC_TUNABLES=glibc.malloc.tcache_count=200` in the environment, on glibc up to 2.41 | 0.72 |
//!
//! The first is for a plugin that looks at little. The second is a line in `main.rs`:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
//! ```
//!
//! with `mimalloc = { version = "0.1.52", features = ["no_thp"] }`; without that feature huge pages
//! may make ten megabytes of one. It is C, so it takes a C compiler for the target: a static
//! program one for musl. That is why the programs of `plugins/` are without it.
//!
//! # An image
//!
//! ```dockerfile
//! FROM scratch
//! COPY target/x86_64-unknown-linux-musl/size/my-plugin /plugin
//! ENTRYPOINT ["/plugin"]
//! ```
//!
//! # A DaemonSet
//!
//! What such a plugin needs of its pod:
//!
//! * the *directory* of the socket, `/var/run/nri`, as a volume: a runtime that restarts makes a
//!   new socket, which a mount of the old one never shows;
//! * the user root, since the socket is root's, but no capability, a root file system that is
//!   read-only, and no token of a service account;
//! * `--healthz 0.0.0.0:8080` and a *readiness* probe of `/healthz`: it is 503 while the runtime is
//!   away. As a liveness probe it would restart plugins because a runtime restarts;
//! * `priorityClassName: system-node-critical`, if containers must not start without it; and then
//!   the runtime has to be told to wait for it, too: as one of the required plugins of its
//!   validator;
//! * its configuration from a ConfigMap with `--config`. It is read on every connection.
//!
//! # A unit of systemd
//!
//! The same program with `Restart=always` and `RestartPreventExitStatus=2 3`: those are the exit
//! codes of a command line or a configuration that is wrong, which no restart mends.
//!
//! # Installed with the runtime
//!
//! As `/opt/nri/plugins/10-my-plugin` (executable; the name of the file is index and name) the
//! runtime launches it before any container starts, over a socket that it inherits, and sends it
//! `/etc/nri/conf.d/10-my-plugin.conf` or `my-plugin.conf` as its configuration. This is the way
//! for plugins without which no container may be: an external plugin comes after the runtime is up.
//!
//! # All of it, written
//!
//! The workspace's `plugins/` have a unit and a DaemonSet each, made from two templates in
//! `dev/plugins/template`: copy those.
