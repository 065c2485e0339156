//! A crate of a plugin to begin with: it builds, and its tests pass. What may not enter: what
//! anybody would have to delete first.

use std::fs;
use std::path::{Path, PathBuf};

use nri_core::PluginId;

/// The files: where they are in the crate, and what is in them.
const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        include_str!("../templates/plugin/Cargo.toml.in"),
    ),
    (
        "README.md",
        include_str!("../templates/plugin/README.md.in"),
    ),
    (
        "scenario.toml",
        include_str!("../templates/plugin/scenario.toml.in"),
    ),
    (
        "src/main.rs",
        include_str!("../templates/plugin/main.rs.in"),
    ),
    (
        "src/plugin.rs",
        include_str!("../templates/plugin/plugin.rs.in"),
    ),
    (
        "tests/program.rs",
        include_str!("../templates/plugin/program.rs.in"),
    ),
    (
        ".gitignore",
        include_str!("../templates/plugin/gitignore.in"),
    ),
    (
        ".github/workflows/test.yml",
        include_str!("../templates/plugin/ci.yml.in"),
    ),
];

/// Names that cargo or rustc has something against in small letters: keywords, crates that are
/// everywhere, those that the plugin uses, and directories that cargo makes.
const RESERVED: &str = "\
    abstract alloc as async await become box break build const continue core crate deps do \
    dyn else enum examples extern false final fn for gen if impl in incremental let loop \
    macro match mod move mut nri-plugin nri-testkit override priv proc-macro pub ref return \
    self static std struct super test tokio trait true try type typeof unsafe unsized use \
    virtual where while yield";

/// A plugin that is about to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewPlugin {
    /// Its name, and that of its crate.
    pub name: String,
    /// Its place in the order, two digits. Default `50`.
    pub index: String,
    /// A checkout of this workspace, whose crates it uses. Default: the published ones.
    pub checkout: Option<PathBuf>,
}

impl NewPlugin {
    /// A plugin of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            index: "50".to_owned(),
            checkout: None,
        }
    }

    /// Makes its crate, in a directory that is not there yet or is empty.
    ///
    /// ```
    /// use nri_testkit::NewPlugin;
    ///
    /// let home = tempfile::tempdir()?;
    /// NewPlugin::named("gpu-mode").make(&home.path().join("gpu-mode"))?;
    /// assert!(home.path().join("gpu-mode/src/plugin.rs").exists());
    /// assert!(NewPlugin::named("GPU mode").make(home.path()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The name or the index is none, the directory has something in it, or it cannot be written.
    pub fn make(&self, directory: &Path) -> Result<(), String> {
        let Self { name, index, .. } = self;
        let is_legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_legal) {
            return Err(format!(
                "{name:?} is no name of a crate and a plugin: begin with a letter, and write small letters, digits and `-`"
            ));
        }
        if RESERVED.split_whitespace().any(|reserved| reserved == name) {
            return Err(format!(
                "no crate of a program can be called {name:?}: choose a name that says what the plugin does, such as {name}-plugin"
            ));
        }
        let identity = PluginId::from_parts(index, name);
        let identity = identity.map_err(|error| error.to_string())?.to_string();
        let broken = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(format!(
                "{}: there is something in it: take another directory",
                directory.display()
            ));
        }
        let sources = ["nri-plugin", "nri-testkit"].map(|of| Ok((of, self.source(of)?)));
        let sources: Vec<(&str, String)> = sources.into_iter().collect::<Result<_, String>>()?;
        for (place, template) in FILES {
            let path = directory.join(place);
            let parent = path.parent().unwrap_or(directory);
            fs::create_dir_all(parent).map_err(|error| broken(parent, error))?;
            let mut text = template
                .replace("{{name}}", name)
                .replace("{{identity}}", &identity);
            for (of, source) in &sources {
                text = text.replace(&format!("{{{{source:{of}}}}}"), source);
            }
            fs::write(&path, text).map_err(|error| broken(&path, error))?;
        }
        Ok(())
    }

    /// Where a crate of ours comes from, as a manifest says it.
    fn source(&self, of: &str) -> Result<String, String> {
        let Some(checkout) = &self.checkout else {
            return Ok(format!("version = \"{}\"", env!("CARGO_PKG_VERSION")));
        };
        let path = checkout.join(of);
        let path = fs::canonicalize(&path).map_err(|error| {
            format!(
                "{} is no checkout: {}: {error}",
                checkout.display(),
                path.display()
            )
        })?;
        // As TOML quotes it.
        Ok(format!(
            "path = {}",
            toml::Value::from(path.to_string_lossy().into_owned())
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_no_crate_or_overwrite_something_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for name in ["", "1x", "A", "a_b", "a b", "../a", "-a"] {
            let refused = NewPlugin::named(name).make(&home.path().join("x"));
            assert!(refused.unwrap_err().contains("is no name"), "{name}");
        }
        for name in ["fn", "self", "test", "core", "tokio", "nri-plugin", "build"] {
            let refused = NewPlugin::named(name).make(&home.path().join("x"));
            assert!(refused.unwrap_err().contains("can be called"), "{name}");
        }
        let mut index = NewPlugin::named("a");
        index.index = "5".to_owned();
        assert!(index.make(&home.path().join("x")).is_err());
        assert!(!home.path().join("x").exists());
        fs::write(home.path().join("kept"), "").unwrap();
        let refused = NewPlugin::named("a").make(home.path()).unwrap_err();
        assert!(refused.contains("there is something in it"), "{refused}");
        let mut nowhere = NewPlugin::named("a");
        nowhere.checkout = Some(home.path().to_owned());
        let refused = nowhere.make(&home.path().join("x")).unwrap_err();
        assert!(refused.contains("is no checkout"), "{refused}");
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        let home = tempfile::tempdir().unwrap();
        let crate_ = home.path().join("a");
        NewPlugin::named("gpu-mode").make(&crate_).unwrap();
        for (place, _) in FILES {
            let text = fs::read_to_string(crate_.join(place)).unwrap();
            assert!(!text.contains("{{"), "{place}: {text}");
        }
        let manifest = fs::read_to_string(crate_.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("gpu-mode"));
    }
}
