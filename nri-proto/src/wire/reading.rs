//! Reading messages from bytes that lie in one piece.
//!
//! What is read here is what peers send: fields of the kinds that the proto file says, and fields
//! that are not known yet, which are skipped. All else (groups, numbers of a list that are not
//! packed, and whatever is wrong) is refused.
//!
//! Which field a key is is generated from the proto file. What may not enter: what messages mean.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str;

use prost::encoding::decode_varint;

/// A message whose fields are known here.
pub trait Fill {
    /// Takes the fields of the bytes that are left. Messages that are there already are added to.
    fn fill(&mut self, from: &mut Reader<'_>) -> Result<(), Refused>;
}

/// These bytes are not read here.
#[derive(Debug)]
pub struct Refused;

/// The bytes of one message that are left, among those of all that it is in.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message ends.
    end: usize,
    /// What is known to be text, and where it begins. Bytes between texts are mostly text, too: so
    /// most texts are looked at together.
    text: &'a str,
    text_at: usize,
}

impl<'a> Reader<'a> {
    /// All of a message.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
            text: "",
            text_at: 0,
        }
    }

    /// The key of the next field; `None` behind the last one.
    #[inline]
    fn key(&mut self) -> Result<Option<u32>, Refused> {
        if self.at == self.end {
            return Ok(None);
        }
        let key = u32::try_from(self.uint64()?).map_err(|_| Refused)?;
        Ok(Some(key))
    }

    #[inline(always)]
    fn uint64(&mut self) -> Result<u64, Refused> {
        match self.bytes.get(self.at) {
            Some(&only) if only < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(only))
            }
            _ => self.long_uint64(),
        }
    }

    #[inline(never)]
    fn long_uint64(&mut self) -> Result<u64, Refused> {
        let mut rest = self.bytes.get(self.at..self.end).ok_or(Refused)?;
        // Most that is long is the length of a message.
        if let [low @ 0x80..=0xff, high @ 0..=0x7f, ..] = *rest {
            self.at += 2;
            return Ok(u64::from(low & 0x7f) | u64::from(high) << 7);
        }
        let value = decode_varint(&mut rest).map_err(|_| Refused)?;
        self.at = self.end - rest.len();
        Ok(value)
    }

    // Numbers of fewer bits are the low ones of what is sent.

    fn int64(&mut self) -> Result<i64, Refused> {
        Ok(self.uint64()? as i64)
    }

    fn uint32(&mut self) -> Result<u32, Refused> {
        Ok(self.uint64()? as u32)
    }

    fn int32(&mut self) -> Result<i32, Refused> {
        Ok(self.uint64()? as i32)
    }

    fn bool(&mut self) -> Result<bool, Refused> {
        Ok(self.uint64()? != 0)
    }

    /// Goes over so many bytes.
    #[inline]
    fn over(&mut self, len: usize) -> Result<Range<usize>, Refused> {
        if len > self.end - self.at {
            return Err(Refused);
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    #[inline]
    fn delimited(&mut self) -> Result<Range<usize>, Refused> {
        let len = usize::try_from(self.uint64()?).map_err(|_| Refused)?;
        self.over(len)
    }

    /// Reads what is in a run of bytes, to its end.
    #[inline]
    fn within<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let inside = self.delimited()?;
        let end = self.end;
        (self.at, self.end) = (inside.start, inside.end);
        let read = read(self)?;
        (self.at, self.end) = (inside.end, end);
        Ok(read)
    }

    fn text(&mut self) -> Result<String, Refused> {
        let Range { start, end } = self.delimited()?;
        let known = self.text.get(start - self.text_at..end - self.text_at);
        match known {
            Some(text) => Ok(text.to_owned()),
            None => self.look(start..end).map(str::to_owned),
        }
    }

    /// The text in these bytes. Those behind it are looked at as well, up to the first that is not
    /// ASCII. No byte is looked at for a second text: one in which there is such a byte is looked
    /// at by itself.
    #[inline(never)]
    fn look(&mut self, text: Range<usize>) -> Result<&'a str, Refused> {
        let ahead = &self.bytes[text.start..];
        let looked = ascii_len(ahead).max(text.len());
        self.text = str::from_utf8(&ahead[..looked]).map_err(|_| Refused)?;
        self.text_at = text.start;
        self.text.get(..text.len()).ok_or(Refused)
    }

    fn message<M: Fill + Default>(&mut self) -> Result<M, Refused> {
        let mut message = M::default();
        self.within(|from| message.fill(from))?;
        Ok(message)
    }

    fn fill<M: Fill + Default>(&mut self, message: &mut Option<M>) -> Result<(), Refused> {
        let message = message.get_or_insert_default();
        self.within(|from| message.fill(from))
    }

    /// Adds what is in this field of a list, and what is in those of its key that follow: a list is
    /// sent in one go. They are counted first, so that there is room for all of them at once.
    fn run<T>(
        &mut self,
        key: u32,
        list: &mut Vec<T>,
        item: impl Fn(&mut Self) -> Result<T, Refused>,
    ) -> Result<(), Refused> {
        let count = self.count(key);
        match list.is_empty() {
            true => *list = Vec::with_capacity(count),
            false => list.reserve(count),
        }
        list.push(item(self)?);
        for _ in 1..count {
            self.key()?;
            list.push(item(self)?);
        }
        Ok(())
    }

    /// How many fields of a key there are from here on, one after the other, of whose first the key
    /// has been read. What is wrong with them is found when they are read.
    fn count(&mut self, key: u32) -> usize {
        let begun = self.at;
        let mut count = 0;
        while self.delimited().is_ok() {
            count += 1;
            match self.key() {
                Ok(Some(next)) if next == key => {}
                _ => break,
            }
        }
        self.at = begun;
        count
    }

    /// Adds numbers that are in one run of bytes.
    fn packed<T>(
        &mut self,
        list: &mut Vec<T>,
        number: impl Fn(&mut Self) -> Result<T, Refused>,
    ) -> Result<(), Refused> {
        self.within(|run| {
            while run.at < run.end {
                list.push(number(run)?);
            }
            Ok(())
        })
    }

    /// An entry of a map. Key and value are there at most once; either may be left out.
    fn entry<K: Default, V: Default>(
        &mut self,
        key_of_key: u32,
        key: impl Fn(&mut Self) -> Result<K, Refused>,
        key_of_value: u32,
        value: impl Fn(&mut Self) -> Result<V, Refused>,
    ) -> Result<(K, V), Refused> {
        self.within(|from| {
            let (mut of_key, mut of_value) = (None, None);
            while let Some(next) = from.key()? {
                if next == key_of_key && of_key.is_none() {
                    of_key = Some(key(from)?);
                } else if next == key_of_value && of_value.is_none() {
                    of_value = Some(value(from)?);
                } else {
                    from.skip(next, &[1, 2])?;
                }
            }
            Ok((of_key.unwrap_or_default(), of_value.unwrap_or_default()))
        })
    }

    /// Goes over a field that has none of the numbers that are known.
    #[cold]
    fn skip(&mut self, key: u32, known: &[u32]) -> Result<(), Refused> {
        let number = key >> 3;
        if number == 0 || known.contains(&number) {
            return Err(Refused);
        }
        match key & 7 {
            0 => self.uint64().map(drop),
            1 => self.over(8).map(drop),
            2 => self.delimited().map(drop),
            5 => self.over(4).map(drop),
            _ => Err(Refused),
        }
    }
}

