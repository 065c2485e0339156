//! Messages as proto3 JSON: how fields of every kind are read and written. Which fields a message
//! has is generated.
//!
//! What is read: both names of a field; `null` as the default of any field; whole numbers with an
//! exponent or a fraction of zeros, and as texts; enums by name or number, numbers without a name
//! too. What is written: lowerCamel names, no defaults, 64-bit numbers as texts, enums by name if
//! they have one. Every error names the field's path. What may not enter: a single message.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

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

/// What is generated for an enum.
pub(crate) trait Enum {
    /// Its name in the `.proto`.
    const NAME: &'static str;
    /// Its values.
    const VALUES: &'static [(i32, &'static str)];
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

/// Writes a value of an enum.
pub(crate) fn write_enum<E: Enum, S: Serializer>(number: i32, to: S) -> Result<S::Ok, S::Error> {
    Number::<E>::of(number).write_to(to)
}

/// Reads a value of an enum that has a name.
pub(crate) fn read_enum<'de, E: Enum + TryFrom<i32>, D: Deserializer<'de>>(
    from: D,
) -> Result<E, D::Error> {
    let Number { number, .. } = Number::<E>::value_from(Place::Top(E::NAME), from)?;
    E::try_from(number).map_err(|_| {
        let known = Choices(E::VALUES);
        D::Error::custom(format_args!(
            "the enum {} has no {number}, only {known}",
            E::NAME
        ))
    })
}

/// Where fields are written.
pub(crate) struct Writer<'a, M>(&'a mut M);

impl<M: SerializeMap> Writer<'_, M> {
    /// Writes a field, if it is not its default.
    pub(crate) fn field<T: Value>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        match value.is_default() {
            true => Ok(()),
            false => self.0.serialize_entry(name, &Written(value)),
        }
    }

    /// The same for a field of an enum.
    pub(crate) fn number<E: Enum>(
        &mut self,
        name: &'static str,
        number: i32,
    ) -> Result<(), M::Error> {
        self.field(name, &Number::<E>::of(number))
    }

    /// The same for a list of an enum.
    pub(crate) fn numbers<E: Enum>(
        &mut self,
        name: &'static str,
        numbers: &[i32],
    ) -> Result<(), M::Error> {
        let numbers: Vec<Number<E>> = numbers.iter().copied().map(Number::of).collect();
        self.field(name, &numbers)
    }
}

/// The value of a field that has just been named.
pub(crate) struct Next<'a, A> {
    place: Place<'a>,
    map: &'a mut A,
}

impl<'de, A: MapAccess<'de>> Next<'_, A> {
    /// Reads it.
    pub(crate) fn value<T: Value>(self) -> Result<T, A::Error> {
        self.map.next_value_seed(Seed(self.place, PhantomData))
    }

    /// Reads it as one of an enum.
    pub(crate) fn number<E: Enum>(self) -> Result<i32, A::Error> {
        Ok(self.value::<Number<E>>()?.number)
    }

    /// Reads it as a list of an enum.
    pub(crate) fn numbers<E: Enum>(self) -> Result<Vec<i32>, A::Error> {
        let numbers: Vec<Number<E>> = self.value()?;
        Ok(numbers.into_iter().map(|number| number.number).collect())
    }
}

/// Where a value is, for errors.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Top(&'static str),
    Field(&'a Place<'a>, &'static str),
    Item(&'a Place<'a>, usize),
    Entry(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    /// Whether `null` may stand here. A message itself is none, and lists and maps have none in
    /// them.
    fn takes_null(&self) -> bool {
        matches!(self, Place::Field(..))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top(name) => f.write_str(name),
            Place::Field(Place::Top(_), name) => f.write_str(name),
            Place::Field(outer, name) => write!(f, "{outer}.{name}"),
            Place::Item(outer, at) => write!(f, "{outer}[{at}]"),
            Place::Entry(outer, key) => write!(f, "{outer}[{key:?}]"),
        }
    }
}

/// The values of an enum, for errors.
struct Choices(&'static [(i32, &'static str)]);

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (number, name)) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}`{name}` ({number})")?;
        }
        Ok(())
    }
}

