//! Differences of two messages as JSON. What may not enter: which of them matter.

use serde::Serialize;
use serde_json::Value;

/// How many differences of two messages are told.
const TOLD: usize = 32;
/// How much of a value is told, in characters.
const SHOWN: usize = 200;

/// A place at which two messages differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The place, as a JSON pointer: `/adjust/env/0/value`; empty is the whole.
    pub at: String,
    /// What is recorded; `nothing` if it is not there.
    pub recorded: String,
    /// What there is now.
    pub now: String,
}

/// The differences, at most 32 of them.
pub(super) fn differences(recorded: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(recorded), Some(now), &mut found);
    found
}

fn compare(at: &str, recorded: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    if recorded == now || found.len() >= TOLD {
        return;
    }
    match (recorded, now) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(&place, before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                let place = format!("{at}/{index}");
                compare(&place, before.get(index), after.get(index), found);
            }
        }
        (recorded, now) => found.push(Difference {
            at: at.to_owned(),
            recorded: short(recorded),
            now: short(now),
        }),
    }
}

fn short(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_has_its_place_and_equal_messages_have_none() {
        let before = json!({"env": [{"key": "A", "value": "1"}], "a/b": 1, "gone": true});
        assert_eq!(differences(&before, &before), []);
        let after =
            json!({"env": [{"key": "A", "value": "2"}, {"key": "B"}], "a/b": 1, "new": null});
        let places: Vec<String> = differences(&before, &after)
            .into_iter()
            .map(|it| format!("{}: {} -> {}", it.at, it.recorded, it.now))
            .collect();
        assert_eq!(
            places,
            [
                "/env/0/value: \"1\" -> \"2\"",
                "/env/1: nothing -> {\"key\":\"B\"}",
                "/gone: true -> nothing",
                "/new: nothing -> null",
            ]
        );
        let (many, none): (Vec<_>, Vec<_>) = ((0..1000).collect(), Vec::<i32>::new());
        assert_eq!(differences(&json!(many), &json!(none)).len(), TOLD);
    }
}
