//! Reassembly: whole messages from the byte stream of one logical connection.
//!
//! What comes in is bounded here. No I/O may enter.

use bytes::{Buf as _, Bytes};

use super::limits::MAX_MESSAGE;
use super::message::{HEADER_LEN, Head};

/// A message that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) head: Head,
    /// Its data, or `None` where it was too long and was discarded.
    pub(super) data: Option<Bytes>,
}

/// Puts the messages of one logical connection together, whatever portions their bytes come in.
///
/// It holds bytes that have arrived, never more than [`MAX_MESSAGE`] of them; longer messages are
/// discarded as they come.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    header: [u8; HEADER_LEN],
    header_len: usize,
    data: Vec<u8>,
    discarded: usize,
    /// For the data of the next message, see [`make_room`](Self::make_room).
    room: Vec<u8>,
    /// How long the data of the last message was.
    last: usize,
}

/// No room is made for more than this.
const MOST_ROOM: usize = 16 << 10;

impl Assembler {
    /// The next whole message, taken from the front of `input`; `None` once `input` is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Incoming> {
        let take = input.len().min(HEADER_LEN - self.header_len);
        self.header[self.header_len..][..take].copy_from_slice(&input[..take]);
        self.header_len += take;
        input.advance(take);
        let head = self.head()?;

