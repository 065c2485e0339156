//! What pods ask for: the annotation, as types that hold nothing that cannot be. What may not
//! enter: how a device is moved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nri_plugin::values::{InterfaceName, NamePattern};
use nri_plugin::{AnnotationKey, HandlerError, InvalidAnnotation};
use serde::Deserialize;

/// The key that the Go plugin reads, and the one that its documentation names.
const READ: AnnotationKey = AnnotationKey::new("netdevice.noderesource.dev")
    .formerly("netdevices.nri.containerd.io")
    .of_pods();
const DOCUMENTED: AnnotationKey = AnnotationKey::new("netdevices.noderesource.dev").of_pods();

/// A device that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Device {
    /// Its name on the host.
    pub(crate) name: String,
    /// Its name in the pod.
    pub(crate) new_name: String,
    /// Its address in the pod, with the length of the prefix.
    pub(crate) address: Option<(IpAddr, u8)>,
    pub(crate) mtu: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: InterfaceName,
    new_name: Option<InterfaceName>,
    address: Option<IpAddr>,
    prefix: Option<u8>,
    mtu: Option<u32>,
}

impl TryFrom<Written> for Device {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let name = String::from(written.name);
        if name == "lo" {
            return Err("name: lo cannot be moved".to_owned());
        }
        let new_name = written.new_name.map_or_else(|| name.clone(), String::from);
        let most = written
            .address
            .map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
        // In Go's plugin 0 is as if it was not there.
        let prefix = written.prefix.filter(|prefix| *prefix != 0);
        let address = match (written.address, prefix) {
            (None, Some(_)) => return Err("prefix is of no use without address".to_owned()),
            (Some(_), Some(prefix)) if prefix > most => {
                return Err(format!("prefix {prefix} is above {most}"));
            }
            (address, prefix) => address.map(|address| (address, prefix.unwrap_or(most))),
        };
        let mtu = written.mtu.filter(|mtu| *mtu != 0);
        if mtu.is_some_and(|mtu| !(68..=65_536).contains(&mtu)) {
            return Err("mtu: 68 to 65536 is wanted".to_owned());
        }
        Ok(Self {
            name,
            new_name,
            address,
            mtu,
        })
    }
}

/// Reads the annotation of a pod.
///
/// # Errors
/// It is not what it may be, or names something twice.
pub(crate) fn read(pod: &BTreeMap<String, String>) -> Result<Vec<Device>, InvalidAnnotation> {
    let key = match READ.find(pod, "") {
        Some(_) => READ,
        None => DOCUMENTED,
    };
    let devices: Vec<Device> = key.read_list(pod, "")?;
    let (mut names, mut new_names) = (BTreeSet::new(), BTreeSet::new());
    for device in &devices {
        for (set, name) in [
            (&mut names, &device.name),
            (&mut new_names, &device.new_name),
        ] {
            if !set.insert(name) {
                return Err(key.invalid(pod, "", format!("{name} is there twice")));
            }
        }
    }
    Ok(devices)
}

/// The configuration: which pods may have which devices.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    allow: Option<Vec<Grant>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    namespaces: Option<Vec<NamePattern>>,
    devices: Vec<NamePattern>,
}

impl Allowed {
    /// Whether devices that are in use on the host, since they have an address, may be taken: only
    /// if an operator says which.
    pub(crate) fn takes_what_is_in_use(&self) -> bool {
        self.allow.is_some()
    }

    /// Whether a pod of a namespace may have all of these.
    ///
    /// # Errors
    /// Which one it may not have.
    pub(crate) fn check(&self, namespace: &str, devices: &[Device]) -> Result<(), HandlerError> {
        let Some(grants) = &self.allow else {
            return Ok(());
        };
        let matches =
            |list: &[NamePattern], name: &str| list.iter().any(|pattern| pattern.matches(name));
        let mut grants_of = grants.iter().filter(|grant| {
            grant
                .namespaces
                .as_ref()
                .is_none_or(|list| matches(list, namespace))
        });
        let granted: Vec<&Grant> = grants_of.by_ref().collect();
        let refused = devices.iter().find(|device| {
            !granted
                .iter()
                .any(|grant| matches(&grant.devices, &device.name))
        });
        match refused {
            None => Ok(()),
            Some(device) => Err(format!(
                "the pods of namespace {namespace:?} may not have the network device {}: no entry of `allow` in the \
                 configuration of the plugin grants it",
                device.name
            )
            .into()),
        }
    }
}
