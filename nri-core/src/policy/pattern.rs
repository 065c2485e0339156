//! Patterns: texts with wildcards. Matching never goes back, so that it costs at most the text's
//! length times the pattern's.

use std::fmt;
use std::str::FromStr;

use super::error::InvalidPattern;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_LENGTH: usize = 255;

/// How many words hold a state for each byte of a pattern, and one for its end.
const WORDS: usize = (MAX_PATTERN_LENGTH + 1) / 64;

/// A text with wildcards, compared with regard to case.
///
/// | written | matches |
/// |---|---|
/// | `*` | any text; in a [path](Pattern::path) no `/` |
/// | `**` | any text |
/// | `/**` in a path | nothing, or `/` and any text: `/run/**` is `/run` and all below it |
/// | `*` or `**` alone | everything |
/// | `\` and one of `*` `?` `[` `]` `{` `}` `\` | that character |
///
/// `?`, `[` and `{` alone are refused, since they would look like wildcards that they are not. A
/// pattern has at most [`MAX_PATTERN_LENGTH`] bytes.
///
/// ```
/// use nri_core::policy::Pattern;
///
/// let tree = Pattern::path("/var/run/**")?;
/// assert!(tree.matches("/var/run") && tree.matches("/var/run/a/b") && !tree.matches("/var/running"));
/// assert!(!Pattern::path("/dev/nvidia*")?.matches("/dev/nvidia/0"));
/// assert!("net.*".parse::<Pattern>()?.matches("net.ipv4.ip_forward"));
/// assert!("[a-z]".parse::<Pattern>().is_err());
/// # Ok::<(), nri_core::policy::InvalidPattern>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    steps: Vec<Step>,
}

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// This byte.
    Byte(u8),
    /// Any bytes but slashes.
    Component,
    /// Any bytes.
    Any,
    /// A slash, after which any bytes follow; or nothing, and these do not follow either. The next
    /// step is [`Step::Any`].
    Below,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        Self::parse(text, false)
    }
}

/// The pattern as it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl Pattern {
    /// A pattern for texts with components between slashes: paths, annotations, CDI devices. Other
    /// patterns, where a slash is a character like others, are made by [`FromStr`].
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn path(text: &str) -> Result<Self, InvalidPattern> {
        Self::parse(text, true)
    }

    /// A pattern that matches one text only.
    ///
    /// # Errors
    /// The text is empty, or too long.
    pub fn literal(text: &str) -> Result<Self, InvalidPattern> {
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        escaped.parse()
    }

    fn parse(text: &str, has_components: bool) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > MAX_PATTERN_LENGTH {
            return Err(InvalidPattern::TooLong(text.len()));
        }
        let mut steps = Vec::with_capacity(text.len());
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let step = match byte {
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\')) => {
                        Step::Byte(escaped)
                    }
                    _ => return Err(InvalidPattern::Escape),
                },
                b'?' | b'[' | b'{' => return Err(InvalidPattern::Wildcard(char::from(byte))),
                b'*' => {
                    let mut stars = 1;
                    while bytes.next_if_eq(&b'*').is_some() {
                        stars += 1;
                    }
                    let alone = stars == text.len();
                    match (stars, steps.last()) {
                        _ if alone => Step::Any,
                        (1, _) if has_components => Step::Component,
                        (2.., Some(Step::Byte(b'/'))) if has_components => {
                            steps.pop();
                            steps.push(Step::Below);
                            Step::Any
                        }
                        _ => Step::Any,
                    }
                }
                byte => Step::Byte(byte),
            };
            steps.push(step);
        }
        let text = text.to_owned();
        Ok(Self { text, steps })
    }

    /// Whether it matches the whole of a text.
    pub fn matches(&self, text: &str) -> bool {
        let literal = |step: &Step| match step {
            Step::Byte(byte) => Some(*byte),
            _ => None,
        };
        // Most texts differ at the end or at the beginning, which is seen at once.
        let end = self.steps.iter().rev().map_while(literal);
        if text
            .bytes()
            .rev()
            .zip(end)
            .any(|(byte, expected)| byte != expected)
        {
            return false;
        }
        let beginning = self.steps.iter().map_while(literal);
        let mut length = 0;
        for (byte, expected) in text.bytes().zip(beginning) {
            if byte != expected {
                return false;
            }
            length += 1;
        }
        let mut reached = Reached::default();
        reached.add(length, &self.steps);
        let last = self.steps.len().saturating_sub(1);
        let ends_open = self.steps.last() == Some(&Step::Any);
        for byte in text.bytes().skip(length) {
            if ends_open && reached.has(last) {
                return true;
            }
            reached = reached.after(byte, &self.steps);
            if reached.is_empty() {
                return false;
            }
        }
        reached.has(self.steps.len())
    }
}

/// The steps that the text so far leads to; the end of the pattern is one.
#[derive(Default)]
struct Reached([u64; WORDS]);

