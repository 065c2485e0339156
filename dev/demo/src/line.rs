//! Lines that a person reads: no wider than a terminal, and with ids as short as crictl shows them.

/// The widest line.
pub(super) const WIDTH: usize = 120;

/// Digits of an id that are shown, as crictl does.
const ID_DIGITS: usize = 13;

/// Digits from which a hexadecimal word is taken for an id.
const ID_MIN: usize = 32;

/// A line with ids shortened, cut off at [`WIDTH`].
pub(super) fn fitted(line: &str) -> String {
    let short = short_ids(line);
    if short.chars().count() <= WIDTH {
        return short;
    }
    let kept: String = short.chars().take(WIDTH - 3).collect();
    format!("{kept}...")
}

fn short_ids(line: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    let finish = |word: &mut String, text: &mut String| {
        let is_id = word.len() >= ID_MIN && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.push_str(if is_id { &word[..ID_DIGITS] } else { word });
        word.clear();
    };
    for character in line.chars() {
        if character.is_ascii_alphanumeric() {
            word.push(character);
        } else {
            finish(&mut word, &mut text);
            text.push(character);
        }
    }
    finish(&mut word, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_short_as_crictl_shows_them_and_other_words_stay() {
        let id = "d3a0f6a1c2b34d6f8e9f00112233445566778899aabbccddeeff001122334455";
        assert_eq!(
            fitted(&format!("pod a/b ({id})")),
            "pod a/b (d3a0f6a1c2b34)"
        );
        assert_eq!(
            fitted("deadbeef and 0123456789abcdefg"),
            "deadbeef and 0123456789abcdefg"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        assert_eq!(fitted(&"é".repeat(WIDTH)), "é".repeat(WIDTH));
        let cut = fitted(&"é".repeat(WIDTH + 1));
        assert_eq!(cut.chars().count(), WIDTH);
        assert!(cut.ends_with("é..."));
    }
}