/// A value of a field.
pub(crate) trait Value: Sized + Default {
    /// Whether a field with it is not written.
    fn is_default(&self) -> bool;
    /// Writes it.
    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
    /// Reads it.
    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error>;
}

struct Written<'a, T>(&'a T);

impl<T: Value> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write_to(to)
    }
}

struct Seed<'a, T>(Place<'a>, PhantomData<T>);

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

/// A whole number of the type, however it is written.
struct Whole<'a, T>(Place<'a>, PhantomData<T>);

/// A whole number of a field's type.
trait Integer: TryFrom<i128> + Default {
    /// The type, for errors.
    const KIND: &'static str;
}

impl<T: Integer> Visitor<'_> for Whole<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of {} for `{}`", T::KIND, self.0)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let fits = T::try_from(number.into());
        fits.map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let fits = T::try_from(number.into());
        fits.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        let fits = whole(number).and_then(|number| T::try_from(number).ok());
        fits.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let fits = decimal(text).and_then(|number| T::try_from(number).ok());
        fits.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    visit_null!();
}

/// Every whole number below has a floating-point number of its own, above they share.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// So many digits are as good in a floating-point number as they were written.
const EXACT_DIGITS: usize = 15;

/// The whole number that was written where this was read, unless it may have been another.
fn whole(number: f64) -> Option<i128> {
    if !number.is_finite() || number.fract() != 0.0 {
        return None;
    }
    // The shortest way to write it.
    let text = format!("{number:e}");
    let digits = text.split('e').next()?.bytes().filter(u8::is_ascii_digit);
    match number.abs() < EXACT || digits.count() <= EXACT_DIGITS {
        true => decimal(&text),
        false => None,
    }
}