impl Reached {
    fn has(&self, step: usize) -> bool {
        self.0[step / 64] & (1 << (step % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Adds a step, and those that are reached from it by nothing.
    fn add(&mut self, mut step: usize, steps: &[Step]) {
        while !self.has(step) {
            self.0[step / 64] |= 1 << (step % 64);
            match steps.get(step) {
                Some(Step::Component | Step::Any) => step += 1,
                Some(Step::Below) => step += 2,
                Some(Step::Byte(_)) | None => return,
            }
        }
    }

    /// What one more byte leads to.
    fn after(&self, byte: u8, steps: &[Step]) -> Self {
        let mut next = Self::default();
        for (word, mut bits) in self.0.iter().copied().enumerate() {
            while bits != 0 {
                let step = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                #[cfg(test)]
                work::count();
                match steps.get(step) {
                    Some(Step::Byte(expected)) if *expected == byte => next.add(step + 1, steps),
                    Some(Step::Component) if byte != b'/' => next.add(step, steps),
                    Some(Step::Any) => next.add(step, steps),
                    Some(Step::Below) if byte == b'/' => next.add(step + 1, steps),
                    Some(_) | None => {}
                }
            }
        }
        next
    }
}

/// How many steps were looked at: what a test of growth counts.
#[cfg(test)]
mod work {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    /// How many steps are looked at while `work` runs.
    pub(super) fn during(work: impl FnOnce()) -> u64 {
        let before = STEPS.get();
        work();
        STEPS.get() - before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stays_in_a_component_of_a_path_and_two_cross_them() {
        for (pattern, matches, differs) in [
            ("/run", &["/run"][..], &["/run/", "/runs", "/ru", ""][..]),
            ("/run/*", &["/run/a", "/run/"], &["/run", "/run/a/b"]),
            (
                "/run/**",
                &["/run", "/run/", "/run/a", "/run/a/b"],
                &["/running", "/ru"],
            ),
            (
                "/**/sock",
                &["/sock", "/a/sock", "/a/b/sock"],
                &["/a/xsock", "sock"],
            ),
            (
                "**/sock",
                &["/sock", "/a/b/sock", "a/sock"],
                &["sock", "/a/socks"],
            ),
            ("/a**z", &["/az", "/a/b/z"], &["/a/b"]),
            (
                "*.example.com/*",
                &["a.example.com/x", "a.b.example.com/x"],
                &["example.com/x", "a.example.com/x/y", "a/b.example.com/x"],
            ),
            ("*", &["", "/a/b"], &[]),
            ("**", &["", "/a/b"], &[]),
            ("/a\\*", &["/a*"], &["/ab", "/a"]),
            ("a*a", &["aa", "aba", "aaa"], &["a", "ab"]),
        ] {
            let path = Pattern::path(pattern).unwrap();
            for text in matches {
                assert!(path.matches(text), "{pattern} {text}");
            }
            for text in differs {
                assert!(!path.matches(text), "{pattern} {text}");
            }
            assert_eq!(path.to_string(), pattern);
        }
    }

    #[test]
    fn a_literal_matches_itself_alone() {
        for text in ["a*", "*", "[?]{}", "a\\b", "/**"] {
            let pattern = Pattern::literal(text).unwrap();
            assert!(
                pattern.matches(text) && !pattern.matches(&format!("{text}a")),
                "{text}"
            );
        }
    }

    #[test]
    fn elsewhere_a_slash_is_a_character_like_others() {
        let pattern: Pattern = "net.*.rp_filter".parse().unwrap();
        assert!(pattern.matches("net.ipv4.conf.eno2/100.rp_filter"));
        assert!(!"a/**".parse::<Pattern>().unwrap().matches("a"));
    }

    #[test]
    fn what_looks_like_another_wildcard_is_refused() {
        for text in ["", "a?", "[ab]", "{a,b}", "a\\", "a\\n", &"x".repeat(256)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert!(
            "x".repeat(255)
                .parse::<Pattern>()
                .unwrap()
                .matches(&"x".repeat(255))
        );
    }

    /// The pattern that a matcher which goes back suffers from most costs no more for twice as long
    /// a text than twice as much.
    #[test]
    fn work_grows_with_the_length_of_the_text_and_no_faster() {
        let pattern: Pattern = ("*a".repeat(100) + "b*b").parse().unwrap();
        let steps = |length: usize| {
            let text = "a".repeat(length) + "b";
            work::during(|| assert!(!pattern.matches(&text)))
        };
        // In the beginning not all of the pattern is reached.
        assert_eq!(steps(3000) - steps(2000), steps(2000) - steps(1000));
        assert!(steps(3000) <= 3001 * 256);
    }

    /// What the table above says, by trying everything.
    fn by_trying(pattern: &[u8], text: &[u8], components: bool) -> bool {
        let rest = |from: usize| {
            move |at: usize| {
                let pattern = pattern.get(from..).unwrap_or(&[]);
                by_trying(pattern, &text[at..], components)
            }
        };
        match pattern {
            [] => text.is_empty(),
            [b'/', b'*', b'*', ..] if components => {
                rest(3)(0) || text.first() == Some(&b'/') && (1..=text.len()).any(rest(3))
            }
            [b'*', b'*', ..] => (0..=text.len()).any(rest(2)),
            [b'*', ..] => (0..=text.len())
                .take_while(|at| !components || !text[..*at].contains(&b'/'))
                .any(rest(1)),
            [byte, ..] => text.first() == Some(byte) && rest(1)(1),
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_trying_everything_finds(
            pattern in "([ab/]|\\*|\\*\\*[ab/]|/\\*\\*){1,6}",
            text in "[ab/]{0,8}",
            components: bool,
        ) {
            // Three stars are two, and two alone are everything.
            prop_assume!(!pattern.contains("***") && !matches!(&*pattern, "*" | "**"));
            let read = Pattern::parse(&pattern, components).unwrap();
            let expected = by_trying(pattern.as_bytes(), text.as_bytes(), components);
            prop_assert_eq!(read.matches(&text), expected);
        }
    }
}
