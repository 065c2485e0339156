//! Block I/O classes from a file, as containerd (`blockio_config_file`) and CRI-O read them: a
//! resolver for [`ApplyOptions::blockio_resolver`](nri_core::oci::ApplyOptions::blockio_resolver).
//!
//! ```yaml
//! Classes:
//!   slow:
//!   - Weight: 80
//!   fast:
//!   - Weight: 400
//!   - Devices: [/dev/vda, /dev/disk/by-id/*SSD*]
//!     ThrottleReadBps: 60M
//!     ThrottleWriteIOPS: 10k
//! ```
//!
//! Keys are read without regard to case; rates have the suffixes of Kubernetes' quantities (`k`,
//! `M`, `Mi` ...). Parameters without devices are the container's weight. What may not enter: who
//! has which class.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nri_core::oci::ClassResolver;
use serde_json::{Map, Value, json};

use crate::OciSpec;
use crate::host::{device_numbers, read_text};
use crate::yaml::{self, Twice};

/// What is wrong with a file of classes, or with a class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockIoError {
    /// The file cannot be read, or is none of classes.
    #[error("block I/O classes: {0}")]
    File(String),
    /// A class that no container can have.
    #[error("block I/O class {class:?}: {reason}")]
    Class {
        /// The class.
        class: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such class.
    #[error("there is no block I/O class {class:?}; {}", those(.known))]
    Unknown {
        /// The class.
        class: String,
        /// Those that there are.
        known: Vec<String>,
    },
}

