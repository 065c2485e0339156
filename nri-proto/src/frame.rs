//! Frames: how the two logical connections share one socket.
//!
//! A frame is an eight-byte header, connection id and payload length as big-endian `u32`, and the
//! payload. The payloads of one id, joined, are the byte stream of that logical connection. This
//! module is the codec alone: bytes in, pieces out. No socket, no runtime and no knowledge of what
//! the streams carry may enter.
//!
//! Senders are bound by a rule that the format does not show: a Go peer reads a message through a
//! buffer of 4096 bytes and loses the connection (some versions: the process) over a frame that
//! does not fit, so a message is always cut as [`segments`] says. Receivers take any segmentation.

use thiserror::Error;

/// Length of a frame header in bytes.
pub const HEADER_LEN: usize = 8;

/// A message of up to this many bytes is one frame; of a longer one the first frame has exactly
/// this many.
pub const FIRST_FRAME_LEN: usize = 4096;

/// Id of the logical connection whose server is the plugin.
pub const PLUGIN_ID: u32 = 1;

/// Id of the logical connection whose server is the runtime.
pub const RUNTIME_ID: u32 = 2;

/// Largest frame payload a [`Decoder`] accepts unless told otherwise: 16 MiB, what the oldest peers
/// send.
///
/// Current peers stay below 4 MiB and some bytes, the size of the largest message.
pub const MAX_PAYLOAD: u32 = 16 << 20;

/// The head of a frame.
///
/// ```
/// use nri_proto::frame::Header;
/// let header = Header { id: 2, len: 86 };
/// assert_eq!(header.encode(), [0, 0, 0, 2, 0, 0, 0, 86]);
/// assert_eq!(Header::decode(header.encode()), header);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The logical connection.
    pub id: u32,
    /// Length of the payload that follows, in bytes.
    pub len: u32,
}

impl Header {
    /// The eight bytes of this header.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.id.to_be_bytes();
        let [e, f, g, h] = self.len.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The header that `bytes` hold; any eight bytes are one.
    #[must_use]
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self {
            id: u32::from_be_bytes([a, b, c, d]),
            len: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

/// How a message of `total` bytes is cut into frames: the payload length of the first one and,
/// above 4096 bytes, of the second.
///
/// Every message starts a new frame and shares none with another. This is what Go peers send, and
/// the one segmentation that all of their versions accept.
///
/// ```
/// use nri_proto::frame::segments;
/// assert_eq!(segments(4096), (4096, None));
/// assert_eq!(segments(4097), (4096, Some(1)));
/// assert_eq!(segments(10_000), (4096, Some(5904)));
/// ```
#[must_use]
pub fn segments(total: usize) -> (usize, Option<usize>) {
    match total.checked_sub(FIRST_FRAME_LEN) {
        None | Some(0) => (total, None),
        Some(rest) => (FIRST_FRAME_LEN, Some(rest)),
    }
}

/// Appends `message` to `out`, cut into frames for `id`.
///
/// # Errors
///
/// [`FrameError::TooLong`] if the second frame's length does not fit its field; `out` is unchanged
/// then.
///
/// ```
/// let mut wire = Vec::new();
/// nri_proto::frame::append_message(1, b"hello", &mut wire)?;
/// assert_eq!(wire, b"\0\0\0\x01\0\0\0\x05hello");
/// # Ok::<(), nri_proto::frame::FrameError>(())
/// ```
pub fn append_message(id: u32, message: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let (first, second) = segments(message.len());
    let too_long = |_| FrameError::TooLong {
        id,
        len: message.len() as u64,
        limit: u32::MAX,
    };
    let second = second.map(u32::try_from).transpose().map_err(too_long)?;
    let (head, tail) = message.split_at(first);
    // At most FIRST_FRAME_LEN.
    out.extend_from_slice(
        &Header {
            id,
            len: first as u32,
        }
        .encode(),
    );
    out.extend_from_slice(head);
    if let Some(len) = second {
        out.extend_from_slice(&Header { id, len }.encode());
        out.extend_from_slice(tail);
    }
    Ok(())
}

/// A run of payload bytes of one frame, as they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The logical connection.
    pub id: u32,
    /// The bytes; empty only for a frame without payload.
    pub data: &'a [u8],
    /// Whether these are the first bytes of their frame.
    pub first: bool,
    /// Whether these are the last bytes of their frame.
    pub last: bool,
}

/// Why a byte stream is not, or no longer, a sequence of frames.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A header announces more payload than the limit allows.
    #[error("a frame for id {id} announces {len} bytes, above the limit of {limit}")]
    TooLong {
        /// The id in the header.
        id: u32,
        /// The length it announces.
        len: u64,
        /// The limit in force.
        limit: u32,
    },
    /// The stream ended inside a header.
    #[error("the stream ended inside a frame header, {got} of {HEADER_LEN} bytes arrived")]
    TruncatedHeader {
        /// How many bytes of it arrived.
        got: usize,
    },
    /// The stream ended inside a payload.
    #[error("the stream ended inside a frame for id {id}, {missing} of {len} bytes are missing")]
    TruncatedPayload {
        /// The id in the header.
        id: u32,
        /// The length it announced.
        len: u32,
        /// How many bytes of it did not arrive.
        missing: u32,
    },
}

