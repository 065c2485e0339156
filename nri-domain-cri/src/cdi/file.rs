//! A CDI specification file. What may not enter: what its edits do.

use std::path::Path;

use serde::Deserialize;

use super::edits::Edits;
use crate::host;
use crate::yaml::{self, Twice};

/// The newest version that is known: later ones may have edits that would be lost.
const NEWEST: (u64, u64) = (1, 1);

/// What a file has.
pub(super) struct SpecFile {
    /// What every device of the file needs.
    pub(super) edits: Edits,
    /// The devices, by their full names.
    pub(super) devices: Vec<(String, Edits)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people")]
    annotations: serde_json::Value,
    #[serde(default)]
    container_edits: Edits,
    devices: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people")]
    annotations: serde_json::Value,
    #[serde(default)]
    container_edits: Edits,
}

impl SpecFile {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&host::read_text(path)?)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let written: Written = match serde_json::from_str(text) {
            Ok(written) => written,
            Err(error) if text.trim_start().starts_with('{') && !error.is_syntax() => {
                return Err(error.to_string());
            }
            Err(_) => {
                let value = yaml::value(text, Twice::Refused)?;
                serde_json::from_value(value).map_err(|error| error.to_string())?
            }
        };
        check_version(&written.cdi_version)?;
        let (vendor, class) = written.kind.split_once('/').unwrap_or_default();
        if !is_name(vendor, "_-.") || !is_name(class, "_-.") {
            return Err(format!(
                "`kind` is {:?}, and must be like vendor.com/class",
                written.kind
            ));
        }
        if written.devices.is_empty() {
            return Err("it has no `devices`".to_owned());
        }
        let mut devices: Vec<(String, Edits)> = Vec::new();
        for device in written.devices {
            // Unlike those of vendors and classes, such a name may begin with a digit.
            let is_name = device.name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && device.name.ends_with(|c: char| c.is_ascii_alphanumeric())
                && has_only(&device.name, "_-.:");
            if !is_name {
                return Err(format!("a device is named {:?}", device.name));
            }
            devices.push((
                format!("{}={}", written.kind, device.name),
                device.container_edits,
            ));
        }
        devices.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(pair) = devices.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("it has the device {} twice", pair[0].0));
        }
        if let Some((name, _)) = devices
            .iter()
            .find(|(_, edits)| edits.is_empty() && written.container_edits.is_empty())
        {
            return Err(format!(
                "the device {name} would change nothing: neither it nor the file has `containerEdits`"
            ));
        }
        for edits in devices
            .iter()
            .map(|(_, edits)| edits)
            .chain([&written.container_edits])
        {
            edits.check()?;
        }
        Ok(Self {
            edits: written.container_edits,
            devices,
        })
    }
}

fn check_version(version: &str) -> Result<(), String> {
    let numbers = version.trim_start_matches('v').split('.').map(str::parse);
    let numbers: Vec<u64> = numbers
        .collect::<Result<_, _>>()
        .map_err(|_| format!("`cdiVersion` is {version:?}, and must be like 1.0.0"))?;
    match numbers[..] {
        [major, minor, _] if (major, minor) <= NEWEST => Ok(()),
        _ => Err(format!(
            "`cdiVersion` is {version:?}; versions up to {}.{}.x are known",
            NEWEST.0, NEWEST.1
        )),
    }
}

/// A letter, then letters, digits and some other characters, which do not end it.
fn is_name(name: &str, others: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && has_only(name, others)
}

fn has_only(name: &str, others: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}
