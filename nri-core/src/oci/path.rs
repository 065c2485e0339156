//! Paths inside a container, beyond what makes two of them the same ([`keys`](crate::keys)). No
//! file system is asked.

/// Whether a path is absolute and never leads above the root.
pub(crate) fn is_inside(path: &str) -> bool {
    let mut depth = 0_usize;
    path.starts_with('/')
        && path.split('/').all(|part| {
            match part {
                "" | "." => {}
                ".." if depth == 0 => return false,
                ".." => depth -= 1,
                _ => depth += 1,
            }
            true
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_inside_if_no_part_of_the_way_leads_out() {
        for good in ["/", "//", "/a/", "/a//b/../c/.", "/..a/b", "/a/.."] {
            assert!(is_inside(good), "{good}");
        }
        for bad in ["", "a", "./a", "/..", "/a/../..", "/../a", "/a/../../b"] {
            assert!(!is_inside(bad), "{bad}");
        }
    }
}
