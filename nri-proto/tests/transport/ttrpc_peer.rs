//! The `ttrpc` crate's own client and server as our peer, behind a bridge that makes frames of
//! their messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_proto::frame::Decoder;
use nri_proto::transport::{
    CallContext, CallError, CallOptions, Code, Connection, PluginClient, Role, RuntimeServer,
    RuntimeService, Status,
};
use nri_proto::{api, rpc};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use ttrpc::r#async::{Client, MethodHandler, Server, Service, TtrpcContext};
use ttrpc::{MessageHeader, Request, Response};

use crate::support::{Message, within};

#[cfg(feature = "ttrpc")]
mod adapter;

/// The plugin's service on ttrpc's server: it adds what it was asked for.
struct Answers;

#[async_trait]
impl MethodHandler for Answers {
    async fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let create = api::CreateContainerRequest::decode(&request.payload[..])
            .map_err(|error| ttrpc::Error::Others(error.to_string()))?;
        let mut container = create.container.unwrap_or_default();
        if container.id == "refuse" {
            let status = ttrpc::get_status(ttrpc::Code::FAILED_PRECONDITION, "not that one");
            let status = protobuf::MessageField::some(status);
            return Ok(Response {
                status,
                ..Response::default()
            });
        }
        let timed = u8::from(context.timeout_nano > 0).to_string();
        container.annotations.insert("timed".into(), timed);
        for (key, values) in context.metadata {
            container.annotations.insert(key, values.join(","));
        }
        let adjust = api::ContainerAdjustment {
            annotations: container.annotations,
            ..api::ContainerAdjustment::default()
        };
        let response = api::CreateContainerResponse {
            adjust: Some(adjust),
            ..api::CreateContainerResponse::default()
        };
        Ok(Response {
            payload: response.encode_to_vec(),
            ..Response::default()
        })
    }
}

/// The runtime's service on our server.
struct Runtime;

#[async_trait]
impl RuntimeService for Runtime {
    async fn update_containers(
        &self,
        context: CallContext,
        request: api::UpdateContainersRequest,
    ) -> Result<api::UpdateContainersResponse, Status> {
        if context.time_left().is_none() {
            return Err(Status::new(Code::InvalidArgument, "no deadline"));
        }
        Ok(api::UpdateContainersResponse {
            failed: request.update,
        })
    }
}

/// Messages from a plain ttrpc peer, as frames for `id`.
async fn to_frames(id: u32, mut plain: OwnedReadHalf, trunk: Arc<Mutex<OwnedWriteHalf>>) {
    let mut header = [0; 10];
    while plain.read_exact(&mut header).await.is_ok() {
        let MessageHeader {
            length,
            stream_id,
            type_,
            ..
        } = MessageHeader::from(header);
        let mut data = vec![0; length as usize];
        plain.read_exact(&mut data).await.unwrap();
        let wire = Message::new(id, stream_id, type_, data).wire();
        trunk.lock().await.write_all(&wire).await.unwrap();
    }
}

/// Frames from the trunk, to the plain ttrpc peers by id.
async fn from_frames(mut trunk: OwnedReadHalf, mut plain: HashMap<u32, OwnedWriteHalf>) {
    let mut frames = Decoder::default();
    let mut buffer = vec![0; 65_536];
    while let Ok(count) = trunk.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let mut input = &buffer[..count];
        while let Some(piece) = frames.next(&mut input).unwrap() {
            plain
                .get_mut(&piece.id)
                .unwrap()
                .write_all(piece.data)
                .await
                .unwrap();
        }
    }
}

struct Peers {
    runtime: Connection,
    /// ttrpc's client, at our server.
    client: Client,
    server: Server,
}

