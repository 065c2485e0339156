//! Lists and maps.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::numbers::decimal;
use super::place::Place;
use super::value::{Seed, Value, Written, visit_null};

impl<T: Value> Value for Vec<T> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.len()))?;
        for item in self {
            list.serialize_element(&Written(item))?;
        }
        list.end()
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct List<'a, T>(Place<'a>, PhantomData<T>);

        impl<'de, T: Value> Visitor<'de> for List<'_, T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list for `{}`", self.0)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                loop {
                    let place = Place::Item(&self.0, list.len());
                    match seq.next_element_seed(Seed(place, PhantomData))? {
                        Some(item) => list.push(item),
                        None => return Ok(list),
                    }
                }
            }

            visit_null!();
        }

        from.deserialize_any(List(place, PhantomData))
    }
}

/// A key of a map: a text in JSON.
pub(crate) trait Key: Ord + Sized + fmt::Display {
    /// Reads it.
    fn key_from(text: &str) -> Option<Self>;
}

impl Key for String {
    fn key_from(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Key for i32 {
    fn key_from(text: &str) -> Option<Self> {
        decimal(text)?.try_into().ok()
    }
}

impl<K: Key, T: Value> Value for BTreeMap<K, T> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(&format_args!("{key}"), &Written(value))?;
        }
        map.end()
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct Entries<'a, K, T>(Place<'a>, PhantomData<(K, T)>);

        impl<'de, K: Key, T: Value> Visitor<'de> for Entries<'_, K, T> {
            type Value = BTreeMap<K, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object for `{}`, whose names are its keys", self.0)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(text) = map.next_key::<String>()? {
                    let place = Place::Entry(&self.0, &text);
                    let Some(key) = K::key_from(&text) else {
                        return Err(A::Error::custom(format_args!(
                            "`{place}`: the key is no number of 32 bits"
                        )));
                    };
                    let value = map.next_value_seed(Seed(place, PhantomData))?;
                    if entries.insert(key, value).is_some() {
                        return Err(A::Error::custom(format_args!("duplicate key `{place}`")));
                    }
                }
                Ok(entries)
            }

            visit_null!();
        }

        from.deserialize_any(Entries(place, PhantomData))
    }
}
