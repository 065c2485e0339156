//! Our services on the `ttrpc` crate's own server, called by its own client: nothing between them
//! is ours but the adapter.

use std::sync::Arc;

use async_trait::async_trait;
use nri_proto::transport::ttrpc::services;
use nri_proto::transport::{
    CallContext, CallError, CloseReason, Code, PluginServer, PluginService, Status,
};
use nri_proto::{api, rpc};
use prost::Message as _;
use ttrpc::Request;
use ttrpc::r#async::{Client, Server};

use crate::support::within;

/// Answers with what it learns of a call.
struct Echo;

#[async_trait]
impl PluginService for Echo {
    async fn create_container(
        &self,
        context: CallContext,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, Status> {
        let mut container = request.container.unwrap_or_default();
        if container.id == "refuse" {
            return Err(Status::new(Code::FailedPrecondition, "not that one"));
        }
        let timed = context.time_left().is_some().to_string();
        container.annotations.insert("timed".into(), timed);
        for (key, value) in context.metadata() {
            container.annotations.insert(key.clone(), value.clone());
        }
        let adjust = api::ContainerAdjustment {
            annotations: container.annotations,
            ..api::ContainerAdjustment::default()
        };
        Ok(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..api::CreateContainerResponse::default()
        })
    }
}

fn create(id: &str, timeout_nano: i64) -> Request {
    let container = api::Container {
        id: id.into(),
        ..api::Container::default()
    };
    let create = api::CreateContainerRequest {
        container: Some(container),
        ..api::CreateContainerRequest::default()
    };
    Request {
        service: rpc::plugin::SERVICE.into(),
        method: "CreateContainer".into(),
        payload: create.encode_to_vec(),
        timeout_nano,
        metadata: vec![ttrpc::proto::KeyValue {
            key: "traceparent".into(),
            value: "00-1".into(),
            ..ttrpc::proto::KeyValue::default()
        }],
        ..Request::default()
    }
}

/// Law: on that server a service of ours does what it does on a connection of ours: messages, time,
/// metadata, errors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_service_on_the_ttrpc_server() {
    within(async {
        let address = format!("unix://@nri-proto-test-{}-adapter", std::process::id());
        let echo = services(PluginServer::new(Arc::new(Echo)), rpc::plugin::METHODS);
        let mut server = Server::new().bind(&address).unwrap().register_service(echo);
        server.start().await.unwrap();
        let client = Client::connect(&address).await.unwrap();

        for (timeout_nano, timed) in [(0, "false"), (30_000_000_000, "true")] {
            let response = client.request(create("c0", timeout_nano)).await.unwrap();
            let response = api::CreateContainerResponse::decode(&response.payload[..]).unwrap();
            let annotations = response.adjust.unwrap().annotations;
            assert_eq!(annotations["timed"], timed);
            assert_eq!(annotations["traceparent"], "00-1");
        }
        let mut undecodable = create("c0", 0);
        undecodable.payload = vec![0xff];
        let mut unserved = create("c0", 0);
        unserved.method = "StopContainer".into();
        let mut unknown = create("c0", 0);
        unknown.method = "NoMethod".into();
        for (request, code) in [
            (create("refuse", 0), Code::FailedPrecondition),
            (undecodable, Code::Internal),
            (unserved, Code::Unimplemented),
            (unknown, Code::Unimplemented),
        ] {
            let error = CallError::from(client.request(request).await.unwrap_err());
            assert_eq!(error.code(), code, "{error}");
        }
        server.shutdown().await.unwrap();
    })
    .await;
}

/// Law: statuses survive both ways, codes without a name too; what is not a status says what became
/// of the connection.
#[test]
fn statuses_and_errors_are_ours_and_theirs() {
    for code in [-1, 1, 2, 5, 12, 16, 17, 99] {
        let ours = Status::new(Code::from(code), "why");
        let theirs = ttrpc::Status::from(ours.clone());
        assert_eq!(theirs.code.value(), code);
        assert_eq!(Status::from(theirs), ours);
    }
    assert_eq!(Code::from(ttrpc::Code::NOT_FOUND), Code::NotFound);
    for (theirs, ours) in [
        (
            ttrpc::Error::LocalClosed,
            CallError::Closed(CloseReason::Local),
        ),
        (
            ttrpc::Error::RemoteClosed,
            CallError::Closed(CloseReason::PeerClosed),
        ),
        (
            ttrpc::Error::Eof,
            CallError::Closed(CloseReason::PeerClosed),
        ),
        (
            ttrpc::Error::Others("why".into()),
            CallError::Status(Status::unknown("why")),
        ),
    ] {
        assert_eq!(CallError::from(theirs), ours);
    }
    let socket = CallError::from(ttrpc::Error::Socket("gone".into()));
    assert!(
        matches!(socket, CallError::Closed(CloseReason::Io(_))),
        "{socket}"
    );
}
