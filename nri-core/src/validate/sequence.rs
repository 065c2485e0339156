//! Lists in the annotation about required plugins: the part of YAML that people write there, JSON
//! arrays included.
//!
//! Accepted are flow sequences (`[a, "b", 'c']`, over several lines too) and block sequences (`- a`
//! on lines of equal indentation), with comments, a document start and end, and items that are
//! scalars. Numbers and the like count as their text, null items are left out, an empty document is
//! an empty list. Everything else is an error: mappings, nested lists, block scalars, anchors and
//! tags.

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError(pub(super) String);

type Result<T> = std::result::Result<T, SyntaxError>;

fn error<T>(what: impl Into<String>) -> Result<T> {
    Err(SyntaxError(what.into()))
}

/// The items of a list.
pub(super) fn parse(text: &str) -> Result<Vec<String>> {
    let lines: Vec<&str> = content_lines(text);
    let Some(first) = lines.first() else {
        return Ok(Vec::new());
    };
    let items = match first.trim_start().chars().next() {
        Some('[') => flow(&lines.join("\n"))?,
        Some('-') if is_item(first) => block(&lines)?,
        _ if lines.len() == 1 && is_null(without_comment(first).trim()) => Vec::new(),
        _ => return error("it is not a list"),
    };
    Ok(items.into_iter().flatten().collect())
}

/// The lines that say something, without the marks of a document's start and end.
fn content_lines(text: &str) -> Vec<&str> {
    let says_something = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    };
    let mut lines: Vec<&str> = text.lines().filter(says_something).collect();
    if lines.first().is_some_and(|line| line.trim_end() == "---") {
        lines.remove(0);
    }
    if lines.last().is_some_and(|line| line.trim_end() == "...") {
        lines.pop();
    }
    lines
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a line begins with the dash of an item.
fn is_item(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix('-');
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// A plain text up to a comment.
fn without_comment(text: &str) -> &str {
    let comment = text
        .char_indices()
        .find(|&(at, c)| c == '#' && (at == 0 || text[..at].ends_with([' ', '\t'])));
    comment.map_or(text, |(at, _)| &text[..at])
}

fn block(lines: &[&str]) -> Result<Vec<Option<String>>> {
    let indentation = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let expected = indentation(lines[0]);
    lines
        .iter()
        .map(|line| {
            if !is_item(line) || indentation(line) != expected {
                return error(format!("the line {line:?} is not an item of the list"));
            }
            let item = line.trim_start()[1..].trim();
            let mut scanner = Scanner(item);
            let item = scanner.item(Place::Line)?;
            scanner.skip_blanks();
            if scanner.0.is_empty() {
                Ok(item)
            } else {
                error(format!("there is {:?} after an item", scanner.0))
            }
        })
        .collect()
}

fn flow(text: &str) -> Result<Vec<Option<String>>> {
    let mut scanner = Scanner(text.trim_start());
    let mut items = Vec::new();
    scanner.expect('[')?;
    loop {
        scanner.skip_blanks();
        if scanner.expect(']').is_ok() {
            break;
        }
        if scanner.0.starts_with(',') {
            return error("an item is missing before a comma");
        }
        items.push(scanner.item(Place::Brackets)?);
        scanner.skip_blanks();
        if scanner.expect(',').is_err() {
            scanner.expect(']')?;
            break;
        }
    }
    scanner.skip_blanks();
    if scanner.0.is_empty() {
        Ok(items)
    } else {
        error(format!("there is {:?} after the list", scanner.0))
    }
}

/// Where an item stands, which says where a plain one ends.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Line,
    Brackets,
}

