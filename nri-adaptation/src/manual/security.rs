//! What is trusted, what is not, and what is bounded.
//!
//! A plugin can change a container's command, mounts and devices, and the hooks that run on the
//! host as root: **a plugin that is ready is as powerful as the runtime itself**. What this crate
//! defends is who may become one, and what one may cost others. What plugins may change is
//! restricted by a policy ([`configuration`](super::configuration#what-plugins-may-ask-for)), by
//! validators ([`configuration`](super::configuration#the-default-validator)) and by
//! [`Builder::support`](crate::Builder::support).
//!
//! # The socket
//!
//! * Its mode is 0600 before it has a name. A link in its place is not followed, a live socket of
//!   another runtime is not replaced, and of two runtimes that start at once one wins (a lock file
//!   beside the socket, removed when it is open). Its directory gets mode 0700 if it is made; where
//!   others own or can write a directory or link on the way to it, a warning says so.
//! * A process may connect if its user, or its primary group, is in `allowed_uids` or
//!   `allowed_gids`: by default our own user and root. The socket is our own user's alone; whoever
//!   allows others has to let them reach it, by [`Builder::listener`](crate::Builder::listener) or
//!   an access control list. `[plugins.NAME] allowed_uids` says which users may be that plugin.
//! * A connection registers once. A new instance of a plugin that is ready takes over when it is
//!   synchronised, and the old one gets `Shutdown`.
//!
//! # Launching
//!
//! Who may be executed as root, and which configurations are read, is judged at every launch: see
//! [pre-installed plugins](super::configuration#pre-installed-plugins). Launched plugins get a
//! clean environment, lead a process group of their own, which is ended with them, and are waited
//! for by pidfd only (a host that reaps all its children does no harm).
//!
//! # Limits
//!
//! | what | bound |
//! |---|---|
//! | a peer that has not registered | 64 KiB, `plugin_registration_timeout`, and one of at most 256 places (a quarter of the descriptors that the process may have, if that is less) |
//! | plugins at a time | `max_plugins` |
//! | a message | 4 MiB; a frame up to 16 MiB is read through, as old peers write them |
//! | messages that have not arrived whole, of all connections | `max_incomplete_bytes`; the connection that holds most is closed |
//! | updates and evictions in a message | `max_updates`, counted in its bytes before it is built |
//! | entries of all lists and maps in a message | `max_items`, likewise |
//! | unsolicited updates and evictions | `update_rate_limit` a second and `update_burst` at once, per identity, however often it connects; code 8 beyond |
//! | a request of a plugin before it is synchronised | refused with code 9 |
//! | a plugin's time for a request | `plugin_request_timeout`, waiting for its turn not included |
//! | a domain's time for a call, and for all that a plugin is shown of its pods, or of its containers | `domain_timeout` |
//! | what a launched plugin prints | 1000 lines and 256 KiB a second, both streams together |
//! | a plugin's configuration file | 1 MiB |
//!
//! Every connection is accepted at once. When all places are taken, one gives way: of the user with
//! most of them, of that user's processes the one with most, of its connections the one that has
//! been silent for longest. Who has registered keeps its place as long as there is one who has not.
//! So idle connections and storms of them keep no plugin out.
//!
//! A message with more than the limits counts as an error (code 8) where it is an answer, is
//! refused with code 8 where it is a request, and fails a synchronisation. Whoever makes a request
//! so large that it does not fit into a message to the next plugin fails, not the next plugin.
//!
//! # Logs
//!
//! Values of environment variables, annotations and payloads are never logged; texts of plugins are
//! made printable. What many updates come to is one line.
//!
//! # What is not defended
//!
//! The socket's permissions are the only authentication. A validator over a connection sees what
//! the protocol shows it, which is creations unless `validate_updates` says more. A hook that a
//! plugin injects runs with the rights of the low-level runtime. What has left the process group of
//! a launched plugin (`setsid`) is not ended with it: have the service manager of the runtime end
//! what is in its control group.
