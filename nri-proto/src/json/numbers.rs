//! Numbers, however they are written, and the names that some of them have.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Error as _, Unexpected, Visitor};
use serde::ser::Serializer;

use super::place::Place;
use super::value::{Value, visit_null};

/// What is generated for an enum.
pub(crate) trait Enum {
    /// Its name in the `.proto`.
    const NAME: &'static str;
    /// Its values.
    const VALUES: &'static [(i32, &'static str)];
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
pub(super) fn decimal(text: &str) -> Option<i128> {
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
pub(super) struct Number<E> {
    pub(super) number: i32,
    of: PhantomData<E>,
}

impl<E> Number<E> {
    pub(super) fn of(number: i32) -> Self {
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
