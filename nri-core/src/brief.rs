//! What others say, as far as a message bears it: texts are quoted and cut off, and of many things
//! the first ones are named.
//!
//! An id, a key or a reason comes from a plugin and can have megabytes; an error or a line of a log
//! is for people.

use std::fmt;

/// From how many bytes on a text is cut off.
const LONGEST: usize = 256;
/// How many things are named.
const MOST: usize = 8;

/// A text in quotes, cut off if it is long.
pub(crate) fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// See [`quoted`].
pub(crate) struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        if text.len() <= LONGEST {
            return write!(f, "{text:?}");
        }
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        write!(f, "{:?}… ({} bytes)", &text[..end], text.len())
    }
}

/// Things one after the other; of many the first ones, and how many more there are.
pub(crate) fn listed<T: fmt::Display>(things: &[T], separator: &str) -> String {
    let mut texts: Vec<String> = things.iter().take(MOST).map(T::to_string).collect();
    if things.len() > MOST {
        texts.push(format!("and {} more", things.len() - MOST));
    }
    texts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_as_they_are_and_long_ones_are_cut_off() {
        assert_eq!(quoted("c\n1").to_string(), r#""c\n1""#);
        let long = "ä".repeat(1 << 20);
        let text = quoted(&long).to_string();
        assert!(
            text.len() < 300 && text.ends_with("… (2097152 bytes)"),
            "{text}"
        );
        let odd = format!("x{long}");
        assert!(quoted(&odd).to_string().len() < 300);
    }

    #[test]
    fn of_many_things_the_first_are_named() {
        assert_eq!(listed(&[1, 2], "; "), "1; 2");
        let many: Vec<usize> = (0..1000).collect();
        assert_eq!(listed(&many, ", "), "0, 1, 2, 3, 4, 5, 6, 7, and 992 more");
    }
}
