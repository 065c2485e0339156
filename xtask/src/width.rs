//! Comments end at column 100: rustfmt leaves them alone. Tables and code in them may be as wide as
//! they have to be.

use std::path::Path;

use nri_dev::process;

/// The last column of a comment.
const LAST: usize = 100;

/// Reads every source file that git knows.
///
/// # Errors
/// Names every line that is too long.
pub(crate) fn run() -> Result<(), String> {
    let files = process::capture(std::process::Command::new("git").args(["ls-files", "*.rs"]))?;
    let mut wide = String::new();
    for file in files.lines().filter(|file| !file.contains("/generated/")) {
        // One that was removed and is not committed yet is still listed.
        let Ok(text) = std::fs::read_to_string(Path::new(file)) else {
            continue;
        };
        for number in too_wide(&text) {
            wide.push_str(&format!("\n  {file}:{number}"));
        }
    }
    if wide.is_empty() {
        return Ok(());
    }
    Err(format!(
        "comments end at column {LAST}; these go on (`cargo +nightly fmt -- --config \
         wrap_comments=true,comment_width={LAST}` mends most of them):{wide}"
    ))
}

/// The numbers of lines of prose that are too long.
fn too_wide(text: &str) -> Vec<usize> {
    let mut wide = Vec::new();
    let mut code = false;
    for (number, line) in (1..).zip(text.lines()) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            code = false;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        if comment.starts_with("```") {
            code = !code;
        }
        // A link or a path cannot be broken.
        let breaks = comment.contains(' ');
        if line.chars().count() > LAST && !code && breaks && !comment.starts_with('|') {
            wide.push(number);
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_bounded_and_tables_and_code_are_not() {
        let long = "word ".repeat(30);
        let text = format!(
            "let a = 1; // {long}\n/// {long}\n/// | {long}\n/// ```\n/// {long}\n/// ```\n    //! {long}\n"
        );
        assert_eq!(too_wide(&text), [2, 7]);
    }
}
