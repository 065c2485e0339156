//! Annotations of a pod as types. What may not enter: which annotation counts where there is one
//! key; that is [`effective_annotation`]'s.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use nri_core::model::effective_annotation;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};

use crate::text;

/// As much of a value as is shown.
const MOST_SHOWN: usize = 200;

/// As many bytes as Kubernetes takes for all annotations of an object.
const MOST_BYTES: usize = 256 << 10;

/// As many items as a list may have.
const MOST_ITEMS: usize = 256;

/// An annotation whose value is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key:?}{} is {value:?}: {reason}", Whose(.container))]
#[non_exhaustive]
pub struct InvalidAnnotation {
    /// The key as the pod has it.
    pub key: String,
    /// The name of the container that it was looked up for; empty if it is the pod's.
    pub container: String,
    /// The value, cut off after 200 characters.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

struct Whose<'a>(&'a str);

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            container => write!(f, " (for container {container:?})"),
        }
    }
}

impl InvalidAnnotation {
    fn new(found: (&str, &str), container: &str, reason: &str) -> Self {
        let (key, value) = found;
        Self {
            key: key.to_owned(),
            container: container.to_owned(),
            value: value.chars().take(MOST_SHOWN).collect(),
            // It may repeat the value.
            reason: reason.chars().take(2 * MOST_SHOWN).collect(),
        }
    }
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
    let found = effective_annotation(pod, key, container_name);
    read(found, container_name)
}

fn read<T: DeserializeOwned>(
    found: Option<(&str, &str)>,
    container_name: &str,
) -> Result<Option<T>, InvalidAnnotation> {
    let Some((key, value)) = found else {
        return Ok(None);
    };
    let read = match value.len() > MOST_BYTES {
        true => Err(format!("it has more than {MOST_BYTES} bytes")),
        false => text::read_value(value).map(Some),
    };
    read.map_err(|reason| InvalidAnnotation::new((key, value), container_name, &reason))
}

/// The key of an annotation with which pods ask a plugin for something, with an older name of it
/// and with the forms that it may have.
///
/// The most specific form counts, `KEY/container.NAME` before `KEY/pod` before `KEY`, and of one
/// form the newer name. A value has 256 KiB at most, and a list 256 items.
///
/// ```
/// use std::collections::BTreeMap;
/// use nri_plugin::AnnotationKey;
///
/// const DEVICES: AnnotationKey = AnnotationKey::new("devices.example.com").formerly("devices.old");
///
/// let pod = BTreeMap::from([
///     ("devices.example.com".to_owned(), "[/dev/null]".to_owned()),
///     ("devices.old/container.main".to_owned(), "[/dev/fuse, /dev/kvm]".to_owned()),
/// ]);
/// let devices = |container| DEVICES.read_list::<String>(&pod, container);
/// assert_eq!(devices("main")?, ["/dev/fuse", "/dev/kvm"]);
/// assert_eq!(devices("init")?, ["/dev/null"]);
/// # Ok::<(), nri_plugin::InvalidAnnotation>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnotationKey {
    name: &'static str,
    former: Option<&'static str>,
    of_containers: bool,
    of_pods: bool,
}

