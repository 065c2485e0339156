//! What a pod or container is called among all those of a runtime.

use std::fmt;
use std::sync::Arc;

use crate::Subject;

/// A pod or container: its domain, its kind and its full id. Ids are unique in a domain and kind
/// only. Cheap to clone.
///
/// ```
/// use nri_core::lifecycle::ObjectKey;
/// let (pod, container) = (ObjectKey::pod("k8s.io", "1"), ObjectKey::container("k8s.io", "1"));
/// assert_ne!(pod, container);
/// assert_eq!(container.to_string(), "container \"1\" of k8s.io");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    domain: Arc<str>,
    subject: Subject,
    id: Arc<str>,
}

impl ObjectKey {
    /// A pod or container; `domain` is empty if the runtime has one domain only.
    pub fn new(subject: Subject, domain: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self {
            domain: domain.into(),
            subject,
            id: id.into(),
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
