//! The fields of a message in its bytes. Protobuf fields stand on their own, so that messages can
//! be looked into, and put together anew, without being decoded.
//!
//! What may not enter: which message it is.

use std::ops::Range;

use prost::encoding::{
    WireType, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
};

/// A field where it is in a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// With its key.
    pub(super) whole: Range<usize>,
    /// What follows the key; of a text or a message what follows the length, too.
    pub(super) value: Range<usize>,
}

/// The number at `at`, which is behind it then. A message has twice as many of them as it has
/// fields, nearly all in one byte.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    match *bytes.get(*at)? {
        only @ 0..=0x7f => {
            *at += 1;
            Some(u64::from(only))
        }
        first => long_varint(first, bytes, at),
    }
}

/// The same of several bytes.
fn long_varint(first: u8, bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = u64::from(first & 0x7f);
    for place in 1..10 {
        let byte = *bytes.get(*at + place)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *at += place + 1;
            // Of the tenth byte one bit is left.
            return (place < 9 || byte <= 1).then_some(number);
        }
    }
    None
}

/// The fields of a message in order, up to the first that is none.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Field> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut at = start;
        let key = u32::try_from(varint(bytes, &mut at)?).ok()?;
        let mut value = at;
        let end = match key & 7 {
            0 => {
                varint(bytes, &mut at)?;
                at
            }
            1 => at + 8,
            2 => {
                let len = usize::try_from(varint(bytes, &mut at)?).ok()?;
                value = at;
                at.checked_add(len)?
            }
            5 => at + 4,
            _ => return None,
        };
        let number = key >> 3;
        if number == 0 || end > bytes.len() {
            return None;
        }
        let whole = start..end;
        start = end;
        Some(Field {
            number,
            whole,
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

/// Appends an entry of a map from texts to texts, which is a field of this number.
pub(super) fn put_entry(number: u32, key: &str, value: &str, out: &mut Vec<u8>) {
    let texts = || {
        [(1, key), (2, value)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
    };
    let lens = texts().map(|(field, text)| {
        let text = text.len();
        key_len(field) + encoded_len_varint(text as u64) + text
    });
    put_head(number, lens.sum(), out);
    for (field, text) in texts() {
        put_head(field, text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends the key and the length of a field that is a message or a text.
pub(super) fn put_head(number: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{DecodeContext, decode_key, skip_field};

    use super::*;

    /// The same by the library's rules, field by field.
    fn by_the_library(bytes: &[u8]) -> Vec<(u32, usize)> {
        let (mut rest, mut found) = (bytes, Vec::new());
        while !rest.is_empty() {
            let Ok((number, wire_type)) = decode_key(&mut rest) else {
                break;
            };
            if matches!(wire_type, WireType::StartGroup | WireType::EndGroup) {
                break;
            }
            let context = DecodeContext::default();
            if skip_field(wire_type, number, &mut rest, context).is_err() {
                break;
            }
            found.push((number, bytes.len() - rest.len()));
        }
        found
    }

    proptest! {
        /// Law: fields are where the library that decodes messages finds them.
        #[test]
        fn fields_are_where_they_are_decoded(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found: Vec<_> = fields(&bytes).map(|field| (field.number, field.whole.end)).collect();
            prop_assert_eq!(found, by_the_library(&bytes));
        }

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
