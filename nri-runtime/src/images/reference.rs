//! Names of images.

use std::fmt;

use crate::config::Mirror;
use crate::error::{Error, Result};

/// The name of an image in full: registry, repository, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Registry and repository, `registry.k8s.io/pause`.
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    /// `sha256:` and 64 digits.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Reads a name as users write it: without a registry it is Docker's, without a tag the latest.
    ///
    /// # Errors
    /// A name that cannot be.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("{text:?} is no name of an image: {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64
                || !hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(invalid(
                    "the digest is not \"sha256:\" and 64 hexadecimal digits",
                ));
            }
        }
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last..].split_once(':') {
            Some((name, tag)) => (format!("{}{name}", &rest[..last]), Some(tag)),
            None => (rest.to_owned(), None),
        };
        let allowed = |text: &str, more: &str| {
            let mut chars = text.chars();
            chars.all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if let Some(tag) = tag
            && (tag.is_empty()
                || tag.len() > 128
                || !allowed(tag, "_.-")
                || tag.starts_with(['.', '-']))
        {
            return Err(invalid(
                "the tag has other characters than letters, digits, '_', '.' and '-'",
            ));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.to_owned(), path.to_owned())
            }
            Some(_) => ("docker.io".to_owned(), name),
            None => ("docker.io".to_owned(), format!("library/{name}")),
        };
        let parts = path.split('/');
        let path_is_fine = parts.clone().all(|part| {
            let lower = !part.chars().any(|c| c.is_ascii_uppercase());
            !part.is_empty() && lower && allowed(part, "_.-") && !part.starts_with(['.', '-', '_'])
        });
        let host_is_fine =
            allowed(&registry, ".:-") && registry.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !path_is_fine || !host_is_fine || name_is_too_long(&registry, &path) {
            return Err(invalid(
                "a part has other characters than small letters, digits, '_', '.' and '-'",
            ));
        }
        Ok(Self {
            repository: format!("{registry}/{path}"),
            tag: match (tag, digest) {
                (None, None) => Some("latest".to_owned()),
                (tag, _) => tag.map(str::to_owned),
            },
            digest: digest.map(str::to_owned),
        })
    }

    /// The registry's host.
    pub(crate) fn registry(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }

    /// With the tag; with the digest if there is none.
    pub(crate) fn short(&self) -> String {
        match (&self.tag, &self.digest) {
            (Some(tag), None) => format!("{}:{tag}", self.repository),
            (_, Some(digest)) => format!("{}@{digest}", self.repository),
            (None, None) => self.repository.clone(),
        }
    }

    /// Where skopeo finds the image, and whether its registry is an insecure one.
    pub(crate) fn source(&self, mirrors: &[Mirror]) -> (String, bool) {
        let short = self.short();
        let applies = |mirror: &&Mirror| {
            let rest = short.strip_prefix(&mirror.prefix);
            rest.is_some_and(|rest| {
                rest.starts_with(['/', ':', '@']) || mirror.prefix.ends_with('/')
            })
        };
        let mirror = mirrors
            .iter()
            .filter(applies)
            .max_by_key(|mirror| mirror.prefix.len());
        match mirror {
            Some(mirror) => {
                let rest = short.strip_prefix(&mirror.prefix).unwrap_or_default();
                (format!("{}{rest}", mirror.location), mirror.insecure)
            }
            None => (format!("docker://{short}"), false),
        }
    }
}

fn name_is_too_long(registry: &str, path: &str) -> bool {
    registry.len() + path.len() > 255
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_completed() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("me/app:1", "docker.io/me/app:1"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x"),
            (&*format!("r.io/a:1@{digest}"), &*format!("r.io/a@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().short(), full);
        }
        for text in [
            "",
            "A",
            "a:",
            "a@sha256:1",
            "a//b",
            "a b",
            "../a",
            "r.io/-a",
            "a:-b",
            "@",
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains("no name of an image"), "{text}: {error}");
        }
    }

    #[test]
    fn the_longest_mirror_counts_and_only_at_a_boundary() {
        let mirror = |prefix: &str, location: &str| Mirror {
            prefix: prefix.into(),
            location: location.into(),
            insecure: true,
        };
        let mirrors = [
            mirror("r.io", "docker://127.0.0.1:5000"),
            mirror("r.io/a", "oci:/srv/a"),
        ];
        let source = |text: &str| Reference::parse(text).unwrap().source(&mirrors);
        assert_eq!(
            source("r.io/b:1"),
            ("docker://127.0.0.1:5000/b:1".into(), true)
        );
        assert_eq!(source("r.io/a:1"), ("oci:/srv/a:1".into(), true));
        assert_eq!(
            source("r.io/ab:1"),
            ("docker://127.0.0.1:5000/ab:1".into(), true)
        );
        assert_eq!(source("r.iox/a:1"), ("docker://r.iox/a:1".into(), false));
    }

    proptest! {
        /// Law: a name in full is its own name in full; nothing panics.
        #[test]
        fn full_names_stay(text in "[a-zA-Z0-9./:@_-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let full = reference.short();
                prop_assert_eq!(Reference::parse(&full).unwrap().short(), full);
            }
        }
    }
}
