//! What serves the peer's calls.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::status::{Code, Status};
use crate::{Method, Wire as _};

/// What a handler knows of a call beside its request.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    deadline: Option<Instant>,
    metadata: Vec<(String, String)>,
}

impl CallContext {
    /// A context with a deadline and metadata; for tests, and for calls that did not come over a
    /// connection.
    #[must_use]
    pub fn new(deadline: Option<Instant>, metadata: Vec<(String, String)>) -> Self {
        Self { deadline, metadata }
    }

    /// When the caller stops waiting, by this side's clock from the arrival of the request. It may
    /// have passed already. `None` if the caller waits without limit.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What is left until the deadline; zero when it has passed, `None` without one.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Key and value pairs of the caller, in its order; a key may occur several times.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }
}

/// A service that a connection serves.
///
/// [`PluginServer`](super::PluginServer) and [`RuntimeServer`](super::RuntimeServer) are what one
/// usually wants; this trait is below them, for generic dispatch.
///
/// ```
/// use bytes::Bytes;
/// use nri_proto::transport::{CallContext, Service, Status};
///
/// /// Answers every method of the plugin service with an empty message.
/// struct Silent;
///
/// #[async_trait::async_trait]
/// impl Service for Silent {
///     fn name(&self) -> &'static str {
///         nri_proto::rpc::plugin::SERVICE
///     }
///
///     async fn call(&self, _: CallContext, method: &str, _: Bytes) -> Result<Vec<u8>, Status> {
///         if nri_proto::rpc::plugin::METHODS.contains(&method) {
///             Ok(Vec::new())
///         } else {
///             Err(Status::unknown_method(method))
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Full name of the service on the wire.
    fn name(&self) -> &'static str;

    /// Answers one call with an encoded message.
    ///
    /// Calls run concurrently, each in its own task, in no particular order. The future is dropped
    /// when the connection closes, and not when the deadline in `context` passes. A panic is
    /// answered with code 13.
    ///
    /// # Errors
    ///
    /// What the caller gets instead; [`Status::unknown_method`] for a method that does not exist.
    async fn call(
        &self,
        context: CallContext,
        method: &str,
        payload: Bytes,
    ) -> Result<Vec<u8>, Status>;
}

/// Decodes the request of `M`, runs `f`, and encodes the response.
pub(super) async fn answer<M, F, R>(payload: Bytes, f: F) -> Result<Vec<u8>, Status>
where
    M: Method,
    F: FnOnce(M::Request) -> R,
    R: Future<Output = Result<M::Response, Status>>,
{
    let request = M::Request::from_wire(&payload).map_err(|error| {
        Status::new(
            Code::Internal,
            format!("ttrpc: error unmarshalling payload: {error}"),
        )
    })?;
    Ok(f(request).await?.to_wire())
}
