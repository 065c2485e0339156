//! What a pod or container is called among all those of a runtime.

use std::fmt;
use std::sync::Arc;

use crate::Subject;

/// A pod or container: its domain, its kind and its full id. Ids are unique in a domain and kind
/// only. Cheap to clone.
///
/// Keys have an order, for maps, which means nothing.
///
/// ```
/// use nri_core::lifecycle::ObjectKey;
/// let (pod, container) = (ObjectKey::pod("k8s.io", "1"), ObjectKey::container("k8s.io", "1"));
/// assert_ne!(pod, container);
/// assert_eq!(container.to_string(), "container \"1\" of k8s.io");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Of the id. In front, so that keys are told apart without going to where their texts are:
    /// a request is looked up in a dozen maps with an entry for each container of the node.
    digest: u64,
    domain: Arc<str>,
    subject: Subject,
    id: Arc<str>,
}

impl ObjectKey {
    /// A pod or container; `domain` is empty if the runtime has one domain only.
    pub fn new(subject: Subject, domain: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        let id = id.into();
        Self {
            digest: digest(&id),
            domain: domain.into(),
            subject,
            id,
        }
    }

    /// A pod.
    pub fn pod(domain: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self::new(Subject::Pod, domain, id)
    }

    /// A container.
    pub fn container(domain: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self::new(Subject::Container, domain, id)
    }

    /// Name of the domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Pod or container.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Full id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A number for a text, which nearly no other one has.
fn digest(text: &str) -> u64 {
    text.as_bytes().chunks(8).fold(0, |digest: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let mixed = digest.rotate_left(5) ^ u64::from_le_bytes(word);
        mixed.wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.subject {
            Subject::Pod => "pod",
            Subject::Container => "container",
        };
        write!(f, "{kind} {:?}", self.id)?;
        match &*self.domain {
            "" => Ok(()),
            domain => write!(f, " of {domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law: keys are equal, and equal in order, if all that they are made of is.
    #[test]
    fn keys_are_told_apart_by_all_that_they_are_made_of() {
        let ids = [
            "",
            "1",
            "12345678",
            "123456789",
            "1234567812345678",
            "a\0",
            "a",
        ];
        let of_id = |id: &'static str| {
            let subjects = [Subject::Pod, Subject::Container];
            let keys = subjects.map(|subject| {
                ["", "k8s.io"]
                    .map(|domain| (ObjectKey::new(subject, domain, id), (subject, domain, id)))
            });
            keys.concat()
        };
        let keys: Vec<_> = ids.into_iter().flat_map(of_id).collect();
        for (key, made_of) in &keys {
            for (other, of_other) in &keys {
                assert_eq!(key == other, made_of == of_other, "{key} {other}");
                assert_eq!(key.cmp(other).is_eq(), key == other, "{key} {other}");
            }
        }
    }
}
