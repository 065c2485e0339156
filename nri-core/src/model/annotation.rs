//! Annotations of a pod that are meant for its containers.

use std::collections::BTreeMap;

/// The annotation of a pod that counts for one of its containers: `KEY/container.NAME` if there is
/// one, else `KEY/pod`, else `KEY`. The most specific one replaces the others. Returns the key as
/// the pod has it, and the value.
///
/// ```
/// use std::collections::BTreeMap;
/// use nri_core::model::effective_annotation;
///
/// let pod = BTreeMap::from([("k".to_owned(), "all".to_owned()), ("k/container.a".to_owned(), "one".to_owned())]);
/// assert_eq!(effective_annotation(&pod, "k", "a").unwrap().1, "one");
/// assert_eq!(effective_annotation(&pod, "k", "b").unwrap().1, "all");
/// ```
pub fn effective_annotation<'a>(
    pod: &'a BTreeMap<String, String>,
    key: &str,
    container_name: &str,
) -> Option<(&'a str, &'a str)> {
    [
        format!("{key}/container.{container_name}"),
        format!("{key}/pod"),
        key.to_owned(),
    ]
    .iter()
    .find_map(|key| pod.get_key_value(key))
    .map(|(key, value)| (key.as_str(), value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_annotation_counts() {
        let mut pod = BTreeMap::new();
        assert_eq!(effective_annotation(&pod, "k", "c"), None);
        for key in ["k", "k/pod", "k/container.c"] {
            pod.insert(key.to_owned(), key.to_owned());
            assert_eq!(effective_annotation(&pod, "k", "c"), Some((key, key)));
        }
        assert_eq!(
            effective_annotation(&pod, "k", "d"),
            Some(("k/pod", "k/pod"))
        );
        assert_eq!(effective_annotation(&pod, "other", "c"), None);
    }
}
