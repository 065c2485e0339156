//! The plugin's own configuration.
//!
//! A runtime reads a file for each plugin that it launches, `NN-name.conf` or else `name.conf` in
//! its directory of plugin configurations (`/etc/nri/conf.d`), and sends the text with `Configure`.
//! It is [`Configuration::config`](crate::Configuration::config), in whatever format the plugin
//! likes.
//!
//! External plugins get an empty text: [`configuration_file`](crate::Builder::configuration_file)
//! is a file of their own, which is read on every connection when the runtime sends nothing.
//!
//! # As a type
//!
//! With the feature `config`, `configuration::<T>()` is the configuration as a type of serde, in
//! TOML, YAML or JSON. Errors have line and field, and reach both logs; what was read before stays.
#![cfg_attr(feature = "config", doc = "```")]
#![cfg_attr(not(feature = "config"), doc = "```ignore")]
//! use nri_plugin::prelude::*;
//!
//! #[derive(Default, serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! let greeting = configuration::<Greeting>().required();
//! let plugin = handlers()
//!     .configured_by(&greeting)
//!     .on_run_pod_sandbox(move |_cx, pod| {
//!         println!("{}, {}", greeting.get().text, pod.name);
//!         async { Ok(()) }
//!     })
//!     .build();
//! ```
//!
//! An annotation as a type is `effective_annotation_as`.
//!
//! # As a text
//!
//! [`Plugin::configure`](crate::Plugin::configure) is called first on every connection. `Some` mask
//! in place of `None` subscribes to those events instead, on this connection; an error ends the
//! connection, and the operator reads its text in the runtime's log.
//! ```
//! use std::sync::{Arc, Mutex};
//! use nri_plugin::{Event, EventMask, handlers};
//!
//! let greeting = Arc::new(Mutex::new(String::from("hello")));
//! let configured = Arc::clone(&greeting);
//! let plugin = handlers()
//!     .on_configure(move |_cx, configuration| {
//!         let configured = Arc::clone(&configured);
//!         async move {
//!             for line in configuration.config.lines() {
//!                 let (key, value) = line.split_once('=').ok_or("a line has no \"=\"")?;
//!                 match key.trim() {
//!                     "greeting" => value.trim().clone_into(&mut configured.lock().unwrap()),
//!                     key => return Err(format!("unknown key {key:?}").into()),
//!                 }
//!             }
//!             Ok(None) // the events that it has handlers for
//!         }
//!     })
//!     .on_create_container(move |_cx, _pod, _container| {
//!         let greeting = greeting.lock().unwrap().clone();
//!         async move {
//!             println!("{greeting}");
//!             Ok(())
//!         }
//!     })
//!     .build();
//! ```
//!
//! The example `annotate` has its configuration in TOML, with defaults, and errors that name line
//! and key; it reads the same text from a file where it is started by hand. What a runtime says of
//! itself and of its timeouts is in the [`Configuration`](crate::Configuration), too.
