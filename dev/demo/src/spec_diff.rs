//! The difference between two OCI specs, readable by a person.

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// The difference as lines of JSON; removed ones red, added ones green if `colour`.
///
/// Mounts are shown by destination on both sides: adjusting sorts them, which is no change that
/// anybody wants to read.
pub(super) fn render(before: &Value, after: &Value, colour: bool) -> String {
    let (before, after) = (pretty(before), pretty(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut text = String::new();
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            text.push_str("      ...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, paint) = match change.tag() {
                ChangeTag::Delete => ('-', Some(AnsiColor::Red)),
                ChangeTag::Insert => ('+', Some(AnsiColor::Green)),
                ChangeTag::Equal => (' ', None),
            };
            let line = change.value().trim_end_matches('\n');
            let style = Style::new().fg_color(paint.filter(|_| colour).map(Into::into));
            text.push_str(&format!("  {style}{sign} {line}{style:#}\n"));
        }
    }
    text
}

/// Pretty JSON with its members in a fixed order.
fn pretty(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(mounts) = value["mounts"].as_array_mut() {
        mounts.sort_by_cached_key(|mount| mount["destination"].to_string());
    }
    // `Value` keeps its members sorted, so two specs differ only where their content does.
    let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn only_what_changed_is_marked() {
        let mounts =
            |order: [&str; 2]| order.map(|destination| json!({"destination": destination}));
        let before =
            json!({"process": {"env": ["A=1"]}, "hostname": "x", "mounts": mounts(["/b", "/a"])});
        let after =
            json!({"hostname": "y", "process": {"env": ["A=1"]}, "mounts": mounts(["/a", "/b"])});
        let text = super::render(&before, &after, false);
        let marked: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("    "))
            .map(str::trim)
            .collect();
        assert_eq!(
            marked,
            ["-   \"hostname\": \"x\",", "+   \"hostname\": \"y\","],
            "{text}"
        );
    }
}
