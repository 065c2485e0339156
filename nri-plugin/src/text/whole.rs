//! One value that is a text of its own, as an annotation is. What may not enter: syntax.

use serde::Deserializer;
use serde::de::{IntoDeserializer as _, Visitor};
use serde::forward_to_deserialize_any;

use super::value::{Fault, Kind, Node, is_null};
use super::yaml;

/// A text of its own: as it is for who wants a text, else as YAML.
pub(super) struct Whole<'t>(pub(super) &'t str);

impl Whole<'_> {
    fn node(&self) -> Result<Node, Fault> {
        match self.0.trim().is_empty() {
            true => Ok(Node {
                line: 1,
                kind: Kind::Scalar {
                    text: String::new(),
                    plain: true,
                },
            }),
            false => yaml::read(self.0),
        }
    }
}

impl<'de> Deserializer<'de> for Whole<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.node()?.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.0)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match is_null(self.0.trim()) {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if variants.contains(&self.0) {
            return visitor.visit_enum(self.0.into_deserializer());
        }
        self.node()?.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char identifier bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct ignored_any
    }
}
