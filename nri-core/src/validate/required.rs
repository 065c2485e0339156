//! Plugins that must have been consulted: required by configuration, or by an annotation of the
//! pod, unless the pod tolerates that they are missing.

use std::collections::{BTreeMap, BTreeSet};

use nri_proto::api;

use super::options::ValidatorOptions;
use super::rejection::Rejection;
use super::sequence::{self, SyntaxError};
use crate::flow::{PluginOutcome, consulted};
use crate::model::effective_annotation;

pub use super::rejection::InvalidAnnotation;

/// The annotation with which a pod requires plugins: a list in YAML, hence also in JSON.
pub const REQUIRED_PLUGINS_ANNOTATION: &str = "required-plugins.noderesource.dev";

/// Whether a pod tolerates for one of its containers that required plugins are missing. `key` is
/// the annotation's; if it is empty, nothing is tolerated.
///
/// # Errors
/// The annotation is neither true nor false.
pub fn tolerates_missing(
    pod: &BTreeMap<String, String>,
    key: &str,
    container_name: &str,
) -> Result<bool, InvalidAnnotation> {
    let annotation = effective_annotation(pod, key, container_name).filter(|_| !key.is_empty());
    match annotation {
        None => Ok(false),
        Some((_, "1" | "t" | "T" | "TRUE" | "true" | "True")) => Ok(true),
        Some((_, "0" | "f" | "F" | "FALSE" | "false" | "False")) => Ok(false),
        Some((key, value)) => Err(InvalidAnnotation {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "true or false".to_owned(),
        }),
    }
}

/// The plugins that a pod's annotation requires for one of its containers, as they are written
/// there.
///
/// # Errors
/// The annotation is no list.
pub fn annotated(
    pod: &BTreeMap<String, String>,
    container_name: &str,
) -> Result<Vec<String>, InvalidAnnotation> {
    match effective_annotation(pod, REQUIRED_PLUGINS_ANNOTATION, container_name) {
        None => Ok(Vec::new()),
        Some((key, value)) => {
            sequence::parse(value).map_err(|SyntaxError(why)| InvalidAnnotation {
                key: key.to_owned(),
                value: value.to_owned(),
                expected: format!("a list of plugins in YAML or JSON: {why}"),
            })
        }
    }
}

/// Those of the required plugins that were not consulted, each once, in the order of the
/// requirements. A requirement is met by a plugin's name, or by its index and name.
///
/// ```
/// use nri_core::api::PluginInstance;
/// use nri_core::validate::required::missing;
///
/// let consulted = [PluginInstance { name: "a".into(), index: "10".into() }];
/// assert_eq!(missing(["a", "10-a", "20-a", "b"], &consulted), ["20-a", "b"]);
/// ```
pub fn missing<'a>(
    required: impl IntoIterator<Item = &'a str>,
    consulted: &[api::PluginInstance],
) -> Vec<String> {
    let met: BTreeSet<String> = consulted
        .iter()
        .flat_map(|plugin| {
            [
                plugin.name.clone(),
                format!("{}-{}", plugin.index, plugin.name),
            ]
        })
        .collect();
    let mut named = BTreeSet::new();
    let unmet = |name: &&'a str| !met.contains(*name) && named.insert(*name);
    let missing = required.into_iter().filter(unmet);
    missing.map(str::to_owned).collect()
}

