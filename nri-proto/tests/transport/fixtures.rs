//! The captured traffic of Go peers, against us: we understand each message as its note says, and
//! in the place of either side we send the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use nri_proto::transport::{
    CallError, CallOptions, Client, Code, Connection, MAX_MESSAGE, Pending, Role, Status,
};
use nri_proto::{Method, api, frame, rpc};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use crate::support::{Message, Peer, REQUEST, RESPONSE, Serve, within};

struct Frame {
    /// The frame with its header; its beginning if elided.
    bytes: Vec<u8>,
    /// Length and SHA-256 of the whole, if elided.
    elided: Option<(usize, String)>,
}

struct Fixture {
    name: String,
    from_plugin: bool,
    session: String,
    decoded: String,
    frames: Vec<Frame>,
}

fn fixtures() -> Vec<Fixture> {
    let text = include_str!("../../testdata/fixtures.jsonl");
    let fixtures: Vec<_> = text
        .lines()
        .map(|line| fixture(&serde_json::from_str(line).unwrap()))
        .collect();
    assert_eq!(fixtures.len(), 114);
    fixtures
}

fn fixture(value: &serde_json::Value) -> Fixture {
    let text = |key: &str| value[key].as_str().unwrap().to_owned();
    let elided = value["elided"] == true;
    let frames = value["frames"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|frame| {
            let hex = frame["hex"].as_str().unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let repeat = frame["repeat"].as_u64().unwrap_or(1) as usize;
            let whole = |frame: &serde_json::Value| {
                let len = frame["len"].as_u64().unwrap() as usize;
                (len, frame["sha256"].as_str().unwrap().to_owned())
            };
            let elided = elided.then(|| whole(frame));
            assert_eq!(
                bytes[..4],
                (frame["conn"].as_u64().unwrap() as u32).to_be_bytes()
            );
            (0..repeat).map(move |_| Frame {
                bytes: bytes.clone(),
                elided: elided.clone(),
            })
        });
    Fixture {
        name: text("name"),
        from_plugin: text("direction") == "plugin->runtime",
        session: text("session"),
        decoded: text("decoded"),
        frames: frames.collect(),
    }
}

/// The message of a fixture, put together; one that was elided is built anew, and its hashes are
/// checked.
fn message(fixture: &Fixture) -> Message {
    let mut bytes = Vec::new();
    for frame in &fixture.frames {
        let mut wire = &frame.bytes[..];
        let len = frame.elided.as_ref().map_or(wire.len(), |(len, _)| *len);
        let piece = frame::Decoder::default().next(&mut wire).unwrap().unwrap();
        let header = frame::Header {
            id: piece.id,
            len: (len - frame::HEADER_LEN) as u32,
        };
        assert_eq!(frame.bytes[..8], header.encode(), "{}", fixture.name);
        bytes.extend_from_slice(piece.data);
    }
    let id = fixture.frames[0].bytes[3].into();
    let header = ttrpc::MessageHeader::from(&bytes[..10]);
    let mut message = Message {
        id,
        stream: header.stream_id,
        kind: header.type_,
        flags: header.flags,
        data: bytes.split_off(10),
    };
    if fixture.frames[0].elided.is_some() {
        message.data = split_synchronisation(fixture);
        let mut wire = &message.wire()[..];
        for Frame { bytes, elided } in &fixture.frames {
            let (len, sha256) = elided.as_ref().unwrap();
            let (frame, rest) = wire.split_at(*len);
            assert!(frame.starts_with(bytes));
            let hash: String = Sha256::digest(frame)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(&hash, sha256, "{}", fixture.name);
            wire = rest;
        }
        assert!(wire.is_empty());
    }
    assert_eq!(
        header.length as usize,
        message.data.len(),
        "{}",
        fixture.name
    );
    message
}

