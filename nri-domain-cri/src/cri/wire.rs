//! CRI messages as bytes of protobuf. What may not enter: any message; the numbers of the fields
//! stand where the messages are declared.
//!
//! Written here rather than generated, so that a message has one table for JSON and for the wire,
//! and a runtime may have its types from any version of any generator.

use std::collections::BTreeMap;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// What is wrong with the bytes of a message.
type Wrong = String;

/// A value as it stands on the wire.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// What no field of CRI is.
    Fixed,
}

/// A field as it stands on the wire.
pub(crate) struct RawField<'a> {
    pub(crate) number: u32,
    pub(crate) value: Raw<'a>,
    /// All of it, number included.
    pub(crate) whole: &'a [u8],
}

/// The next field of a message; `None` at its end.
pub(crate) fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<RawField<'a>>, Wrong> {
    let start = *bytes;
    if start.is_empty() {
        return Ok(None);
    }
    let key = varint(bytes)?;
    let number = u32::try_from(key >> 3).unwrap_or_default();
    if number == 0 {
        return Err("there is no field of such a number".to_owned());
    }
    let value = match (key & 7) as u8 {
        VARINT => Raw::Varint(varint(bytes)?),
        BYTES => {
            let length = usize::try_from(varint(bytes)?).unwrap_or(usize::MAX);
            Raw::Bytes(take(bytes, length)?)
        }
        FIXED64 => take(bytes, 8).map(|_| Raw::Fixed)?,
        FIXED32 => take(bytes, 4).map(|_| Raw::Fixed)?,
        other => return Err(format!("field {number} has the unknown wire type {other}")),
    };
    let whole = &start[..start.len() - bytes.len()];
    Ok(Some(RawField {
        number,
        value,
        whole,
    }))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Wrong> {
    let Some((taken, rest)) = bytes.split_at_checked(length) else {
        return Err("it ends in the middle of a field".to_owned());
    };
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Wrong> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".to_owned())
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// One value: a number, a text, a message.
pub(crate) trait Value: Default {
    /// Its wire type. A list of numbers is packed.
    const TYPE: u8;

    /// Reads it over what is there: a message is completed, anything else replaced.
    fn read(&mut self, value: Raw<'_>) -> Result<(), Wrong>;

    /// Writes it as its wire type says.
    fn put(&self, out: &mut Vec<u8>);
}

fn put_key(number: u32, wire_type: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire_type), out);
}

fn put_field<T: Value>(number: u32, value: &T, out: &mut Vec<u8>) {
    put_key(number, T::TYPE, out);
    value.put(out);
}

/// A field of a message.
pub(crate) trait WireField {
    /// Reads a value over what is there.
    fn merge(&mut self, value: Raw<'_>) -> Result<(), Wrong>;

    /// Writes the field, if it says anything.
    fn write(&self, number: u32, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($type:ty: $from:expr, $to:expr;)*) => {$(
        impl Value for $type {
            const TYPE: u8 = VARINT;

            fn read(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
                let Raw::Varint(number) = value else {
                    return Err("it is no number".to_owned());
                };
                *self = $from(number);
                Ok(())
            }

            fn put(&self, out: &mut Vec<u8>) {
                put_varint($to(*self), out);
            }
        }
    )*};
}

numbers! {
    bool: |number| number != 0, u64::from;
    i64: |number| number as i64, |value| value as u64;
    u64: |number| number, |value| value;
    // Cut off and extended as protobuf says.
    i32: |number| number as i32, |value| i64::from(value) as u64;
    u32: |number| number as u32, u64::from;
}

impl Value for String {
    const TYPE: u8 = BYTES;

    fn read(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
        let text = bytes(value)?.to_vec();
        *self = String::from_utf8(text).map_err(|_| "it is no UTF-8".to_owned())?;
        Ok(())
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
}

fn bytes(value: Raw<'_>) -> Result<&[u8], Wrong> {
    match value {
        Raw::Bytes(bytes) => Ok(bytes),
        Raw::Varint(_) | Raw::Fixed => Err("it is a number".to_owned()),
    }
}

/// A message: what `message!` says of its fields.
pub(crate) trait Message: Default {
    fn merge_field(&mut self, field: &RawField<'_>) -> Result<(), Wrong>;
    fn write_fields(&self, out: &mut Vec<u8>);
}

/// Reads the bytes of a message over what is there.
pub(crate) fn merge<M: Message>(message: &mut M, mut bytes: &[u8]) -> Result<(), Wrong> {
    while let Some(field) = next_field(&mut bytes)? {
        message.merge_field(&field)?;
    }
    Ok(())
}

impl<M: Message> Value for M {
    const TYPE: u8 = BYTES;

    fn read(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
        merge(self, bytes(value)?)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let mut inner = Vec::new();
        self.write_fields(&mut inner);
        put_bytes(&inner, out);
    }
}

/// The fields that are a value themselves; the default is not written.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl WireField for $type {
            fn merge(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
                self.read(value)
            }

            fn write(&self, number: u32, out: &mut Vec<u8>) {
                if *self != Self::default() {
                    put_field(number, self, out);
                }
            }
        }
    )*};
}

plain!(String, bool, i64, u64, i32, u32);

impl<T: Value> WireField for Option<T> {
    fn merge(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
        self.get_or_insert_default().read(value)
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        if let Some(value) = self {
            put_field(number, value, out);
        }
    }
}

impl<T: Value> WireField for Vec<T> {
    fn merge(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
        let mut push = |value| {
            let mut element = T::default();
            element.read(value)?;
            self.push(element);
            Ok(())
        };
        match value {
            Raw::Bytes(mut packed) if T::TYPE == VARINT => {
                while !packed.is_empty() {
                    push(Raw::Varint(varint(&mut packed)?))?;
                }
                Ok(())
            }
            value => push(value),
        }
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        if T::TYPE != VARINT {
            return self
                .iter()
                .for_each(|element| put_field(number, element, out));
        }
        if !self.is_empty() {
            let mut packed = Vec::new();
            self.iter().for_each(|element| element.put(&mut packed));
            put_key(number, BYTES, out);
            put_bytes(&packed, out);
        }
    }
}

impl<T: Value> WireField for BTreeMap<String, T> {
    fn merge(&mut self, value: Raw<'_>) -> Result<(), Wrong> {
        let mut entry = bytes(value)?;
        let (mut key, mut value) = (String::new(), T::default());
        while let Some(field) = next_field(&mut entry)? {
            match field.number {
                1 => key.read(field.value)?,
                2 => value.read(field.value)?,
                _ => {}
            }
        }
        self.insert(key, value);
        Ok(())
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        for (key, value) in self {
            let mut entry = Vec::new();
            put_field(1, key, &mut entry);
            put_field(2, value, &mut entry);
            put_key(number, BYTES, out);
            put_bytes(&entry, out);
        }
    }
}
