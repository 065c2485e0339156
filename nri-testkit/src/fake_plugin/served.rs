//! A fake plugin's service on one connection: looks up what to do, waits, does it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use nri_core::{Response, api};
use nri_proto::frame::{self, Header};
use nri_proto::rpc;
use nri_proto::transport::{CallContext, CallOptions, RuntimeClient, Service, Status};
use prost::Message as _;
use tokio::sync::Notify;

use super::behavior::{Behavior, End};
use super::plugin::FakePlugin;
use super::seen::ReceivedCall;
use super::wire::Wire;
use crate::TEST_TIMEOUT;

/// Payload of the frames of a flood, in bytes.
const FLOOD_FRAME: u32 = 4096;
/// A logical connection that is not in use.
const NOBODY: u32 = 7;

/// What the service needs of its connection, which is made after it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) runtime: RuntimeClient,
    pub(super) wire: Arc<Wire>,
    /// The connection is to be cut once the answer is written.
    pub(super) last_answer: Arc<Notify>,
}

/// The service.
pub(super) struct Served {
    pub(super) plugin: FakePlugin,
    pub(super) link: Arc<OnceLock<Link>>,
}

#[async_trait]
impl Service for Served {
    fn name(&self) -> &'static str {
        rpc::plugin::SERVICE
    }

    async fn call(&self, _: CallContext, method: &str, payload: Bytes) -> Result<Vec<u8>, Status> {
        if !self.plugin.knows(method) {
            return Err(Status::unknown_method(method));
        }
        let seen = ReceivedCall::new(method, payload);
        let mut behavior = self.plugin.saw(seen.clone());
        loop {
            for wait in &behavior.waits {
                wait.over().await;
            }
            match behavior.end {
                End::Decide(decide) => behavior = decide(seen.clone()).await,
                end => return self.end(&seen, end).await,
            }
        }
    }
}

impl Served {
    async fn end(&self, seen: &ReceivedCall, end: End) -> Result<Vec<u8>, Status> {
        // Nothing is served before the link is there, but for a moment.
        let link = match self.link.get() {
            Some(link) => link,
            None => return Err(Status::unknown("the fake plugin is not connected yet")),
        };
        match end {
            End::Usual | End::Decide(_) => self.usual(seen),
            End::Answer(message) => Ok(message.into()),
            End::Fail(status) => Err(status),
            End::Hang => std::future::pending().await,
            End::Exit => {
                link.wire.cut();
                std::future::pending().await
            }
            End::AnswerAndExit => {
                link.last_answer.notify_one();
                self.usual(seen)
            }
            End::Garbage(bytes) => {
                // It fails when the runtime has closed the connection already.
                let _ = link.wire.write(&bytes).await;
                std::future::pending().await
            }
            End::Flood(frames) => {
                let header = Header {
                    id: NOBODY,
                    len: FLOOD_FRAME,
                };
                let mut frame = vec![0; frame::HEADER_LEN + FLOOD_FRAME as usize];
                frame[..frame::HEADER_LEN].copy_from_slice(&header.encode());
                for _ in 0..frames {
                    if link.wire.write(&frame).await.is_err() {
                        break;
                    }
                }
                self.usual(seen)
            }
            End::StopReading => {
                link.wire.stop_reading();
                std::future::pending().await
            }
            End::HalfClose => {
                link.wire.half_close();
                std::future::pending().await
            }
            End::Register(identity) => {
                let request = registration(&identity, &self.plugin.inner.nri_version);
                // What the runtime says to it is for the test to find out.
                let _ = link
                    .runtime
                    .register_plugin(&request, CallOptions::timeout(TEST_TIMEOUT))
                    .await;
                self.usual(seen)
            }
        }
    }

    fn usual(&self, seen: &ReceivedCall) -> Result<Vec<u8>, Status> {
        usual_answer(&self.plugin, seen)
            .ok_or_else(|| Status::unknown_method(seen.method()))
            .map(|answer| answer.unwrap_or_default())
    }
}

/// What a plugin answers that has nothing to say; `None` for a method that there is not.
fn usual_answer(plugin: &FakePlugin, seen: &ReceivedCall) -> Option<Option<Vec<u8>>> {
    if let Some(event) = seen.event() {
        return Some(Some(Response::empty(event).encode()));
    }
    match seen.method() {
        "Configure" => {
            let events = plugin.inner.events;
            let failure_policy = plugin.inner.failure_policy;
            let answer = api::ConfigureResponse {
                events,
                failure_policy,
            };
            Some(Some(answer.encode_to_vec()))
        }
        "Synchronize" => {
            let asked = seen.synchronization().is_some_and(|part| part.more);
            let more = asked && !plugin.inner.is_old;
            let update = Vec::new();
            Some(Some(
                api::SynchronizeResponse { update, more }.encode_to_vec(),
            ))
        }
        "Shutdown" | "StateChange" => Some(None),
        _ => None,
    }
}

/// A registration; parts that are missing are empty.
pub(super) fn registration(identity: &str, nri_version: &str) -> api::RegisterPluginRequest {
    let (index, name) = identity.split_once('-').unwrap_or(("", identity));
    api::RegisterPluginRequest {
        plugin_name: name.to_owned(),
        plugin_idx: index.to_owned(),
        nri_version: nri_version.to_owned(),
    }
}

/// A behavior that says what it cannot do where there is no connection of its own.
pub(super) fn without_connection(behavior: &Behavior) -> Option<&'static str> {
    match &behavior.end {
        End::Usual | End::Answer(_) | End::Fail(_) | End::Hang | End::Decide(_) => None,
        end => Some(end.name()),
    }
}