/// The two long requests of the split synchronisation: ten pods and sixty containers of 100 kB, all
/// of the kind that the session `full` shows.
fn split_synchronisation(fixture: &Fixture) -> Vec<u8> {
    let sample = fixtures()
        .iter()
        .find(|f| f.name == "full/05-Synchronize-request")
        .map(message);
    let sample = api::SynchronizeRequest::decode(&sample.unwrap().request().payload[..]).unwrap();
    let pod = |i: usize| {
        let id = format!("p{i}");
        let mut pod = sample.pods[0].clone();
        pod.name = format!("pod-{id}");
        pod.uid = format!("uid-{id}");
        pod.linux.as_mut().unwrap().cgroups_path = format!("/kubepods/{id}");
        pod.id = id;
        pod
    };
    let container = |i: usize| {
        let id = format!("c{i}");
        let mut container = sample.containers[0].clone();
        container.name = format!("ctr-{id}");
        container.annotations = BTreeMap::from([("pad".to_owned(), "p".repeat(100_000))]);
        container.linux.as_mut().unwrap().cgroups_path = format!("/kubepods/p0/{id}");
        container.id = id;
        container
    };
    let first = fixture.name == "syncsplit/05-Synchronize-request";
    let (pods, containers) = if first {
        (0..6, 0..41)
    } else {
        (6..10, 41..60)
    };
    let synchronize = api::SynchronizeRequest {
        pods: pods.map(pod).collect(),
        containers: containers.map(container).collect(),
        more: first,
    };
    let request = ttrpc::Request {
        service: rpc::plugin::SERVICE.into(),
        method: "Synchronize".into(),
        payload: synchronize.encode_to_vec(),
        timeout_nano: if first { 1_993_743_247 } else { 1_884_644_964 },
        ..ttrpc::Request::default()
    };
    ttrpc::proto::Codec::encode(&request).unwrap()
}

/// The text between two marks of a note.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("{start:?} in {text}"));
    rest.split_once(end)
        .unwrap_or_else(|| panic!("{end:?} in {rest}"))
        .0
}

/// One method, as the checks below need it.
struct Known {
    service: &'static str,
    method: &'static str,
    /// Decodes a payload, compares it with JSON if that is whole, and encodes it again.
    request: fn(&[u8], &str) -> Vec<u8>,
    response: fn(&[u8], &str) -> Vec<u8>,
}

macro_rules! known {
    ($($service:ident: $($method:ident)+;)+) => {
        /// Every method of both services.
        const KNOWN: &[Known] = &[$($(
            Known {
                service: rpc::$service::SERVICE,
                method: <rpc::$service::$method as Method>::NAME,
                request: again::<<rpc::$service::$method as Method>::Request>,
                response: again::<<rpc::$service::$method as Method>::Response>,
            },
        )+)+];
    };
}

known! {
    runtime: RegisterPlugin UpdateContainers;
    plugin: Configure Synchronize Shutdown RunPodSandbox UpdatePodSandbox PostUpdatePodSandbox StopPodSandbox
        RemovePodSandbox CreateContainer PostCreateContainer StartContainer PostStartContainer UpdateContainer
        PostUpdateContainer StopContainer RemoveContainer StateChange ValidateContainerAdjustment;
}

fn known(request: &ttrpc::Request) -> &'static Known {
    let is = |known: &&Known| known.service == request.service && known.method == request.method;
    KNOWN.iter().find(is).unwrap()
}

#[cfg(feature = "serde")]
trait Json: for<'de> serde::Deserialize<'de> {}
#[cfg(feature = "serde")]
impl<T: for<'de> serde::Deserialize<'de>> Json for T {}
#[cfg(not(feature = "serde"))]
trait Json {}
#[cfg(not(feature = "serde"))]
impl<T> Json for T {}

/// Decodes a message, compares it with its JSON (in its proto names) where the note was not cut
/// short, and encodes it.
fn again<M: prost::Message + Default + PartialEq + Debug + Json>(
    payload: &[u8],
    json: &str,
) -> Vec<u8> {
    let message = M::decode(payload).unwrap();
    #[cfg(feature = "serde")]
    if !json.contains("...") {
        let noted = serde_json::Deserializer::from_str(json)
            .into_iter::<M>()
            .next();
        assert_eq!(noted.unwrap().unwrap(), message, "{json}");
    }
    let _ = json;
    let encoded = message.encode_to_vec();
    assert_eq!(M::decode(&encoded[..]).as_ref(), Ok(&message));
    encoded
}

