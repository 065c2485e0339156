//! Keys by their meaning: one normal form per kind of key, made here and nowhere else.
//!
//! What plugins set has keys, and some keys can be spelled in more than one way: the mounts `/data`
//! and `/data/` are one mount. Merging, ownership, conflicts, views, removals and applying compare
//! keys by their normal form. What goes over the wire, and what is shown, keeps the spelling of the
//! plugin that owns the key.
//!
//! | kind | fields | spellings of one key | where the rule comes from |
//! |---|---|---|---|
//! | [`Path`](KeyKind::Path) | mounts, devices | `/data`, `/data/`, `//data/.`, `/x/../data`, `data` | OCI `config.md`: a relative destination is relative to `/`; low-level runtimes resolve both below the root file system |
//! | [`PageSize`](KeyKind::PageSize) | huge page limits | `2MB`, `2M`, `2048KB`, `2097152` | OCI `config-linux.md`: units of 1024; the kernel has one name per size |
//! | [`KernelParameter`](KeyKind::KernelParameter) | sysctl | `net.ipv4.ip_forward`, `net/ipv4/ip_forward` | `sysctl(8)`, and runc: if the first separator is a slash, slashes and dots change places |
//! | [`Text`](KeyKind::Text) | all others | one | see below |
//!
//! Other keys are texts, and two texts are two keys: annotations and variables (whose case counts),
//! namespaces and process limits (OCI has one name for each, and any other is refused where it is
//! applied), network devices (names of the kernel), CDI devices (CDI compares names as texts), and
//! files of cgroup v2.
//!
//! Everything is lexical: that `/var/run` is a link to `/run` is known to a file system, and none
//! is asked.
//!
//! What may not enter: rules about several plugins, and removal markers
//! ([`removal_marker`](crate::merge::removal_marker)): a marker is taken off before a key is looked
//! at.

use std::borrow::Cow;

use nri_proto::api::Field;

/// How the keys of a field are spelled.
///
/// ```
/// use nri_core::api::Field;
/// use nri_core::keys::KeyKind;
///
/// let paths = KeyKind::of(Field::Mounts);
/// assert!(paths.same("/data", "//x/../data/"));
/// assert_eq!(KeyKind::KernelParameter.normal("net/ipv4/conf/eno2.100/rp_filter"), "net.ipv4.conf.eno2/100.rp_filter");
/// assert_eq!(KeyKind::PageSize.normal("2048KB"), "2MB");
/// assert!(!KeyKind::of(Field::Env).same("HOME", "home"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// One spelling: the text itself.
    Text,
    /// A path inside the container. The normal form is absolute, with single slashes, without `.`,
    /// `..` and a slash at the end; `..` at the root stays there. An empty text is no path and
    /// stands for itself.
    Path,
    /// The size of a huge page. The normal form is as the kernel has it, a number with `KB`, `MB`
    /// or `GB` (`B` for what is no multiple of 1024). What is no size stands for itself.
    PageSize,
    /// A kernel parameter. The normal form has dots between its parts, a dot inside of a part is a
    /// slash, and no part is empty.
    KernelParameter,
}

impl KeyKind {
    /// The kind of the keys of a field; [`Text`](KeyKind::Text) for fields that have none.
    pub const fn of(field: Field) -> Self {
        match field {
            Field::Mounts | Field::Devices => Self::Path,
            Field::HugepageLimits => Self::PageSize,
            Field::Sysctl => Self::KernelParameter,
            _ => Self::Text,
        }
    }

    /// Whether keys of this kind have one spelling only.
    pub const fn has_one_spelling(self) -> bool {
        matches!(self, Self::Text)
    }