/// How many bytes there are before the first that is not ASCII.
fn ascii_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((run, more)) = rest.split_first_chunk::<32>() {
        if run.iter().fold(0, |all, byte| all | byte) >= 0x80 {
            break;
        }
        rest = more;
    }
    while let Some((run, more)) = rest.split_first_chunk() {
        let high = u64::from_le_bytes(*run) & u64::from_ne_bytes([0x80; 8]);
        if high != 0 {
            return bytes.len() - rest.len() + high.trailing_zeros() as usize / 8;
        }
        rest = more;
    }
    let first = rest.iter().position(|byte| !byte.is_ascii());
    bytes.len() - rest.len() + first.unwrap_or(rest.len())
}

/// Puts entries into a map; of those of one key the last one counts. A map that is made of all at
/// once need not be searched for each.
fn put_all<K: Ord, V>(map: &mut BTreeMap<K, V>, entries: Vec<(K, V)>) {
    if map.is_empty() {
        *map = entries.into_iter().collect();
    } else {
        map.extend(entries);
    }
}

include!("../generated/reading.rs");

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use prost::encoding::{WireType, encode_key, encode_varint};

    use super::*;
    use crate::Wire;
    use crate::api;
    use crate::items::{Shape, Shaped};

    fn creation() -> Vec<u8> {
        let text = include_str!("../../../nri-core/testdata/realistic-create-request.b64");
        STANDARD
            .decode(text.split_whitespace().collect::<String>())
            .unwrap()
    }

    /// Law: there is one opinion on what bytes are, and one on which bytes a message is.
    fn is_as_prost_says<M: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let read = M::from_wire(bytes);
        assert_eq!(read, M::decode(bytes));
        if let Ok(message) = read {
            assert_eq!(message.to_wire(), message.encode_to_vec());
        }
    }

    fn reads_itself<M: Fill + Default>(bytes: &[u8]) -> bool {
        M::default().fill(&mut Reader::new(bytes)).is_ok()
    }

    #[test]
    fn what_a_runtime_sends_is_read_without_prost() {
        let bytes = creation();
        assert!(reads_itself::<api::CreateContainerRequest>(&bytes));
        is_as_prost_says::<api::CreateContainerRequest>(&bytes);
    }

    /// Law: a field that is newer than this code costs nothing but itself.
    #[test]
    fn fields_that_are_not_known_are_skipped_here() {
        let mut bytes = creation();
        for (wire, value) in [
            (WireType::Varint, &[0xff, 1][..]),
            (WireType::SixtyFourBit, &[1; 8]),
            (WireType::LengthDelimited, &[3, b'n', b'e', b'w']),
            (WireType::ThirtyTwoBit, &[1; 4]),
        ] {
            encode_key(1000, wire, &mut bytes);
            bytes.extend_from_slice(value);
        }
        assert!(reads_itself::<api::CreateContainerRequest>(&bytes));
        is_as_prost_says::<api::CreateContainerRequest>(&bytes);
    }

    #[test]
    fn numbers_may_come_one_by_one_and_in_a_run() {
        let bytes = [0x18, 1, 0x1a, 2, 2, 3, 0x18, 4];
        is_as_prost_says::<api::User>(&bytes);
        assert_eq!(
            api::User::from_wire(&bytes).unwrap().additional_gids,
            [1, 2, 3, 4]
        );
    }

    /// Law: what is text is asked of each text by itself, whatever is around it. Here the first
    /// ends with half a letter, to which the length of the second is the other half.
    #[test]
    fn a_letter_is_in_one_text() {
        let half = [
            [0x0a, 1, 0xc3].to_vec(),
            [0x12, 0xa9, 1].to_vec(),
            vec![b'x'; 169],
        ]
        .concat();
        is_as_prost_says::<api::PodSandbox>(&half);
        for (id, name) in [("é", "x"), ("é", ""), ("x", "é€"), ("", "é")] {
            let mut bytes = vec![0x0a, id.len() as u8];
            bytes.extend(id.as_bytes());
            bytes.extend([0x12, name.len() as u8]);
            bytes.extend(name.as_bytes());
            is_as_prost_says::<api::PodSandbox>(&bytes);
            for at in 0..bytes.len() {
                for new in [0x7f, 0x80, 0xa9, 0xc3, 0xe2, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] = new;
                    is_as_prost_says::<api::PodSandbox>(&damaged);
                }
            }
        }
    }

    #[test]
    fn ascii_ends_with_the_first_byte_that_is_not() {
        for len in 0..50 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(ascii_len(&bytes), len);
            for at in (0..len).rev() {
                bytes[at] = 0x80;
                assert_eq!(ascii_len(&bytes), at);
            }
        }
    }

    #[test]
    fn of_the_entries_of_a_key_the_last_one_counts() {
        let entry = |key: &str, value: &str| {
            let mut bytes = vec![
                0x32,
                4 + (key.len() + value.len()) as u8,
                10,
                key.len() as u8,
            ];
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend([0x12, value.len() as u8]);
            bytes.extend_from_slice(value.as_bytes());
            bytes
        };
        let bytes = [entry("b", "1"), entry("a", "2"), entry("b", "3")].concat();
        is_as_prost_says::<api::PodSandbox>(&bytes);
        let pod = api::PodSandbox::from_wire(&bytes).unwrap();
        assert_eq!(pod.annotations["b"], "3");
    }

    /// Anything that could be a message of a shape: fields that it has and others, of every kind,
    /// in any order, again and again.
    fn soup(shape: &'static Shape, depth: u32) -> BoxedStrategy<Vec<u8>> {
        let of_shape: Vec<_> = shape
            .fields
            .iter()
            .filter_map(|field| Some((field.number, field.message?)))
            .collect();
        let leaf = (1_u32..30, value()).prop_map(|(number, (wire, value))| {
            let mut bytes = Vec::new();
            encode_key(number, wire, &mut bytes);
            bytes.extend(value);
            bytes
        });
        let field = match of_shape.is_empty() || depth == 0 {
            true => leaf.boxed(),
            false => {
                let inner = prop::sample::select(of_shape).prop_flat_map(move |(number, shape)| {
                    soup(shape, depth - 1).prop_map(move |inner| {
                        let mut bytes = Vec::new();
                        encode_key(number, WireType::LengthDelimited, &mut bytes);
                        encode_varint(inner.len() as u64, &mut bytes);
                        bytes.extend(inner);
                        bytes
                    })
                });
                prop_oneof![leaf, inner].boxed()
            }
        };
        let fields = prop::collection::vec(field, 0..6);
        fields.prop_map(|fields| fields.concat()).boxed()
    }

    fn value() -> impl Strategy<Value = (WireType, Vec<u8>)> {
        let varint = any::<u64>().prop_map(|number| {
            let mut bytes = Vec::new();
            encode_varint(number, &mut bytes);
            (WireType::Varint, bytes)
        });
        let small = (0_u8..3).prop_map(|number| (WireType::Varint, vec![number]));
        let text = "[a-c/é]{0,3}".prop_map(|text| {
            let mut bytes = vec![text.len() as u8];
            bytes.extend(text.into_bytes());
            (WireType::LengthDelimited, bytes)
        });
        let bytes = prop::collection::vec(any::<u8>(), 0..4).prop_map(|mut bytes| {
            bytes.insert(0, bytes.len() as u8);
            (WireType::LengthDelimited, bytes)
        });
        let fixed = any::<[u8; 4]>().prop_map(|it| (WireType::ThirtyTwoBit, it.to_vec()));
        let wide = any::<[u8; 8]>().prop_map(|it| (WireType::SixtyFourBit, it.to_vec()));
        let group = Just((WireType::StartGroup, Vec::new()));
        prop_oneof![4 => small, 2 => varint, 8 => text, 1 => bytes, 1 => fixed, 1 => wide, 1 => group]
    }

    macro_rules! soups {
        ($($test:ident $message:ident)*) => {
            proptest! {
                $(#[test]
                fn $test(bytes in soup(api::$message::SHAPE, 4)) {
                    is_as_prost_says::<api::$message>(&bytes);
                })*
            }
        };
    }

    soups! {
        any_creation_is_as_prost_says CreateContainerRequest
        any_answer_is_as_prost_says CreateContainerResponse
        any_synchronisation_is_as_prost_says SynchronizeRequest
        any_validation_is_as_prost_says ValidateContainerAdjustmentRequest
        any_owners_are_as_prost_says OwningPlugins
        any_update_is_as_prost_says UpdateContainersRequest
        any_change_of_a_pod_is_as_prost_says UpdatePodSandboxRequest
        any_configuration_is_as_prost_says ConfigureRequest
    }

    proptest! {
        #[test]
        fn a_creation_that_was_damaged_is_as_prost_says(
            at in any::<Index>(),
            new in any::<u8>(),
            end in any::<Index>(),
            cut in any::<bool>(),
        ) {
            let mut bytes = creation();
            let place = at.index(bytes.len());
            bytes[place] = new;
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            is_as_prost_says::<api::CreateContainerRequest>(&bytes);
        }
    }
}
