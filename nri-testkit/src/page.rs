//! Pages of HTML that need nothing beside themselves: no script, no file, no network; in light and
//! in dark. What may not enter: what is on them.

use std::fmt::{self, Display, Write as _};

const STYLE: &str = "\
:root { color-scheme: light dark; --back: #ffffff; --fore: #1c2024; --quiet: #5b6470; --line: #d9dee4;
  --raised: #f5f7f9; --good: #17703c; --bad: #b3261e; --bar: #3b6fd4; --plus: #dff3e4; --minus: #fbe3e1; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171a; --fore: #e4e7ea; --quiet: #98a2ad; --line: #343a41; --raised: #1c2126;
    --good: #6cc98c; --bad: #ff8a80; --bar: #7aa2f0; --plus: #17352a; --minus: #42211f; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 72rem; background: var(--back); color: var(--fore);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
td:first-child, td.outcome, th { white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; }
code, pre { font: .9em/1.45 ui-monospace, monospace; }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem 0;
  overflow-x: auto; }
pre span { display: block; padding: 0 .8rem; min-height: 1.45em; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
td p { margin: .3rem 0; }
.quiet, .skipped .outcome { color: var(--quiet); }
.passed .outcome, .good { color: var(--good); }
.failed .outcome, .bad { color: var(--bad); font-weight: 600; }
.plus { background: var(--plus); } .minus { background: var(--minus); }
.track { position: relative; height: .8rem; min-width: 8rem; background: var(--raised); border-radius: .2rem; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 2px; background: var(--bar); border-radius: .2rem; }
";

/// A page that is being written.
#[derive(Debug)]
pub(crate) struct Page(String);

impl Page {
    /// A page with its title as its heading.
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        ))
    }

    /// Adds what is HTML already.
    pub(crate) fn push(&mut self, html: &str) {
        self.0.push_str(html);
    }

    /// Adds a heading.
    pub(crate) fn heading(&mut self, text: &str) {
        self.element("h2", text);
    }

    /// Adds a paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.element("p", text);
    }

    fn element(&mut self, name: &str, text: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "<{name}>{}</{name}>", escaped(text));
    }

    /// Adds a list of texts.
    pub(crate) fn list<T: AsRef<str>>(&mut self, texts: &[T]) {
        self.push("<ul>");
        for text in texts {
            let _ = write!(self.0, "<li>{}</li>", escaped(text.as_ref()));
        }
        self.push("</ul>");
    }

    /// The page, whole.
    pub(crate) fn finish(mut self) -> String {
        self.push("</body>\n</html>\n");
        self.0
    }
}

/// A text that HTML shows as it is, in elements and in quoted attributes.
pub(crate) fn escaped(text: &str) -> impl Display + '_ {
    struct Escaped<'a>(&'a str);
    impl Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for character in self.0.chars() {
                match character {
                    '&' => f.write_str("&amp;")?,
                    '<' => f.write_str("&lt;")?,
                    '>' => f.write_str("&gt;")?,
                    '"' => f.write_str("&quot;")?,
                    '\'' => f.write_str("&#39;")?,
                    // HTML has no such characters, escaped or not.
                    it if it.is_control() && !matches!(it, '\n' | '\t') => {
                        f.write_char(char::REPLACEMENT_CHARACTER)?;
                    }
                    it => f.write_char(it)?,
                }
            }
            Ok(())
        }
    }
    Escaped(text)
}
