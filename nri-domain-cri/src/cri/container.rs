//! A container, as `CreateContainer` gets it.

use std::collections::BTreeMap;

use super::field::{enumeration, message};
use super::{InvalidConfig, LinuxContainerResources, LinuxContainerSecurityContext, from_json};

/// The message, for errors.
const CONTAINER: &str = "ContainerConfig";

message! {
    /// The configuration of a container.
    pub struct ContainerConfig {
        /// Who the container is.
        metadata = 1 / "metadata": Option<ContainerMetadata>,
        /// The image.
        image = 2 / "image": Option<ImageSpec>,
        /// Replaces the image's entry point.
        command = 3 / "command": Vec<String>,
        /// Replaces the image's arguments.
        args = 4 / "args": Vec<String>,
        /// Working directory.
        working_dir = 5 / "workingDir": String,
        /// Environment.
        envs = 6 / "envs": Vec<KeyValue>,
        /// Mounts beside the runtime's own.
        mounts = 7 / "mounts": Vec<Mount>,
        /// Devices of the host.
        devices = 8 / "devices": Vec<Device>,
        /// Labels.
        labels = 9 / "labels": BTreeMap<String, String>,
        /// Annotations.
        annotations = 10 / "annotations": BTreeMap<String, String>,
        /// Path of the log, relative to the pod's log directory.
        log_path = 11 / "logPath": String,
        /// Whether standard input is kept open.
        stdin = 12 / "stdin": bool,
        /// Whether standard input is closed after the first client.
        stdin_once = 13 / "stdinOnce": bool,
        /// Whether the process gets a terminal.
        tty = 14 / "tty": bool,
        /// The Linux part.
        linux = 15 / "linux": Option<LinuxContainerConfig>,
        /// CDI devices.
        cdi_devices = 17 as "CDI_devices" / "CDIDevices": Vec<CdiDevice>,
    }
}

message! {
    /// Who a container is.
    pub struct ContainerMetadata {
        /// Name in its pod.
        name = 1 / "name": String,
        /// How often it was made anew.
        attempt = 2 / "attempt": u32,
    }
}

message! {
    /// An image.
    pub struct ImageSpec {
        /// Its reference, as the runtime is to use it.
        image = 1 / "image": String,
        /// Its reference, as the user wrote it.
        user_specified_image = 18 / "userSpecifiedImage": String,
    }
}

message! {
    /// An environment variable.
    pub struct KeyValue {
        /// Name.
        key = 1 / "key": String,
        /// Value.
        value = 2 / "value": String,
    }
}

message! {
    /// A mount of a path of the host.
    pub struct Mount {
        /// Where, in the container.
        container_path = 1 / "containerPath": String,
        /// What, on the host.
        host_path = 2 / "hostPath": String,
        /// Whether it is read-only.
        readonly = 3 / "readonly": bool,
        /// Whether the source gets an SELinux label that the container may use.
        selinux_relabel = 4 / "selinuxRelabel": bool,
        /// How mounts below it propagate.
        propagation = 5 / "propagation": MountPropagation,
    }
}

enumeration! {
    /// How mounts below a mount propagate.
    pub enum MountPropagation {
        /// Not at all.
        Private = 0 "PROPAGATION_PRIVATE",
        /// From the host into the container.
        HostToContainer = 1 "PROPAGATION_HOST_TO_CONTAINER",
        /// Both ways.
        Bidirectional = 2 "PROPAGATION_BIDIRECTIONAL",
    }
}

message! {
    /// A device of the host.
    pub struct Device {
        /// Where, in the container.
        container_path = 1 / "containerPath": String,
        /// What, on the host.
        host_path = 2 / "hostPath": String,
        /// Any of `r`, `w` and `m`.
        permissions = 3 / "permissions": String,
    }
}

message! {
    /// A CDI device.
    pub struct CdiDevice {
        /// Its full name, for example `vendor.com/gpu=0`.
        name = 1 / "name": String,
    }
}

message! {
    /// The Linux part of a container's configuration.
    pub struct LinuxContainerConfig {
        /// Resources.
        resources = 1 / "resources": Option<LinuxContainerResources>,
        /// Security.
        security_context = 2 / "securityContext": Option<LinuxContainerSecurityContext>,
    }
}

impl ContainerConfig {
    /// Reads a container as `crictl create` takes it.
    ///
    /// # Errors
    /// A text that is no such configuration, or one without a name or an image.
    ///
    /// ```
    /// use nri_domain_cri::cri::ContainerConfig;
    /// let container = ContainerConfig::from_json(r#"{
    ///     "metadata": {"name": "app"},
    ///     "image": {"image": "registry.example/app:1"},
    ///     "linux": {"resources": {"memory_limit_in_bytes": "268435456"}}
    /// }"#)?;
    /// let resources = container.linux.unwrap().resources.unwrap();
    /// assert_eq!(resources.memory_limit_in_bytes, 268435456);
    /// # Ok::<(), nri_domain_cri::cri::InvalidConfig>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, InvalidConfig> {
        Self::checked(from_json(CONTAINER, text)?)
    }

    /// Reads a container as `crictl create` takes it, which is YAML, or JSON as one kind of it.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    ///
    /// ```
    /// use nri_domain_cri::cri::ContainerConfig;
    /// let container = ContainerConfig::from_yaml("
    ///     metadata: {name: app,}
    ///     image: {image: registry.example/app:1}   # the image
    ///     CDI_Devices:
    ///     - Name: vendor.example/gpu=0
    /// ")?;
    /// assert_eq!(container.cdi_devices[0].name, "vendor.example/gpu=0");
    /// # Ok::<(), nri_domain_cri::cri::InvalidConfig>(())
    /// ```
    #[cfg(feature = "yaml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
    pub fn from_yaml(text: &str) -> Result<Self, InvalidConfig> {
        Self::checked(super::from_yaml::read(CONTAINER, text)?)
    }

    fn checked(config: Self) -> Result<Self, InvalidConfig> {
        let what = CONTAINER;
        let name = config.metadata.as_ref().map(|metadata| &metadata.name);
        let image = config.image.as_ref().map(|image| &image.image);
        for (value, field) in [(name, "metadata.name"), (image, "image.image")] {
            if value.is_none_or(String::is_empty) {
                return Err(InvalidConfig::Missing { what, field });
            }
        }
        Ok(config)
    }
}
