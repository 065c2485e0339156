//! YAML as what it says in JSON: files of administrators, values of annotations. What may not
//! enter: any message.
//!
//! Plain words mean what YAML 1.2's core schema says (`yes` is a text). References to anchors are
//! refused, so that a short text stays short; so are merge keys, other tags than the core schema's
//! and a second document.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// As deep as JSON is read.
const MOST_DEPTH: usize = 128;

/// What a key means that a mapping has twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twice {
    /// Its last value, as to crictl.
    Last,
    /// A mistake, as to the readers of files that an administrator keeps: one of the two would be
    /// swallowed.
    Refused,
}

/// A list or a mapping that is not complete.
enum Open {
    List(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// A text that is no YAML, or not of what it should be of; where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidYaml(String);

/// Reads a value from YAML, of which JSON is a part. A key that a mapping has twice is an error.
///
/// ```
/// use nri_domain_cri::yaml;
///
/// let devices: Vec<String> = yaml::from_str("- /dev/kvm\n- /dev/fuse\n")?;
/// assert_eq!(devices, ["/dev/kvm", "/dev/fuse"]);
/// assert!(yaml::from_str::<Vec<String>>("{a: 1, a: 2}").unwrap_err().to_string().contains("twice"));
/// # Ok::<(), yaml::InvalidYaml>(())
/// ```
///
/// # Errors
/// The text is no YAML, or has what this crate does not read; it is of another type.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, InvalidYaml> {
    let value = value(text, Twice::Refused).map_err(InvalidYaml)?;
    serde_json::from_value(value).map_err(|error| InvalidYaml(error.to_string()))
}

/// The one document of a text.
pub(crate) fn value(text: &str, twice: Twice) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        let at = format_args!(
            "line {}, column {}",
            span.start.line(),
            span.start.col() + 1
        )
        .to_string();
        let failed = |reason: &str| Err(format!("{at}: {reason}"));
        let complete = match event {
            Event::Scalar(text, style, _, tag) => {
                if let Some(Open::Mapping(members, key @ None)) = open.last_mut() {
                    if style == ScalarStyle::Plain && text == "<<" {
                        return failed("merge keys (<<) are not read: write out what is meant");
                    }
                    let text = text.into_owned();
                    if twice != Twice::Last && members.contains_key(&text) {
                        return failed(&format!("the key {text:?} is there twice"));
                    }
                    *key = Some(text);
                    continue;
                }
                match scalar(&text, style, tag.as_deref()) {
                    Ok(value) => value,
                    Err(reason) => return failed(&reason),
                }
            }
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag)
                if tag.as_ref().is_some_and(|tag| !is_core(tag)) =>
            {
                return failed("tags are not read: leave it out");
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MOST_DEPTH => {
                return failed("it is nested too deeply");
            }
            Event::SequenceStart(..) | Event::MappingStart(..)
                if matches!(open.last(), Some(Open::Mapping(_, None))) =>
            {
                return failed("a key must be a text");
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Mapping(mapping, _)) => Value::Object(mapping),
                None => continue,
            },
            Event::Alias(_) => {
                return failed("references to anchors (*) are not read: write out what is meant");
            }
            Event::DocumentStart(_) if document.is_some() => {
                return failed("there is a second document: give each a file of its own");
            }
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(list)) => list.push(complete),
            Some(Open::Mapping(mapping, key)) => {
                mapping.insert(key.take().unwrap_or_default(), complete);
            }
            None => document = Some(complete),
        }
    }
    Ok(document.unwrap_or_default())
}

fn is_core(tag: &Tag) -> bool {
    tag.handle == "tag:yaml.org,2002:"
}

/// What a scalar is: a text if it is quoted, else whatever it looks like.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if is_core(tag) && tag.suffix == "str" => return Ok(text.into()),
        Some(tag) if !is_core(tag) => return Err("tags are not read: leave it out".to_owned()),
        Some(_) => {}
        None if style != ScalarStyle::Plain => return Ok(text.into()),
        None => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!(
            "{text} is decimal in YAML 1.2 and octal in YAML 1.1, which crictl reads: write it without the zero or with 0x, or \
             in quotes if it is a text"
        ));
    }
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix)?;
        u64::from_str_radix(digits, radix).ok().map(Value::from)
    };
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => radix("0x", 16)
            .or_else(|| radix("0o", 8))
            .or_else(|| number(text))
            .unwrap_or_else(|| text.into()),
    })
}

/// A number in decimal digits.
fn number(text: &str) -> Option<Value> {
    let looks_like = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    if !text.chars().all(looks_like) || !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let signed = text.parse::<i64>().ok().map(Value::from);
    let unsigned = || text.parse::<u64>().ok().map(Value::from);
    let floating = || serde_json::Number::from_f64(text.parse().ok()?).map(Value::Number);
    signed.or_else(unsigned).or_else(floating)
}
