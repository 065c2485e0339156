//! A message: an object with known fields.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, Serializer};

use super::fields::{Next, Writer};
use super::place::Place;
use super::value::{Value, visit_null};

/// The names of a field: in JSON, and in the `.proto`. Both are understood, the first is written.
pub(crate) type Names = [&'static str; 2];

/// What is generated for a message.
pub(crate) trait Message: Default {
    /// Its name in the `.proto`.
    const NAME: &'static str;
    /// Its fields, 64 at most.
    const FIELDS: &'static [Names];

    /// Writes every field.
    fn write<M: SerializeMap>(&self, to: &mut Writer<'_, M>) -> Result<(), M::Error>;

    /// Reads the field of this number.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        field: usize,
        next: Next<'_, A>,
    ) -> Result<(), A::Error>;
}

/// Writes a message.
pub(crate) fn write<M: Message, S: Serializer>(message: &M, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    message.write(&mut Writer(&mut map))?;
    map.end()
}

/// Reads a message.
pub(crate) fn read<'de, M: Message, D: Deserializer<'de>>(from: D) -> Result<M, D::Error> {
    M::value_from(Place::Top(M::NAME), from)
}

impl<M: Message> Value for M {
    /// One that is there is written.
    fn is_default(&self) -> bool {
        false
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        write(self, to)
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Object::<M, M>(place, |message| message, PhantomData))
    }
}

/// A message whose absence is not its default.
impl<M: Message> Value for Option<M> {
    fn is_default(&self) -> bool {
        self.is_none()
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(message) => write(message, to),
            None => to.serialize_none(),
        }
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Object::<M, Option<M>>(place, Some, PhantomData))
    }
}

/// An object that is a message, as a message or as one that may be absent.
struct Object<'a, M, T>(Place<'a>, fn(M) -> T, PhantomData<M>);

impl<'de, M: Message, T: Default> Visitor<'de> for Object<'_, M, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A number in a message of its own is often written without that.
        let with = match M::FIELDS {
            [[value, _]] => format!(" with `{value}` in it"),
            _ => String::new(),
        };
        match self.0 {
            Place::Top(name) => write!(f, "an object{with}, the message {name}"),
            place => write!(f, "an object{with}, the message {}, for `{place}`", M::NAME),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = M::default();
        let mut seen = 0_u64;
        while let Some(field) = map.next_key_seed(FieldName(&self.0, M::FIELDS))? {
            let name = M::FIELDS[field][0];
            let place = Place::Field(&self.0, name);
            if seen & 1 << field != 0 {
                return Err(A::Error::custom(format_args!("duplicate field `{place}`")));
            }
            seen |= 1 << field;
            let next = Next {
                place,
                map: &mut map,
            };
            message.read(field, next)?;
        }
        Ok(self.1(message))
    }

    visit_null!();
}

/// The number of the field that is named.
struct FieldName<'a>(&'a Place<'a>, &'static [Names]);

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<usize, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<usize, E> {
        let Self(place, fields) = self;
        let found = fields.iter().position(|names| names.contains(&name));
        found.ok_or_else(|| {
            let known: Vec<String> = fields
                .iter()
                .map(|names| format!("`{}`", names[0]))
                .collect();
            E::custom(match known.len() {
                0 => format!("unknown field `{name}` in `{place}`, which has none"),
                _ => format!(
                    "unknown field `{name}` in `{place}`, expected one of {}",
                    known.join(", ")
                ),
            })
        })
    }
}
