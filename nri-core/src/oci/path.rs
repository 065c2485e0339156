//! Lexical cleaning of absolute paths inside a container. No file system is asked.

/// The cleaned form of an absolute path: single slashes, no `.`, no `..`, no slash at the end. `None` if the path is relative
/// or climbs above the root.
pub(crate) fn clean(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// As [`clean`], for paths that cannot be refused: one that has no cleaned form stands for itself.
pub(crate) fn clean_or_same(path: &str) -> String {
    clean(path).unwrap_or_else(|| path.to_owned())
}

/// Whether `path` is `ancestor` or below it, component by component. Both are cleaned.
pub(crate) fn is_below(path: &str, ancestor: &str) -> bool {
    ancestor == "/"
        || path
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_is_lexical_and_idempotent() {
        for (path, cleaned) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a"),
            ("/a//b/../c/.", "/a/c"),
            ("/..a/b", "/..a/b"),
        ] {
            assert_eq!(clean(path).as_deref(), Some(cleaned), "{path}");
            assert_eq!(clean(cleaned).as_deref(), Some(cleaned));
        }
        for bad in ["", "a", "./a", "/..", "/a/../.."] {
            assert_eq!(clean(bad), None, "{bad}");
        }
    }

    #[test]
    fn below_means_whole_components() {
        assert!(is_below("/mnt/a", "/"));
        assert!(is_below("/mnt/a", "/mnt/a"));
        assert!(is_below("/mnt/a/b", "/mnt/a"));
        assert!(!is_below("/mnt/ab", "/mnt/a"));
    }
}
