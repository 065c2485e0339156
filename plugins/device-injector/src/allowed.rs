//! The configuration: what pods may ask for. What may not enter: how they ask.

use nri_plugin::HandlerError;
use nri_plugin::values::{AbsolutePath, NamePattern, PathPattern};
use serde::Deserialize;

use crate::requested::Requested;

/// The configuration. Without `allow`, everything may be asked for, as with the Go plugin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    allow: Option<Vec<Grant>>,
}

/// What is granted to the pods of some namespaces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    /// Default: all.
    namespaces: Option<Vec<NamePattern>>,
    /// `TYPE MAJOR:MINOR`, such as `c 10:229` or `c 195:*`.
    #[serde(default)]
    devices: Vec<NamePattern>,
    /// Sources of mounts, such as `/home/**`.
    #[serde(default)]
    mounts: Vec<PathPattern>,
    #[serde(default)]
    cdi_devices: Vec<PathPattern>,
    /// Names on the host.
    #[serde(default)]
    network_devices: Vec<NamePattern>,
    #[serde(default)]
    sysctls: Vec<NamePattern>,
    #[serde(default)]
    io_priority: bool,
    #[serde(default)]
    scheduling_policy: bool,
    #[serde(default)]
    memory_policy: bool,
}

fn any(patterns: &[NamePattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

fn any_path(patterns: &[PathPattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

impl Allowed {
    /// Whether the pods of a namespace may ask for all of that.
    ///
    /// # Errors
    /// What they may not ask for.
    pub(crate) fn check(&self, namespace: &str, requested: &Requested) -> Result<(), HandlerError> {
        let Some(grants) = &self.allow else {
            return Ok(());
        };
        let grants: Vec<&Grant> = grants
            .iter()
            .filter(|grant| {
                grant
                    .namespaces
                    .as_ref()
                    .is_none_or(|list| any(list, namespace))
            })
            .collect();
        let need = |what: &str, name: &str, granted: &dyn Fn(&Grant) -> bool| match grants
            .iter()
            .any(|grant| granted(grant))
        {
            true => Ok(()),
            false => Err(HandlerError::from(format!(
                "the pods of namespace {namespace:?} may not ask for {what}{}{name}: no entry of `allow` in the \
                     configuration of the plugin grants it",
                if name.is_empty() { "" } else { " " },
            ))),
        };
        for device in &requested.devices {
            let number = format!(
                "{} {}:{}",
                device.r#type.letter(),
                device.major,
                device.minor
            );
            need("the device", &number, &|grant| any(&grant.devices, &number))?;
        }
        for mount in &requested.mounts {
            // A slash too many does not lead past a pattern.
            let source = plain_path(&mount.source);
            need("a mount of", &source, &|grant| {
                any_path(&grant.mounts, &source)
            })?;
        }
        for device in &requested.cdi_devices {
            let name = &device.0;
            need("the CDI device", name, &|grant| {
                any_path(&grant.cdi_devices, name)
            })?;
        }
        for device in &requested.network_devices {
            let name = device.host.as_str();
            need("the network device", name, &|grant| {
                any(&grant.network_devices, name)
            })?;
        }
        for sysctl in requested.sysctls.keys() {
            // The kernel takes both spellings.
            let dotted = sysctl.replace('/', ".");
            need("the sysctl", &dotted, &|grant| any(&grant.sysctls, &dotted))?;
        }
        if requested.io_priority.is_some() {
            need("an I/O priority", "", &|grant| grant.io_priority)?;
        }
        if requested.scheduler.is_some() {
            need("a scheduling policy", "", &|grant| grant.scheduling_policy)?;
        }
        if requested.memory_policy.is_some() {
            need("a memory policy", "", &|grant| grant.memory_policy)?;
        }
        Ok(())
    }
}

/// What is no absolute path stays as it is.
fn plain_path(path: &str) -> String {
    match AbsolutePath::try_from(path.to_owned()) {
        Ok(path) => path.normalized(),
        Err(_) => path.to_owned(),
    }
}
