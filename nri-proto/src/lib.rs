#![cfg_attr(docsrs, feature(doc_cfg))]
//! The wire of NRI, the Node Resource Interface.
//!
//! What is here: the protocol's messages ([`api`]), its methods as types ([`rpc`]), the frames of
//! the multiplexed connection ([`frame`]), how a socket is named ([`SocketPath`]), how many items a
//! message has before it is built ([`items`]) and, behind the feature `transport`, connections with
//! typed clients and servers for both services ([`transport`]).
//!
//! What may not enter: any meaning. Merging, events, plugin order and policy live in the layers
//! above; this crate only knows which bytes go where. Generated files are not edited by hand.

pub mod frame;
pub mod items;
#[cfg(feature = "serde")]
mod json;
mod socket_path;
#[cfg(feature = "transport")]
#[cfg_attr(docsrs, doc(cfg(feature = "transport")))]
pub mod transport;
mod wire;

pub use socket_path::{InvalidSocketPath, SocketPath};
pub use wire::{Wire, Writer};

/// The messages of package `nri.pkg.api.v1alpha1`, generated from `proto/nri.proto`.
///
/// Maps are [`BTreeMap`](std::collections::BTreeMap)s, so that encoding is deterministic. With the
/// feature `serde` every message reads and writes proto3 JSON: lowerCamel names (the proto's own
/// names are understood too), 64-bit numbers as strings, enums by name, or by number if it has no
/// name here; `null` is the default of any field. Errors name the field.
///
/// ```
/// use nri_proto::api::{KeyValue, ContainerAdjustment};
/// use prost::Message as _;
///
/// let adjustment = ContainerAdjustment {
///     env: vec![KeyValue { key: "A".into(), value: "1".into() }],
///     ..Default::default()
/// };
/// let bytes = adjustment.encode_to_vec();
/// assert_eq!(ContainerAdjustment::decode(&bytes[..]), Ok(adjustment));
/// ```
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod api {
    include!("generated/messages.rs");
    #[cfg(feature = "serde")]
    include!("generated/json.rs");
}

/// The methods of the three services, one type each.
///
/// They let one generic path call any method; see [`Method`].
pub mod rpc {
    include!("generated/methods.rs");
}

/// One method of one service: its names on the wire and its two messages.
///
/// ```
/// use nri_proto::{Method, rpc};
/// assert_eq!(rpc::plugin::StopContainer::NAME, "StopContainer");
/// assert_eq!(rpc::plugin::StopContainer::SERVICE, "nri.pkg.api.v1alpha1.Plugin");
/// ```
pub trait Method {
    /// Full name of the service.
    const SERVICE: &'static str;
    /// Bare name of the method.
    const NAME: &'static str;
    /// What the caller sends.
    type Request: Wire + 'static;
    /// What it gets back.
    type Response: Wire + 'static;
}

/// Runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
