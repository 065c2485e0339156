//! Reading fields as crictl's decoder and protobuf's JSON mapping do, and the macros that declare
//! messages and enums.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Error as _, Visitor};

/// The type of a field. It is read over what is there already, as Go does where a field is there
/// twice: a value takes the place of the one before, a message or a map gets what is new. `null` is
/// the default.
pub(crate) trait Field: Sized + Default {
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error>;
}

/// A field that a value is read into. An error gets the field's name.
pub(crate) struct Into<'a, T> {
    pub(crate) name: &'static str,
    pub(crate) field: &'a mut T,
}

impl<'de, T: Field> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { name, field } = self;
        let named = |error| D::Error::custom(format_args!("`{name}`: {error}"));
        field.read(deserializer).map_err(named)
    }
}

/// Whether `written` is one of a field's names. Case does not matter, as in Go's `encoding/json`.
pub(crate) fn is_named(written: &str, name: &str, other: &str) -> bool {
    written.eq_ignore_ascii_case(name) || written.eq_ignore_ascii_case(other)
}

/// For serde's attribute `skip_serializing_if`.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A field's type where serde wants something that deserialises.
struct Wrap<T>(T);

impl<'de, T: Field> Deserialize<'de> for Wrap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = T::default();
        value.read(deserializer)?;
        Ok(Self(value))
    }
}

impl<T: Field> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        struct Nullable<'a, T>(&'a mut Option<T>);

        impl<'de, T: Field> Visitor<'de> for Nullable<'_, T> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or null")
            }

            fn visit_none<E: de::Error>(self) -> Result<(), E> {
                *self.0 = None;
                Ok(())
            }

            fn visit_unit<E: de::Error>(self) -> Result<(), E> {
                self.visit_none()
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                self.0.get_or_insert_default().read(deserializer)
            }
        }

        deserializer.deserialize_option(Nullable(self))
    }
}

impl<T: Field> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        let list = Option::<Vec<Wrap<T>>>::deserialize(deserializer)?;
        *self = list
            .unwrap_or_default()
            .into_iter()
            .map(|wrap| wrap.0)
            .collect();
        Ok(())
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        match Option::<BTreeMap<String, Wrap<T>>>::deserialize(deserializer)? {
            Some(map) => self.extend(map.into_iter().map(|(key, wrap)| (key, wrap.0))),
            None => self.clear(),
        }
        Ok(())
    }
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
                *self = Option::deserialize(deserializer)?.unwrap_or_default();
                Ok(())
            }
        }
    )*};
}

plain!(String, bool);

/// A whole number, or a text that is one.
struct Number<T>(PhantomData<T>);

impl<T: TryFrom<i128> + std::str::FromStr> Visitor<'_> for Number<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of the field's range, or a text that is one")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let wide = i128::from(number);
        T::try_from(wide)
            .map(Some)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let wide = i128::from(number);
        T::try_from(wide)
            .map(Some)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse()
            .map(Some)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn read<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
                let number = deserializer.deserialize_any(Number(PhantomData))?;
                *self = number.unwrap_or_default();
                Ok(())
            }
        }
    )*};
}

numbers!(i64, u64, i32, u32);

