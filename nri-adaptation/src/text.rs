//! Text that comes from plugins, made fit for a log: one line, no control characters, not too long.

use std::path::Path;

/// The most characters of a foreign text that are repeated.
const LIMIT: usize = 1024;

/// A foreign text as one printable line.
pub(crate) fn sanitized(text: &str) -> String {
    if text.len() <= LIMIT && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len().min(LIMIT));
    for (count, c) in text.chars().enumerate() {
        if count == LIMIT {
            line.push('…');
            break;
        }
        match c {
            '\t' => line.push(' '),
            // Direction marks and the like can make a line look like another one.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                line.extend(c.escape_default());
            }
            c => line.push(c),
        }
    }
    line
}

/// A path as one printable line: names of files are bytes that anybody may have chosen.
pub(crate) fn printable_path(path: &Path) -> String {
    sanitized(&path.to_string_lossy())
}

/// A text of several lines as one: what was on lines of their own is put one after the other.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    sanitized(&lines.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_becomes_one_short_printable_line() {
        assert_eq!(sanitized("hello, wörld\tx"), "hello, wörld x");
        assert_eq!(sanitized("a\nb\r\x1b[31m"), "a\\nb\\r\\u{1b}[31m");
        assert_eq!(
            one_line("line 2\n  |\n2 | x = \\d\r\n\n  | ^\x1b\n"),
            "line 2 | 2 | x = \\d | ^\\u{1b}"
        );
        assert_eq!(sanitized("\u{202e}abc"), "\\u{202e}abc");
        assert_eq!(sanitized(&"x".repeat(5000)).chars().count(), LIMIT + 1);
    }
}
