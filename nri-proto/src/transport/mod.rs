//! Connections: both services over one unix socket.
//!
//! A [`Connection`] carries two logical connections in [frames](crate::frame): on one this side
//! calls the peer, on the other it serves the peer. Each speaks ttrpc with unary calls.
//! [`PluginClient`] and [`RuntimeClient`] call, [`PluginServer`] and [`RuntimeServer`] serve.
//!
//! A connection always reads, whatever handlers do, so that replies come through and a peer is
//! never blocked by us. Whoever has a message writes it in the same poll if nobody else is writing
//! and the socket takes it; a writer task does the rest. A request is handled where it was read if
//! its handler does not wait, and has a task of its own if it does. Between all of them is plain
//! state under one lock that is never held across an await, nor while code runs that is not ours.
//!
//! What a peer may cost is bounded by [`Limits`]: bytes are stored as they arrive and never as
//! announced, requests beyond the limits are answered with code 8 without being kept, and a peer
//! that does not read is closed.
//!
//! What may not enter: which methods there are and what they mean, retries, registration, plugins'
//! names. Nothing of the `ttrpc` and `protobuf` crates: those who need them have the module `ttrpc`
//! behind the feature of that name.

mod assembler;
mod client;
mod connect;
mod connection;
mod envelope;
mod error;
mod inbound;
mod incomplete;
mod limits;
mod message;
mod outbound;
mod outgoing;
mod pen;
mod reader;
mod server;
mod service;
mod shared;
mod socket;
mod status;
#[cfg(feature = "ttrpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "ttrpc")))]
pub mod ttrpc;
mod writer;

pub use client::{CallOptions, Client, Pending, StartError, Started};
pub use connect::connect;
pub use connection::{Connection, ConnectionBuilder, Detached, Role};
pub use error::{CallError, CloseReason};
pub use incomplete::IncompleteBytes;
pub use limits::{Limits, MAX_MESSAGE, Stats};
pub use outbound::CallEnd;
pub use service::{CallContext, Service};
pub use socket::Socket;
pub use status::{Code, Status};

use self::service::answer;
use crate::{api, rpc};

include!("../generated/services.rs");
