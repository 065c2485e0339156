//! The program as a process: what a node's operator does to it, and a long time in which it and
//! others die.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod bad_input;
mod process;
mod soak;
