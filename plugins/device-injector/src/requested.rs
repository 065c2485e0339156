//! What pods ask for: the annotations and what stands in them, as types that hold nothing that
//! cannot be. What may not enter: who may ask for it.

use std::collections::BTreeMap;

use nri_plugin::values::{AbsolutePath, FileMode, InterfaceName};
use nri_plugin::{AnnotationKey, InvalidAnnotation, api};
use serde::Deserialize;

use crate::names;

const DEVICES: AnnotationKey =
    AnnotationKey::new("devices.noderesource.dev").formerly("devices.nri.io");
const MOUNTS: AnnotationKey =
    AnnotationKey::new("mounts.noderesource.dev").formerly("mounts.nri.io");
const CDI_DEVICES: AnnotationKey =
    AnnotationKey::new("cdi-devices.noderesource.dev").formerly("cdi-devices.nri.io");
const IO_PRIORITY: AnnotationKey =
    AnnotationKey::new("io-priority.noderesource.dev").formerly("io-priority.nri.io");
const NET_DEVICES: AnnotationKey =
    AnnotationKey::new("network-devices.noderesource.dev").formerly("network-devices.nri.io");
const SCHEDULER: AnnotationKey =
    AnnotationKey::new("scheduling-policy.noderesource.dev").formerly("scheduling-policy.nri.io");
const SYSCTLS: AnnotationKey = AnnotationKey::new("sysctl.noderesource.dev");
const MEMORY_POLICY: AnnotationKey =
    AnnotationKey::new("memory-policy.noderesource.dev").formerly("memory-policy.nri.io");

/// As many sysctls as a pod may ask for.
const MOST_SYSCTLS: usize = 256;

/// All that a pod asks for, for one container.
#[derive(Debug, Default)]
pub(crate) struct Requested {
    pub(crate) devices: Vec<Device>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) cdi_devices: Vec<CdiDevice>,
    pub(crate) network_devices: Vec<NetworkDevice>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) io_priority: Option<IoPriority>,
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
}

impl Requested {
    /// Reads the annotations of a pod that count for a container.
    ///
    /// # Errors
    /// One of them is not what it may be.
    pub(crate) fn read(
        pod: &BTreeMap<String, String>,
        container: &str,
    ) -> Result<Self, InvalidAnnotation> {
        let sysctls: Option<Option<BTreeMap<String, String>>> = SYSCTLS.read(pod, container)?;
        let sysctls = sysctls.flatten().unwrap_or_default();
        if sysctls.len() > MOST_SYSCTLS {
            let reason = format!("it has more than {MOST_SYSCTLS} sysctls");
            return Err(SYSCTLS.invalid(pod, container, reason));
        }
        if let Some(name) = sysctls.keys().find(|name| !names::is_sysctl(name)) {
            let reason = format!("{name:?} is no name of a sysctl, such as net.core.somaxconn");
            return Err(SYSCTLS.invalid(pod, container, reason));
        }
        Ok(Self {
            devices: DEVICES.read_list(pod, container)?,
            mounts: MOUNTS.read_list(pod, container)?,
            cdi_devices: CDI_DEVICES.read_list(pod, container)?,
            network_devices: NET_DEVICES.read_list(pod, container)?,
            sysctls,
            io_priority: IO_PRIORITY.read(pod, container)?,
            scheduler: SCHEDULER.read(pod, container)?,
            memory_policy: MEMORY_POLICY.read(pod, container)?,
        })
    }
}

/// A device node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    pub(crate) path: AbsolutePath,
    pub(crate) r#type: DeviceType,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    #[serde(default)]
    file_mode: FileMode,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) enum DeviceType {
    #[serde(rename = "c")]
    Character,
    #[serde(rename = "b")]
    Block,
}

impl DeviceType {
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Character => "c",
            Self::Block => "b",
        }
    }
}