/// Takes a byte stream apart into frames, in whatever portions it comes.
///
/// It borrows what it returns and keeps at most one header, so it never allocates, least of all by
/// an announced length.
///
/// ```
/// use nri_proto::frame::Decoder;
/// let mut decoder = Decoder::default();
/// let mut input: &[u8] = b"\0\0\0\x01\0\0\0\x05hel";
/// let piece = decoder.next(&mut input)?.expect("three bytes are there");
/// assert_eq!((piece.id, piece.data, piece.last), (1, &b"hel"[..], false));
/// assert_eq!(decoder.next(&mut input)?, None);
/// let mut input: &[u8] = b"lo";
/// assert!(decoder.next(&mut input)?.is_some_and(|piece| piece.last));
/// decoder.finish()?;
/// # Ok::<(), nri_proto::frame::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    max_payload: u32,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Header { bytes: [u8; HEADER_LEN], got: usize },
    Payload { header: Header, missing: u32 },
}

impl State {
    const START: Self = Self::Header {
        bytes: [0; HEADER_LEN],
        got: 0,
    };
}

impl Default for Decoder {
    /// A decoder that accepts payloads of up to [`MAX_PAYLOAD`] bytes.
    fn default() -> Self {
        Self::new(MAX_PAYLOAD)
    }
}

impl Decoder {
    /// A decoder that refuses frames announcing more than `max_payload` bytes.
    #[must_use]
    pub fn new(max_payload: u32) -> Self {
        Self {
            max_payload,
            state: State::START,
        }
    }

