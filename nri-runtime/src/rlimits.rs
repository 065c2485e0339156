//! Limits of processes, as the configuration and annotations of pods say them.

use std::collections::BTreeMap;

use nri_core::api::PosixRlimit;
use nri_core::build::posix_rlimit;
use nri_core::model::effective_annotation;
use nri_domain_cri::yaml;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A limit in an annotation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    r#type: String,
    #[serde(default)]
    soft: u64,
    #[serde(default)]
    hard: u64,
}

/// Limits of the configuration: `NAME=LIMIT` or `NAME=SOFT:HARD`, where a limit is a number or
/// `unlimited`.
///
/// # Errors
/// A text that is no such limit.
pub(crate) fn configured(texts: &[String]) -> Result<Vec<PosixRlimit>> {
    let limit = |text: &String| {
        let parsed = text.split_once('=').and_then(|(name, values)| {
            let (soft, hard) = values.split_once(':').unwrap_or((values, values));
            Some((name, number(soft)?, number(hard)?))
        });
        let (name, soft, hard) = parsed.ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} is not like \"nofile=1024:4096\" or \"core=unlimited\""
            ))
        })?;
        checked(name, soft, hard).map_err(|error| error.of(format!("{text:?}")))
    };
    texts.iter().map(limit).collect()
}

/// Limits that a pod's annotation sets for one of its containers; none if the key is empty.
///
/// # Errors
/// An annotation that cannot be read, or has limits that cannot be.
pub(crate) fn annotated(
    annotations: &BTreeMap<String, String>,
    key: &str,
    container: &str,
) -> Result<Vec<PosixRlimit>> {
    let found = effective_annotation(annotations, key, container).filter(|_| !key.is_empty());
    let Some((key, text)) = found.filter(|(_, text)| !text.trim().is_empty()) else {
        return Ok(Vec::new());
    };
    let named = |error: Error| error.of(format!("the annotation {key:?} of the pod"));
    let list: Vec<Written> =
        yaml::from_str(text).map_err(|error| named(Error::invalid(error.to_string())))?;
    let limits = list
        .into_iter()
        .map(|one| checked(&one.r#type, one.soft, one.hard));
    limits.collect::<Result<_>>().map_err(named)
}

fn number(text: &str) -> Option<u64> {
    match text {
        "unlimited" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// A limit that Linux has.
fn checked(name: &str, soft: u64, hard: u64) -> Result<PosixRlimit> {
    posix_rlimit(name, hard, soft).map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limits: Result<Vec<PosixRlimit>>) -> Vec<(String, u64, u64)> {
        let limits = limits.unwrap().into_iter();
        limits.map(|one| (one.r#type, one.soft, one.hard)).collect()
    }

    #[test]
    fn the_configuration_says_one_or_two_numbers() {
        let texts = ["nofile=1024:4096", "core=unlimited", "RLIMIT_CPU=7"].map(str::to_owned);
        assert_eq!(
            limits(configured(&texts)),
            [
                ("RLIMIT_NOFILE".to_owned(), 1024, 4096),
                ("RLIMIT_CORE".to_owned(), u64::MAX, u64::MAX),
                ("RLIMIT_CPU".to_owned(), 7, 7),
            ]
        );
        for (text, part) in [
            ("nofile", "is not like"),
            ("nofile=", "is not like"),
            ("nofile=1:2:3", "is not like"),
            ("nofile=-1", "is not like"),
            ("files=1", "there is no limit \"files\"; there is as, core"),
            ("nofile=3:2", "\"RLIMIT_NOFILE\": the soft limit 3 is above"),
        ] {
            let error = configured(&[text.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn an_annotation_is_a_list_for_one_container_or_all() {
        let pod = BTreeMap::from([
            (
                "k".to_owned(),
                "- {type: nofile, soft: 1, hard: 2}".to_owned(),
            ),
            (
                "k/container.a".to_owned(),
                "[{\"type\": \"core\"}]".to_owned(),
            ),
            ("k/container.none".to_owned(), " ".to_owned()),
            (
                "k/container.b".to_owned(),
                "- type: nofile\n  soft: 3\n".to_owned(),
            ),
            ("k/container.c".to_owned(), "- typ: nofile\n".to_owned()),
        ]);
        let of = |container: &str| annotated(&pod, "k", container);
        assert_eq!(limits(of("a")), [("RLIMIT_CORE".to_owned(), 0, 0)]);
        assert_eq!(limits(of("x")), [("RLIMIT_NOFILE".to_owned(), 1, 2)]);
        assert!(limits(of("none")).is_empty());
        assert!(limits(annotated(&pod, "", "a")).is_empty());
        let error = of("b").unwrap_err().to_string();
        assert!(
            error.contains("\"k/container.b\"") && error.contains("above"),
            "{error}"
        );
        let error = of("c").unwrap_err().to_string();
        assert!(error.contains("`typ`"), "{error}");
    }
}
