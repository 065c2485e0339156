//! How an instance is configured: every key, and what a plugin's failures mean.
//!
//! # Reading a configuration
//!
//! [`Config::from_toml`](crate::Config::from_toml) refuses keys that it does not know, with line
//! and the nearest one that it does; [`from_toml_lenient`](crate::Config::from_toml_lenient)
//! returns them. Keys are read without regard to case, as containerd reads them, in the spelling of
//! TOML (`socket_path`) or of JSON (`socketPath`); one key in two spellings is an error. serde
//! (`serde_json::from_str::<Config>`) is as strict, and
//! [`Config::deserialize_lenient`](crate::Config::deserialize_lenient) is not.
//!
//! ```
//! use nri_adaptation::Config;
//!
//! let error = Config::from_toml("plugin_request_timout = '3s'").unwrap_err();
//! assert!(error.to_string().ends_with("did you mean `plugin_request_timeout`?"));
//! ```
//!
//! [`Config::from_containerd_toml`](crate::Config::from_containerd_toml) and
//! [`from_crio_toml`](crate::Config::from_crio_toml) find the table in a whole file of containerd
//! (version 2 or 3) or CRI-O, [`from_whole_toml`](crate::Config::from_whole_toml) takes either, or
//! the table alone. [`config::CrioConfig`](crate::config::CrioConfig) and
//! [`config::MobyConfig`](crate::config::MobyConfig) read the names that those have.
//! [`Config::default_toml`](crate::Config::default_toml) is a commented file for operators.
//! Durations are as Go writes them (`1m30s`).
//!
//! A setting that cannot matter beside another one (`restart_limit = 7` beside `restart = false`)
//! is a warning at start, as is a name that no plugin has.
//!
//! [`Nri::reconfigure`](crate::Nri::reconfigure) puts another configuration in force while plugins
//! stay connected. Keys marked with * cannot change then.
//!
//! # Keys
//!
//! The first seven, and `default_validator`, are those of containerd.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `disable` * | `false` | turns NRI off |
//! | `socket_path` | `"/var/run/nri/nri.sock"` | where plugins connect: a path, or `unix:///path` |
//! | `disable_connections` | `false` | opens no socket |
//! | `plugin_path` | `"/opt/nri/plugins"` | pre-installed plugins: executable files `NN-name`, see [below](#pre-installed-plugins) |
//! | `plugin_config_path` | `"/etc/nri/conf.d"` | their configurations: `NN-name.conf`, else `name.conf` |
//! | `plugin_registration_timeout` | `"5s"` | from a plugin's connection to its registration |
//! | `plugin_request_timeout` | `"2s"` | a plugin's time for a request, from the start of its turn |
//! | `serial` * | `false` | one request at a time in the whole instance |
//! | `plugin_strikes` | `3` | after so many late answers in a row a plugin without a failure policy is closed |
//! | `after_late` | `"keep"` | a plugin without a failure policy that was late goes on (`"keep"`), is synchronised again (`"resync"`), or is closed (`"close"`) |
//! | `side_update_failure` | `"log"` | a failed update of another container is only logged (`"log"`), or fails the request (`"fail"`); the observer is told of it either way |
//! | `strict_discovery` | `false` | an unusable file in `plugin_path` is an error, and so is what else is told below |
//! | `restart` | `true` | a pre-installed plugin that ends is launched again |
//! | `restart_backoff` | `"1s"` | after this pause; each further time in a row after twice as long, 5 minutes at most |
//! | `restart_limit` | `5` | so many times in a row; a minute of being ready ends the row |
//! | `domain_timeout` | `"10s"` | the runtime's own time for one call of a domain |
//! | `update_rate_limit` | `1000` | unsolicited updates and evictions per second that a plugin may ask for; 0: any number |
//! | `update_burst` | `10000` | and how many at once, in as many messages as that takes |
//! | `max_updates` | `4096` | updates and evictions in one message of a plugin, whatever it answers |
//! | `max_items` | `32768` | entries of all lists and maps in one message of a plugin together: mounts, variables, annotations, ... |
//! | `max_incomplete_bytes` | `33554432` | bytes of messages that have not arrived whole, of all connections together; beyond, the one that holds most is closed; 8 MiB at least |
//! | `allowed_uids` | `[]` | users that may connect; none: our own, and 0 |
//! | `allowed_gids` | `[]` | primary groups that may connect as well |
//! | `max_plugins` | `256` | plugins at a time |
//! | `plugins` | | tables `[plugins.name]` and `[plugins."NN-name"]`, see [below](#single-plugins) |
//! | `default_validator` | | a table, see [below](#the-default-validator) |
//! | `policy` | everything is allowed | a table, see [below](#what-plugins-may-ask-for) |
//!
//! # The default validator
//!
//! Built in as `00-default-validator` where it is enabled. It sees every mutation; see
//! [`validate`](crate::validate).
//!
//! | key of `default_validator` | default | meaning |
//! |---|---|---|
//! | `enable` | `false` | the validator is built in, as `00-default-validator` |
//! | `reject_oci_hook_adjustment` | `false` | rejects hooks |
//! | `reject_runtime_default_seccomp_adjustment` | `false` | rejects seccomp policies over the runtime's default profile |
//! | `reject_unconfined_seccomp_adjustment` | `false` | ... where there is no profile |
//! | `reject_custom_seccomp_adjustment` | `false` | ... over a profile of the container's own |
//! | `reject_namespace_adjustment` | `false` | rejects namespaces |
//! | `reject_sysctl_adjustment` | `false` | rejects kernel parameters |
//! | `required_plugins` | `[]` | plugins without which no pod is run and no container is created; also what [`Nri::readiness`](crate::Nri::readiness) is about |
//! | `tolerate_missing_plugins_annotation` | `""` | a pod annotation that waives this |
//!
//! # What plugins may ask for
//!
//! An ordered list of rules; the first that matches counts, and `default` holds for what none
//! matches. Each plugin's answer is judged before it is merged, so no later plugin and no validator
//! sees what is not allowed; so is what plugins ask for when they are synchronised, and on their
//! own account. What is dropped is as if the plugin had not asked for it.
//!
//! ```toml
//! [policy]
//! default = "allow"
//!
//! [[policy.rules]]
//! name = "gpu-may"
//! plugins = ["gpu"]
//! fields = ["devices:/dev/nvidia*", "oci-hooks"]
//! action = "audit"
//!
//! [[policy.rules]]
//! name = "production"
//! namespaces = ["prod", "prod-*"]
//! fields = ["oci-hooks", "env:LD_*", "mounts:/var/run/**", "devices"]
//! action = "deny"
//! ```
//!
//! | key of a rule | meaning; absent, it is no condition |
//! |---|---|
//! | `name` | what records and errors call it; absent, `rule 3` |
//! | `plugins` | by name or identity: one of these |
//! | `namespaces`, `runtime_handlers` | of the pod: one of these |
//! | `pod_labels` | a table: labels with patterns for their values, all of which must be there |
//! | `fields` | the protocol's names, some with a pattern for keys; also `resources`, `updates`, `evictions`, `device-rules` |
//! | `action` | `"allow"`, `"audit"` (recorded), `"drop"` (left out, and recorded) or `"deny"` (the request fails, naming rule and plugin) |
//!
//! [`policy`](crate::policy) says how patterns match, and what is judged how. The same keys may be
//! in a file of their own, without `policy` in front of them:
//! [`Config::policy_from_toml`](crate::Config::policy_from_toml) reads either.
//! [`Nri::reconfigure`](crate::Nri::reconfigure) puts another policy in force; requests under way
//! keep theirs, and no plugin is disconnected. `nri-sim policy check FILE`, of `nri-testkit`, says
//! what a policy would do.
//!
//! # Single plugins
//!
//! `[plugins."10-name"]` is for one identity, `[plugins.name]` for every index of a name; the
//! identity's settings go before the name's, key by key.
//!
//! | key of `plugins.name` | default | meaning |
//! |---|---|---|
//! | `request_timeout` | as for all | its time for a request |
//! | `max_in_flight` | `1` | requests of different pods that it gets at a time |
//! | `observe` | `false` | it hears of what happens, and no more; see [below](#observers) |
//! | `on_error` | `"fail"` | what its error means for a request; or `"skip"` |
//! | `on_late` | what it says, else `"skip"` | what its lateness means; or `"fail"` |
//! | `on_absent` | what it says, else `"skip"` | what the loss of its connection means, in a request or before its turn; or `"fail"` |
//! | `after_late` | what it says, else as for all | what happens to it when it was late |
//! | `validate_updates` | `false` | as a validator it judges updates too, not only creations |
//! | `restart` | as for all | it is launched again when it ends |
//! | `allowed_uids` | as for all | users that may be this plugin, and nobody else |
//!
//! # Observers
//!
//! A logger, a collector of metrics or an agent needs no say in what happens, and nobody should
//! wait for it. With `observe = true` a plugin, unchanged, is part of no request:
//!
//! * It gets every event that it subscribes to, in the order of its pod, when the request is
//!   through the other plugins, and a creation when the container is known to exist. What was
//!   refused, and a creation that came to nothing, it never hears of. The container is as all
//!   plugins together want it. `ValidateContainerAdjustment` is a question, so it is not sent.
//! * However long it takes, no request waits. Up to 4,096 events or 16 MiB are kept for it; when
//!   these are too many, or it owes one answer for as long as closes other plugins, what is kept is
//!   dropped and it is synchronised again: `Synchronize` comes a second time, with what exists
//!   then. If it does not answer that in time, it is closed.
//! * What it asks for is not done, and is recorded:
//!   [`Observer::disregarded`](crate::Observer::disregarded), and the log's `nri::audit`.
//!   Unsolicited updates are refused.
//!
//! The keys `on_error`, `on_late`, `on_absent`, `after_late` and `validate_updates` mean nothing
//! then and are errors beside it, as is a required plugin that observes. It can be turned on and
//! off [while the instance runs](crate::Nri::reconfigure).
//!
//! # When a plugin does not answer
//!
//! A plugin does not answer when its time is over, or when its connection is lost while it has the
//! request. An error is an answer: it fails the request (`on_error`) and closes nobody. A caller
//! that leaves, or whose own deadline passes, is no failure of the plugin's. What an operator says
//! of a plugin in `[plugins.name]` goes before what the plugin says of itself in its answer to
//! `Configure` (`FailurePolicy`, NRI v0.12.4), key by key, and that before what holds for all:
//!
//! | the plugin says | its request | the plugin, when late |
//! |---|---|---|
//! | nothing | goes on without it | is kept; closed after `plugin_strikes` in a row (or as `after_late` says) |
//! | neither flag | goes on without it | is closed |
//! | `keep_connected` | goes on without it | is kept, however often; `after_late = "resync"` still holds |
//! | `fail_request` | fails | is closed |
//! | both | fails | is kept, however often |
//!
//! A plugin whose connection is lost is disconnected in every row. `fail_request` counts for all 13
//! events; stop, remove and post events reach the other plugins all the same. It does not count for
//! a plugin that was disconnected before its turn, which is skipped (v0.12.5; an operator's
//! `on_absent = "fail"` does count then). While a plugin owes an answer, nobody waits for it: its
//! requests fail or go on at once. If it is kept all the same, an answer that does not come in
//! three times its request timeout is given up, and it gets requests again. Validators fail closed
//! whatever they say, also when they are disconnected before their turn; only whether they are kept
//! is theirs to say.
//!
//! The reference closes a plugin that says nothing after one late answer. Here it is kept, since a
//! busy node is late now and then, and a plugin that is closed takes its part in nothing at all
//! until it comes again.
//!
//! # Pre-installed plugins
//!
//! An executable file `NN-name` in `plugin_path`, or a link to one, is launched; `max_plugins` of
//! them at most. At every launch, the first and all later ones, it is judged:
//!
//! * *What it is*: an ELF program for the machine of the runtime itself, whose loader exists, or a
//!   script with `#!` and an absolute path of an interpreter that is such a program (or a script,
//!   up to four). Nothing else is handed to a shell, nor to a handler of `binfmt_misc`.
//!   `#!/usr/bin/env x` is fine as far as `env` goes; where it finds `x`, with an empty
//!   environment, is its business, as the libraries of a program are.
//! * *Who could have changed it*: every directory from `/` on, the links on the way and every step
//!   of theirs, the file itself, its interpreter and its loader belong to root or to our own user,
//!   and nobody else may write to them. A sticky directory such as `/tmp` is good enough for a
//!   directory of ours in it, not for a file or a link. In a user namespace into which the host's
//!   root is not mapped, the user that owns `/` there counts as root.
//! * What was judged is what is executed, by its descriptor, which takes `/proc`; a script's
//!   interpreter is, and reads the script by its path. `argv[0]`, `$0` and `/proc/self/exe` are as
//!   if the path had been executed; the name of the process that `ps -o comm` shows, which the
//!   kernel takes from what was executed, is the number of a descriptor.
//!
//! Configurations, `NN-name.conf` or else `name.conf` in `plugin_config_path`, are judged likewise,
//! and are regular files of 1 MiB at most. Nothing that lies in the two directories keeps the start
//! waiting; a directory on a mount whose server is gone would.
//!
//! What a plugin prints is always read, and logged line by line under the target
//! `nri_plugin_output`: 1000 lines and 256 KiB in a second, both streams together; one line says
//! how many were left out.
//!
//! When a plugin ends or is stopped, so is its process group: SIGTERM, after a second SIGKILL. What
//! has left the group (`setsid`) is not: have the runtime's service manager end what is in its
//! control group.
//!
//! Told in the log, and errors of the start with `strict_discovery`: a directory that does not
//! exist, a file that cannot be launched or has a plugin's name without being executable, a plugin
//! with the identity of one that is built in, and a name in `plugins` or `required_plugins` that no
//! plugin has, if one has a similar name or none can connect. Told only: other names that no plugin
//! has, configuration files that no plugin reads, and a `default_validator` with rules that is not
//! enabled.