/// Reads a JSON number that is whole: `12`, `-1.50e1`. `None` if it is none, or of more digits than
/// any integer has.
fn decimal(text: &str) -> Option<i128> {
    /// More than 64 bits need.
    const MOST_DIGITS: usize = 30;
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent),
        None => (unsigned, "0"),
    };
    let (units, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let magnitude = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if units.is_empty()
        || (units.starts_with('0') && units.len() > 1)
        || magnitude.is_empty()
        || ![units, fraction, magnitude].into_iter().all(digits_only)
    {
        return None;
    }
    let digits = [units, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let (zeros, significant) = (
        digits.len() - significant.len(),
        significant.trim_start_matches('0'),
    );
    if significant.is_empty() {
        return Some(0);
    }
    // An exponent of more digits than fit is too large or too small for anything.
    let exponent: i64 = exponent
        .strip_prefix('+')
        .unwrap_or(exponent)
        .parse()
        .ok()?;
    let shift = exponent
        .checked_add(i64::try_from(zeros).ok()?)?
        .checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let shift = usize::try_from(shift).ok()?;
    if significant.len().checked_add(shift)? > MOST_DIGITS {
        return None;
    }
    let magnitude: i128 = format!("{significant}{:0<shift$}", "").parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

macro_rules! integers {
    ($($type:ty, $kind:literal, $value:ident, $to:ident => $write:expr;)*) => {$(
        impl Integer for $type {
            const KIND: &'static str = $kind;
        }

        impl Value for $type {
            fn is_default(&self) -> bool {
                *self == 0
            }

            fn write_to<S: Serializer>(&self, $to: S) -> Result<S::Ok, S::Error> {
                let $value = *self;
                $write
            }

            fn value_from<'de, D: Deserializer<'de>>(
                place: Place<'_>,
                from: D,
            ) -> Result<Self, D::Error> {
                from.deserialize_any(Whole(place, PhantomData))
            }
        }
    )*};
}

integers! {
    i32, "32 bits", number, to => to.serialize_i32(number);
    u32, "32 bits without a sign", number, to => to.serialize_u32(number);
    i64, "64 bits", number, to => to.collect_str(&number);
    u64, "64 bits without a sign", number, to => to.collect_str(&number);
}

/// A number of an enum.
struct Number<E> {
    number: i32,
    of: PhantomData<E>,
}

impl<E> Number<E> {
    fn of(number: i32) -> Self {
        Self {
            number,
            of: PhantomData,
        }
    }
}

impl<E> Default for Number<E> {
    fn default() -> Self {
        Self::of(0)
    }
}

impl<E: Enum> Value for Number<E> {
    fn is_default(&self) -> bool {
        self.number == 0
    }

    fn write_to<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match E::VALUES.iter().find(|(number, _)| *number == self.number) {
            Some((_, name)) => to.serialize_str(name),
            None => to.serialize_i32(self.number),
        }
    }

    fn value_from<'de, D: Deserializer<'de>>(place: Place<'_>, from: D) -> Result<Self, D::Error> {
        struct NameOrNumber<'a, E>(Place<'a>, PhantomData<E>);

        impl<E: Enum> NameOrNumber<'_, E> {
            fn number<T: de::Error>(
                self,
                read: impl FnOnce(Whole<'_, i32>) -> Result<i32, T>,
            ) -> Result<Number<E>, T> {
                read(Whole(self.0, PhantomData)).map(Number::of)
            }
        }

        impl<E: Enum> Visitor<'_> for NameOrNumber<'_, E> {
            type Value = Number<E>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {} for `{}`", Choices(E::VALUES), self.0)
            }

            fn visit_str<T: de::Error>(self, name: &str) -> Result<Number<E>, T> {
                match E::VALUES.iter().find(|(_, known)| *known == name) {
                    Some((number, _)) => Ok(Number::of(*number)),
                    None => Err(T::custom(format_args!(
                        "unknown variant `{name}`, expected {self}"
                    ))),
                }
            }

            fn visit_i64<T: de::Error>(self, number: i64) -> Result<Number<E>, T> {
                self.number(|whole| whole.visit_i64(number))
            }

            fn visit_u64<T: de::Error>(self, number: u64) -> Result<Number<E>, T> {
                self.number(|whole| whole.visit_u64(number))
            }

            fn visit_f64<T: de::Error>(self, number: f64) -> Result<Number<E>, T> {
                self.number(|whole| whole.visit_f64(number))
            }

            visit_null!();
        }

        impl<E: Enum> fmt::Display for NameOrNumber<'_, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.expecting(f)
            }
        }

        from.deserialize_any(NameOrNumber(place, PhantomData))
    }
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
        match self.0 {
            Place::Top(name) => write!(f, "an object, the message {name}"),
            place => write!(f, "an object, the message {}, for `{place}`", M::NAME),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut message = M::default();
        let mut seen = 0_u64;
        while let Some(field) = map.next_key_seed(FieldName(&self.0, M::FIELDS))? {
            let name = M::FIELDS[field][0];
            let place = Place::Field(&self.0, name);
            if seen & 1 << field != 0 {
                let reason = format_args!("duplicate field `{place}`");
                return Err(A::Error::custom(reason));
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
                        let reason = format_args!("`{place}`: the key is no number of 32 bits");
                        return Err(A::Error::custom(reason));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (text, number) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e-7", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("12", Some(12)),
            ("1e3", Some(1000)),
            ("1E+3", Some(1000)),
            ("1.0", Some(1)),
            ("-1.50e1", Some(-15)),
            ("1200e-2", Some(12)),
            ("1.7e18", Some(1_700_000_000_000_000_000)),
            ("18446744073709551615.000", Some(u64::MAX.into())),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("0.001e3", Some(1)),
            ("1.5", None),
            ("1e-1", None),
            ("1e31", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("01", None),
            (".5", None),
            ("1.", None),
            ("1e", None),
            ("1e+-3", None),
            (" 1", None),
            ("1 ", None),
            ("0x10", None),
            ("NaN", None),
        ] {
            assert_eq!(decimal(text), number, "{text:?}");
        }
        assert_eq!(decimal(&"9".repeat(1 << 20)), None);
    }

    #[test]
    fn a_floating_point_number_is_whole_if_nothing_else_can_have_been_meant() {
        for (number, expected) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (1e3, Some(1000)),
            (1.7e18, Some(1_700_000_000_000_000_000)),
            (9_007_199_254_740_991.0, Some(9_007_199_254_740_991)),
            // Here 9007199254740993.0 may have been written, too.
            (9_007_199_254_740_992.0, None),
            (1.5, None),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(whole(number), expected, "{number}");
        }
    }
}