impl AnnotationKey {
    /// A key in all three forms.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            former: None,
            of_containers: true,
            of_pods: true,
        }
    }

    /// An older name that pods may use still.
    #[must_use]
    pub const fn formerly(mut self, name: &'static str) -> Self {
        self.former = Some(name);
        self
    }

    /// Only `KEY/container.NAME`: there is none for all containers of a pod.
    #[must_use]
    pub const fn of_containers(mut self) -> Self {
        self.of_pods = false;
        self
    }

    /// Only `KEY/pod` and `KEY`: what it asks for is the pod's.
    #[must_use]
    pub const fn of_pods(mut self) -> Self {
        self.of_containers = false;
        self
    }

    /// The annotation that counts for a container, with its key as the pod has it. The container's
    /// name does not count if the key is [of pods](Self::of_pods).
    pub fn find<'a>(
        &self,
        pod: &'a BTreeMap<String, String>,
        container_name: &str,
    ) -> Option<(&'a str, &'a str)> {
        let container = format!("/container.{container_name}");
        let of_containers = self.of_containers.then_some(container.as_str());
        let of_pods = self.of_pods.then_some(["/pod", ""]);
        let mut forms = of_containers
            .into_iter()
            .chain(of_pods.into_iter().flatten());
        let find = |form| {
            let mut names = [Some(self.name), self.former].into_iter().flatten();
            names.find_map(|name| pod.get_key_value(&format!("{name}{form}")))
        };
        let (key, value) = forms.find_map(find)?;
        Some((key, value))
    }

    /// Its value as a type of serde, as [`effective_annotation_as`] reads it. `None` if the pod has
    /// no such annotation.
    ///
    /// # Errors
    /// The value is not of this type, or too long.
    pub fn read<T: DeserializeOwned>(
        &self,
        pod: &BTreeMap<String, String>,
        container_name: &str,
    ) -> Result<Option<T>, InvalidAnnotation> {
        read(self.find(pod, container_name), self.whose(container_name))
    }

    /// Its value as a list; without the annotation, and if that is empty, there is nothing in it.
    ///
    /// # Errors
    /// An item is not of this type, or there are too many.
    pub fn read_list<T: DeserializeOwned>(
        &self,
        pod: &BTreeMap<String, String>,
        container_name: &str,
    ) -> Result<Vec<T>, InvalidAnnotation> {
        let list: Option<Option<List<T>>> = self.read(pod, container_name)?;
        Ok(list.flatten().map_or_else(Vec::new, |List(items)| items))
    }

    /// The error that the annotation that counts cannot be carried out, for what reading it does
    /// not show.
    pub fn invalid(
        &self,
        pod: &BTreeMap<String, String>,
        container_name: &str,
        reason: impl fmt::Display,
    ) -> InvalidAnnotation {
        let found = self.find(pod, container_name).unwrap_or((self.name, ""));
        InvalidAnnotation::new(found, self.whose(container_name), &reason.to_string())
    }

    fn whose<'a>(&self, container_name: &'a str) -> &'a str {
        if self.of_containers {
            container_name
        } else {
            ""
        }
    }
}

/// A list that is not read further than it may go.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData)).map(Self)
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MOST_ITEMS {
                return Err(A::Error::custom(format!(
                    "the list has more than {MOST_ITEMS} items"
                )));
            }
            items.push(item);
        }
        Ok(items)
    }
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

    const KEY: AnnotationKey = AnnotationKey::new("new").formerly("old");

    fn of(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter()
            .map(|key| ((*key).to_owned(), format!("[{key}]")))
            .collect()
    }

    #[test]
    fn the_most_specific_form_counts_and_of_one_form_the_newer_name() {
        let mut order = vec![
            "new/container.c",
            "old/container.c",
            "new/pod",
            "old/pod",
            "new",
            "old",
        ];
        while let Some(first) = order.first().copied() {
            assert_eq!(KEY.find(&of(&order), "c").map(|(key, _)| key), Some(first));
            assert_eq!(
                KEY.read_list::<String>(&of(&order), "c"),
                Ok(vec![first.to_owned()])
            );
            order.remove(0);
        }
        assert_eq!(
            KEY.find(&of(&["new/container.d", "new/", "/pod", ""]), "c"),
            None
        );
        assert_eq!(KEY.read_list::<String>(&of(&[]), "c"), Ok(vec![]));
        let keys = of(&["new/container.c", "old/pod"]);
        assert_eq!(
            KEY.of_pods().find(&keys, "c").map(|(key, _)| key),
            Some("old/pod")
        );
        assert_eq!(KEY.of_containers().find(&keys, "d"), None);
        let error = KEY
            .of_pods()
            .invalid(&keys, "c", "it is in use")
            .to_string();
        assert_eq!(
            error,
            "annotation \"old/pod\" is \"[old/pod]\": it is in use"
        );
    }

    #[test]
    fn values_and_lists_are_bounded() {
        let pod = |value: String| BTreeMap::from([("new".to_owned(), value)]);
        for nothing in ["", " \n", "~", "[]"] {
            assert_eq!(
                KEY.read_list::<u8>(&pod(nothing.into()), "c"),
                Ok(vec![]),
                "{nothing:?}"
            );
        }
        assert_eq!(
            KEY.read_list::<u8>(&pod("- 1\n".repeat(256)), "c")
                .unwrap()
                .len(),
            256
        );
        let error = KEY
            .read_list::<u8>(&pod("- 1\n".repeat(257)), "c")
            .unwrap_err();
        assert!(
            error.reason.ends_with("the list has more than 256 items"),
            "{error}"
        );
        let error = KEY
            .read::<u8>(&pod("1".repeat(MOST_BYTES + 1)), "c")
            .unwrap_err();
        assert_eq!(error.reason, "it has more than 262144 bytes");
    }
}
