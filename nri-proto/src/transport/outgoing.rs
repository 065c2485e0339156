//! Frames on their way out: messages cut as the sender's rule says, payloads shared and not copied.
//!
//! No I/O may enter.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

use super::message::{HEADER_LEN, Message};
use crate::frame;

/// A queue of byte runs that are frames when they are joined.
#[derive(Debug, Default)]
pub(super) struct Frames {
    runs: VecDeque<Bytes>,
    /// What follows the runs and may still grow.
    open: BytesMut,
    /// How many frames were appended.
    pub(super) count: usize,
}

/// Runs up to this length are copied together, longer ones are shared.
const COPY_LIMIT: usize = 2048;

/// What surrounds a payload is usually shorter, and so are most answers.
const USUAL: usize = 256;

impl Frames {
    /// Appends `message` in frames for `id`.
    pub(super) fn append(&mut self, id: u32, message: Message) {
        let (first, mut second) = frame::segments(message.len());
        let (header, runs) = message.into_runs();
        self.open.reserve(USUAL);
        self.put_header(id, first);
        self.open.put_slice(&header);
        // Every first frame has room for the message's header.
        let mut room = first - HEADER_LEN;
        for mut part in runs {
            while !part.is_empty() {
                if room == 0 {
                    if let Some(len) = second.take() {
                        self.put_header(id, len);
                        room = len;
                    }
                }
                let run = part.split_to(part.len().min(room));
                room -= run.len();
                self.put(run);
            }
        }
    }

    fn put_header(&mut self, id: u32, len: usize) {
        // No message is longer than MAX_MESSAGE and its header.
        self.open.put_slice(
            &frame::Header {
                id,
                len: len as u32,
            }
            .encode(),
        );
        self.count += 1;
    }

    fn put(&mut self, run: Bytes) {
        if run.len() <= COPY_LIMIT {
            self.open.put_slice(&run);
        } else {
            self.seal();
            self.runs.push_back(run);
        }
    }

    /// To be called after the last append, before writing.
    pub(super) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.runs.push_back(self.open.split().freeze());
        }
    }
}

impl Buf for Frames {
    fn remaining(&self) -> usize {
        self.runs.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.runs.front().map_or(&[], |run| run)
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(run) = self.runs.front_mut() else {
                break;
            };
            let step = count.min(run.len());
            run.advance(step);
            count -= step;
            if run.is_empty() {
                self.runs.pop_front();
            }
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.runs);
        pairs.map(|(slice, run)| *slice = IoSlice::new(run)).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::message::PreparedRequest;

    proptest! {
        /// Law: frames in parts, read through any vectored writer, are those of the frame codec.
        #[test]
        fn frames_are_those_of_the_codec(
            lens in prop::collection::vec((0usize..12_000, any::<bool>()), 1..6),
            steps in prop::collection::vec(1usize..6000, 1..40),
        ) {
            let mut frames = Frames::default();
            let mut expected = Vec::new();
            let mut count = 0;
            for (index, (len, long_names)) in lens.into_iter().enumerate() {
                let long = "m".repeat(if long_names { 5000 } else { 3 });
                let payload = Bytes::from(vec![index as u8; len]);
                let build = || PreparedRequest::new("s", &long, payload.clone(), &[]).into_message(1, 77);
                count += 1 + usize::from(build().len() > frame::FIRST_FRAME_LEN);
                let (header, runs) = build().into_runs();
                let message = [header.to_vec(), runs.concat()].concat();
                frame::append_message(1, &message, &mut expected).expect("short");
                frames.append(1, build());
            }
            frames.seal();
            prop_assert_eq!(frames.count, count);
            prop_assert_eq!(frames.remaining(), expected.len());
            let mut written = Vec::new();
            for step in steps.into_iter().cycle() {
                if !frames.has_remaining() {
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = frames.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(all.starts_with(frames.chunk()));
                let step = step.min(all.len());
                written.extend_from_slice(&all[..step]);
                frames.advance(step);
            }
            prop_assert_eq!(written, expected);
        }
    }
}