#[test]
fn every_captured_message_decodes_to_what_its_note_says() {
    // Requests by session, id and stream: their responses name only the method.
    let mut asked = HashMap::new();
    let mut reordered = Vec::new();
    for fixture in fixtures() {
        let Fixture {
            name,
            session,
            decoded: note,
            ..
        } = &fixture;
        let message = message(&fixture);
        let Message {
            id,
            stream,
            kind,
            flags,
            ref data,
        } = message;
        if name == "oversize/01-oversized-request" {
            assert_eq!((id, stream, kind, flags), (2, 1, REQUEST, 0));
            assert_eq!(data, &vec![0; MAX_MESSAGE + 1]);
            continue;
        }
        let lens: Vec<usize> = fixture
            .frames
            .iter()
            .map(|frame| {
                frame
                    .elided
                    .as_ref()
                    .map_or(frame.bytes.len(), |(len, _)| *len)
                    - 8
            })
            .collect();
        let (first, second) = frame::segments(10 + data.len());
        assert_eq!(
            lens,
            [first].into_iter().chain(second).collect::<Vec<_>>(),
            "{name}"
        );
        let head = format!(
            "conn {id} stream {stream} type {kind} flags {flags} data {} bytes, frame payloads {};",
            data.len(),
            format!("{lens:?}").replace(',', "")
        );
        assert!(note.starts_with(&head), "{name}: {head}");

        let (payload, again) = if kind == REQUEST {
            let request = message.request();
            assert_eq!(between(note, "service=\"", "\""), request.service);
            assert_eq!(between(note, "method=\"", "\""), request.method);
            assert_eq!(
                between(note, "timeout_nano=", " "),
                request.timeout_nano.to_string()
            );
            assert_eq!(
                between(note, "metadata=", " "),
                request.metadata.len().to_string()
            );
            assert_eq!(
                between(note, "payload=", " "),
                request.payload.len().to_string()
            );
            let known = known(&request);
            asked.insert((session.clone(), id, stream), known);
            (request.payload, known.request)
        } else {
            assert_eq!(kind, RESPONSE);
            let method = between(note, "Response to ", " ").trim_end_matches(',');
            let known = asked.get(&(session.clone(), id, stream));
            let result = message.result();
            if let Err(status) = result {
                let code = between(note, "code:", " ").parse::<i32>().unwrap();
                assert_eq!(status.code, Code::from(code), "{name}");
                let text = between(note, "message:\"", "\"} payload=0").replace("\\\"", "\"");
                assert_eq!(status.message, text, "{name}");
                continue;
            }
            assert_eq!(known.unwrap().method, method, "{name}");
            assert!(note.contains("no status (OK)"), "{name}");
            let payload = result.unwrap();
            assert_eq!(between(note, "payload=", " "), payload.len().to_string());
            (payload, known.unwrap().response)
        };
        let json = &note[note.find('{').unwrap()..];
        let encoded = again(&payload, json);
        if encoded != payload {
            reordered.push(name.clone());
        }
    }
    // Go writes maps in random order, and empty values in them; in all else our encoding is Go's,
    // byte for byte.
    let with_maps = [
        "ValidateContainerAdjustment-request",
        "CreateContainer-response",
    ];
    assert!(
        reordered
            .iter()
            .all(|name| with_maps.iter().any(|map| name.ends_with(map))),
        "{reordered:?}"
    );
}

/// A request of the recorded peer that reached a service of ours, and where to send the recorded
/// answer.
struct Arrived {
    method: String,
    payload: Bytes,
    timed: bool,
    answer: oneshot::Sender<Result<Vec<u8>, Status>>,
}

/// One side of a recorded session, played by a connection of ours.
struct Player {
    client: Client,
    /// The next stream id of our calls.
    next: u32,
    peer: Peer<DuplexStream>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    ours: HashMap<u32, Pending>,
    theirs: HashMap<u32, Arrived>,
}