/// Whether all plugins that a pod requires have done their part in running it, by what became of
/// each of them. What its containers require alone counts for those. What one of its containers can
/// do without, since it tolerates that plugins are missing or requires others than the rest of the
/// pod, the pod can do without as well, as that container could not come to be otherwise; each
/// container is judged when it is created.
///
/// # Errors
/// One has not, or an annotation makes no sense.
pub fn check_pod(
    options: &ValidatorOptions,
    pod: &api::PodSandbox,
    outcomes: &[PluginOutcome],
) -> Result<(), Rejection> {
    let key = &options.tolerate_missing_plugins_annotation;
    if tolerates_missing(&pod.annotations, key, "")? {
        return Ok(());
    }
    for container in containers_named(&pod.annotations, key) {
        if tolerates_missing(&pod.annotations, key, container)? {
            return Ok(());
        }
    }
    let mut annotated = annotated(&pod.annotations, "")?;
    if !annotated.is_empty() {
        for container in containers_named(&pod.annotations, REQUIRED_PLUGINS_ANNOTATION) {
            let own = self::annotated(&pod.annotations, container)?;
            annotated.retain(|plugin| own.contains(plugin));
        }
    }
    let required = options.required_plugins.iter().chain(&annotated);
    match missing(required.map(String::as_str), &consulted(outcomes)) {
        plugins if plugins.is_empty() => Ok(()),
        plugins => Err(Rejection::MissingPlugins { plugins }),
    }
}

/// The containers for which a pod has an annotation of their own in place of `key`.
fn containers_named<'a>(
    pod: &'a BTreeMap<String, String>,
    key: &str,
) -> impl Iterator<Item = &'a str> {
    let of_container = format!("{key}/container.");
    let keys = pod.keys().filter(|_| !key.is_empty());
    keys.filter_map(move |key| key.strip_prefix(&of_container))
}

