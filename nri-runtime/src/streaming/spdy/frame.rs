//! Frames of SPDY/3.1, as far as clients of CRI send them and read ours.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::headers::{self, Blocks, Headers};
use crate::error::{Error, Result};

const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const OPEN: u8 = 1;
const REPLY: u8 = 2;
const RESET: u8 = 3;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const HEADERS: u8 = 8;
/// The flag of a frame that is the last one of its stream in its direction.
const LAST: u8 = 1;
/// Why a stream is reset: it is not wanted.
const REFUSED: u32 = 3;

/// A frame of a client's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    Open {
        id: u32,
        last: bool,
        headers: Headers,
    },
    /// So many bytes of data follow.
    Data { id: u32, last: bool, length: usize },
    /// The stream is not wanted any more.
    Reset { id: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// What changes nothing for us.
    Other,
}

/// A frame of ours.
#[derive(Debug)]
pub(super) enum Ours {
    /// A stream is wanted.
    Reply {
        id: u32,
    },
    Data {
        id: u32,
        data: Bytes,
        last: bool,
    },
    /// A stream is not wanted.
    Refuse {
        id: u32,
    },
    Ping {
        id: u32,
    },
    /// No more streams than those up to this one.
    GoAway {
        id: u32,
    },
}

/// What a client sends.
#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    blocks: Blocks,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        let blocks = Blocks::new();
        Self { from, blocks }
    }

    /// The next frame; `None` at the end. What follows one with data is to be [read](Self::fill).
    ///
    /// # Errors
    /// It is none of SPDY/3.1, or is cut off.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 8];
        match self.from.read_exact(&mut head).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            done => done.map_err(broken)?,
        };
        let [a, b, c, d, flags, lengths @ ..] = head;
        let last = flags & LAST != 0;
        let length = lengths
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        if a & CONTROL == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            return Ok(Some(Frame::Data { id, last, length }));
        }
        if (a & !CONTROL, b, c) != (0, VERSION, 0) {
            return Err(Error::invalid("a frame is none of SPDY/3.1"));
        }
        let (fixed, has_block) = match d {
            OPEN => (10, true),
            HEADERS => (4, true),
            RESET => (8, false),
            PING => (4, false),
            _ => (0, false),
        };
        let too_short = || Error::invalid("a frame of SPDY is too short");
        let rest = length.checked_sub(fixed).ok_or_else(too_short)?;
        let mut payload = [0; 10];
        self.fill(&mut payload[..fixed]).await?;
        let [a, b, c, d, ..] = payload;
        let id = u32::from_be_bytes([a & !CONTROL, b, c, d]);
        let headers = match has_block {
            true => self.block(rest).await?,
            false => {
                self.skip(rest).await?;
                Headers::new()
            }
        };
        Ok(Some(match head[3] {
            OPEN => Frame::Open { id, last, headers },
            RESET => Frame::Reset { id },
            // Pings may have the highest bit.
            PING => Frame::Ping {
                id: u32::from_be_bytes([a, b, c, d]),
            },
            _ => Frame::Other,
        }))
    }

    async fn block(&mut self, length: usize) -> Result<Headers> {
        if length > headers::MOST {
            return Err(Error::invalid("a header block of SPDY: too large"));
        }
        let mut block = vec![0; length];
        self.fill(&mut block).await?;
        self.blocks.read(&block)
    }

    /// Reads a part of what follows a frame.
    ///
    /// # Errors
    /// It is cut off.
    pub(super) async fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.from.read_exact(into).await.map(drop).map_err(broken)
    }

    async fn skip(&mut self, length: usize) -> Result<()> {
        let mut part = (&mut self.from).take(length as u64);
        let skipped = tokio::io::copy(&mut part, &mut tokio::io::sink()).await;
        skipped.map(drop).map_err(broken)
    }
}