impl Player {
    fn start(role: Role) -> (Self, Connection) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (sender, arrived) = mpsc::unbounded_channel();
        let service = match role {
            Role::Runtime => rpc::runtime::SERVICE,
            Role::Plugin => rpc::plugin::SERVICE,
        };
        let record = Serve(service, move |context, method, payload| {
            let sender = sender.clone();
            async move {
                let timed = nri_proto::transport::CallContext::deadline(&context).is_some();
                let (answer, here) = oneshot::channel();
                sender
                    .send(Arrived {
                        method,
                        payload,
                        timed,
                        answer,
                    })
                    .unwrap();
                // Some recorded requests were never answered.
                here.await
                    .unwrap_or_else(|_| Err(Status::unknown("the session is over")))
            }
        });
        let connection = Connection::builder(role).serve(record).start(ours);
        let client = connection.client();
        let peer = Peer::new(theirs);
        let player = Self {
            client,
            next: 1,
            peer,
            arrived,
            ours: HashMap::new(),
            theirs: HashMap::new(),
        };
        (player, connection)
    }

    /// The recorded side called: we make the same call, and the same bytes must leave.
    async fn call(&mut self, message: &Message) {
        let request = message.request();
        let Known {
            service, method, ..
        } = *known(&request);
        while self.next < message.stream {
            // Ids are missing where a request was refused for its size.
            let refused = self
                .client
                .begin(
                    service,
                    method,
                    vec![0; MAX_MESSAGE].into(),
                    CallOptions::default(),
                )
                .await;
            assert!(matches!(refused, Err(CallError::TooLarge { .. })));
            self.next += 2;
        }
        self.next += 2;
        let options = match request.timeout_nano {
            0 => CallOptions::default(),
            nanos => CallOptions::timeout(Duration::from_nanos(nanos as u64)),
        };
        let begin = self
            .client
            .begin(service, method, request.payload.into(), options);
        let (pending, sent) = tokio::join!(begin, self.peer.expect());
        assert_eq!(&sent, message);
        self.ours.insert(message.stream, pending.unwrap());
    }

    /// The recorded side answered: our service gives the same answer, and the same bytes must
    /// leave.
    async fn answer(&mut self, message: &Message) {
        if let Some(arrived) = self.theirs.remove(&message.stream) {
            arrived.answer.send(message.result()).unwrap();
        }
        // Nothing arrived where the driver itself answers.
        assert_eq!(&self.peer.expect().await, message);
    }

    /// The other side called.
    async fn take_call(&mut self, message: &Message, wire: &[u8]) {
        self.peer.send_bytes(wire).await;
        if message.data.len() <= MAX_MESSAGE {
            let request = message.request();
            let arrived = self.arrived.recv().await.unwrap();
            assert_eq!(arrived.method, request.method);
            assert_eq!(arrived.payload, request.payload);
            assert_eq!(arrived.timed, request.timeout_nano != 0);
            self.theirs.insert(message.stream, arrived);
        }
    }

    /// The other side answered.
    async fn take_answer(&mut self, message: &Message, wire: &[u8]) {
        self.peer.send_bytes(wire).await;
        let reply = self.ours.remove(&message.stream).unwrap().await;
        match message.result() {
            Ok(payload) => assert_eq!(reply, Ok(payload.into())),
            Err(status) => assert_eq!(reply, Err(CallError::Status(status))),
        }
    }
}

/// Law: in the place of either side of a recorded session we send, byte for byte and frame for
/// frame, what it sent.
async fn replay(role: Role) {
    let mut sessions: BTreeMap<String, Vec<Fixture>> = BTreeMap::new();
    for fixture in fixtures() {
        sessions
            .entry(fixture.session.clone())
            .or_default()
            .push(fixture);
    }
    for (session, fixtures) in sessions {
        let (mut player, connection) = Player::start(role);
        for fixture in fixtures {
            let message = message(&fixture);
            let ours = fixture.from_plugin == (role == Role::Plugin);
            let wire = match fixture.frames[0].elided {
                Some(_) => message.wire(),
                None => fixture
                    .frames
                    .iter()
                    .flat_map(|frame| frame.bytes.clone())
                    .collect(),
            };
            match (ours, message.kind) {
                // Written by hand; no sender of ours would send it.
                (true, REQUEST) if message.data.len() > MAX_MESSAGE => {
                    let begin =
                        player
                            .client
                            .begin("", "", message.data.into(), CallOptions::default());
                    assert!(matches!(begin.await, Err(CallError::TooLarge { .. })));
                    player.next += 2;
                }
                (true, REQUEST) => player.call(&message).await,
                (true, _) => player.answer(&message).await,
                (false, REQUEST) => player.take_call(&message, &wire).await,
                // The answer to what we did not send.
                (false, _) if fixture.name == "oversize/02-oversized-response" => {
                    player.peer.send_bytes(&wire).await;
                }
                (false, _) => player.take_answer(&message, &wire).await,
            }
        }
        assert_eq!(connection.close_reason(), None, "{session}");
    }
}

// The clock stands still, so that the time left is exactly the recorded one.
#[tokio::test(start_paused = true)]
async fn as_the_runtime_we_send_what_was_recorded() {
    within(replay(Role::Runtime)).await;
}

#[tokio::test(start_paused = true)]
async fn as_the_plugin_we_send_what_was_recorded() {
    within(replay(Role::Plugin)).await;
}