/// A connection of ours in the role of the runtime, whose plugin is ttrpc's server and client.
async fn peers(name: &str) -> Peers {
    let address = format!("@nri-proto-test-{}-{name}", std::process::id());
    let method: Box<dyn MethodHandler + Send + Sync> = Box::new(Answers);
    let methods = HashMap::from([("CreateContainer".to_owned(), method)]);
    let service = Service {
        methods,
        streams: HashMap::new(),
    };
    let mut server = Server::new()
        .bind(&format!("unix://{address}"))
        .unwrap()
        .register_service(HashMap::from([(rpc::plugin::SERVICE.to_owned(), service)]));
    server.start().await.unwrap();

    let name = address.replace('@', "\0");
    let to_server = UnixStream::connect(std::path::Path::new(&name))
        .await
        .unwrap();
    let (for_client, to_client) = UnixStream::pair().unwrap();
    let client = Client::new(ttrpc::r#async::transport::Socket::new(for_client));

    let (ours, trunk) = UnixStream::pair().unwrap();
    let (trunk_in, trunk_out) = trunk.into_split();
    let trunk_out = Arc::new(Mutex::new(trunk_out));
    let (server_in, server_out) = to_server.into_split();
    let (client_in, client_out) = to_client.into_split();
    tokio::spawn(to_frames(1, server_in, Arc::clone(&trunk_out)));
    tokio::spawn(to_frames(2, client_in, trunk_out));
    tokio::spawn(from_frames(
        trunk_in,
        HashMap::from([(1, server_out), (2, client_out)]),
    ));
    let runtime = Connection::builder(Role::Runtime)
        .serve(RuntimeServer::new(Arc::new(Runtime)))
        .start(ours);
    Peers {
        runtime,
        client,
        server,
    }
}

fn create(id: &str, annotation: usize) -> api::CreateContainerRequest {
    let mut container = api::Container {
        id: id.into(),
        ..api::Container::default()
    };
    container
        .annotations
        .insert("pad".into(), "p".repeat(annotation));
    let container = Some(container);
    api::CreateContainerRequest {
        container,
        ..api::CreateContainerRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_and_the_ttrpc_server() {
    within(async {
        let mut peers = peers("server").await;
        let client = PluginClient::new(peers.runtime.client());
        for size in [0, 1, 4000, 4096, 100 << 10, 1 << 20, 4_193_000] {
            let options =
                CallOptions::timeout(Duration::from_secs(30)).with_metadata("traceparent", "00-1");
            let response = client
                .create_container(&create("c0", size), options)
                .await
                .unwrap();
            let annotations = response.adjust.unwrap().annotations;
            assert_eq!(annotations["pad"].len(), size);
            assert_eq!(
                (&*annotations["timed"], &*annotations["traceparent"]),
                ("1", "00-1")
            );
        }
        // Their server takes any number at once, and answers in any order.
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..200 {
            let client = client.clone();
            calls.spawn(async move {
                let request = create("c0", i * 100);
                let response = client
                    .create_container(&request, CallOptions::default())
                    .await;
                assert_eq!(
                    response.unwrap().adjust.unwrap().annotations["pad"].len(),
                    i * 100
                );
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        let refused = client
            .create_container(&create("refuse", 0), CallOptions::default())
            .await;
        let expected = Status::new(Code::FailedPrecondition, "not that one");
        assert_eq!(refused, Err(CallError::Status(expected)));
        let request = api::ConfigureRequest::default();
        let unknown = client
            .configure(&request, CallOptions::default())
            .await
            .unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented);
        assert_eq!(peers.runtime.close_reason(), None);
        peers.server.shutdown().await.unwrap();
    })
    .await;
}

/// One at a time: concurrent calls of that client leave with their ids out of order, which a server
/// must refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ttrpc_client_and_our_server() {
    within(async {
        let mut peers = peers("client").await;
        let call = async |method: &str, timeout_nano, payload: Vec<u8>| {
            let request = Request {
                service: rpc::runtime::SERVICE.into(),
                method: method.into(),
                timeout_nano,
                payload,
                ..Request::default()
            };
            peers.client.request(request).await
        };
        for size in [0, 1, 4000, 4096, 100 << 10, 1 << 20, 4_193_000] {
            let update = vec![api::ContainerUpdate {
                container_id: "c".repeat(size),
                ..api::ContainerUpdate::default()
            }];
            let request = api::UpdateContainersRequest {
                update: update.clone(),
                evict: Vec::new(),
            };
            let response = call("UpdateContainers", 30_000_000_000, request.encode_to_vec())
                .await
                .unwrap();
            let response = api::UpdateContainersResponse::decode(&response.payload[..]).unwrap();
            assert!(response.failed == update);
        }
        for (method, timeout, payload, code) in [
            (
                "UpdateContainers",
                0,
                Vec::new(),
                ttrpc::Code::INVALID_ARGUMENT,
            ),
            (
                "UpdateContainers",
                1 << 40,
                vec![0xff],
                ttrpc::Code::INTERNAL,
            ),
            ("NoMethod", 0, Vec::new(), ttrpc::Code::UNIMPLEMENTED),
            ("RegisterPlugin", 0, Vec::new(), ttrpc::Code::UNIMPLEMENTED),
        ] {
            let error = call(method, timeout, payload).await.unwrap_err();
            let ttrpc::Error::RpcStatus(status) = error else {
                panic!("{error}")
            };
            assert_eq!(status.code(), code, "{status:?}");
        }
        assert_eq!(peers.runtime.stats().handler_panics, 0);
        assert_eq!(peers.runtime.close_reason(), None);
        peers.server.shutdown().await.unwrap();
    })
    .await;
}

/// Law: both directions at once over one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ttrpc_client_and_server_at_once() {
    within(async {
        let mut peers = peers("both").await;
        let plugin = PluginClient::new(peers.runtime.client());
        let ours = async {
            for i in 0..100 {
                let request = create("c0", i * 1000);
                plugin
                    .create_container(&request, CallOptions::default())
                    .await
                    .unwrap();
            }
        };
        let theirs = async {
            for i in 0..100 {
                let id = "c".repeat(i * 1000);
                let update = vec![api::ContainerUpdate {
                    container_id: id,
                    ..api::ContainerUpdate::default()
                }];
                let payload = api::UpdateContainersRequest {
                    update,
                    evict: Vec::new(),
                }
                .encode_to_vec();
                let request = Request {
                    service: rpc::runtime::SERVICE.into(),
                    method: "UpdateContainers".into(),
                    timeout_nano: 30_000_000_000,
                    payload,
                    ..Request::default()
                };
                peers.client.request(request).await.unwrap();
            }
        };
        tokio::join!(ours, theirs);
        assert_eq!(peers.runtime.stats().messages_in, 200);
        peers.server.shutdown().await.unwrap();
    })
    .await;
}