    /// The normal form of a key, without a removal marker. It costs an allocation only if the key
    /// is spelled in another way.
    pub fn normal(self, key: &str) -> Cow<'_, str> {
        if self.is_normal(key) {
            return Cow::Borrowed(key);
        }
        Cow::Owned(match self {
            Self::Text => key.to_owned(),
            Self::Path => clean(key),
            Self::PageSize => page_size_bytes(key).map_or_else(|| key.to_owned(), page_size_text),
            Self::KernelParameter => dotted(key),
        })
    }

    /// Whether a key is spelled in its normal form.
    pub fn is_normal(self, key: &str) -> bool {
        #[cfg(test)]
        looks::count();
        match self {
            Self::Text => true,
            Self::Path => is_clean(key),
            Self::PageSize => is_page_size_text(key),
            Self::KernelParameter => is_dotted(key),
        }
    }

    /// Whether two keys, without removal markers, mean the same.
    pub fn same(self, one: &str, other: &str) -> bool {
        one == other || (!self.has_one_spelling() && self.normal(one) == self.normal(other))
    }
}

/// Whether [`clean`] changes nothing.
fn is_clean(path: &str) -> bool {
    match path {
        "" | "/" => true,
        _ => path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | ".."))),
    }
}

fn clean(path: &str) -> String {
    let mut clean = String::with_capacity(path.len() + 1);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => clean.truncate(clean.rfind('/').unwrap_or(0)),
            part => {
                clean.push('/');
                clean.push_str(part);
            }
        }
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

const SEPARATORS: [char; 2] = ['.', '/'];

/// Whether [`dotted`] changes nothing. A leading dash makes a text no name of a parameter, with
/// separators before it or not: it must never come to look like a removal marker.
fn is_dotted(name: &str) -> bool {
    if name.trim_start_matches(SEPARATORS).starts_with('-') {
        return true;
    }
    match name.find(SEPARATORS) {
        None => true,
        Some(at) => name[at..].starts_with('.') && name.split('.').all(|part| !part.is_empty()),
    }
}

fn dotted(name: &str) -> String {
    let name = name.trim_start_matches(SEPARATORS);
    let separator = name.matches(SEPARATORS).next().unwrap_or(".");
    let mut dotted = String::with_capacity(name.len());
    for part in name.split(separator).filter(|part| !part.is_empty()) {
        if !dotted.is_empty() {
            dotted.push('.');
        }
        if separator == "/" {
            dotted.extend(part.chars().map(|c| if c == '.' { '/' } else { c }));
        } else {
            dotted.push_str(part);
        }
    }
    dotted
}

