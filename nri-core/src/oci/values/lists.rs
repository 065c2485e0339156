//! Lists of processors and memory nodes, as the kernel reads them.

/// More processors than any kernel can be built for.
pub(super) const PROCESSORS: u64 = 8192;
/// More memory nodes than any kernel can be built for.
pub(super) const NODES: u64 = 1024;

/// Whether the kernel takes a text for a list of numbers below `bound` (`bitmap_parselist`):
/// `0-3,7`, with a group as in `0-9:2/5`, `N` for the last number and `all`. Separators may stand
/// anywhere; a line break ends the list.
pub(super) fn is_list(text: &str, bound: u64) -> bool {
    let text = text.trim_end_matches(['\n', '\0']);
    let separates = |c: char| c == ',' || (c.is_ascii_whitespace() && c != '\n') || c == '\x0b';
    text.split(separates)
        .filter(|region| !region.is_empty())
        .all(|region| is_region(region, bound))
}

/// The same for lists that user space reads: numbers and ascending ranges between commas, nothing
/// else.
pub(super) fn is_plain_list(text: &str, bound: u64) -> bool {
    text.split(',').all(|part| is_range(part, bound, false))
}

fn is_region(region: &str, bound: u64) -> bool {
    let (range, group) = match region.split_once(':') {
        Some((range, group)) => (range, Some(group)),
        None => (region, None),
    };
    let in_range = range.eq_ignore_ascii_case("all") || is_range(range, bound, true);
    in_range
        && group.is_none_or(|group| {
            // The first `used` of every `size` numbers.
            let numbers = group.split_once('/').map(|(used, size)| {
                let number = |text| number(text, u64::MAX, false);
                (number(used), number(size))
            });
            matches!(numbers, Some((Some(used), Some(size))) if size > 0 && used <= size)
        })
}

fn is_range(range: &str, bound: u64, last: bool) -> bool {
    match range.split_once('-') {
        Some((first, end)) => {
            let (first, end) = (number(first, bound, last), number(end, bound, last));
            matches!((first, end), (Some(first), Some(end)) if first <= end)
        }
        None => number(range, bound, last).is_some(),
    }
}

/// A number below `bound`; where `last` says so, `N` is the last one there is.
fn number(text: &str, bound: u64, last: bool) -> Option<u64> {
    if last && text == "N" {
        return Some(bound - 1);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse::<u64>().ok()).flatten()?;
    (number < bound).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_reads_them() {
        for good in [
            "", "0", "0-3,7", "0,", ",0", "0,,1", " 0", "0 1", "0\n", "all", "0-9:2/5", "0-N",
            "3-3",
        ] {
            assert!(is_list(good, PROCESSORS), "{good:?}");
        }
        for bad in [
            "x",
            "1-0",
            "0-",
            "-1",
            "0-99999",
            "0:1",
            "0:1/0",
            "0:3/2",
            "0\n1",
            "+1",
            "0x1",
            "99999999999999999999",
            "1-2-3",
            "0;1",
        ] {
            assert!(!is_list(bad, PROCESSORS), "{bad:?}");
        }
        assert!(is_plain_list("0-3,7", NODES));
        for bad in ["", "0,", "3-1", "all", "0-N", " 0", "1024", "0-1024"] {
            assert!(!is_plain_list(bad, NODES), "{bad:?}");
        }
    }
}
