//! A value of a field: texts, truths, and what all others have in common.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::place::Place;

/// A value of a field.
pub(crate) trait Value: Sized + Default {
    /// Whether a field with it is not written.
    fn is_default(&self) -> bool;
    /// Writes it.
    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
    /// Reads it.
    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error>;
}

pub(super) struct Written<'a, T>(pub(super) &'a T);

impl<T: Value> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write_to(to)
    }
}

pub(super) struct Seed<'a, T>(pub(super) Place<'a>, pub(super) PhantomData<T>);

impl<'de, T: Value> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::value_from(self.0, from)
    }
}

/// `null` where it may stand.
macro_rules! visit_null {
    () => {
        fn visit_unit<X: de::Error>(self) -> Result<Self::Value, X> {
            match self.0.takes_null() {
                true => Ok(Self::Value::default()),
                false => Err(X::invalid_type(Unexpected::Other("null"), &self)),
            }
        }
    };
}
pub(super) use visit_null;

impl Value for String {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct Text<'a>(Place<'a>);

        impl Visitor<'_> for Text<'_> {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text for `{}`", self.0)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<String, E> {
                Ok(text)
            }

            visit_null!();
        }

        from.deserialize_any(Text(place))
    }
}

impl Value for bool {
    fn is_default(&self) -> bool {
        !self
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(*self)
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct Truth<'a>(Place<'a>);

        impl Visitor<'_> for Truth<'_> {
            type Value = bool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "true or false for `{}`", self.0)
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<bool, E> {
                Ok(truth)
            }

            visit_null!();
        }

        from.deserialize_any(Truth(place))
    }
}
