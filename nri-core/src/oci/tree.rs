//! Walking a tree of JSON values. Nothing here fails: what is not there or of another type is
//! absent, and what is written to is created on the way.

use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

/// The member at the end of `path`; `None` if there is none, or if it is `null`.
pub(crate) fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, name| value.as_object()?.get(*name))
        .filter(|value| !value.is_null())
}

/// The elements of the list at the end of `path`; none if it is no list.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    get(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of the list at the end of `path`; elements that are no strings are left out.
pub(crate) fn strings(value: &Value, path: &[&str]) -> Vec<String> {
    list(value, path)
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// The string at the end of `path`; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    get(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// A copy of [`text`].
pub(crate) fn string(value: &Value, path: &[&str]) -> String {
    text(value, path).to_owned()
}

/// The string members of the object at the end of `path`.
pub(crate) fn string_map(
    value: &Value,
    path: &[&str],
) -> std::collections::BTreeMap<String, String> {
    get(value, path)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The number at the end of `path`.
pub(crate) fn int(value: &Value, path: &[&str]) -> Option<i64> {
    get(value, path)?.as_i64()
}

/// The number at the end of `path`, if it is not negative.
pub(crate) fn uint(value: &Value, path: &[&str]) -> Option<u64> {
    get(value, path)?.as_u64()
}

/// The number at the end of `path`, if it fits.
pub(crate) fn uint32(value: &Value, path: &[&str]) -> Option<u32> {
    u32::try_from(uint(value, path)?).ok()
}

/// The truth value at the end of `path`.
pub(crate) fn boolean(value: &Value, path: &[&str]) -> Option<bool> {
    get(value, path)?.as_bool()
}

/// `value` as an object; anything else is replaced by an empty one.
pub(crate) fn as_object(value: &mut Value) -> &mut Object {
    if !value.is_object() {
        *value = Value::Object(Object::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object just now"),
    }
}

/// `value` as a list; anything else is replaced by an empty one.
fn as_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list just now"),
    }
}

fn member<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(value, |value, name| {
        as_object(value).entry(*name).or_insert(Value::Null)
    })
}

/// The object at the end of `path`, created if it is not there.
pub(crate) fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Object {
    as_object(member(value, path))
}

/// The list at the end of `path`, created if it is not there.
pub(crate) fn list_mut<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    as_list(member(value, path))
}

/// The object at the end of `path`, if it is there.
pub(crate) fn existing_object_mut<'a>(
    value: &'a mut Value,
    path: &[&str],
) -> Option<&'a mut Object> {
    path.iter()
        .try_fold(value, |value, name| value.as_object_mut()?.get_mut(*name))?
        .as_object_mut()
}

/// The list at the end of `path`, if it is there.
pub(crate) fn existing_list_mut<'a>(
    value: &'a mut Value,
    path: &[&str],
) -> Option<&'a mut Vec<Value>> {
    path.iter()
        .try_fold(value, |value, name| value.as_object_mut()?.get_mut(*name))?
        .as_array_mut()
}

/// Sets the member `name` of the object at `path`.
pub(crate) fn set(value: &mut Value, path: &[&str], name: &str, member: impl Into<Value>) {
    object_mut(value, path).insert(name.to_owned(), member.into());
}

/// Deletes the member `name` of the object at `path`, if both are there.
pub(crate) fn remove(value: &mut Value, path: &[&str], name: &str) {
    if let Some(object) = existing_object_mut(value, path) {
        object.remove(name);
    }
}

/// Inserts a member if it has a value.
pub(crate) fn insert_some<T: Into<Value>>(object: &mut Object, name: &str, value: Option<T>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

/// Inserts a text if it is not empty.
pub(crate) fn insert_text(object: &mut Object, name: &str, text: &str) {
    insert_some(object, name, (!text.is_empty()).then_some(text));
}

/// Inserts a list of texts if it is not empty.
pub(crate) fn insert_texts(object: &mut Object, name: &str, texts: &[String]) {
    insert_some(object, name, (!texts.is_empty()).then(|| texts.to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parents_are_created_and_wrong_types_replaced_only_when_written_to() {
        let mut value = json!({"a": null, "b": 3});
        assert_eq!(get(&value, &["a", "x"]), None);
        assert_eq!(get(&value, &["a"]), None);
        remove(&mut value, &["c", "d"], "e");
        assert_eq!(value, json!({"a": null, "b": 3}));
        set(&mut value, &["a", "x"], "y", 1);
        list_mut(&mut value, &["b"]).push(json!("z"));
        assert_eq!(value, json!({"a": {"x": {"y": 1}}, "b": ["z"]}));
    }
}
