//! Adjusting a container that is being created.

use nri_proto::api::{
    CdiDevice, ContainerAdjustment, Field, Hooks, KeyValue, LinuxContainerAdjustment, LinuxDevice,
    LinuxDeviceCgroup, LinuxIoPriority, LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice,
    LinuxRdt, LinuxScheduler, LinuxSeccomp, Mount, MpolFlag, MpolMode,
};

use super::entries::{add_entry, add_to_map, remove_entry, remove_from_map};
use super::rlimit::ordered;
use super::{BuildError, SetResources, Wrapper};

/// A command line with a program.
fn checked<A: Into<String>>(args: impl IntoIterator<Item = A>) -> Result<Vec<String>, BuildError> {
    let args: Vec<String> = args.into_iter().map(Into::into).collect();
    match args.first() {
        Some(program) if !program.is_empty() => Ok(args),
        _ => Err(BuildError::NoProgram),
    }
}

/// An adjustment. Its resources are set with [`SetResources`].
///
/// Of keyed things there are three forms: `add_` sets what no other plugin has set (it replaces
/// what the container has from the runtime), `remove_` removes, and `replace_` does both, so that
/// it takes over what an earlier plugin has set.
///
/// Every method that can refuse refuses with a [`BuildError`] and leaves the adjustment as it was.
pub trait Adjust: SetResources {
    /// The adjustment itself.
    #[doc(hidden)]
    fn adjustment(&mut self) -> &mut ContainerAdjustment;

    /// What is particular to Linux.
    #[doc(hidden)]
    fn linux(&mut self) -> &mut LinuxContainerAdjustment {
        self.adjustment().linux.get_or_insert_default()
    }

    /// Sets an annotation.
    ///
    /// # Errors
    /// The key begins with `-` or is set already.
    fn add_annotation(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let annotations = &mut self.adjustment().annotations;
        add_to_map(annotations, Field::Annotations, key.into(), value.into())?;
        Ok(self)
    }

    /// Removes an annotation.
    fn remove_annotation(&mut self, key: &str) -> &mut Self {
        remove_from_map(&mut self.adjustment().annotations, key);
        self
    }

    /// Sets an annotation, whoever has set it.
    ///
    /// # Errors
    /// As [`add_annotation`](Adjust::add_annotation).
    fn replace_annotation(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let key = key.into();
        Ok(self
            .add_annotation(key.clone(), value)?
            .remove_annotation(&key))
    }

    /// Mounts something. The destination is the key.
    ///
    /// # Errors
    /// The destination begins with `-` or is mounted already.
    fn add_mount(&mut self, mount: Mount) -> Result<&mut Self, BuildError> {
        add_entry(&mut self.adjustment().mounts, Field::Mounts, mount)?;
        Ok(self)
    }

    /// Removes the mounts at a destination.
    fn remove_mount(&mut self, destination: &str) -> &mut Self {
        remove_entry(&mut self.adjustment().mounts, destination);
        self
    }

    /// Mounts something, whoever has mounted at its destination.
    ///
    /// # Errors
    /// As [`add_mount`](Adjust::add_mount).
    fn replace_mount(&mut self, mount: Mount) -> Result<&mut Self, BuildError> {
        let key = mount.destination.clone();
        Ok(self.add_mount(mount)?.remove_mount(&key))
    }

    /// Sets an environment variable.
    ///
    /// # Errors
    /// The name begins with `-`, contains `=`, or is set already.
    fn add_env(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let (key, value) = (name.into(), value.into());
        let field = Field::Env;
        if key.contains('=') {
            return Err(BuildError::InvalidKey { field, key });
        }
        add_entry(&mut self.adjustment().env, field, KeyValue { key, value })?;
        Ok(self)
    }

    /// Removes an environment variable.
    fn remove_env(&mut self, name: &str) -> &mut Self {
        remove_entry(&mut self.adjustment().env, name);
        self
    }

    /// Sets an environment variable, whoever has set it.
    ///
    /// # Errors
    /// As [`add_env`](Adjust::add_env).
    fn replace_env(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let name = name.into();
        Ok(self.add_env(name.clone(), value)?.remove_env(&name))
    }

