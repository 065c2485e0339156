//! Comparing what is expected with what is there.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::sim::nearest::nearest;

/// Something that is not as it was expected to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mismatch {
    /// Where, as a JSON pointer: `/adjustment/env/0/value`.
    pub at: String,
    /// In words: what was expected and what is there.
    pub problem: String,
}

/// For how many differences what may have been meant is looked for.
const HELPED: usize = 32;

/// Compares: members that are not mentioned do not matter, lists are compared as a whole, a number
/// equals its text, what is left out has its default value, and of `error` a part is enough.
pub(super) fn compare(expected: &Map<String, Value>, actual: &Value) -> Vec<Mismatch> {
    let mut found = Vec::new();
    members("", expected, actual, &mut found);
    found
}

/// Finds what must not be there.
pub(super) fn present(absent: &[String], actual: &Value) -> Vec<Mismatch> {
    let there = absent.iter().filter_map(|at| {
        let value = actual.pointer(at)?;
        Some(Mismatch {
            at: at.clone(),
            problem: format!("expected nothing, got {}", short(value)),
        })
    });
    there.collect()
}

fn members(at: &str, expected: &Map<String, Value>, actual: &Value, found: &mut Vec<Mismatch>) {
    for (key, expected) in expected {
        let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        match actual.get(key) {
            Some(Value::String(text)) if here == "/error" && expected.is_string() => {
                let part = expected.as_str().unwrap_or_default();
                if !text.contains(part) {
                    found.push(Mismatch {
                        at: here,
                        problem: format!("expected a text with {part:?} in it, got {text:?}"),
                    });
                }
            }
            Some(actual) => value(&here, expected, actual, found),
            None if is_default(expected) => {}
            None => {
                let keys = actual.as_object().into_iter().flat_map(Map::keys);
                // Where nothing is as expected, that would be a long search.
                let near = match found.len() < HELPED {
                    true => nearest(key, keys.map(String::as_str)),
                    false => None,
                };
                let near = near
                    .map(|near| format!("; there is {near:?}"))
                    .unwrap_or_default();
                found.push(Mismatch {
                    at: here,
                    problem: format!("expected {}, got nothing{near}", short(expected)),
                });
            }
        }
    }
}

fn value(at: &str, expected: &Value, actual: &Value, found: &mut Vec<Mismatch>) {
    let same = match (expected, actual) {
        (Value::Object(expected), Value::Object(_)) => return members(at, expected, actual, found),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (number, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                value(&format!("{at}/{number}"), expected, actual, found);
            }
            return;
        }
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => is_text_of(text, number),
        (expected, actual) => expected == actual,
    };
    if !same {
        // A number in a message of its own is often written without that.
        let within = match (expected, actual) {
            (Value::Object(_), _) => "",
            (_, Value::Object(members)) if members.keys().eq(["value"]) => {
                "; what is there is a message with `value` in it"
            }
            _ => "",
        };
        found.push(Mismatch {
            at: at.to_owned(),
            problem: format!(
                "expected {}, got {}{within}",
                short(expected),
                short(actual)
            ),
        });
    }
}

/// Whether a text is how a 64-bit number is written in proto3 JSON.
fn is_text_of(text: &str, number: &Number) -> bool {
    number.to_string() == text
}

/// Whether proto3 JSON leaves it out.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(expected: Value, actual: Value) -> Vec<String> {
        let Value::Object(expected) = expected else {
            panic!("an object")
        };
        compare(&expected, &actual)
            .into_iter()
            .map(|m| format!("{}: {}", m.at, m.problem))
            .collect()
    }

    #[test]
    fn what_is_expected_is_a_part_of_what_is_there() {
        let actual =
            json!({"ok": true, "a": {"b": "512", "c": [{"x": 1, "y": 2}]}, "error": "a long text"});
        for expected in [
            json!({}),
            json!({"ok": true}),
            json!({"a": {"b": 512}}),
            json!({"a": {"c": [{"y": 2}]}}),
            json!({"a": {"exitCode": 0, "text": "", "list": []}}),
            json!({"error": "long"}),
        ] {
            assert_eq!(problems(expected, actual.clone()), [""; 0]);
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_its_place() {
        let actual = json!({
            "a": {"exitCode": 7, "c": [1]}, "a/b": "512", "error": "no", "shares": {"value": "512"},
        });
        for (expected, says) in [
            (
                json!({"a": {"exitCode": 8}}),
                "/a/exitCode: expected 8, got 7",
            ),
            (
                json!({"a": {"exit_code": 7}}),
                "/a/exit_code: expected 7, got nothing; there is \"exitCode\"",
            ),
            (json!({"a": {"c": []}}), "/a/c: expected [], got [1]"),
            (json!({"a": {"c": [2]}}), "/a/c/0: expected 2, got 1"),
            (json!({"a/b": 513}), "/a~1b: expected 513, got \"512\""),
            (
                json!({"shares": "512"}),
                "/shares: expected \"512\", got {\"value\":\"512\"}; what is there is a message with `value` in it",
            ),
            (
                json!({"error": "yes"}),
                "/error: expected a text with \"yes\" in it, got \"no\"",
            ),
        ] {
            assert_eq!(problems(expected, actual.clone()), [says]);
        }
        let there = present(&["/a/c".to_owned(), "/b".to_owned()], &actual);
        assert_eq!(there.len(), 1);
        assert_eq!(there[0].problem, "expected nothing, got [1]");
    }
}
