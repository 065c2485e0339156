//! Durations as Go writes them (`5s`, `1m30s`, `1.5h`), the form that NRI configurations use
//! everywhere.
//!
//! Pure: text in, [`Duration`] out, and back. Serde helpers for configuration fields are at the
//! end.

use std::time::Duration;

/// Units from the largest to the smallest, with their length in nanoseconds. The micro sign comes
/// in two code points.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// The most that a Go duration can say: 2^63 - 1 nanoseconds, about 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Why a text is no duration that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDuration {
    /// The text is not of the form.
    #[error(
        "invalid duration {0:?}: write numbers with units, such as \"5s\", \"1m30s\" or \"500ms\""
    )]
    Form(String),
    /// A number has no unit.
    #[error("invalid duration {0:?}: a number needs a unit (ns, us, ms, s, m, h)")]
    NoUnit(String),
    /// The duration is negative.
    #[error("invalid duration {0:?}: it must not be negative")]
    Negative(String),
    /// The duration is longer than 64 bits of nanoseconds can say.
    #[error("invalid duration {0:?}: it is longer than 2562047h47m16s")]
    TooLong(String),
}

/// Reads a duration: an optional sign, then numbers with units, fractions allowed; `0` needs no
/// unit.
///
/// ```
/// use std::time::Duration;
/// use nri_adaptation::duration;
/// assert_eq!(duration::parse("1m30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(duration::parse("1.5h"), Ok(Duration::from_secs(5400)));
/// assert!(duration::parse("5").is_err());
/// assert!(duration::parse("-1s").is_err());
/// ```
///
/// # Errors
/// What is wrong with the text; a negative duration is an error too.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let form = || InvalidDuration::Form(text.to_owned());
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if body == "0" {
        return Ok(Duration::ZERO);
    }
    if body.is_empty() {
        return Err(form());
    }
    let mut nanos: u128 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(form());
        }
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(InvalidDuration::NoUnit(text.to_owned()));
        }
        let (_, scale) = *UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(form)?;
        nanos = scaled(whole, fraction, scale)
            .and_then(|part| nanos.checked_add(part))
            .filter(|sum| *sum <= MAX_NANOS)
            .ok_or_else(|| InvalidDuration::TooLong(text.to_owned()))?;
        rest = next;
    }
    if negative && nanos > 0 {
        return Err(InvalidDuration::Negative(text.to_owned()));
    }
    Ok(nanoseconds(nanos))
}

/// `whole.fraction` times `scale`, what is below a nanosecond cut off; `None` when it cannot be a
/// duration any more.
fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u128> {
    let mut nanos: u128 = 0;
    for digit in whole.bytes() {
        nanos = nanos * 10 + u128::from(digit - b'0');
        if nanos > MAX_NANOS {
            return None;
        }
    }
    nanos = nanos.checked_mul(u128::from(scale))?;
    // More digits than these are below a nanosecond in every unit.
    let (mut numerator, mut denominator) = (0u128, 1u128);
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    nanos.checked_add(numerator * u128::from(scale) / denominator)
}

/// A duration of so many nanoseconds, or the longest there is.
pub(crate) fn nanoseconds(nanos: u128) -> Duration {
    let (secs, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    match (u64::try_from(secs), u32::try_from(rest)) {
        (Ok(secs), Ok(rest)) => Duration::new(secs, rest),
        _ => Duration::MAX,
    }
}

/// Writes a duration as Go prints it: `0s`, `1.5µs`, `500ms`, `1m30s`, `2h0m0s`.
///
/// ```
/// use std::time::Duration;
/// use nri_adaptation::duration;
/// assert_eq!(duration::format(Duration::from_millis(1500)), "1.5s");
/// assert_eq!(duration::format(Duration::from_secs(3600)), "1h0m0s");
/// ```
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let below_a_second = [("ns", 1u128), ("µs", 1_000), ("ms", 1_000_000)];
    match nanos {
        0 => "0s".to_owned(),
        1..1_000_000_000 => {
            let (unit, scale) = match nanos {
                1..1_000 => below_a_second[0],
                1_000..1_000_000 => below_a_second[1],
                _ => below_a_second[2],
            };
            format!("{}{unit}", decimal(nanos, scale))
        }
        _ => {
            let (hours, minutes) = (nanos / HOUR, nanos % HOUR / MINUTE);
            let seconds = decimal(nanos % MINUTE, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

const MINUTE: u128 = 60_000_000_000;
const HOUR: u128 = 60 * MINUTE;

/// `nanos / scale` without trailing zeros after the point.
fn decimal(nanos: u128, scale: u128) -> String {
    let (whole, rest) = (nanos / scale, nanos % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = scale.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// A duration as a configuration value.
pub(crate) mod text {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as a text, such as \"5s\", \"1m30s\" or \"500ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                super::parse(text).map_err(E::custom)
            }
        }

        from.deserialize_str(Text)
    }
}

/// A duration as a configuration value that may be absent.
pub(crate) mod optional_text {
    use std::time::Duration;

    use serde::Serializer;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::text::serialize(value, to),
            None => to.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Result<u128, InvalidDuration> {
        parse(text).map(|duration| duration.as_nanos())
    }

    #[test]
    fn what_go_accepts_is_accepted() {
        for (text, expected) in [
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("100us", 100_000),
            ("100\u{b5}s", 100_000),
            ("100\u{3bc}s", 100_000),
            ("7ns", 7),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("30s1m", 90_000_000_000),
            ("0.000000001s", 1),
            ("0.0000000009s", 0),
            ("9223372036854775807ns", i64::MAX as u128),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "", "s", "-", "+", ".s", "1.2.3s", "1 s", "5x", "1d", "five", "1s ", "--1s",
        ] {
            assert_eq!(
                nanos(text),
                Err(InvalidDuration::Form(text.into())),
                "{text:?}"
            );
        }
        for text in ["5", "1s5", "1.5"] {
            assert_eq!(
                nanos(text),
                Err(InvalidDuration::NoUnit(text.into())),
                "{text:?}"
            );
        }
        assert_eq!(nanos("-1s"), Err(InvalidDuration::Negative("-1s".into())));
        for text in [
            "9223372036854775808ns",
            "2562048h",
            "99999999999999999999999999999999999999999h",
        ] {
            assert_eq!(
                nanos(text),
                Err(InvalidDuration::TooLong(text.into())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "1ns"),
            (Duration::from_nanos(1500), "1.5µs"),
            (Duration::from_millis(500), "500ms"),
            (Duration::from_micros(1001), "1.001ms"),
            (Duration::from_secs(5), "5s"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_secs(7200), "2h0m0s"),
            (Duration::from_millis(3_723_500), "1h2m3.5s"),
        ] {
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Ok(duration));
        }
    }
}
