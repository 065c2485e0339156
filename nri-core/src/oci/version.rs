//! Versions of the OCI runtime spec.

use std::fmt;

use serde_json::Value;

use super::tree;

/// A version of the OCI runtime spec.
///
/// ```
/// use nri_core::oci::OciVersion;
///
/// let runc = serde_json::json!({"ociVersionMin": "1.0.0", "ociVersionMax": "1.0.2-dev"});
/// assert_eq!(OciVersion::from_features(&runc), Some(OciVersion::new(1, 0, 2)));
/// assert!(OciVersion::new(1, 0, 2) < OciVersion::new(1, 1, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl OciVersion {
    /// This version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The highest version that a low-level runtime supports whose `features` command printed this;
    /// `None` if it does not say.
    pub fn from_features(features: &Value) -> Option<Self> {
        let text = tree::string(features, &["ociVersionMax"]);
        let number = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse().ok());
        Some(Self::new(parts.next()??, parts.next()??, parts.next()??))
    }
}

impl fmt::Display for OciVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
