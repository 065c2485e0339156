//! The hub between a runtime and plugins, all in one process: a `TestRuntime` above, fake plugins
//! below.

mod late;
mod operating;
mod reconnecting;
mod relaying;
mod sequences;
mod stage;
