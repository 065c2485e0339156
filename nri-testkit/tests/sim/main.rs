//! `nri-sim` as a program: driven over pipes, with plugins on its socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod checks;
mod documents;
mod ending;
mod errors;
mod hostile;
mod html;
mod lifecycle;
mod plugins;
mod policies;
mod scenarios;
mod support;
mod traffic;