/// Declares a message: every field with its number on the wire and the other spelling of its name;
/// and the name to write where it is not the field's.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident = $number:literal $(as $written:literal)? / $other:literal: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                $(#[serde(rename = $written)])?
                #[serde(skip_serializing_if = "crate::cri::field::is_default")]
                pub $field: $type,
            )*
            /// Fields that are not listed above, as they were read from JSON.
            #[serde(flatten)]
            pub rest: serde_json::Map<String, serde_json::Value>,
            /// Fields that are not listed above, as they were read from the wire.
            #[serde(skip)]
            pub wire_rest: Vec<u8>,
        }

        impl $name {
            /// Reads the bytes of the message, as any generator of protobuf code writes them.
            ///
            /// # Errors
            /// Bytes that are no such message.
            pub fn decode(bytes: &[u8]) -> Result<Self, crate::cri::InvalidConfig> {
                let mut message = Self::default();
                let what = stringify!($name);
                crate::cri::wire::merge(&mut message, bytes)
                    .map_err(|reason| crate::cri::InvalidConfig::Wire { what, reason })?;
                Ok(message)
            }

            /// The bytes of the message, for any generator's reader. Fields that
            /// [`decode`](Self::decode) did not know are there again.
            pub fn encode(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                crate::cri::wire::Message::write_fields(self, &mut bytes);
                bytes
            }
        }

        impl crate::cri::wire::Message for $name {
            fn merge_field(
                &mut self,
                field: &crate::cri::wire::RawField<'_>,
            ) -> Result<(), String> {
                match field.number {
                    $($number => crate::cri::wire::WireField::merge(&mut self.$field, field.value)
                        .map_err(|reason| format!("`{}`: {reason}", stringify!($field))),)*
                    _ => {
                        self.wire_rest.extend_from_slice(field.whole);
                        Ok(())
                    }
                }
            }

            fn write_fields(&self, out: &mut Vec<u8>) {
                $(crate::cri::wire::WireField::write(&self.$field, $number, out);)*
                out.extend_from_slice(&self.wire_rest);
            }
        }

        impl crate::cri::field::Field for $name {
            fn read<'de, D: serde::Deserializer<'de>>(
                &mut self,
                deserializer: D,
            ) -> Result<(), D::Error> {
                struct Fields<'a>(&'a mut $name);

                impl<'de> serde::de::Visitor<'de> for Fields<'_> {
                    type Value = ();

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("struct ", stringify!($name)))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<(), A::Error> {
                        while let Some(written) = map.next_key::<String>()? {
                            $(if crate::cri::field::is_named(&written, stringify!($field), $other) {
                                map.next_value_seed(crate::cri::field::Into {
                                    name: stringify!($field),
                                    field: &mut self.0.$field,
                                })?;
                                continue;
                            })*
                            let value = map.next_value()?;
                            self.0.rest.insert(written, value);
                        }
                        Ok(())
                    }
                }

                deserializer.deserialize_map(Fields(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut message = Self::default();
                crate::cri::field::Field::read(&mut message, deserializer)?;
                Ok(message)
            }
        }
    };
}

/// Declares an enum: read by name or number, written by name. Numbers that it does not list are
/// kept.
macro_rules! enumeration {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $number:literal $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// A number of a newer CRI.
            Other(i32),
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from_number(0)
            }
        }

        impl $name {
            fn from_number(number: i32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    number => Self::Other(number),
                }
            }

            fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl crate::cri::wire::WireField for $name {
            fn merge(&mut self, value: crate::cri::wire::Raw<'_>) -> Result<(), String> {
                let mut number = 0;
                crate::cri::wire::Value::read(&mut number, value)?;
                *self = Self::from_number(number);
                Ok(())
            }

            fn write(&self, field: u32, out: &mut Vec<u8>) {
                let number: i32 = self.number();
                crate::cri::wire::WireField::write(&number, field, out);
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant => serializer.serialize_str($text),)*
                    Self::Other(number) => serializer.serialize_i32(*number),
                }
            }
        }

        impl crate::cri::field::Field for $name {
            fn read<'de, D: serde::Deserializer<'de>>(
                &mut self,
                deserializer: D,
            ) -> Result<(), D::Error> {
                let number = crate::cri::field::name_or_number(
                    deserializer,
                    &[$(($number, $text)),*],
                    |name| Self::from_name(name),
                    Self::from_number,
                )?;
                *self = number.unwrap_or_default();
                Ok(())
            }
        }
    };
}

pub(crate) use {enumeration, message};

/// Reads an enum by name or number.
pub(crate) fn name_or_number<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    names: &[(i32, &'static str)],
    by_name: fn(&str) -> Option<T>,
    by_number: fn(i32) -> T,
) -> Result<Option<T>, D::Error> {
    struct Enum<'a, T> {
        names: &'a [(i32, &'static str)],
        by_name: fn(&str) -> Option<T>,
        by_number: fn(i32) -> T,
    }

    impl<T> Visitor<'_> for Enum<'_, T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one of")?;
            for (number, name) in self.names {
                write!(f, " {name} ({number})")?;
            }
            Ok(())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            match i32::try_from(number) {
                Ok(number) => Ok(Some((self.by_number)(number))),
                Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
            }
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            match i32::try_from(number) {
                Ok(number) => Ok(Some((self.by_number)(number))),
                Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
            }
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
            match (self.by_name)(name) {
                Some(value) => Ok(Some(value)),
                None => Err(E::invalid_value(de::Unexpected::Str(name), &self)),
            }
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    deserializer.deserialize_any(Enum {
        names,
        by_name,
        by_number,
    })
}