        let too_long = head.len > MAX_MESSAGE;
        let take = input.len().min(head.len - self.data.len() - self.discarded);
        if too_long {
            self.discarded += take;
        } else {
            self.grow(take, head.len);
            self.data.extend_from_slice(&input[..take]);
        }
        input.advance(take);
        if self.data.len() + self.discarded < head.len {
            return None;
        }
        let Self { data, room, .. } = std::mem::take(self);
        (self.room, self.last) = (room, data.len());
        Some(Incoming {
            head,
            data: (!too_long).then(|| data.into()),
        })
    }

    /// The header, once it is complete.
    fn head(&self) -> Option<Head> {
        (self.header_len == HEADER_LEN).then(|| Head::decode(&self.header))
    }

    /// Makes room for `more` bytes: at most twice of what has arrived, and never more than the
    /// message needs.
    fn grow(&mut self, more: usize, whole: usize) {
        let needed = self.data.len() + more;
        if self.data.is_empty() {
            self.data = std::mem::take(&mut self.room);
        }
        if needed > self.data.capacity() {
            let capacity = whole.min(needed * 2);
            self.data.reserve_exact(capacity - self.data.len());
        }
    }

    /// Makes room for another message like the last one: what the allocator has put off until
    /// something large is wanted is done now, and not while somebody waits for an answer.
    pub(super) fn make_room(&mut self) {
        if self.last <= MOST_ROOM && self.room.capacity() < self.last {
            self.room = Vec::with_capacity(self.last);
        }
    }

    /// Bytes of memory held for a message that is not complete.
    pub(super) fn held(&self) -> usize {
        match self.data.is_empty() {
            true => 0,
            false => self.data.capacity(),
        }
    }

    /// What has come of a message that is not complete; `None` if that is too long and not kept.
    pub(super) fn unfinished(&self) -> Option<Vec<u8>> {
        let header = &self.header[..self.header_len];
        (self.discarded == 0).then(|| [header, &self.data].concat())
    }

    /// If the stream ended now: what would be cut off.
    pub(super) fn cut_off(&self) -> Option<String> {
        if self.header_len == 0 {
            return None;
        }
        Some(match self.head() {
            None => {
                let got = self.header_len;
                format!("a message header, {got} of {HEADER_LEN} bytes arrived")
            }
            Some(Head { stream, len, .. }) => {
                let got = self.data.len() + self.discarded;
                format!("the message on stream {stream}, {got} of {len} bytes arrived")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::message::REQUEST;

    /// All whole messages of a byte stream that comes in portions.
    fn assemble(portions: &[&[u8]]) -> (Vec<Incoming>, Assembler) {
        let mut assembler = Assembler::default();
        let mut messages = Vec::new();
        for portion in portions {
            let mut input = *portion;
            while let Some(message) = assembler.next(&mut input) {
                messages.push(message);
            }
            assert!(input.is_empty());
        }
        (messages, assembler)
    }

    fn message(stream: u32, kind: u8, len: usize) -> Vec<u8> {
        let mut bytes = Head { stream, kind, len }.encode().to_vec();
        // Flags mean nothing.
        bytes[9] = 0xef;
        bytes.extend((0..len).map(|i| (i % 251) as u8));
        bytes
    }

    #[test]
    fn a_message_above_the_limit_is_discarded_and_the_next_one_comes() {
        for portion in [1000, 4096, 65_536, 5_000_000] {
            let stream = [message(1, REQUEST, MAX_MESSAGE + 1), message(3, REQUEST, 5)].concat();
            let portions: Vec<&[u8]> = stream.chunks(portion).collect();
            let (messages, assembler) = assemble(&portions);
            let heads: Vec<_> = messages
                .iter()
                .map(|m| (m.head.stream, m.head.len))
                .collect();
            assert_eq!(heads, [(1, MAX_MESSAGE + 1), (3, 5)]);
            assert_eq!(messages[0].data, None);
            assert_eq!(messages[1].data.as_deref(), Some(&[0, 1, 2, 3, 4][..]));
            assert_eq!(assembler.cut_off(), None);
        }
    }

    /// Law: memory follows what arrives, not what is announced.
    #[test]
    fn memory_follows_what_arrives() {
        let whole = message(1, REQUEST, MAX_MESSAGE);
        let mut assembler = Assembler::default();
        let mut arrived = 0;
        for portion in whole.chunks(4096) {
            assert!(assembler.held() <= 2 * arrived.max(4096), "{arrived}");
            assert!(assembler.held() <= MAX_MESSAGE);
            arrived += portion.len();
            let mut input = portion;
            let done = assembler.next(&mut input).is_some();
            assert_eq!(done, arrived == whole.len());
        }
        let (_, assembler) = assemble(&[&message(1, REQUEST, u32::MAX as usize >> 8)[..10]]);
        assert_eq!(assembler.held(), 0);
        let (_, assembler) = assemble(&[&[0xff; 2000]]);
        assert_eq!(
            assembler.held(),
            0,
            "4 GiB announced, all of it to be discarded"
        );
    }

    /// Law: what room was made for is no longer than the message before, and is not held for a
    /// message that does not come.
    #[test]
    fn room_is_made_for_a_message_like_the_last_one() {
        let (_, mut assembler) = assemble(&[&message(1, REQUEST, 3000)]);
        assembler.make_room();
        assert_eq!((assembler.room.capacity(), assembler.held()), (3000, 0));
        let room = assembler.room.as_ptr();
        let next = assembler.next(&mut &message(3, REQUEST, 2000)[..]);
        let data = next.and_then(|next| next.data).expect("whole");
        assert_eq!((data.len(), data.as_ptr()), (2000, room));
        let (_, mut assembler) = assemble(&[&message(1, REQUEST, MOST_ROOM + 1)]);
        assembler.make_room();
        assert_eq!(assembler.room.capacity(), 0);
    }

    #[test]
    fn a_message_that_is_cut_off_says_where() {
        let whole = message(9, REQUEST, 5);
        for (cut, expected) in [
            (0, None),
            (4, Some("a message header, 4 of 10 bytes arrived")),
            (12, Some("the message on stream 9, 2 of 5 bytes arrived")),
            (15, None),
        ] {
            let (_, assembler) = assemble(&[&whole[..cut]]);
            assert_eq!(assembler.cut_off().as_deref(), expected);
        }
    }

    proptest! {
        /// Law: messages come out as they went in, however their stream is cut.
        #[test]
        fn any_segmentation_assembles_alike(
            lens in prop::collection::vec((any::<u32>(), any::<u8>(), 0usize..9000), 0..6),
            cuts in prop::collection::vec(1usize..5000, 1..40),
        ) {
            let mut stream = Vec::new();
            for (id, kind, len) in &lens {
                stream.extend(message(*id, *kind, *len));
            }
            let mut portions = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                portions.push(head);
                rest = tail;
            }
            portions.push(rest);
            let (messages, assembler) = assemble(&portions);
            prop_assert_eq!(messages.len(), lens.len());
            for (message, (stream, kind, len)) in messages.iter().zip(lens) {
                prop_assert_eq!(message.head, Head { stream, kind, len });
                let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
                prop_assert_eq!(message.data.as_deref(), Some(&data[..]));
            }
            prop_assert_eq!(assembler.cut_off(), None);
        }

        /// Law: garbage never panics, and never costs more than twice its length.
        #[test]
        fn garbage_assembles_to_something(garbage in prop::collection::vec(any::<u8>(), 0..3000)) {
            let (_, assembler) = assemble(&[&garbage]);
            prop_assert!(assembler.held() <= 2 * garbage.len());
        }
    }
}