impl Device {
    /// The message. A mode, a user or a group of 0 is the same as none, as in the Go plugin: the
    /// container gets what the runtime has for it.
    pub(crate) fn message(self) -> api::LinuxDevice {
        let owner = |id: u32| (id != 0).then_some(api::OptionalUInt32 { value: id });
        let mode = self.file_mode.bits();
        api::LinuxDevice {
            path: self.path.into(),
            r#type: self.r#type.letter().to_owned(),
            major: self.major.into(),
            minor: self.minor.into(),
            file_mode: (mode != 0).then_some(api::OptionalFileMode { value: mode }),
            uid: owner(self.uid),
            gid: owner(self.gid),
        }
    }
}

/// A mount.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WrittenMount")]
pub(crate) struct Mount {
    pub(crate) source: String,
    destination: AbsolutePath,
    kind: String,
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMount {
    source: String,
    destination: AbsolutePath,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    options: Vec<String>,
}

impl TryFrom<WrittenMount> for Mount {
    type Error = String;

    fn try_from(written: WrittenMount) -> Result<Self, String> {
        let WrittenMount {
            source,
            destination,
            r#type: kind,
            options,
        } = written;
        let is_bind = kind == "bind" || options.iter().any(|o| o == "bind" || o == "rbind");
        // The source of another mount may be any word: tmpfs, proc ...
        if is_bind || source.starts_with('/') {
            let path = AbsolutePath::try_from(source.clone());
            path.map_err(|error| format!("source: {error}"))?;
        }
        Ok(Self {
            source,
            destination,
            kind,
            options,
        })
    }
}

impl Mount {
    pub(crate) fn message(self) -> api::Mount {
        api::Mount {
            source: self.source,
            destination: self.destination.into(),
            r#type: self.kind,
            options: self.options,
        }
    }
}

/// The full name of a CDI device.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CdiDevice(pub(crate) String);

impl TryFrom<String> for CdiDevice {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match names::is_cdi_device(&name) {
            true => Ok(Self(name)),
            false => Err(format!(
                "{name:?} is no CDI device: VENDOR/CLASS=NAME is wanted, such as vendor0.com/device=null"
            )),
        }
    }
}

/// A network device of the host. The README of the Go plugin writes `Name`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkDevice {
    #[serde(rename = "hostIf")]
    pub(crate) host: InterfaceName,
    #[serde(alias = "Name")]
    name: InterfaceName,
}

impl NetworkDevice {
    /// The name on the host, and the message.
    pub(crate) fn message(self) -> (String, api::LinuxNetDevice) {
        let message = api::LinuxNetDevice {
            name: self.name.into(),
        };
        (self.host.into(), message)
    }
}

/// An I/O priority.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IoPriority {
    #[serde(deserialize_with = "names::io_class")]
    class: api::IoPrioClass,
    #[serde(default)]
    priority: i32,
}

impl IoPriority {
    pub(crate) fn message(self) -> api::LinuxIoPriority {
        api::LinuxIoPriority {
            class: self.class.into(),
            priority: self.priority,
        }
    }
}

/// The scheduling of the process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scheduler {
    #[serde(deserialize_with = "names::scheduler_policy")]
    policy: api::LinuxSchedulerPolicy,
    #[serde(default)]
    nice: i32,
    #[serde(default)]
    priority: i32,
    #[serde(default, deserialize_with = "names::scheduler_flags")]
    flags: Vec<api::LinuxSchedulerFlag>,
    #[serde(default)]
    runtime: u64,
    #[serde(default)]
    deadline: u64,
    #[serde(default)]
    period: u64,
}

impl Scheduler {
    pub(crate) fn message(self) -> api::LinuxScheduler {
        api::LinuxScheduler {
            policy: self.policy.into(),
            nice: self.nice,
            priority: self.priority,
            flags: self.flags.into_iter().map(Into::into).collect(),
            runtime: self.runtime,
            deadline: self.deadline,
            period: self.period,
        }
    }
}

/// The memory policy of the process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryPolicy {
    #[serde(deserialize_with = "names::memory_mode")]
    pub(crate) mode: api::MpolMode,
    #[serde(default)]
    pub(crate) nodes: String,
    #[serde(default, deserialize_with = "names::memory_flags")]
    pub(crate) flags: Vec<api::MpolFlag>,
}
