//! The example plugins of `nri-plugin`, as programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::process;

/// The example plugins, built.
pub struct Examples(BTreeMap<String, PathBuf>);

impl Examples {
    /// Builds the example plugins of `nri-plugin`.
    ///
    /// # Errors
    /// They do not build.
    pub fn build() -> Result<Self, String> {
        process::build(&["--package", "nri-plugin", "--all-features", "--examples"]).map(Self)
    }

    /// The path of an example.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn path(&self, name: &str) -> Result<&Path, String> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| format!("nri-plugin has no example {name:?}"))
    }
}
