//! CDI devices from specification files: an injector for
//! [`ApplyOptions::cdi_injector`](nri_core::oci::ApplyOptions::cdi_injector).
//!
//! The rules are those of the Container Device Interface's specification, up to version 1.1: files
//! `*.json` and `*.yaml` in a list of directories, later directories before earlier ones; a device
//! that two files of one directory have is no device. Edits of a device are optional there; a
//! device for which neither it nor its file has any would do nothing for who asks for it, and is an
//! error. What may not enter: adjustments of plugins other than the names of devices.

mod edits;
mod file;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nri_core::oci::CdiInjector;

use crate::OciSpec;
use edits::Edits;
use file::SpecFile;

/// Where specification files are: those of the administrator, then those that are made at run time,
/// which go before.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Why CDI devices cannot be injected, or a file has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CdiError {
    /// A file is no specification. Its devices are not there.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are no such devices.
    #[error("there are no CDI devices {}{}{}", .names.join(", "), left_out(.errors), looked_in(.directories))]
    Unknown {
        /// Their names.
        names: Vec<String>,
        /// Why there are not more: files that could not be read, devices that are there twice.
        errors: Vec<String>,
        /// The directories where their specifications would have to be.
        directories: Vec<String>,
    },
    /// What a device is made of cannot be put into the container.
    #[error("CDI device {name}: {reason}")]
    Edit {
        /// The device.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

fn left_out(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        errors => format!(" ({})", errors.join("; ")),
    }
}

fn looked_in(directories: &[String]) -> String {
    match directories {
        [] => String::new(),
        all => format!(": install their specification in {}", all.join(" or ")),
    }
}

/// The devices of the specification files in some directories, as they were when it was loaded.
///
/// ```
/// use nri_domain_cri::cdi::Registry;
/// use serde_json::json;
///
/// # let directory = std::env::temp_dir().join(format!("cdi-example-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// std::fs::write(directory.join("vendor.json"), r#"{
///     "cdiVersion": "0.6.0",
///     "kind": "vendor.example/gpu",
///     "devices": [{"name": "0", "containerEdits": {"env": ["GPU=0"]}}]
/// }"#)?;
/// let registry = Registry::load([&directory]);
/// assert_eq!(registry.devices().collect::<Vec<_>>(), ["vendor.example/gpu=0"]);
/// let mut spec = json!({"process": {"args": ["/app"], "cwd": "/"}});
/// registry.inject(&mut spec, &["vendor.example/gpu=0".to_owned()])?;
/// assert_eq!(spec["process"]["env"], json!(["GPU=0"]));
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    /// The files that have devices, and the edits that all devices of a file need.
    files: Vec<Edits>,
    /// By full names: the place of the file, and the device's own edits.
    devices: BTreeMap<String, (usize, Edits)>,
    errors: Vec<CdiError>,
    directories: Vec<String>,
}

impl Registry {
    /// Reads all specification files. A directory that is not there has none; what is wrong with a
    /// file is in the [`errors`](Registry::errors).
    pub fn load(directories: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let mut registry = Self::default();
        for directory in directories {
            let directory = directory.as_ref();
            registry.directories.push(directory.display().to_string());
            registry.read_directory(directory);
        }
        registry
    }

