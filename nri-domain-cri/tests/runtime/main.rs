//! The domain and the calls for a CRI server's handlers, on fakes.

#![expect(clippy::unwrap_used, reason = "the panic of a test is its report")]

mod calls;
mod domain;
mod support;