    /// The next piece, taken from the front of `input`; `None` once `input` is used up.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`]; the stream cannot be read further then.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        loop {
            match &mut self.state {
                State::Header { bytes, got } => {
                    let take = input.len().min(HEADER_LEN - *got);
                    let (head, rest) = input.split_at(take);
                    bytes[*got..*got + take].copy_from_slice(head);
                    *input = rest;
                    *got += take;
                    if *got < HEADER_LEN {
                        return Ok(None);
                    }
                    let header = Header::decode(*bytes);
                    if header.len > self.max_payload {
                        return Err(FrameError::TooLong {
                            id: header.id,
                            len: header.len.into(),
                            limit: self.max_payload,
                        });
                    }
                    if header.len == 0 {
                        self.state = State::START;
                        return Ok(Some(Piece {
                            id: header.id,
                            data: &[],
                            first: true,
                            last: true,
                        }));
                    }
                    self.state = State::Payload {
                        header,
                        missing: header.len,
                    };
                }
                State::Payload { header, missing } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = input.len().min(*missing as usize);
                    let (data, rest) = input.split_at(take);
                    *input = rest;
                    let first = *missing == header.len;
                    // `take` is at most `missing`, a u32.
                    *missing -= take as u32;
                    let last = *missing == 0;
                    let id = header.id;
                    if last {
                        self.state = State::START;
                    }
                    return Ok(Some(Piece {
                        id,
                        data,
                        first,
                        last,
                    }));
                }
            }
        }
    }

    /// What another decoder has to be given before the rest of the stream, to go on from here: the
    /// part of a header that has come, or a header of what is missing of a frame.
    #[must_use]
    pub fn unfinished(&self) -> Vec<u8> {
        match self.state {
            State::Header { bytes, got } => bytes[..got].to_vec(),
            State::Payload {
                header: Header { id, .. },
                missing: len,
            } => Header { id, len }.encode().to_vec(),
        }
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::TruncatedHeader`] or [`FrameError::TruncatedPayload`] inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.state {
            State::Header { got: 0, .. } => Ok(()),
            State::Header { got, .. } => Err(FrameError::TruncatedHeader { got }),
            State::Payload {
                header: Header { id, len },
                missing,
            } => Err(FrameError::TruncatedPayload { id, len, missing }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames as (id, payload), from a stream given in portions.
    fn frames(
        decoder: &mut Decoder,
        portions: &[&[u8]],
    ) -> Result<Vec<(u32, Vec<u8>)>, FrameError> {
        let mut frames: Vec<(u32, Vec<u8>)> = Vec::new();
        for portion in portions {
            let mut input = *portion;
            while let Some(piece) = decoder.next(&mut input)? {
                if piece.first {
                    frames.push((piece.id, Vec::new()));
                }
                let (id, payload) = frames.last_mut().expect("a first piece came before");
                assert_eq!(*id, piece.id);
                payload.extend_from_slice(piece.data);
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    /// The table of what Go peers send.
    #[test]
    fn segments_are_those_of_go_peers() {
        for (total, expected) in [
            (10, (10, None)),
            (100, (100, None)),
            (4095, (4095, None)),
            (4096, (4096, None)),
            (4097, (4096, Some(1))),
            (5000, (4096, Some(904))),
            (8192, (4096, Some(4096))),
            (8193, (4096, Some(4097))),
            (10_000, (4096, Some(5904))),
            (1_048_576, (4096, Some(1_044_480))),
            (4_194_314, (4096, Some(4_190_218))),
        ] {
            assert_eq!(segments(total), expected, "{total}");
        }
    }

    #[test]
    fn an_empty_frame_is_a_piece() {
        let wire = [
            Header { id: 1, len: 0 }.encode(),
            Header { id: 7, len: 0 }.encode(),
        ]
        .concat();
        let found = frames(&mut Decoder::default(), &[&wire]);
        assert_eq!(found, Ok(vec![(1, vec![]), (7, vec![])]));
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused() {
        for len in [MAX_PAYLOAD + 1, u32::MAX] {
            let header = Header { id: 3, len }.encode();
            let error = frames(&mut Decoder::default(), &[&header]).unwrap_err();
            assert_eq!(
                error,
                FrameError::TooLong {
                    id: 3,
                    len: len.into(),
                    limit: MAX_PAYLOAD
                }
            );
        }
        let header = Header {
            id: 3,
            len: MAX_PAYLOAD,
        }
        .encode();
        assert_eq!(
            frames(&mut Decoder::default(), &[&header]),
            Ok(vec![]),
            "nothing of it has arrived"
        );
    }

    #[test]
    fn the_end_inside_a_frame_says_where() {
        let wire = b"\0\0\0\x02\0\0\0\x05hello";
        for cut in 0..=wire.len() {
            let mut decoder = Decoder::default();
            frames(&mut decoder, &[&wire[..cut]]).expect("no limit is passed");
            let expected = match cut {
                0 | 13 => Ok(()),
                1..=7 => Err(FrameError::TruncatedHeader { got: cut }),
                _ => Err(FrameError::TruncatedPayload {
                    id: 2,
                    len: 5,
                    missing: 13 - cut as u32,
                }),
            };
            assert_eq!(decoder.finish(), expected, "{cut}");
        }
    }

    proptest! {
        /// Law: a header survives encoding.
        #[test]
        fn header_round_trip(id: u32, len: u32) {
            let header = Header { id, len };
            prop_assert_eq!(Header::decode(header.encode()), header);
        }

        /// Law: segments add up to the message, the first is at most 4096, and a second exists only
        /// behind a full first.
        #[test]
        fn segments_cover_the_message(total in 0usize..20_000_000) {
            let (first, second) = segments(total);
            prop_assert_eq!(first + second.unwrap_or(0), total);
            prop_assert!(first <= FIRST_FRAME_LEN);
            prop_assert!(second.is_none_or(|second| first == FIRST_FRAME_LEN && second > 0));
        }

        /// Law: frames come out as they went in, however the stream is cut.
        #[test]
        fn any_segmentation_decodes_alike(
            messages in prop::collection::vec((any::<u32>(), 0usize..9000), 0..6),
            cuts in prop::collection::vec(1usize..5000, 1..60),
        ) {
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (index, (id, len)) in messages.into_iter().enumerate() {
                let message: Vec<u8> = (0..len).map(|i| (i + index) as u8).collect();
                append_message(id, &message, &mut wire).expect("short");
                let (first, second) = segments(len);
                expected.push((id, message[..first].to_vec()));
                if second.is_some() {
                    expected.push((id, message[first..].to_vec()));
                }
            }
            let mut portions = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                portions.push(head);
                rest = tail;
            }
            portions.push(rest);
            let mut decoder = Decoder::default();
            prop_assert_eq!(frames(&mut decoder, &portions), Ok(expected));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        /// Law: no input panics, and pieces never hold more than was put in.
        #[test]
        fn garbage_is_an_error_or_frames(garbage in prop::collection::vec(any::<u8>(), 0..2000), max: u32) {
            let mut decoder = Decoder::new(max);
            let mut input = &garbage[..];
            let mut held = 0;
            while let Ok(Some(piece)) = decoder.next(&mut input) {
                held += piece.data.len();
            }
            prop_assert!(held <= garbage.len());
        }
    }
}
