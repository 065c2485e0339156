//! Security contexts of pods and containers.

use super::field::{enumeration, message};

message! {
    /// Security of a pod's sandbox.
    pub struct LinuxSandboxSecurityContext {
        /// Namespaces.
        namespace_options = 1 / "namespaceOptions": Option<NamespaceOption>,
        /// User of the sandbox's process.
        run_as_user = 3 / "runAsUser": Option<Int64Value>,
        /// Group of the sandbox's process.
        run_as_group = 8 / "runAsGroup": Option<Int64Value>,
        /// Whether the root file system is read-only.
        readonly_rootfs = 4 / "readonlyRootfs": bool,
        /// Groups beside the main one.
        supplemental_groups = 5 / "supplementalGroups": Vec<i64>,
        /// Whether the sandbox may run privileged containers.
        privileged = 6 / "privileged": bool,
        /// Seccomp profile.
        seccomp = 9 / "seccomp": Option<SecurityProfile>,
    }
}

message! {
    /// Security of a container.
    pub struct LinuxContainerSecurityContext {
        /// Capabilities beside the runtime's defaults.
        capabilities = 1 / "capabilities": Option<Capability>,
        /// Whether the container is privileged.
        privileged = 2 / "privileged": bool,
        /// Namespaces.
        namespace_options = 3 / "namespaceOptions": Option<NamespaceOption>,
        /// User of the process.
        run_as_user = 5 / "runAsUser": Option<Int64Value>,
        /// Group of the process.
        run_as_group = 12 / "runAsGroup": Option<Int64Value>,
        /// User of the process, by name.
        run_as_username = 6 / "runAsUsername": String,
        /// Whether the root file system is read-only.
        readonly_rootfs = 7 / "readonlyRootfs": bool,
        /// Groups beside the main one.
        supplemental_groups = 8 / "supplementalGroups": Vec<i64>,
        /// Whether the process may not gain privileges.
        no_new_privs = 11 / "noNewPrivs": bool,
        /// Paths that the container must not see.
        masked_paths = 13 / "maskedPaths": Vec<String>,
        /// Paths that the container must not write.
        readonly_paths = 14 / "readonlyPaths": Vec<String>,
        /// Seccomp profile; absent is not the same as the runtime's default.
        seccomp = 15 / "seccomp": Option<SecurityProfile>,
    }
}

message! {
    /// Capabilities, names without `CAP_`, and `ALL`.
    pub struct Capability {
        /// To add.
        add_capabilities = 1 / "addCapabilities": Vec<String>,
        /// To drop.
        drop_capabilities = 2 / "dropCapabilities": Vec<String>,
        /// To add to the ambient set.
        add_ambient_capabilities = 3 / "addAmbientCapabilities": Vec<String>,
    }
}

message! {
    /// A number that may be absent.
    pub struct Int64Value {
        /// The number.
        value = 1 / "value": i64,
    }
}

message! {
    /// Whose namespaces are used.
    pub struct NamespaceOption {
        /// Network.
        network = 1 / "network": NamespaceMode,
        /// Processes.
        pid = 2 / "pid": NamespaceMode,
        /// Inter-process communication.
        ipc = 3 / "ipc": NamespaceMode,
        /// The container whose processes are shared, for [`NamespaceMode::Target`].
        target_id = 4 / "targetId": String,
    }
}

enumeration! {
    /// Whose namespace is used.
    pub enum NamespaceMode {
        /// The pod's.
        Pod = 0 "POD",
        /// One of the container's own.
        Container = 1 "CONTAINER",
        /// The host's.
        Node = 2 "NODE",
        /// Another container's.
        Target = 3 "TARGET",
    }
}

message! {
    /// A security profile.
    pub struct SecurityProfile {
        /// Which one.
        profile_type = 1 / "profileType": ProfileType,
        /// The file on the host, for [`ProfileType::Localhost`].
        localhost_ref = 2 / "localhostRef": String,
    }
}

enumeration! {
    /// Where a security profile comes from.
    pub enum ProfileType {
        /// The runtime's default.
        RuntimeDefault = 0 "RuntimeDefault",
        /// None.
        Unconfined = 1 "Unconfined",
        /// A file on the host.
        Localhost = 2 "Localhost",
    }
}
