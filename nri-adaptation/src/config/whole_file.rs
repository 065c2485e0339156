//! Whose configuration a whole file is, and where NRI's table is in it.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// The key of containerd's NRI plugin in its table `plugins`.
const CONTAINERD_PLUGIN: &str = "io.containerd.nri.v1.nri";

/// Whose configuration a whole file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WholeFile {
    /// `config.toml` of containerd, version 2 or 3.
    Containerd,
    /// `crio.conf` of CRI-O, or one of its drop-ins.
    Crio,
}

impl fmt::Display for WholeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
        })
    }
}

impl WholeFile {
    /// The table that is NRI's, as the file's header names it.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Containerd => "plugins.\"io.containerd.nri.v1.nri\"",
            Self::Crio => "crio.nri",
        }
    }

    pub(super) const fn path(self) -> [&'static str; 2] {
        match self {
            Self::Containerd => ["plugins", CONTAINERD_PLUGIN],
            Self::Crio => ["crio", "nri"],
        }
    }
}

/// Whose configuration the table is at the top of, if it is a whole one.
pub(super) fn recognise(table: &DeTable<'_>) -> Option<WholeFile> {
    let has = |key: &str| {
        let mut found = table.iter();
        found.find(|(written, _)| written.get_ref().eq_ignore_ascii_case(key))
    };
    if has("crio").is_some() {
        return Some(WholeFile::Crio);
    }
    let of_containerd = |value: &DeValue<'_>| match value {
        DeValue::Table(plugins) => plugins.keys().any(|key| {
            key.get_ref()
                .to_ascii_lowercase()
                .starts_with("io.containerd.")
        }),
        _ => false,
    };
    let plugins = has("plugins").is_some_and(|(_, value)| of_containerd(value.get_ref()));
    (plugins || has("version").is_some()).then_some(WholeFile::Containerd)
}
