//! An adapter to the `ttrpc` crate, for who has servers and clients of it already: our services on
//! its `Server`, and its errors as ours. Feature `ttrpc`, off by default: it brings rust-protobuf,
//! nix and tokio-vsock.
//!
//! Everything that names a type of the `ttrpc` crate is here. No connection of ours is made of it;
//! why not is in the workspace's README.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use ttrpc::r#async::{MethodHandler, TtrpcContext};
use ttrpc::proto::Codec as _;

use super::error::{CallError, CloseReason};
use super::message;
use super::server;
use super::service::{CallContext, Service};
use super::status::{Code, Status};

/// A service of ours as `ttrpc::r#async::Server::register_service` takes it, with these of its
/// methods.
///
/// Its handlers run as that server runs them: unbounded, and dropped with its connection. Metadata
/// comes to them ordered by key, as that server does not keep the caller's order.
///
/// ```
/// use std::sync::Arc;
/// use nri_proto::rpc;
/// use nri_proto::transport::{PluginServer, PluginService, ttrpc::services};
///
/// struct Quiet;
///
/// #[async_trait::async_trait]
/// impl PluginService for Quiet {}
///
/// let quiet = services(PluginServer::new(Arc::new(Quiet)), rpc::plugin::METHODS);
/// let server = ttrpc::r#async::Server::new().register_service(quiet);
/// # drop(server);
/// ```
#[must_use]
pub fn services(
    service: impl Service,
    methods: &[&'static str],
) -> HashMap<String, ttrpc::r#async::Service> {
    let name = service.name().to_owned();
    let service = Arc::new(service);
    let methods = methods.iter().map(|&method| {
        let handler = Box::new(OneMethod {
            service: Arc::clone(&service),
            method,
        });
        (method.to_owned(), handler as Box<_>)
    });
    let service = ttrpc::r#async::Service {
        methods: methods.collect(),
        streams: HashMap::new(),
    };
    HashMap::from([(name, service)])
}

/// One method of a service, as that server knows methods.
struct OneMethod<S> {
    service: Arc<S>,
    method: &'static str,
}

#[async_trait]
impl<S: Service> MethodHandler for OneMethod<S> {
    async fn handler(
        &self,
        context: TtrpcContext,
        request: ttrpc::Request,
    ) -> ttrpc::Result<ttrpc::Response> {
        let context = CallContext::from(context);
        let payload = request.payload.into();
        let answer = self.service.call(context, self.method, payload).await;
        // Not as an error: that server makes code 2 of every one.
        let (status, payload) = match answer {
            Ok(payload) => (None, payload),
            Err(status) => (Some(status.into()), Vec::new()),
        };
        Ok(ttrpc::Response {
            status: status.into(),
            payload,
            ..ttrpc::Response::default()
        })
    }
}

impl From<TtrpcContext> for CallContext {
    /// The time that is left counts from now.
    fn from(context: TtrpcContext) -> Self {
        let ordered: BTreeMap<_, _> = context.metadata.into_iter().collect();
        let metadata = ordered
            .into_iter()
            .flat_map(|(key, values)| values.into_iter().map(move |value| (key.clone(), value)));
        let deadline = server::deadline(Instant::now(), context.timeout_nano);
        Self::new(deadline, metadata.collect())
    }
}

impl From<ttrpc::Code> for Code {
    fn from(code: ttrpc::Code) -> Self {
        Self::from(code as i32)
    }
}

impl From<ttrpc::Status> for Status {
    /// Without the details, which are no part of NRI.
    fn from(status: ttrpc::Status) -> Self {
        Self::new(status.code.value().into(), status.message)
    }
}

impl From<Status> for ttrpc::Status {
    /// Codes without a name stay what they are.
    fn from(status: Status) -> Self {
        let response = ttrpc::Response::decode(message::encode_status(&status));
        response
            .ok()
            .and_then(|response| response.status.into_option())
            .unwrap_or_default()
    }
}

impl From<ttrpc::Error> for CallError {
    /// What that crate's client says of a call. Its own timeout is a status there, as if the peer
    /// had answered so.
    fn from(error: ttrpc::Error) -> Self {
        match error {
            ttrpc::Error::RpcStatus(status) => Self::Status(status.into()),
            ttrpc::Error::LocalClosed => Self::Closed(CloseReason::Local),
            ttrpc::Error::RemoteClosed | ttrpc::Error::Eof => Self::Closed(CloseReason::PeerClosed),
            ttrpc::Error::Others(text) => Self::Status(Status::unknown(text)),
            of_the_socket => Self::Closed(CloseReason::Io(of_the_socket.to_string())),
        }
    }
}