    /// Takes the texts of specification files, each with its name for errors, as if they were those
    /// of one directory.
    ///
    /// ```
    /// use nri_domain_cri::cdi::Registry;
    ///
    /// let text = "cdiVersion: 1.0.0\nkind: vendor.example/gpu\ndevices: [{name: a}, {name: a}]\n";
    /// let registry = Registry::from_texts([("gpu.yaml", text)]);
    /// let error = registry.errors()[0].to_string();
    /// assert_eq!(error, "gpu.yaml: it has the device vendor.example/gpu=a twice");
    /// ```
    pub fn from_texts<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut registry = Self::default();
        let files = files
            .into_iter()
            .map(|(name, text)| (name.into(), SpecFile::parse(text)));
        registry.add(Path::new("texts"), files);
        registry
    }

    /// What could not be read.
    pub fn errors(&self) -> &[CdiError] {
        &self.errors
    }

    /// The full names of the devices, sorted.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    fn read_directory(&mut self, directory: &Path) {
        let listed = match fs::read_dir(directory) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.failed(directory, error.to_string()),
        };
        let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            path.extension()
                .is_some_and(|ending| ending == "json" || ending == "yaml")
        });
        paths.sort();
        let files = paths.into_iter().map(|path| {
            let read = SpecFile::read(&path);
            (path, read)
        });
        self.add(directory, files);
    }

    /// Adds the files of one directory.
    fn add(
        &mut self,
        directory: &Path,
        files: impl Iterator<Item = (PathBuf, Result<SpecFile, String>)>,
    ) {
        let mut here: BTreeMap<String, (usize, Edits)> = BTreeMap::new();
        let mut twice: Vec<String> = Vec::new();
        for (path, file) in files {
            let file = match file {
                Ok(file) => file,
                Err(reason) => {
                    self.failed(&path, reason);
                    continue;
                }
            };
            let place = self.files.len();
            self.files.push(file.edits);
            for (name, edits) in file.devices {
                match here.entry(name) {
                    Entry::Vacant(entry) => {
                        entry.insert((place, edits));
                    }
                    Entry::Occupied(entry) => twice.push(entry.key().clone()),
                }
            }
        }
        for name in twice {
            if here.remove(&name).is_some() {
                let reason = format!("two files have the device {name}, so it is none");
                self.failed(directory, reason);
                self.devices.remove(&name);
            }
        }
        self.devices.extend(here);
    }

    fn failed(&mut self, path: &Path, reason: String) {
        self.errors.push(CdiError::File {
            path: path.display().to_string(),
            reason,
        });
    }

    /// Puts devices, by their full names, into a container's spec: the edits of each file that has
    /// one of them, and of each device.
    ///
    /// # Errors
    /// There is no such device, or it cannot be put in. The spec is as it was.
    pub fn inject(&self, spec: &mut OciSpec, names: &[String]) -> Result<(), CdiError> {
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| !self.devices.contains_key(*name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(CdiError::Unknown {
                names: unknown,
                errors: self.errors.iter().map(CdiError::to_string).collect(),
                directories: self.directories.clone(),
            });
        }
        let mut files = vec![false; self.files.len()];
        let mut done = BTreeSet::new();
        let mut names_of = Vec::new();
        let mut edits = Vec::new();
        for name in names {
            let Some((place, own)) = self.devices.get(name).filter(|_| done.insert(name)) else {
                continue;
            };
            let of_file =
                (!std::mem::replace(&mut files[*place], true)).then(|| &self.files[*place]);
            for new in of_file.into_iter().chain([own]) {
                names_of.push(name);
                edits.push(new);
            }
        }
        let apply_first = |count: usize| {
            let mut injected = spec.clone();
            Edits::apply_all(&edits[..count], &mut injected).map(|()| injected)
        };
        match apply_first(edits.len()) {
            Ok(injected) => *spec = injected,
            Err(reason) => {
                // Whose fault that is: with one device less it goes well.
                let (mut well, mut wrong) = (0, edits.len());
                let mut last = reason;
                while wrong - well > 1 {
                    let middle = well + (wrong - well) / 2;
                    match apply_first(middle) {
                        Ok(_) => well = middle,
                        Err(reason) => (wrong, last) = (middle, reason),
                    }
                }
                return Err(CdiError::Edit {
                    name: names_of[well].clone(),
                    reason: last,
                });
            }
        }
        Ok(())
    }
}

/// An injector that reads the directories whenever a container needs devices.
///
/// ```
/// use nri_domain_cri::{cdi, host};
/// let mut options = host::apply_options();
/// options.cdi_injector = Some(cdi::injector(cdi::DIRECTORIES));
/// ```
pub fn injector(directories: impl IntoIterator<Item = impl Into<PathBuf>>) -> CdiInjector {
    let directories: Vec<PathBuf> = directories.into_iter().map(Into::into).collect();
    Arc::new(move |spec, names| {
        let registry = Registry::load(&directories);
        for error in registry.errors() {
            tracing::warn!(%error, "a CDI specification is left out");
        }
        Ok(registry.inject(spec, names)?)
    })
}
