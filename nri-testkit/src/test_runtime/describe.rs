//! Pods and containers in one line.

use nri_core::api::{Container, PodSandbox};

/// Describes pods and containers in one line.
///
/// ```
/// use nri_core::api::PodSandbox;
/// use nri_testkit::Describe as _;
///
/// let pod = PodSandbox::default().annotated("example.com/mode", "fast").labelled("app", "web");
/// assert_eq!((pod.annotations.len(), pod.labels.len()), (1, 1));
/// ```
pub trait Describe: Sized {
    /// With an annotation.
    #[must_use]
    fn annotated(self, key: impl Into<String>, value: impl Into<String>) -> Self;

    /// With a label.
    #[must_use]
    fn labelled(self, key: impl Into<String>, value: impl Into<String>) -> Self;
}

impl Describe for PodSandbox {
    fn annotated(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    fn labelled(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }
}

impl Describe for Container {
    fn annotated(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    fn labelled(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }
}
