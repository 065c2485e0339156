//! Differences in words.

use std::fmt::Debug;

/// Says how `ours` differs from what was recorded; nothing if it does not.
pub(super) fn difference<T: Debug + PartialEq>(
    what: &str,
    recorded: &T,
    ours: &T,
) -> Option<String> {
    (recorded != ours).then(|| {
        let (recorded, ours) = (format!("{recorded:#?}"), format!("{ours:#?}"));
        format!("{what}:\n{}", lines(&recorded, &ours))
    })
}

/// The lines that only one side has, each with the line before it where the sides agree, so that
/// one sees where it is.
fn lines(recorded: &str, ours: &str) -> String {
    let recorded: Vec<&str> = recorded.lines().collect();
    let ours: Vec<&str> = ours.lines().collect();
    let same = recorded
        .iter()
        .zip(&ours)
        .take_while(|(a, b)| a == b)
        .count();
    let rest = recorded.len().min(ours.len()) - same;
    let same_at_the_end = recorded
        .iter()
        .rev()
        .zip(ours.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let context = same.saturating_sub(3);
    let mut text: Vec<String> = Vec::new();
    text.extend(
        recorded[context..same]
            .iter()
            .map(|line| format!("  {line}")),
    );
    let only = |side: &[&str], sign: char| -> Vec<String> {
        side[same..side.len() - same_at_the_end]
            .iter()
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    text.extend(only(&recorded, '-'));
    text.extend(only(&ours, '+'));
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_differ_are_shown() {
        let text = difference("list", &vec![1, 2, 3, 4, 5, 6], &vec![1, 2, 3, 9, 5, 6]).unwrap();
        assert_eq!(
            text,
            "list:\n      1,\n      2,\n      3,\n-     4,\n+     9,"
        );
        assert_eq!(difference("list", &1, &1), None);
        assert!(difference("one side", &vec![1], &vec![]).is_some());
    }
}