/// The check of the default validator.
pub(super) fn check(
    options: &ValidatorOptions,
    request: &api::ValidateContainerAdjustmentRequest,
) -> Result<(), Rejection> {
    let none = BTreeMap::new();
    let pod = request.pod.as_ref().map_or(&none, |pod| &pod.annotations);
    let container = request.container.as_ref().map_or("", |c| c.name.as_str());
    let key = &options.tolerate_missing_plugins_annotation;
    if tolerates_missing(pod, key, container)? {
        return Ok(());
    }
    let annotated = annotated(pod, container)?;
    let required = options.required_plugins.iter().chain(&annotated);
    match missing(required.map(String::as_str), &request.plugins) {
        plugins if plugins.is_empty() => Ok(()),
        plugins => Err(Rejection::MissingPlugins { plugins }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    const TOLERATE: &str = "tolerate.example.com";

    fn request(annotations: &[(&str, &str)]) -> api::ValidateContainerAdjustmentRequest {
        let annotations = annotations.iter();
        api::ValidateContainerAdjustmentRequest {
            pod: Some(api::PodSandbox {
                annotations: annotations
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                ..Default::default()
            }),
            container: Some(api::Container {
                id: "id".into(),
                name: "ctr0".into(),
                ..Default::default()
            }),
            plugins: vec![api::PluginInstance {
                name: "foo".into(),
                index: "10".into(),
            }],
            ..Default::default()
        }
    }

    fn requires(plugins: &[&str]) -> ValidatorOptions {
        ValidatorOptions {
            required_plugins: plugins.iter().map(ToString::to_string).collect(),
            tolerate_missing_plugins_annotation: TOLERATE.into(),
            ..Default::default()
        }
    }

    #[test]
    fn required_plugins_are_met_by_name_or_identity() {
        assert_eq!(check(&requires(&["foo", "10-foo"]), &request(&[])), Ok(()));
        assert_eq!(
            check(&requires(&["bar", "foo", "11-foo", "bar"]), &request(&[])),
            Err(Rejection::MissingPlugins {
                plugins: vec!["bar".into(), "11-foo".into()]
            })
        );
    }

    #[test]
    fn the_most_specific_annotation_counts_alone() {
        let key = REQUIRED_PLUGINS_ANNOTATION;
        let of_pod = format!("{key}/pod");
        let of_container = format!("{key}/container.ctr0");
        let all = [
            (key, "[a]"),
            (of_pod.as_str(), "[b]"),
            (of_container.as_str(), "[ \"xyzzy\" ]"),
        ];
        for (annotations, missing) in [(&all[..], "xyzzy"), (&all[..2], "b"), (&all[..1], "a")] {
            assert_eq!(
                check(&requires(&[]), &request(annotations)),
                Err(Rejection::MissingPlugins {
                    plugins: vec![missing.into()]
                })
            );
        }
    }

    #[test]
    fn toleration_ends_the_check_and_nonsense_rejects_even_if_nothing_is_required() {
        let of_container = format!("{TOLERATE}/container.ctr0");
        for value in ["1", "t", "T", "TRUE", "true", "True"] {
            let tolerant = request(&[
                (&of_container, value),
                (REQUIRED_PLUGINS_ANNOTATION, "[nope]"),
            ]);
            assert_eq!(check(&requires(&["nope"]), &tolerant), Ok(()));
        }
        for value in ["0", "f", "F", "FALSE", "false", "False"] {
            assert!(check(&requires(&["nope"]), &request(&[(TOLERATE, value)])).is_err());
            assert_eq!(
                check(&requires(&[]), &request(&[(TOLERATE, value)])),
                Ok(())
            );
        }
        for value in ["", "yes", "tRUE", " true"] {
            let rejection = check(&requires(&[]), &request(&[(TOLERATE, value)])).unwrap_err();
            let text = rejection.to_string();
            assert!(text.contains(TOLERATE), "{text}");
            assert!(!text.contains("validation error"), "{text}");
        }
    }

    /// Law: a pod may run if one of its containers may.
    #[test]
    fn what_a_container_can_do_without_its_pod_can_do_without() {
        let pod = |annotations: &[(&str, &str)]| request(annotations).pod.unwrap();
        let of = |key: &str, container: &str| format!("{key}/container.{container}");
        let (waived, other) = (of(TOLERATE, "ctr0"), of(TOLERATE, "ctr1"));
        let (waived, other) = (waived.as_str(), other.as_str());
        let own = of(REQUIRED_PLUGINS_ANNOTATION, "ctr0");
        let own = own.as_str();
        let required = requires(&["nope"]);
        for annotations in [
            &[(TOLERATE, "true")][..],
            &[(waived, "true")],
            &[(other, "false"), (waived, "true")],
            // The waiver of a container goes before that of its pod.
            &[(TOLERATE, "false"), (waived, "true")],
        ] {
            assert_eq!(
                check_pod(&required, &pod(annotations), &[]),
                Ok(()),
                "{annotations:?}"
            );
        }
        for annotations in [&[][..], &[(waived, "false")], &[(TOLERATE, "false")]] {
            assert_eq!(
                check_pod(&required, &pod(annotations), &[]),
                Err(Rejection::MissingPlugins {
                    plugins: vec!["nope".into()]
                }),
                "{annotations:?}"
            );
        }
        // The same for what the pod itself requires.
        let (rest, none) = (REQUIRED_PLUGINS_ANNOTATION, requires(&[]));
        assert!(check_pod(&none, &pod(&[(rest, "[a]")]), &[]).is_err());
        assert!(check_pod(&none, &pod(&[(rest, "[a]"), (own, "[a, b]")]), &[]).is_err());
        assert_eq!(
            check_pod(&none, &pod(&[(rest, "[a]"), (own, "[]")]), &[]),
            Ok(())
        );
        assert!(check_pod(&required, &pod(&[(rest, "[a]"), (own, "[]")]), &[]).is_err());
        assert!(check_pod(&none, &pod(&[(rest, "[a]"), (own, "a: b")]), &[]).is_err());
    }

    #[test]
    fn a_toleration_that_is_not_configured_is_none() {
        let options = ValidatorOptions {
            tolerate_missing_plugins_annotation: String::new(),
            ..requires(&["nope"])
        };
        assert!(check(&options, &request(&[("", "true"), ("/pod", "true")])).is_err());
    }

    #[test]
    fn a_requirement_that_is_no_list_rejects() {
        for value in ["foo", "{a: b}", "[a", "a: b"] {
            let annotated = request(&[(REQUIRED_PLUGINS_ANNOTATION, value)]);
            assert!(matches!(
                check(&requires(&[]), &annotated),
                Err(Rejection::InvalidAnnotation(_))
            ));
        }
    }
}
