//! A tree of text as serde sees it. A scalar is what is asked for: a text if a text is wanted, else
//! what it looks like, as YAML 1.2's core schema has it. What may not enter: syntax.

use std::fmt;

use serde::Deserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// A value and the line that it begins on, from 1.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar {
        text: String,
        /// Not quoted.
        plain: bool,
    },
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// Nothing: an empty mapping, so that a configuration without a word is one with all defaults.
impl Default for Node {
    fn default() -> Self {
        Self {
            line: 1,
            kind: Kind::Mapping(Vec::new()),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    line: Option<usize>,
    /// From the inside out.
    path: Vec<Step>,
    reason: String,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    /// One whose reason says where.
    pub(super) fn plain(reason: impl Into<String>) -> Self {
        Self {
            line: None,
            path: Vec::new(),
            reason: reason.into(),
        }
    }

    fn on(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }

    fn below(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::plain(reason.to_string())
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        for (index, step) in self.path.iter().rev().enumerate() {
            match step {
                Step::Key(key) if index > 0 => write!(f, ".{key}")?,
                Step::Key(key) => f.write_str(key)?,
                Step::Index(at) => write!(f, "[{at}]")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)
    }
}

/// A tree as a type.
pub(super) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(node)
}

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Shows a visitor what a plain scalar looks like.
fn plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    let radix = |prefix, radix| u64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
    match text {
        _ if is_null(text) => return visitor.visit_unit(),
        "true" | "True" | "TRUE" => return visitor.visit_bool(true),
        "false" | "False" | "FALSE" => return visitor.visit_bool(false),
        _ => {}
    }
    let is_number = text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        visitor.visit_u64(number)
    } else if !is_number {
        visitor.visit_str(text)
    } else if let Ok(number) = text.parse() {
        visitor.visit_u64(number)
    } else if let Ok(number) = text.parse() {
        visitor.visit_i64(number)
    } else if let Ok(number) = text.parse() {
        visitor.visit_f64(number)
    } else {
        visitor.visit_str(text)
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Scalar { text, plain: true } => plain(text, visitor),
            Kind::Scalar { text, plain: false } => visitor.visit_str(text),
            Kind::List(list) => visitor.visit_seq(Items { list, next: 0 }),
            Kind::Mapping(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
        .map_err(|fault| fault.on(self.line))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Scalar { text, .. } => visitor
                .visit_str(text)
                .map_err(|fault: Fault| fault.on(self.line)),
            Kind::List(_) | Kind::Mapping(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Scalar { text, plain: true } if is_null(text) => visitor.visit_none(),
            _ => visitor.visit_some(self),
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
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let chosen = match &self.kind {
            Kind::Scalar { .. } => Choice {
                name: self,
                content: None,
            },
            Kind::Mapping(entries) => match entries.as_slice() {
                [(name, content)] => Choice {
                    name,
                    content: Some(content),
                },
                _ => return Err(Fault::plain("one name was expected").on(self.line)),
            },
            Kind::List(_) => {
                let wrong = de::Error::invalid_type(Unexpected::Seq, &"a name");
                return Err(Fault::on(wrong, self.line));
            }
        };
        visitor
            .visit_enum(chosen)
            .map_err(|fault: Fault| fault.on(self.line))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}

struct Items<'n> {
    list: &'n [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.list.get(self.next) else {
            return Ok(None);
        };
        let at = self.next;
        self.next += 1;
        let item = seed.deserialize(node).map(Some);
        item.map_err(|fault| fault.on(node.line).below(Step::Index(at)))
    }

    fn size_hint(&self) -> Option<usize> {
        self.list.len().checked_sub(self.next)
    }
}

struct Entries<'n> {
    entries: &'n [(Node, Node)],
    /// The one whose value comes next is before it.
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, _)) = self.entries.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let read = seed.deserialize(key).map(Some);
        read.map_err(|fault: Fault| fault.on(key.line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let last = self.next.checked_sub(1).and_then(|at| self.entries.get(at));
        let Some((key, value)) = last else {
            return Err(Fault::plain("a value was asked for before its key"));
        };
        // What a type makes of a value that it has read is said with the value's line, too.
        let read = seed.deserialize(value);
        read.map_err(|fault: Fault| match &key.kind {
            Kind::Scalar { text, .. } => fault.on(value.line).below(Step::Key(text.clone())),
            _ => fault.on(value.line),
        })
    }
}

/// A variant of an enum, and what it has if it has something.
struct Choice<'n> {
    name: &'n Node,
    content: Option<&'n Node>,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        Ok((seed.deserialize(self.name)?, self))
    }
}

impl Choice<'_> {
    fn content(&self) -> Result<&Node, Fault> {
        let content = self.content;
        content
            .ok_or_else(|| de::Error::invalid_type(Unexpected::UnitVariant, &"a name and a value"))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            Some(content) => de::Deserialize::deserialize(content),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content()?.deserialize_any(visitor)
    }
}
