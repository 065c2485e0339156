//! Messages as proto3 JSON: how fields of every kind are read and written. Which fields a message
//! has is generated.
//!
//! What is read: both names of a field; `null` as the default of any field; whole numbers with an
//! exponent or a fraction of zeros, and as texts; enums by name or number, numbers without a name
//! too. What is written: lowerCamel names, no defaults, 64-bit numbers as texts, enums by name if
//! they have one. Every error names the field's path. What may not enter: a single message.

mod collections;
mod fields;
mod message;
mod numbers;
mod place;
mod value;

pub(crate) use fields::{Next, Writer};
pub(crate) use message::{Message, Names, read, write};
pub(crate) use numbers::{Enum, read_enum, write_enum};
