//! Coming from the Go packages: a Go name on the left, ours on the right.
//!
//! # containerd's API
//!
//! What runtimes are written against in containerd (`pkg/nri` of 1.7, since then `internal/nri`).
//! The trait is [`RuntimeApi`](crate::RuntimeApi), of [`Nri`](crate::Nri).
//!
//! | Go | Rust |
//! |---|---|
//! | `API` | the trait [`RuntimeApi`](crate::RuntimeApi) |
//! | `IsEnabled` `Start` `Stop` | [`is_enabled`](crate::RuntimeApi::is_enabled) [`start`](crate::RuntimeApi::start) [`stop`](crate::RuntimeApi::stop) |
//! | `RunPodSandbox` `StopPodSandbox` `RemovePodSandbox` | [`run_pod_sandbox`](crate::RuntimeApi::run_pod_sandbox) [`stop_pod_sandbox`](crate::RuntimeApi::stop_pod_sandbox) [`remove_pod_sandbox`](crate::RuntimeApi::remove_pod_sandbox) |
//! | `UpdatePodSandbox` `PostUpdatePodSandbox` | [`update_pod_sandbox`](crate::RuntimeApi::update_pod_sandbox) [`post_update_pod_sandbox`](crate::RuntimeApi::post_update_pod_sandbox) |
//! | `CreateContainer` `PostCreateContainer` | [`create_container`](crate::RuntimeApi::create_container), which returns a [`Creation`](crate::Creation); [`post_create_container`](crate::RuntimeApi::post_create_container) |
//! | `StartContainer` `PostStartContainer` | [`start_container`](crate::RuntimeApi::start_container) [`post_start_container`](crate::RuntimeApi::post_start_container) |
//! | `UpdateContainer` `PostUpdateContainer` | [`update_container`](crate::RuntimeApi::update_container), which returns an [`UpdateResult`](crate::UpdateResult); [`post_update_container`](crate::RuntimeApi::post_update_container) |
//! | `StopContainer` `NotifyContainerExit` `RemoveContainer` | [`stop_container`](crate::RuntimeApi::stop_container), which returns a [`StopResult`](crate::StopResult); [`notify_container_exit`](crate::RuntimeApi::notify_container_exit) [`remove_container`](crate::RuntimeApi::remove_container) |
//! | `BlockPluginSync` | [`block_plugin_sync`](crate::RuntimeApi::block_plugin_sync): for parity, nothing needs it |
//! | `New(cfg)` | [`Nri::builder`](crate::Nri::builder) … [`Builder::build`](crate::Builder::build) |
//! | `Config`, its TOML and JSON names | [`Config`](crate::Config), [`JsonConfig`](crate::config::JsonConfig); [`from_toml`](crate::Config::from_toml) [`from_toml_lenient`](crate::Config::from_toml_lenient) |
//! | `Config`: `Disable` `SocketPath` `PluginPath` `PluginConfigPath` | [`disable`](crate::Config::disable) [`socket_path`](crate::Config::socket_path) [`plugin_path`](crate::Config::plugin_path) [`plugin_config_path`](crate::Config::plugin_config_path) |
//! | `PluginRegistrationTimeout` `PluginRequestTimeout` `DisableConnections` | [`plugin_registration_timeout`](crate::Config::plugin_registration_timeout) [`plugin_request_timeout`](crate::Config::plugin_request_timeout) [`disable_connections`](crate::Config::disable_connections) |
//! | `DefaultValidator` | [`default_validator`](crate::Config::default_validator) |
//! | `DefaultConfig` | [`default`](crate::Config::default) |
//! | `ConfigureTimeouts` | the two timeouts, for one instance; [`Nri::reconfigure`](crate::Nri::reconfigure) |
//! | `Domain` | the trait [`Domain`](crate::Domain) |
//! | `GetName` `ListPodSandboxes` `ListContainers` | [`name`](crate::Domain::name) [`list_pod_sandboxes`](crate::Domain::list_pod_sandboxes) [`list_containers`](crate::Domain::list_containers) |
//! | `GetPodSandbox` `GetContainer` `UpdateContainer` `EvictContainer` | [`get_pod_sandbox`](crate::Domain::get_pod_sandbox) [`get_container`](crate::Domain::get_container) [`update_container`](crate::Domain::update_container) [`evict_container`](crate::Domain::evict_container) |
//! | `RegisterDomain` | [`Builder::domain`](crate::Builder::domain), or [`Nri::register_domain`](crate::Nri::register_domain) before the start; a duplicate is an error. Look-up: [`Nri::domain`](crate::Nri::domain), [`Nri::domain_of`](crate::Nri::domain_of) |
//! | `PodSandbox`: `GetDomain` `GetID` `GetName` `GetUID` `GetNamespace` | [`domain`](crate::model::PodSandbox::domain) [`id`](crate::model::PodSandbox::id) [`name`](crate::model::PodSandbox::name) [`uid`](crate::model::PodSandbox::uid) [`namespace`](crate::model::PodSandbox::namespace) |
//! | `GetLabels` `GetAnnotations` `GetRuntimeHandler` `GetPid` `GetIPs` | [`labels`](crate::model::PodSandbox::labels) [`annotations`](crate::model::PodSandbox::annotations) [`runtime_handler`](crate::model::PodSandbox::runtime_handler) [`pid`](crate::model::PodSandbox::pid) [`ips`](crate::model::PodSandbox::ips) |
//! | `GetLinuxPodSandbox` | [`linux`](crate::model::PodSandbox::linux), a [`LinuxPodSandbox`](crate::model::LinuxPodSandbox) |
//! | `LinuxPodSandbox`: `GetLinuxNamespaces` `GetPodLinuxOverhead` `GetPodLinuxResources` | [`namespaces`](crate::model::LinuxPodSandbox::namespaces) [`pod_overhead`](crate::model::LinuxPodSandbox::pod_overhead) [`pod_resources`](crate::model::LinuxPodSandbox::pod_resources) |
//! | `GetCgroupParent` `GetCgroupsPath` `GetLinuxResources` | [`cgroup_parent`](crate::model::LinuxPodSandbox::cgroup_parent) [`cgroups_path`](crate::model::LinuxPodSandbox::cgroups_path) [`resources`](crate::model::LinuxPodSandbox::resources) |
//! | `Container`: `GetDomain` `GetPodSandboxID` `GetID` `GetName` `GetState` `GetPid` | [`domain`](crate::model::Container::domain) [`pod_sandbox_id`](crate::model::Container::pod_sandbox_id) [`id`](crate::model::Container::id) [`name`](crate::model::Container::name) [`state`](crate::model::Container::state) [`pid`](crate::model::Container::pid) |
//! | `GetStatus` | [`status`](crate::model::Container::status), a [`ContainerStatus`](crate::model::ContainerStatus) |
//! | `GetLabels` `GetAnnotations` `GetArgs` `GetEnv` `GetMounts` `GetHooks` | [`labels`](crate::model::Container::labels) [`annotations`](crate::model::Container::annotations) [`args`](crate::model::Container::args) [`env`](crate::model::Container::env) [`mounts`](crate::model::Container::mounts) [`hooks`](crate::model::Container::hooks) |
//! | `GetCDIDevices` `GetRlimits` `GetUser` `GetImage` | [`cdi_devices`](crate::model::Container::cdi_devices) [`rlimits`](crate::model::Container::rlimits) [`user`](crate::model::Container::user) [`image`](crate::model::Container::image) |
//! | `GetLinuxContainer` | [`linux`](crate::model::Container::linux), a [`LinuxContainer`](crate::model::LinuxContainer) |
//! | `LinuxContainer`: `GetLinuxNamespaces` `GetLinuxDevices` `GetLinuxResources` | [`namespaces`](crate::model::LinuxContainer::namespaces) [`devices`](crate::model::LinuxContainer::devices) [`resources`](crate::model::LinuxContainer::resources) |
//! | `GetOOMScoreAdj` `GetCgroupsPath` `GetIOPriority` `GetScheduler` | [`oom_score_adj`](crate::model::LinuxContainer::oom_score_adj) [`cgroups_path`](crate::model::LinuxContainer::cgroups_path) [`io_priority`](crate::model::LinuxContainer::io_priority) [`scheduler`](crate::model::LinuxContainer::scheduler) |
//! | `GetNetDevices` `GetRdt` `GetSeccompProfile` `GetSeccompPolicy` `GetSysctl` | [`net_devices`](crate::model::LinuxContainer::net_devices) [`rdt`](crate::model::LinuxContainer::rdt) [`seccomp_profile`](crate::model::LinuxContainer::seccomp_profile) [`seccomp_policy`](crate::model::LinuxContainer::seccomp_policy) [`sysctl`](crate::model::LinuxContainer::sysctl) |
//! | `State`: `Created` `Running` `Stopped` `Removed` | [`State`](crate::model::State): 1 to 4, as there |
//!
//! # pkg/adaptation
//!
//! The layer below, which a Go runtime embeds directly (CRI-O does). There is one API here for
//! both.
//!
//! | Go | Rust |
//! |---|---|
//! | `New(name, version, syncFn, updateFn, opts...)` | [`Nri::builder`](crate::Nri::builder), [`Builder::runtime`](crate::Builder::runtime), [`Builder::build`](crate::Builder::build) |
//! | `SyncFn`, `SyncCB` | [`Domain`](crate::Domain)'s listings: NRI asks for them when a plugin joins, and applies what it answers |
//! | `UpdateFn` | [`update_container`](crate::Domain::update_container) [`evict_container`](crate::Domain::evict_container): one container each |
//! | `Adaptation`: `Start` `Stop` `BlockPluginSync` | [`start`](crate::RuntimeApi::start) [`stop`](crate::RuntimeApi::stop) [`block_plugin_sync`](crate::RuntimeApi::block_plugin_sync) |
//! | `RunPodSandbox` … `RemoveContainer` with a request message | the methods of [`RuntimeApi`](crate::RuntimeApi) with a pod and a container; messages are [`api::PodSandbox`](crate::api::PodSandbox) and [`api::Container`](crate::api::Container) |
//! | the state of pods and containers, kept by the caller | kept here: repeated stops and removals have no effect, a removal implies the stop ([`nri_core::lifecycle`]) |
//! | `CreateContainerResponse`: `Adjust` `Update` `Evict` | [`Creation`](crate::Creation): [`adjustment`](crate::Creation::adjustment); [`updates`](crate::Creation::updates) and [`evictions`](crate::Creation::evictions) are carried out already |
//! | `WithSocketPath` `WithPluginPath` `WithPluginConfigPath` `WithDisabledExternalConnections` | [`socket_path`](crate::Config::socket_path) [`plugin_path`](crate::Config::plugin_path) [`plugin_config_path`](crate::Config::plugin_config_path) [`disable_connections`](crate::Config::disable_connections) |
//! | `WithBuiltinPlugins`, `builtin.BuiltinPlugin` | [`Builder::plugin`](crate::Builder::plugin) with a [`Plugin`](crate::Plugin) |
//! | `WithDefaultValidator` | [`default_validator`](crate::Config::default_validator) |
//! | `WithMetrics`, `Metrics` | [`Builder::metrics`](crate::Builder::metrics), [`Metrics`](crate::Metrics) |
//! | `WithDeprecationRecorder`, `DeprecationRecorder` | [`Observer::plugin_deprecated`](crate::Observer::plugin_deprecated) |
//! | `WithTTRPCOptions` | none: interceptors are spans of `tracing`, see [`observing`](super::observing) |
//! | `SetPluginRegistrationTimeout` `SetPluginRequestTimeout` | [`plugin_registration_timeout`](crate::Config::plugin_registration_timeout) [`plugin_request_timeout`](crate::Config::plugin_request_timeout), of the instance |
//! | `PluginSyncBlock.Unblock` | dropping the [`PluginSyncBlock`](crate::PluginSyncBlock) |
//! | `ErrWasmDisabled`, plugins as WebAssembly | none |
//! | the aliases `Container`, `Mount`, ... | the module [`api`](crate::api) |
//! | `FromOCIMounts`, ...; `runtime-tools/generate` | the module `oci` (feature `oci`): `oci::read`, `oci::apply`, `oci::apply_resources` |
//! | `WithAnnotationFilter` `WithBlockIOResolver` `WithCDIDeviceInjector` `WithRdtResolver` `WithResourceChecker` | `oci::ApplyOptions`: `annotation_filter` `blockio_resolver` `cdi_injector` `rdt_resolver` `resource_checker` |
//! | `log.SetLogger` | a subscriber of `tracing` |
//!
//! # What is different
//!
//! * There is no lock that the runtime has to hold or to release. Requests of different pods
//!   overlap; `serial = true` has one at a time, as there.
//! * The runtime tells of a creation's success ([`commit`](crate::Creation::commit)); everything
//!   else is an undo.
//! * A context that has ended ([`Ctx`](crate::Ctx)) closes no plugin; one late answer does not
//!   either ([failure policies](super::configuration#when-a-plugin-does-not-answer)).
//! * Stop, remove and post events reach all plugins whatever one of them answers.
//! * Evictions are carried out, in answers and unsolicited.
//! * A second domain of one name, a bad file in the plugin directory, a peer's nonsense: errors or
//!   reports, never the end of the process.
//! * Defects of the reference that are not reproduced, one by one: [`nri_core::merge::differences`]
//!   and [`nri_core::lifecycle::differences`].
//!
//! Plugins notice none of this: the wire is the same.