    /// Sets the command line. Conflicts if an earlier plugin has set it.
    ///
    /// # Errors
    /// There is no program.
    fn set_args<A: Into<String>>(
        &mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<&mut Self, BuildError> {
        self.adjustment().args = checked(args)?;
        Ok(self)
    }

    /// Sets the command line, whoever has set it.
    ///
    /// # Errors
    /// There is no program.
    fn update_args<A: Into<String>>(
        &mut self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<&mut Self, BuildError> {
        let mut args = checked(args)?;
        args.insert(0, String::new());
        self.adjustment().args = args;
        Ok(self)
    }

    /// Takes back what earlier plugins made of the command line: it is the original one again.
    fn remove_args(&mut self) -> &mut Self {
        self.adjustment().args = vec![String::new()];
        self
    }

    /// Adds OCI hooks: each of the six lists is appended.
    fn add_hooks(&mut self, hooks: Hooks) -> &mut Self {
        let to = self.adjustment().hooks.get_or_insert_default();
        let Hooks {
            prestart,
            create_runtime,
            create_container,
            start_container,
            poststart,
            poststop,
        } = hooks;
        to.prestart.extend(prestart);
        to.create_runtime.extend(create_runtime);
        to.create_container.extend(create_container);
        to.start_container.extend(start_container);
        to.poststart.extend(poststart);
        to.poststop.extend(poststop);
        self
    }

    /// Limits a resource of the process, such as `RLIMIT_NOFILE`: the ceiling first, then the value
    /// in force.
    ///
    /// # Errors
    /// The resource is limited already, or the value in force is above the ceiling.
    fn add_rlimit(
        &mut self,
        resource: impl Into<String>,
        hard: u64,
        soft: u64,
    ) -> Result<&mut Self, BuildError> {
        let limit = ordered(resource.into(), hard, soft)?;
        add_entry(&mut self.adjustment().rlimits, Field::Rlimits, limit)?;
        Ok(self)
    }

    /// Has a device of the Container Device Interface injected, by its full name.
    ///
    /// # Errors
    /// The device is asked for already.
    fn add_cdi_device(&mut self, name: impl Into<String>) -> Result<&mut Self, BuildError> {
        let device = CdiDevice { name: name.into() };
        add_entry(
            &mut self.adjustment().cdi_devices,
            Field::CdiDevices,
            device,
        )?;
        Ok(self)
    }

    /// Adds a device node. The path is the key.
    ///
    /// The rule of the device cgroup that lets the container use the device comes along: with the
    /// access that the device's mode gives, or to read and write it if there is no mode.
    /// [`add_cgroup_device_rule`](Adjust::add_cgroup_device_rule) is for other rules.
    ///
    /// # Errors
    /// The path begins with `-` or has a device already.
    fn add_device(&mut self, device: LinuxDevice) -> Result<&mut Self, BuildError> {
        add_entry(&mut self.linux().devices, Field::Devices, device)?;
        Ok(self)
    }

    /// Removes the device nodes at a path.
    fn remove_device(&mut self, path: &str) -> &mut Self {
        remove_entry(&mut self.linux().devices, path);
        self
    }

    /// Adds a device node, whoever has put one at its path.
    ///
    /// # Errors
    /// As [`add_device`](Adjust::add_device).
    fn replace_device(&mut self, device: LinuxDevice) -> Result<&mut Self, BuildError> {
        let key = device.path.clone();
        Ok(self.add_device(device)?.remove_device(&key))
    }

    /// Adds a rule of the device cgroup, after those that are there.
    fn add_cgroup_device_rule(&mut self, rule: LinuxDeviceCgroup) -> &mut Self {
        self.resources_mut().devices.push(rule);
        self
    }

    /// Sets a namespace. Its type is the key.
    ///
    /// # Errors
    /// The type begins with `-` or is set already.
    fn add_namespace(&mut self, namespace: LinuxNamespace) -> Result<&mut Self, BuildError> {
        add_entry(&mut self.linux().namespaces, Field::Namespace, namespace)?;
        Ok(self)
    }

    /// Removes the namespaces of a type: the container shares that of the runtime.
    fn remove_namespace(&mut self, kind: &str) -> &mut Self {
        remove_entry(&mut self.linux().namespaces, kind);
        self
    }

    /// Sets a namespace, whoever has set its type.
    ///
    /// # Errors
    /// As [`add_namespace`](Adjust::add_namespace).
    fn replace_namespace(&mut self, namespace: LinuxNamespace) -> Result<&mut Self, BuildError> {
        let key = namespace.r#type.clone();
        Ok(self.add_namespace(namespace)?.remove_namespace(&key))
    }

    /// Moves a network device of the host into the container.
    ///
    /// # Errors
    /// The host's name of it begins with `-` or is set already.
    fn add_net_device(
        &mut self,
        host_name: impl Into<String>,
        device: LinuxNetDevice,
    ) -> Result<&mut Self, BuildError> {
        let devices = &mut self.linux().net_devices;
        add_to_map(devices, Field::LinuxNetDevices, host_name.into(), device)?;
        Ok(self)
    }

    /// Leaves a network device with the host.
    fn remove_net_device(&mut self, host_name: &str) -> &mut Self {
        remove_from_map(&mut self.linux().net_devices, host_name);
        self
    }

    /// Moves a network device of the host into the container, whoever has asked for it.
    ///
    /// # Errors
    /// As [`add_net_device`](Adjust::add_net_device).
    fn replace_net_device(
        &mut self,
        host_name: impl Into<String>,
        device: LinuxNetDevice,
    ) -> Result<&mut Self, BuildError> {
        let key = host_name.into();
        Ok(self
            .add_net_device(key.clone(), device)?
            .remove_net_device(&key))
    }

    /// Sets a kernel parameter.
    ///
    /// # Errors
    /// The name begins with `-` or is set already.
    fn add_sysctl(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let parameters = &mut self.linux().sysctl;
        add_to_map(parameters, Field::Sysctl, name.into(), value.into())?;
        Ok(self)
    }

    /// Removes a kernel parameter.
    fn remove_sysctl(&mut self, name: &str) -> &mut Self {
        remove_from_map(&mut self.linux().sysctl, name);
        self
    }

    /// Sets a kernel parameter, whoever has set it.
    ///
    /// # Errors
    /// As [`add_sysctl`](Adjust::add_sysctl).
    fn replace_sysctl(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<&mut Self, BuildError> {
        let name = name.into();
        Ok(self.add_sysctl(name.clone(), value)?.remove_sysctl(&name))
    }

    /// RDT class of service of the container's processes.
    fn set_rdt_clos_id(&mut self, class: impl Into<String>) -> &mut Self {
        self.rdt().clos_id = Some(Wrapper::wrap(class.into()));
        self
    }

    /// RDT schemata, all of them.
    fn set_rdt_schemata<S: Into<String>>(
        &mut self,
        schemata: impl IntoIterator<Item = S>,
    ) -> &mut Self {
        let schemata = schemata.into_iter().map(Into::into).collect();
        self.rdt().schemata = Some(Wrapper::wrap(schemata));
        self
    }

    /// Whether RDT monitoring is on.
    fn set_rdt_enable_monitoring(&mut self, enable: bool) -> &mut Self {
        self.rdt().enable_monitoring = Some(Wrapper::wrap(enable));
        self
    }

    /// Removes everything about RDT that is not set by this adjustment too.
    fn remove_rdt(&mut self) -> &mut Self {
        self.rdt().remove = true;
        self
    }

    /// What is particular to RDT.
    #[doc(hidden)]
    fn rdt(&mut self) -> &mut LinuxRdt {
        self.linux().rdt.get_or_insert_default()
    }

    /// Path of the cgroup, as the OCI runtime specification has it. An empty path takes an earlier
    /// call back.
    fn set_cgroups_path(&mut self, path: impl Into<String>) -> &mut Self {
        self.linux().cgroups_path = path.into();
        self
    }

    /// How likely the process is to be killed when memory is short, -1000 to 1000. `None` takes an
    /// earlier call back.
    fn set_oom_score_adj(&mut self, score: Option<i64>) -> &mut Self {
        self.linux().oom_score_adj = score.map(Wrapper::wrap);
        self
    }

    /// I/O priority of the process, as a whole.
    fn set_io_priority(&mut self, priority: LinuxIoPriority) -> &mut Self {
        self.linux().io_priority = Some(priority);
        self
    }

    /// Seccomp filter, as a whole.
    fn set_seccomp_policy(&mut self, policy: LinuxSeccomp) -> &mut Self {
        self.linux().seccomp_policy = Some(policy);
        self
    }

    /// Scheduling of the process, as a whole.
    fn set_scheduler(&mut self, scheduler: LinuxScheduler) -> &mut Self {
        self.linux().scheduler = Some(scheduler);
        self
    }

    /// Memory policy of the process, as a whole. The nodes are written as `0-1,3`.
    fn set_memory_policy(
        &mut self,
        mode: MpolMode,
        nodes: impl Into<String>,
        flags: impl IntoIterator<Item = MpolFlag>,
    ) -> &mut Self {
        self.linux().memory_policy = Some(LinuxMemoryPolicy {
            mode: mode.into(),
            nodes: nodes.into(),
            flags: flags.into_iter().map(Into::into).collect(),
        });
        self
    }
}

impl Adjust for ContainerAdjustment {
    fn adjustment(&mut self) -> &mut ContainerAdjustment {
        self
    }
}