/// What we send.
#[derive(Debug)]
pub(super) struct Writer<W> {
    to: W,
    /// Whether the stream of header blocks has begun.
    begun: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, begun: false }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn send(&mut self, frame: Ours) -> Result<()> {
        let (head, data) = match frame {
            Ours::Data { id, data, last } => {
                let mut head = id.to_be_bytes().to_vec();
                head.extend_from_slice(&(data.len() as u32).to_be_bytes());
                head[4] = u8::from(last);
                (head, data)
            }
            Ours::Reply { id } => {
                let mut payload = id.to_be_bytes().to_vec();
                if !std::mem::replace(&mut self.begun, true) {
                    payload.extend_from_slice(&headers::BEGIN);
                }
                payload.extend_from_slice(&headers::EMPTY);
                (control(REPLY, &payload), Bytes::new())
            }
            Ours::Refuse { id } => {
                let payload = [id.to_be_bytes(), REFUSED.to_be_bytes()].concat();
                (control(RESET, &payload), Bytes::new())
            }
            Ours::Ping { id } => (control(PING, &id.to_be_bytes()), Bytes::new()),
            Ours::GoAway { id } => {
                let payload = [id.to_be_bytes(), [0; 4]].concat();
                (control(GO_AWAY, &payload), Bytes::new())
            }
        };
        self.to.write_all(&head).await.map_err(broken)?;
        self.to.write_all(&data).await.map_err(broken)?;
        self.to.flush().await.map_err(broken)
    }
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![CONTROL, VERSION, 0, kind];
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn broken(error: std::io::Error) -> Error {
    Error::internal(format!("a connection: {error}"))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::streaming::spdy::headers::tests::Writer as Blocks;

    /// A frame that opens a stream.
    pub(crate) fn open(blocks: &mut Blocks, id: u32, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 6]);
        payload.extend_from_slice(&blocks.block(headers));
        control(OPEN, &payload)
    }

    /// A frame with data.
    pub(crate) fn data(id: u32, data: &[u8], last: bool) -> Vec<u8> {
        let mut frame = id.to_be_bytes().to_vec();
        frame.extend_from_slice(&(data.len() as u32).to_be_bytes());
        frame[4] = u8::from(last);
        frame.extend_from_slice(data);
        frame
    }

    pub(crate) fn reset(id: u32) -> Vec<u8> {
        control(RESET, &[id.to_be_bytes(), [0, 0, 0, 5]].concat())
    }

    pub(crate) fn ping(id: u32) -> Vec<u8> {
        control(PING, &id.to_be_bytes())
    }

    #[tokio::test]
    async fn frames_are_what_clients_send() {
        let mut blocks = Blocks::new();
        let settings = control(4, &[0, 0, 0, 0]);
        let sent = [
            open(&mut blocks, 1, &[("a", "b")]),
            settings,
            data(1, b"xyz", true),
            reset(1),
            ping(u32::MAX),
        ]
        .concat();
        let mut reader = Reader::new(&*sent);
        let headers = Headers::from([("a".to_owned(), "b".to_owned())]);
        let (id, last) = (1, false);
        let mut next = reader.next().await.unwrap();
        assert_eq!(next, Some(Frame::Open { id, last, headers }));
        next = reader.next().await.unwrap();
        assert_eq!(next, Some(Frame::Other));
        let (length, last) = (3, true);
        next = reader.next().await.unwrap();
        assert_eq!(next, Some(Frame::Data { id, last, length }));
        let mut said = [0; 3];
        reader.fill(&mut said).await.unwrap();
        assert_eq!(&said, b"xyz");
        assert_eq!(reader.next().await.unwrap(), Some(Frame::Reset { id }));
        let id = u32::MAX;
        assert_eq!(reader.next().await.unwrap(), Some(Frame::Ping { id }));
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_spdy_is_refused() {
        for (sent, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], ""),
            (&[0x80, 2, 0, 1, 0, 0, 0, 10], "none of SPDY"),
            (&[0x80, 3, 0, 1, 0, 0, 0, 9], "too short"),
            (&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], "early eof"),
            (
                &[
                    0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
                ],
                "too large",
            ),
        ] {
            // What begins with no control bit is data, as far as a reader can tell.
            match Reader::new(sent).next().await {
                Err(error) => assert!(error.to_string().contains(why), "{error}"),
                Ok(frame) => assert!(why.is_empty(), "{frame:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(sent in proptest::collection::vec(any::<u8>(), 0..100)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for begin in [&[][..], &[0x80, 3, 0, 1, 0, 0, 0, 40]] {
                    let sent = [begin, &sent].concat();
                    let mut reader = Reader::new(&*sent);
                    while let Ok(Some(_)) = reader.next().await {}
                }
            });
        }
    }
}
