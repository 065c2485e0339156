//! Finding NRI's table in a runtime's whole configuration. What may not enter: any other setting of
//! such a file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::reading::{Document, strict};
use super::whole_file::{WholeFile, recognise};
use super::{Config, CrioConfig};

/// Takes the table out of a file that has it.
fn take(of: WholeFile, document: &mut Document<'_>) -> Result<bool, ConfigError> {
    let [outer, inner] = of.path();
    let Some(outer) = only(of, document.table.get_mut(), outer)? else {
        return Ok(false);
    };
    let DeValue::Table(outer) = outer.get_mut() else {
        return Ok(false);
    };
    let Some(found) = only(of, outer, inner)? else {
        return Ok(false);
    };
    let span = found.span();
    match std::mem::replace(found.get_mut(), DeValue::Boolean(false)) {
        DeValue::Table(table) => {
            document.table = Spanned::new(span, table);
            Ok(true)
        }
        _ => Err(ConfigError::Invalid {
            key: of.table().to_owned(),
            line: Some(document.line(span.start)),
            reason: "it is no table".to_owned(),
        }),
    }
}

/// The value of a key, without regard to its case; there may be one.
fn only<'a, 'i>(
    of: WholeFile,
    table: &'a mut DeTable<'i>,
    key: &str,
) -> Result<Option<&'a mut Spanned<DeValue<'i>>>, ConfigError> {
    let same = |written: &str| written.eq_ignore_ascii_case(key);
    if table
        .keys()
        .filter(|written| same(written.get_ref()))
        .count()
        > 1
    {
        return Err(ConfigError::Invalid {
            key: of.table().to_owned(),
            line: None,
            reason: format!("`{key}` is there twice, in different spellings"),
        });
    }
    let found = table
        .iter_mut()
        .find(|(written, _)| same(written.get_ref()));
    Ok(found.map(|(_, value)| value))
}

impl Config {
    /// Reads NRI's table of a whole configuration of containerd, version 2 or 3; `None` if it has
    /// none. Files that it imports are not read, and the rest of it is not looked at.
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let text = r#"
    ///     version = 3
    ///     [plugins."io.containerd.cri.v1.runtime"]
    ///     enable_selinux = true
    ///     [plugins."io.containerd.nri.v1.nri"]
    ///     plugin_request_timeout = "4s"
    /// "#;
    /// let config = Config::from_containerd_toml(text)?.unwrap_or_default();
    /// assert_eq!(config.plugin_request_timeout.as_secs(), 4);
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::from_toml`], with lines of the whole file.
    pub fn from_containerd_toml(text: &str) -> Result<Option<Self>, ConfigError> {
        of_containerd(Document::parse(text)?, Self::default())
    }

    /// Reads `[crio.nri]` of a whole configuration of CRI-O, or of a drop-in; `None` if it has
    /// none.
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let text = "[crio.runtime]\nselinux = true\n[crio.nri]\nenable_nri = false";
    /// assert!(Config::from_crio_toml(text)?.is_some_and(|config| config.disable));
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::from_toml`], with lines of the whole file.
    pub fn from_crio_toml(text: &str) -> Result<Option<Self>, ConfigError> {
        of_crio(Document::parse(text)?, Self::default())
    }

    /// Reads a configuration from whatever an operator has: our own table, a whole file of
    /// containerd or one of CRI-O. Where it says nothing, `absent` holds.
    ///
    /// ```
    /// use nri_adaptation::Config;
    ///
    /// let mut usual = Config::default();
    /// usual.socket_path = "/run/test.sock".into();
    /// let config = Config::from_whole_toml("[crio.nri]\nenable_nri = true", usual)?;
    /// assert_eq!(config.socket_path.to_str(), Some("/run/test.sock"));
    /// # Ok::<(), nri_adaptation::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::from_toml`]; a whole file without a table for NRI is an error too.
    pub fn from_whole_toml(text: &str, absent: Self) -> Result<Self, ConfigError> {
        let document = Document::parse(text)?;
        let (read, of) = match recognise(document.table.get_ref()) {
            Some(of @ WholeFile::Containerd) => (of_containerd(document, absent)?, of),
            Some(of @ WholeFile::Crio) => (of_crio(document, absent)?, of),
            None => return strict(document.read_config(absent)?),
        };
        read.ok_or(ConfigError::NoTable { of })
    }
}

fn of_containerd(mut file: Document<'_>, absent: Config) -> Result<Option<Config>, ConfigError> {
    match take(WholeFile::Containerd, &mut file)? {
        true => strict(file.read_config(absent)?).map(Some),
        false => Ok(None),
    }
}

fn of_crio(mut file: Document<'_>, absent: Config) -> Result<Option<Config>, ConfigError> {
    if !take(WholeFile::Crio, &mut file)? {
        return Ok(None);
    }
    let crio = strict(file.read(CrioConfig::of(&absent))?)?;
    let config = crio.over(absent);
    config.check()?;
    Ok(Some(config))
}