/// The text that is left to read.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    /// Skips white space and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.0.trim_start();
            let comment = rest.starts_with('#');
            self.0 = rest;
            if !comment {
                return;
            }
            self.0 = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None => error(format!("there is no {wanted:?} where one is needed")),
        }
    }

    /// The next item; `None` if it is null.
    fn item(&mut self, place: Place) -> Result<Option<String>> {
        match self.0.chars().next() {
            Some('"') => self.double_quoted().map(Some),
            Some('\'') => self.single_quoted().map(Some),
            Some(c @ ('[' | '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`')) => error(
                format!("an item begins with {c:?}; only plain and quoted ones are understood"),
            ),
            _ => self.plain(place),
        }
    }

    fn plain(&mut self, place: Place) -> Result<Option<String>> {
        let text = self.0;
        let ends = |c: char| c == '\n' || (place == Place::Brackets && matches!(c, ',' | ']'));
        let end = text.find(ends).unwrap_or(text.len());
        let (item, rest) = text.split_at(end);
        self.0 = rest;
        let item = without_comment(item).trim();
        if item.contains(": ") || item.ends_with(':') {
            return error(format!("{item:?} is a mapping"));
        }
        if item == "-" || item.starts_with("- ") {
            return error("a list in the list");
        }
        if place == Place::Brackets && item.contains(['[', '{', '}']) {
            return error(format!("{item:?} has brackets; quote it"));
        }
        Ok((!is_null(item)).then(|| item.to_owned()))
    }

    fn single_quoted(&mut self) -> Result<String> {
        self.expect('\'')?;
        let mut item = String::new();
        loop {
            let Some((part, rest)) = self.0.split_once('\'') else {
                return error("a quoted item does not end");
            };
            item.push_str(part);
            // Two quotes stand for one.
            match rest.strip_prefix('\'') {
                Some(rest) => {
                    item.push('\'');
                    self.0 = rest;
                }
                None => {
                    self.0 = rest;
                    return Ok(item);
                }
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String> {
        self.expect('"')?;
        let mut item = String::new();
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    self.0 = chars.as_str();
                    return Ok(item);
                }
                '\\' => {
                    self.0 = chars.as_str();
                    item.push(self.escape()?);
                    chars = self.0.chars();
                }
                c => item.push(c),
            }
        }
        error("a quoted item does not end")
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let mut chars = self.0.chars();
        let kind = chars.next();
        self.0 = chars.as_str();
        Ok(match kind {
            Some(c @ ('"' | '\\' | '/' | ' ')) => c,
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('0') => '\0',
            Some('x') => self.code(2)?,
            Some('u') => self.unicode()?,
            Some('U') => self.code(8)?,
            _ => return error("an unknown escape in a quoted item"),
        })
    }

    fn digits(&mut self, count: usize) -> Result<u32> {
        let (digits, rest) = self.0.split_at_checked(count).unwrap_or_default();
        let hexadecimal = digits.len() == count && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match u32::from_str_radix(digits, 16) {
            Ok(number) if hexadecimal => {
                self.0 = rest;
                Ok(number)
            }
            _ => error(format!("an escape without its {count} digits")),
        }
    }

    fn code(&mut self, digits: usize) -> Result<char> {
        let number = self.digits(digits)?;
        char::from_u32(number).map_or_else(|| error("an escape that is no character"), Ok)
    }

    /// A character of four digits, or two halves of one, as JSON has it.
    fn unicode(&mut self) -> Result<char> {
        let first = self.digits(4)?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) {
            self.expect('\\')?;
            self.expect('u')?;
            units.push(self.digits(4)?);
        }
        let units = units
            .into_iter()
            .filter_map(|unit| u16::try_from(unit).ok());
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => error("an escape that is no character"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_every_form_that_people_write() {
        let ab: &[&str] = &["a", "b"];
        for (text, items) in [
            ("", &[][..]),
            ("null", &[]),
            ("~  # none", &[]),
            ("# nothing\n", &[]),
            ("[]", &[]),
            ("[ a, b ]", ab),
            ("[a,b,]", ab),
            ("[\"a\", 'b']", ab),
            ("[\n  \"a\",\n  b # the second\n]\n", ab),
            ("- a\n- b", ab),
            ("---\n- a\n- 'b'\n...\n", ab),
            ("  - a  # first\n\n  - \"b\"\n", ab),
            (
                "[1, 2.5, true, null, ~, \"null\"]",
                &["1", "2.5", "true", "null"],
            ),
            ("- \n- a\n- null\n- b", ab),
            (
                r#"["x\"y", "\u00e9\ud83d\ude00", "\x41\t", ""]"#,
                &["x\"y", "é😀", "A\t", ""],
            ),
            ("['it''s']", &["it's"]),
            ("[10-foo, a:b, c#d]", &["10-foo", "a:b", "c#d"]),
            ("- -1\n- 10-foo", &["-1", "10-foo"]),
        ] {
            assert_eq!(
                parse(text),
                Ok(items.iter().map(ToString::to_string).collect()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_list_of_scalars_is_refused() {
        for text in [
            "a",
            "\"a\"",
            "1",
            "true",
            "a: b",
            "{a: b}",
            "{}",
            "[a",
            "[a]]",
            "[a] b",
            "[,]",
            "[a,,b]",
            "[a: b]",
            "[[a]]",
            "[{}]",
            "- a: b",
            "- - a",
            "- [a]",
            "- a\nb",
            "- a\n  - b",
            "-a",
            "[\"a]",
            "['a]",
            "[\"\\q\"]",
            "[\"\\u12\"]",
            "[\"\\ud800\"]",
            "[\"\\ud800\\u0041\"]",
            "- &x a",
            "- |\n  a",
            "\"a\" \"b\"",
            "- \"a\" b",
            "[\"a\" b]",
            "[\"\\xé\"]",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