fn those(known: &[String]) -> String {
    match known {
        [] => "the file has none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}

/// The rates of a device: the key in the file, in lower case, and the member of the spec.
const RATES: [(&str, &str); 4] = [
    ("throttlereadbps", "throttleReadBpsDevice"),
    ("throttlewritebps", "throttleWriteBpsDevice"),
    ("throttlereadiops", "throttleReadIOPSDevice"),
    ("throttlewriteiops", "throttleWriteIOPSDevice"),
];

/// Weights that the kernel takes.
const WEIGHTS: std::ops::RangeInclusive<u64> = 10..=1000;

/// Block I/O classes.
///
/// ```
/// use nri_domain_cri::blockio::Classes;
/// use serde_json::json;
///
/// let classes = Classes::from_yaml("Classes: {slow: [{Weight: 80}]}")?;
/// assert_eq!(classes.resolve("slow")?, json!({"weight": 80}));
/// # Ok::<(), nri_domain_cri::blockio::BlockIoError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Classes(BTreeMap<String, Vec<Parameters>>);

/// What a class says of some devices, or of the container.
#[derive(Debug, Clone, Default, PartialEq)]
struct Parameters {
    devices: Vec<String>,
    weight: Option<u64>,
    /// In the order of [`RATES`].
    rates: [Option<u64>; 4],
}

impl Classes {
    /// Reads classes from YAML (or JSON).
    ///
    /// # Errors
    /// A text that has no classes, or a class that no container can have.
    pub fn from_yaml(text: &str) -> Result<Self, BlockIoError> {
        let value = yaml::value(text, Twice::Refused).map_err(BlockIoError::File)?;
        let none = || BlockIoError::File("there is no mapping `Classes`".to_owned());
        let file = value.as_object().ok_or_else(none)?;
        let mut classes = BTreeMap::new();
        if let Some((one, other)) = same_key(file) {
            let reason = format!("the keys {one:?} and {other:?} are the same");
            return Err(BlockIoError::File(reason));
        }
        for (key, value) in file {
            if !key.eq_ignore_ascii_case("classes") {
                return Err(BlockIoError::File(format!("the key {key:?} is unknown")));
            }
            for (class, parameters) in value.as_object().ok_or_else(none)? {
                let wrong = |reason| BlockIoError::Class {
                    class: class.clone(),
                    reason,
                };
                let list = match parameters {
                    Value::Array(list) => list.as_slice(),
                    Value::Null => &[],
                    _ => return Err(wrong("its parameters are no list".to_owned())),
                };
                let read: Result<_, _> = list.iter().map(Parameters::read).collect();
                classes.insert(class.clone(), read.map_err(wrong)?);
            }
        }
        Ok(Self(classes))
    }

    /// Reads a file of classes.
    ///
    /// # Errors
    /// As [`from_yaml`](Classes::from_yaml); a file that cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, BlockIoError> {
        let path = path.as_ref();
        let text = read_text(path)
            .map_err(|reason| BlockIoError::File(format!("{}: {reason}", path.display())))?;
        Self::from_yaml(&text)
    }

    /// The names of the classes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What a class is in an OCI spec, for the block devices that the host has now.
    ///
    /// # Errors
    /// There is no such class, or a device of it is not there.
    pub fn resolve(&self, class: &str) -> Result<OciSpec, BlockIoError> {
        self.resolve_with(class, block_devices)
    }

    /// What a class is in an OCI spec, for block devices that the caller knows: `devices` says
    /// which (major and minor number) match a pattern of the file, or why none does.
    ///
    /// # Errors
    /// There is no such class, or `devices` fails.
    ///
    /// ```
    /// use nri_domain_cri::blockio::Classes;
    /// use serde_json::json;
    ///
    /// let classes = Classes::from_yaml("Classes: {slow: [{Devices: [/dev/vda], ThrottleReadBps: 1k}]}")?;
    /// let slow = classes.resolve_with("slow", |_pattern| Ok(vec![(8, 0)]))?;
    /// assert_eq!(slow, json!({"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]}));
    /// # Ok::<(), nri_domain_cri::blockio::BlockIoError>(())
    /// ```
    pub fn resolve_with(
        &self,
        class: &str,
        devices: impl Fn(&str) -> Result<Vec<(i64, i64)>, String>,
    ) -> Result<OciSpec, BlockIoError> {
        let Some(parameters) = self.0.get(class) else {
            return Err(BlockIoError::Unknown {
                class: class.to_owned(),
                known: self.names().map(str::to_owned).collect(),
            });
        };
        let wrong = |reason| BlockIoError::Class {
            class: class.to_owned(),
            reason,
        };
        let mut oci = Map::new();
        for parameters in parameters {
            parameters.write(&mut oci, &devices).map_err(wrong)?;
        }
        Ok(Value::Object(oci))
    }
}

/// A resolver that reads the file whenever a container has a class.
pub fn resolver(path: impl Into<PathBuf>) -> ClassResolver {
    let path = path.into();
    Arc::new(move |class| Ok(Some(Classes::load(&path)?.resolve(class)?)))
}

impl Parameters {
    fn read(value: &Value) -> Result<Self, String> {
        let members = value
            .as_object()
            .ok_or("its parameters are no list of mappings")?;
        if let Some((one, other)) = same_key(members) {
            return Err(format!("the keys {one:?} and {other:?} are the same"));
        }
        let mut read = Self::default();
        for (key, value) in members {
            let lower = key.to_ascii_lowercase();
            let number = || {
                let text = match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                quantity(&text).ok_or_else(|| format!("{key} is {text}, which is no quantity"))
            };
            if lower == "devices" {
                read.devices = match value {
                    Value::Null => Vec::new(),
                    value => paths(value).ok_or("`Devices` is no list of absolute paths")?,
                };
            } else if lower == "weight" {
                let weight = number()?;
                if !WEIGHTS.contains(&weight) {
                    return Err(format!("the weight {weight} is not between 10 and 1000"));
                }
                read.weight = Some(weight);
            } else if let Some(at) = RATES.iter().position(|(name, _)| *name == lower) {
                read.rates[at] = Some(number()?);
            } else {
                return Err(format!("the key {key:?} is unknown"));
            }
        }
        if read.devices.is_empty() && read.rates.iter().any(Option::is_some) {
            return Err("a rate needs `Devices`".to_owned());
        }
        Ok(read)
    }

    /// Writes what it says; of a device that was named before, the later value counts.
    fn write(
        &self,
        oci: &mut Map<String, Value>,
        devices: impl Fn(&str) -> Result<Vec<(i64, i64)>, String>,
    ) -> Result<(), String> {
        if self.devices.is_empty() {
            if let Some(weight) = self.weight {
                oci.insert("weight".to_owned(), json!(weight));
            }
            return Ok(());
        }
        let rates = RATES.iter().zip(self.rates);
        let values = rates.map(|((_, member), rate)| (*member, "rate", rate));
        let values: Vec<_> = values
            .chain([("weightDevice", "weight", self.weight)])
            .filter_map(|(member, name, value)| Some((member, name, value?)))
            .collect();
        for pattern in &self.devices {
            for (major, minor) in devices(pattern)? {
                for (member, name, value) in &values {
                    let list = oci.entry(*member).or_insert_with(|| json!([]));
                    let Value::Array(list) = list else { continue };
                    let same = |entry: &Value| entry["major"] == major && entry["minor"] == minor;
                    list.retain(|entry| !same(entry));
                    list.push(json!({"major": major, "minor": minor, *name: value}));
                }
            }
        }
        Ok(())
    }
}

/// A list of absolute paths, with or without wildcards.
fn paths(value: &Value) -> Option<Vec<String>> {
    let path = |value: &Value| Some(value.as_str().filter(|it| it.starts_with('/'))?.to_owned());
    value.as_array()?.iter().map(path).collect()
}

/// Two keys that differ by case alone, of which one would be swallowed.
fn same_key(members: &Map<String, Value>) -> Option<(&str, &str)> {
    let mut seen = BTreeMap::new();
    members.keys().find_map(|key| {
        Some((
            seen.insert(key.to_ascii_lowercase(), key)?.as_str(),
            key.as_str(),
        ))
    })
}

/// The block devices of the host whose paths match.
fn block_devices(pattern: &str) -> Result<Vec<(i64, i64)>, String> {
    let paths = glob::glob(pattern).map_err(|error| format!("{pattern}: {error}"))?;
    let devices = paths
        .flatten()
        .filter_map(|path| fs::metadata(path).ok())
        .filter(|metadata| metadata.file_type().is_block_device())
        .map(|metadata| device_numbers(metadata.rdev()));
    whole_disks(pattern, devices, |(major, minor)| {
        Path::new(&format!("/sys/dev/block/{major}:{minor}/partition")).exists()
    })
}

/// The devices that a pattern matches, without partitions: for these the kernel has neither rates
/// nor weights (`ENODEV`), and the container would not start.
fn whole_disks(
    pattern: &str,
    devices: impl Iterator<Item = (i64, i64)>,
    is_partition: impl Fn(&(i64, i64)) -> bool,
) -> Result<Vec<(i64, i64)>, String> {
    let (partitions, disks): (Vec<_>, Vec<_>) = devices.partition(is_partition);
    match (disks.is_empty(), partitions.is_empty()) {
        (false, _) => Ok(disks),
        (true, true) => Err(format!("the host has no block device {pattern}")),
        (true, false) => Err(format!(
            "{pattern} is a partition, and the kernel limits whole disks only: name its disk"
        )),
    }
}

/// A whole quantity as Kubernetes writes them: digits and a suffix, decimal or binary.
fn quantity(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = fraction.parse::<u128>().unwrap_or(0) * u128::from(factor);
    if fraction % scale != 0 {
        return None;
    }
    whole.checked_add(u64::try_from(fraction / scale).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../testdata/blockio.yaml");

    #[test]
    fn classes_become_what_a_spec_has() {
        let classes = Classes::from_yaml(FILE).unwrap();
        assert_eq!(
            classes.names().collect::<Vec<_>>(),
            ["fast", "none", "slow"]
        );
        let devices = |pattern: &str| match pattern {
            "/dev/vda" => Ok(vec![(8, 0)]),
            "/dev/disk/by-id/*SSD*" => Ok(vec![(8, 16), (8, 0)]),
            pattern => Err(format!("the host has no block device {pattern}")),
        };
        assert_eq!(
            classes.resolve_with("fast", devices).unwrap(),
            json!({
                "weight": 400,
                "weightDevice": [
                    {"major": 8, "minor": 16, "weight": 500},
                    {"major": 8, "minor": 0, "weight": 500},
                ],
                "throttleReadBpsDevice": [
                    {"major": 8, "minor": 16, "rate": 60_000_000},
                    {"major": 8, "minor": 0, "rate": 60_000_000},
                ],
                "throttleWriteIOPSDevice": [
                    {"major": 8, "minor": 16, "rate": 10_240},
                    {"major": 8, "minor": 0, "rate": 10_240},
                ],
            })
        );
        assert_eq!(classes.resolve("slow"), Ok(json!({"weight": 80})));
        assert_eq!(classes.resolve("none"), Ok(json!({})));
        assert_eq!(
            classes.resolve("gold").unwrap_err().to_string(),
            r#"there is no block I/O class "gold"; there are fast, none, slow"#
        );
    }

    #[test]
    fn a_device_that_the_host_does_not_have_is_an_error() {
        let text = "classes: {a: [{devices: [/dev/no-such-device*], weight: 100}]}";
        let classes = Classes::from_yaml(text).unwrap();
        assert_eq!(
            classes.resolve("a").unwrap_err().to_string(),
            r#"block I/O class "a": the host has no block device /dev/no-such-device*"#
        );
    }

    /// Law: a pattern never brings what the kernel refuses.
    #[test]
    fn of_a_disk_with_partitions_the_disk_is_limited() {
        let is_partition = |device: &(i64, i64)| device.1 % 16 != 0;
        let found =
            |devices: &[(i64, i64)]| whole_disks("/dev/sd*", devices.iter().copied(), is_partition);
        let disks = found(&[(8, 0), (8, 1), (8, 2), (8, 16), (8, 17)]);
        assert_eq!(disks, Ok(vec![(8, 0), (8, 16)]));
        let error = found(&[(8, 1)]).unwrap_err();
        assert!(error.contains("/dev/sd* is a partition"), "{error}");
        let error = found(&[]).unwrap_err();
        assert_eq!(error, "the host has no block device /dev/sd*");
    }

    #[test]
    fn a_file_without_classes_says_so() {
        let none = Classes::from_yaml("Classes: {}").unwrap();
        assert_eq!(
            none.resolve("gold").unwrap_err().to_string(),
            r#"there is no block I/O class "gold"; the file has none"#
        );
    }

    #[test]
    fn what_is_no_class_is_refused_with_the_reason() {
        for (text, part) in [
            ("Classes: 3", "no mapping `Classes`"),
            ("Clases: {}", r#"the key "Clases" is unknown"#),
            (
                "Classes: {a: {Weight: 80}}",
                r#"class "a": its parameters are no list"#,
            ),
            ("Classes: {a: [{Weight: 5}]}", "the weight 5 is not between"),
            (
                "Classes: {a: [{Weihgt: 80}]}",
                r#"the key "Weihgt" is unknown"#,
            ),
            (
                "Classes: {a: [{ThrottleReadBps: 1M}]}",
                "a rate needs `Devices`",
            ),
            (
                "Classes: {a: [{Devices: [/d], ThrottleReadBps: 1X}]}",
                "1X, which is no quantity",
            ),
            (
                "Classes: {a: [{Weight: 80, weight: 90}]}",
                r#"the keys "Weight" and "weight" are the same"#,
            ),
            (
                "Classes: {a: [{Weight: 80, Weight: 90}]}",
                r#"column 28: the key "Weight" is there twice"#,
            ),
            (
                "Classes: {a: [{Weight: 80}], a: [{Weight: 90}]}",
                r#"the key "a" is there twice"#,
            ),
            (
                "Classes: {a: [{Devices: /dev/vda, Weight: 80}]}",
                "`Devices` is no list of absolute paths",
            ),
            (
                "Classes: {a: [{Devices: {/dev/vda: 1}, Weight: 80}]}",
                "`Devices` is no list of absolute paths",
            ),
            (
                "Classes: {a: [{Devices: [vda], Weight: 80}]}",
                "`Devices` is no list of absolute paths",
            ),
            (
                "{Classes: {}, classes: {}}",
                r#"the keys "Classes" and "classes" are the same"#,
            ),
        ] {
            let error = Classes::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for (text, value) in [
            ("0", Some(0)),
            ("60M", Some(60_000_000)),
            ("1.5k", Some(1500)),
            ("2Gi", Some(2 << 30)),
            ("0.0001k", None),
            ("-1", None),
            ("", None),
            ("k", None),
            ("99999999999E", None),
            ("0.5", None),
        ] {
            assert_eq!(quantity(text), value, "{text}");
        }
    }
}