/// A huge page size in bytes: digits and one of `K`, `M`, `G`, `T` with or without `B`. `None` if
/// the text is no size, or 0.
pub(crate) fn page_size_bytes(text: &str) -> Option<u64> {
    let text = text.strip_suffix('B').unwrap_or(text);
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

/// Number and unit of a page size as the OCI spec writes it.
fn in_units(bytes: u64) -> (u64, &'static str) {
    [(30, "GB"), (20, "MB"), (10, "KB")]
        .into_iter()
        .find(|(shift, _)| bytes % (1 << shift) == 0)
        .map_or((bytes, "B"), |(shift, unit)| (bytes >> shift, unit))
}

/// A huge page size as the OCI spec writes it, for example `2MB`.
pub(crate) fn page_size_text(bytes: u64) -> String {
    let (number, unit) = in_units(bytes);
    format!("{number}{unit}")
}

/// Whether a text is a page size as the OCI spec writes it, or none at all.
fn is_page_size_text(text: &str) -> bool {
    let Some(bytes) = page_size_bytes(text) else {
        return true;
    };
    let (number, unit) = in_units(bytes);
    // The text is a size, so what stands before the unit is a number.
    text.strip_suffix(unit)
        .is_some_and(|digits| !digits.starts_with('0') && digits.parse() == Ok(number))
}

/// How often keys were looked at: what a test of growth counts.
#[cfg(test)]
pub(crate) mod looks {
    use std::cell::Cell;

    thread_local! {
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        LOOKS.set(LOOKS.get() + 1);
    }

    /// How many keys are looked at while `work` runs.
    pub(crate) fn during(work: impl FnOnce()) -> u64 {
        let before = LOOKS.get();
        work();
        LOOKS.get() - before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use KeyKind::{KernelParameter, PageSize, Path, Text};

    #[test]
    fn every_key_has_one_normal_form() {
        let cases: [(KeyKind, &str, &[&str]); 12] = [
            (
                Path,
                "/data",
                &[
                    "/data/",
                    "/data/.",
                    "//data",
                    "/x/../data",
                    "data",
                    "./data",
                    "/../data",
                    "data//",
                    "../data",
                ],
            ),
            (Path, "/dev/shm", &["dev/shm", "/dev//shm", "/dev/./shm/"]),
            (Path, "/", &["//", ".", "/.", "/..", "a/..", "/a/../.."]),
            (Path, "/..a/b", &["..a/b/"]),
            (Path, "", &[]),
            (
                PageSize,
                "2MB",
                &["2M", "2048KB", "2048K", "2097152", "2097152B", "02MB"],
            ),
            (PageSize, "1GB", &["1G", "1024MB", "1024M", "1048576K"]),
            (PageSize, "1024GB", &["1T", "1TB"]),
            (PageSize, "1B", &["1", "01"]),
            (
                KernelParameter,
                "net.ipv4.ip_forward",
                &[
                    "net/ipv4/ip_forward",
                    "/net/ipv4/ip_forward",
                    "net//ipv4/ip_forward",
                    "net..ipv4.ip_forward",
                    "net.ipv4.ip_forward.",
                ],
            ),
            (
                KernelParameter,
                "net.ipv4.conf.eno2/100.rp_filter",
                &["net/ipv4/conf/eno2.100/rp_filter"],
            ),
            (KernelParameter, "", &["/", ".", "//"]),
        ];
        for (kind, normal, spellings) in cases {
            assert!(kind.is_normal(normal), "{normal:?}");
            for spelling in spellings {
                assert_eq!(kind.normal(spelling), normal, "{spelling:?}");
                assert!(!kind.is_normal(spelling), "{spelling:?}");
                assert!(kind.same(normal, spelling));
            }
        }
        for (kind, one, other) in [
            (Path, "/data", "/Data"),
            (Path, "/a/b", "/a"),
            (Path, "/", ""),
            (PageSize, "2MB", "2GB"),
            (PageSize, "big", "BIG"),
            (
                KernelParameter,
                "net.ipv4.conf.eno2.100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
            (KernelParameter, "-x", "/-x"),
            (Text, "/data", "/data/"),
            (Text, "RLIMIT_NOFILE", "nofile"),
        ] {
            assert!(!kind.same(one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_no_page_size_stands_for_itself() {
        for text in [
            "",
            "B",
            "MB",
            "0MB",
            "-2MB",
            "2XB",
            "99999999999999TB",
            "+2MB",
            "2mb",
        ] {
            assert_eq!(page_size_bytes(text), None, "{text:?}");
            assert_eq!(PageSize.normal(text), text);
        }
    }

    proptest! {
        /// The normal form of a normal form is itself, and a key that is spelled in it is not
        /// copied.
        #[test]
        fn normal_forms_are_final(
            kind in prop::sample::select(vec![Text, Path, PageSize, KernelParameter]),
            key in "[a/.-]{0,8}|[0-9]{1,3}[KMGT]?B?",
        ) {
            let normal = kind.normal(&key).into_owned();
            prop_assert!(matches!(kind.normal(&normal), Cow::Borrowed(same) if same == normal));
            prop_assert_eq!(kind.is_normal(&key), normal == key);
            prop_assert!(kind.same(&key, &normal));
            // Nothing that is set can come to look like a removal.
            prop_assert!(!normal.starts_with('-') || key.starts_with('-'));
        }
    }
}
