//! The fields of a message in its bytes. Protobuf fields stand on their own, so that messages can
//! be looked into, and put together anew, without being decoded.
//!
//! What may not enter: which message it is.

use std::ops::Range;

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// A field where it is in a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// With its key.
    pub(super) whole: Range<usize>,
    /// What follows the key; of a text or a message what follows the length, too.
    pub(super) value: Range<usize>,
}

/// The fields of a message in order, up to the first that is none.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Field> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let start = bytes.len() - rest.len();
        if rest.is_empty() {
            return None;
        }
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let len = match wire_type {
            WireType::Varint => {
                let mut after = rest;
                decode_varint(&mut after).ok()?;
                rest.len() - after.len()
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let value = bytes.len() - rest.len();
        rest = rest.get(len..)?;
        let end = bytes.len() - rest.len();
        Some(Field {
            number,
            whole: start..end,
            value: value..end,
        })
    })
}

/// Where the value of a field is that occurs once.
pub(super) fn value_of(bytes: &[u8], number: u32) -> Option<Range<usize>> {
    let mut fields = fields(bytes);
    let field = fields.find(|field| field.number == number)?;
    Some(field.value)
}

/// The number in the value of a field; 0 if that is none.
pub(super) fn number_in(mut value: &[u8]) -> u64 {
    decode_varint(&mut value).unwrap_or_default()
}

/// The text in a field that occurs once; empty if there is none.
pub(super) fn text_of(bytes: &[u8], number: u32) -> &str {
    let value = value_of(bytes, number).and_then(|value| bytes.get(value));
    value.map_or("", |value| std::str::from_utf8(value).unwrap_or_default())
}

/// Appends the key and the length of a field that is a message.
pub(super) fn put_head(number: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Law: whatever the bytes are, what is found is in them, in order, and without a gap.
        #[test]
        fn any_bytes_have_fields_one_after_the_other(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut at = 0;
            for field in fields(&bytes) {
                prop_assert_eq!(field.whole.start, at);
                prop_assert!(field.value.start > at && field.value.end == field.whole.end);
                at = field.whole.end;
            }
            prop_assert!(at <= bytes.len());
        }
    }
}
