//! Annotations of a pod as types. What may not enter: which annotation counts; that is
//! [`effective_annotation`]'s.

use std::collections::BTreeMap;

use nri_core::model::effective_annotation;
use serde::de::DeserializeOwned;

use crate::text;

/// As much of a value as is shown.
const MOST_SHOWN: usize = 200;

/// An annotation whose value is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key:?} (for container {container:?}) is {value:?}: {reason}")]
#[non_exhaustive]
pub struct InvalidAnnotation {
    /// The key as the pod has it.
    pub key: String,
    /// The name of the container that it was looked up for.
    pub container: String,
    /// The value, cut off after 200 characters.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The annotation of a pod that counts for one of its containers, as a type of serde: the value of
/// `KEY/container.NAME` if there is one, else of `KEY/pod`, else of `KEY`; see
/// [`effective_annotation`]. `None` if the pod has none of these.
///
/// A value is YAML, and so may be JSON: `512`, `true`, `[a, b]`, `{ path: /dev/fuse }`, or several
/// lines. It is taken as it is where a text is wanted, even one that is YAML.
///
/// ```
/// use std::collections::BTreeMap;
/// use nri_plugin::effective_annotation_as;
///
/// #[derive(serde::Deserialize)]
/// struct Device {
///     path: String,
/// }
///
/// let pod = BTreeMap::from([
///     ("example.com/devices".to_owned(), "- path: /dev/null\n- path: /dev/fuse".to_owned()),
///     ("example.com/devices/container.init".to_owned(), "[]".to_owned()),
/// ]);
/// let devices = |container| effective_annotation_as::<Vec<Device>>(&pod, "example.com/devices", container);
/// assert_eq!(devices("main")?.unwrap()[1].path, "/dev/fuse");
/// assert_eq!(devices("init")?.unwrap().len(), 0);
/// # Ok::<(), nri_plugin::InvalidAnnotation>(())
/// ```
///
/// # Errors
/// The value is not of this type.
pub fn effective_annotation_as<T: DeserializeOwned>(
    pod: &BTreeMap<String, String>,
    key: &str,
    container_name: &str,
) -> Result<Option<T>, InvalidAnnotation> {
    let Some((key, value)) = effective_annotation(pod, key, container_name) else {
        return Ok(None);
    };
    let read = text::read_value(value).map(Some);
    read.map_err(|reason| InvalidAnnotation {
        key: key.to_owned(),
        container: container_name.to_owned(),
        value: value.chars().take(MOST_SHOWN).collect(),
        // It may repeat the value.
        reason: reason.chars().take(2 * MOST_SHOWN).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_key_container_and_value() {
        let pod = BTreeMap::from([
            ("k".to_owned(), "12".to_owned()),
            ("k/container.a".to_owned(), "much".to_owned()),
            ("k/container.b".to_owned(), "x".repeat(100_000)),
        ]);
        assert_eq!(effective_annotation_as::<u8>(&pod, "other", "a"), Ok(None));
        assert_eq!(effective_annotation_as(&pod, "k", "c"), Ok(Some(12_u8)));
        let error = effective_annotation_as::<u8>(&pod, "k", "a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation \"k/container.a\" (for container \"a\") is \"much\": line 1: invalid type: string \"much\", expected u8"
        );
        let error = effective_annotation_as::<u8>(&pod, "k", "b").unwrap_err();
        assert_eq!(error.value.len(), 200);
        let raw = effective_annotation_as::<String>(&pod, "k", "c");
        assert_eq!(raw.unwrap().unwrap(), "12");
    }
}
