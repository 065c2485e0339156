//! Writing messages from their end to their beginning.
//!
//! On the wire the length of a message is in front of it. Whoever writes from the front reckons
//! lengths first, and those of messages in messages again and again. Here all is written from the
//! end: a length is known when it is its turn.
//!
//! Which field has which key is generated from the proto file. What may not enter: what messages
//! mean.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A message whose fields are known here.
pub trait Put {
    /// Puts its fields in front of what is there.
    fn put(&self, to: &mut Writer);
}

/// The least that it grows by.
const SMALL: usize = 256;

/// Bytes that are written from the end to the beginning.
///
/// ```
/// use nri_proto::{Wire as _, Writer, api};
///
/// // A `CreateContainerRequest` of a pod and a container that are somewhere else.
/// let (pod, container) = (api::PodSandbox::default(), api::Container::default());
/// let mut to = Writer::with_room(8192);
/// to.field(2, |to| to.fields_of(&container));
/// to.field(1, |to| to.fields_of(&pod));
/// let request = api::CreateContainerRequest { pod: Some(pod), container: Some(container) };
/// assert_eq!(to.into_bytes(), request.to_wire());
/// ```
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Where they begin; in front of it is room.
    start: usize,
}

impl Writer {
    /// Nothing yet. It grows, but need not as long as there is no more than `room` bytes.
    pub fn with_room(room: usize) -> Self {
        Self {
            bytes: vec![0; room],
            start: room,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// What was written, to be shared. The room in front stays behind it, and nothing is copied.
    pub fn into_shared(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }

    /// What was written, without the room.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// Begins anew in the same memory.
    pub fn clear(&mut self) {
        self.start = self.bytes.len();
    }

    /// Puts a message in front, as a field of this number that `content` writes.
    pub fn field(&mut self, number: u32, content: impl FnOnce(&mut Self)) {
        let behind = self.len();
        content(self);
        self.length_since(number << 3 | 2, behind);
    }

    /// Puts the fields of a message in front.
    pub fn fields_of(&mut self, message: &impl Put) {
        message.put(self);
    }

    /// Puts a number in front, as a field of this number, even if it is 0.
    pub fn number(&mut self, number: u32, value: i32) {
        self.item_int32(number << 3, &value);
    }

    #[inline]
    fn front(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// So many bytes in front, to be written.
    #[inline]
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.start < len {
            self.grow(len);
        }
        let end = self.start;
        self.start -= len;
        &mut self.bytes[self.start..end]
    }

    /// Makes room for so many bytes, and for as many as there are.
    #[cold]
    fn grow(&mut self, more: usize) {
        let room = more + self.bytes.len().max(SMALL);
        let mut bytes = vec![0; room + self.len()];
        bytes[room..].copy_from_slice(self.bytes());
        (self.bytes, self.start) = (bytes, room);
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.front(&[value as u8]);
        }
        self.long_varint(value);
    }

    fn long_varint(&mut self, mut value: u64) {
        // Most that is long is the length of a message.
        if value < 1 << 14 {
            return self.front(&[value as u8 | 0x80, (value >> 7) as u8]);
        }
        let (mut bytes, mut len) = ([0; 10], 0);
        while value >= 0x80 {
            bytes[len] = value as u8 | 0x80;
            value >>= 7;
            len += 1;
        }
        bytes[len] = value as u8;
        self.front(&bytes[..=len]);
    }

    // Fields: a value, and its key in front of it. What is negative has all its bits.

    /// A text that is short, as most are, is written with all that is in front of it in one go.
    #[inline]
    fn item_text(&mut self, key: u32, text: &String) {
        let len = text.len();
        if len >= 0x80 || key >= 0x80 {
            return self.long_text(key, text);
        }
        if let [to_key, to_len, to_text @ ..] = self.room(2 + len) {
            *to_key = key as u8;
            *to_len = len as u8;
            to_text.copy_from_slice(text.as_bytes());
        }
    }

    #[inline(never)]
    fn long_text(&mut self, key: u32, text: &str) {
        self.front(text.as_bytes());
        self.varint(text.len() as u64);
        self.varint(u64::from(key));
    }

    fn item_message<M: Put>(&mut self, key: u32, message: &M) {
        let behind = self.len();
        message.put(self);
        self.length_since(key, behind);
    }

    fn item_number(&mut self, key: u32, value: u64) {
        self.varint(value);
        self.varint(u64::from(key));
    }

    fn item_int32(&mut self, key: u32, value: &i32) {
        self.item_number(key, Self::bits_int32(*value));
    }

    fn bits_int32(value: i32) -> u64 {
        i64::from(value) as u64
    }

    fn bits_uint32(value: u32) -> u64 {
        u64::from(value)
    }

    /// Puts the length of what was written since there were so many bytes in front of it, and a
    /// key.
    #[inline(always)]
    fn length_since(&mut self, key: u32, behind: usize) {
        let len = self.len() - behind;
        if len >= 0x80 || key >= 0x80 {
            return self.item_number(key, len as u64);
        }
        self.front(&[key as u8, len as u8]);
    }

    // Fields of messages. What is the default is left out.

    #[inline]
    fn text(&mut self, key: u32, text: &String) {
        if !text.is_empty() {
            self.item_text(key, text);
        }
    }

    fn bool(&mut self, key: u32, value: bool) {
        self.uint64(key, u64::from(value));
    }

    fn int32(&mut self, key: u32, value: i32) {
        self.uint64(key, Self::bits_int32(value));
    }

    fn uint32(&mut self, key: u32, value: u32) {
        self.uint64(key, Self::bits_uint32(value));
    }

    fn int64(&mut self, key: u32, value: i64) {
        self.uint64(key, value as u64);
    }

    #[inline]
    fn uint64(&mut self, key: u32, value: u64) {
        if value != 0 {
            self.item_number(key, value);
        }
    }

    fn message<M: Put>(&mut self, key: u32, message: &Option<M>) {
        if let Some(message) = message {
            self.item_message(key, message);
        }
    }

    #[inline]
    fn list<T>(&mut self, key: u32, list: &[T], item: impl Fn(&mut Self, u32, &T)) {
        for it in list.iter().rev() {
            item(self, key, it);
        }
    }

    /// Numbers in one run of bytes, which `bits` makes what they are on the wire.
    fn packed<T: Copy>(&mut self, key: u32, list: &[T], bits: impl Fn(T) -> u64) {
        if list.is_empty() {
            return;
        }
        let behind = self.len();
        for it in list.iter().rev() {
            self.varint(bits(*it));
        }
        self.length_since(key, behind);
    }

    #[inline]
    fn map<K: Default + PartialEq, V: Default + PartialEq>(
        &mut self,
        key: u32,
        map: &BTreeMap<K, V>,
        key_of_key: u32,
        of_key: impl Fn(&mut Self, u32, &K),
        key_of_value: u32,
        of_value: impl Fn(&mut Self, u32, &V),
    ) {
        for (entry_key, entry_value) in map.iter().rev() {
            let behind = self.len();
            if *entry_value != V::default() {
                of_value(self, key_of_value, entry_value);
            }
            if *entry_key != K::default() {
                of_key(self, key_of_key, entry_key);
            }
            self.length_since(key, behind);
        }
    }
}

include!("../generated/writing.rs");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Wire as _, api};

    /// Law: what is not written here is not there.
    #[test]
    fn defaults_are_left_out_and_messages_and_entries_are_not() {
        assert!(api::Container::default().to_wire().is_empty());
        let pod = api::PodSandbox {
            linux: Some(api::LinuxPodSandbox::default()),
            labels: [(String::new(), String::new())].into(),
            ..Default::default()
        };
        assert_eq!(pod.to_wire(), prost::Message::encode_to_vec(&pod));
    }

    #[test]
    fn what_was_written_is_forgotten_and_its_memory_is_not() {
        let mut to = Writer::with_room(0);
        to.number(1, -1);
        assert_eq!((to.len(), to.is_empty()), (11, false));
        let room = to.bytes.len();
        to.clear();
        assert!(to.is_empty());
        to.number(4, 3);
        assert_eq!(to.bytes(), [0x20, 3]);
        assert_eq!(to.bytes.len(), room);
    }

    proptest! {
        /// Law: what is written in front stays in front, however often there has to be more room.
        #[test]
        fn it_grows_as_it_has_to(room in 0_usize..40, texts in prop::collection::vec("[a-z]{0,300}", 0..20)) {
            let mut to = Writer::with_room(room);
            for text in &texts {
                to.text(10, text);
            }
            let mut read = Vec::new();
            for text in texts.iter().rev().filter(|text| !text.is_empty()) {
                prost::encoding::string::encode(1, text, &mut read);
            }
            prop_assert_eq!(to.bytes(), &read[..]);
            let mut shared = Writer::with_room(room);
            shared.front(to.bytes());
            prop_assert_eq!(&shared.into_shared(), &read);
            prop_assert_eq!(to.into_bytes(), read);
        }
    }
}
