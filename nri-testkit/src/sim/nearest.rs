//! What someone may have meant who wrote a name that does not exist.

/// The name that looks most like `word`, if one looks enough like it to be meant.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Whoever writes a long word is not helped by a long search.
    let word: String = word.chars().take(64).collect();
    let word = plain(&word);
    names
        .into_iter()
        .map(|name| (distance(&word, &plain(name)), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| distance * 3 <= name.chars().count().max(3))
        .map(|(_, name)| name)
}

/// Without what people forget: case, and which character joins words.
fn plain(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// How many characters have to be inserted, removed or replaced.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        let names = ["run-pod", "create-container", "quit"];
        assert_eq!(nearest("run_pod", names), Some("run-pod"));
        assert_eq!(nearest("RunPod", names), Some("run-pod"));
        assert_eq!(nearest("creat-contaner", names), Some("create-container"));
        assert_eq!(nearest("exit", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names), None);
    }
}
