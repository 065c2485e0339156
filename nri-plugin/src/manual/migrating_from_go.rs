//! Coming from Go: a name of `pkg/stub`, `pkg/plugin` or `pkg/api` on the left, ours on the right.
//!
//! # The stub
//!
//! | Go | Rust |
//! |---|---|
//! | `stub.New(plugin, opts...)` | [`Runner::builder`](crate::Runner::builder)`(plugin)` … [`build`](crate::Builder::build) |
//! | `WithPluginName` `WithPluginIdx` | [`name`](crate::Builder::name) [`index`](crate::Builder::index), or [`identity`](crate::Builder::identity) for both; [what counts](super::connecting#identity) |
//! | `WithSocketPath` | [`socket`](crate::Builder::socket) |
//! | `WithConnection` | [`stream`](crate::Builder::stream) |
//! | `WithDialer` | connect, and hand in the [`stream`](crate::Builder::stream) |
//! | `WithOnClose` | [`Handle::state`](crate::Handle::state), or the end of [`run`](crate::Runner::run). |
//! | `WithFailurePolicy` | [`failure_policy`](crate::Builder::failure_policy), or [`failure_policy`](crate::Plugin::failure_policy) |
//! | `WithTTRPCOptions` | [`limits`](crate::Builder::limits) for bounds; interceptors: none |
//! | `WithLogger`, `Logger` | a subscriber of `tracing` |
//! | `Run(ctx)` | [`run`](crate::Runner::run), or [`run_forever`](crate::Runner::run_forever), which connects again; dropping the future is the cancelled context |
//! | `Start(ctx)`, `Wait` | [`connect`](crate::Runner::connect), [`Connected::ended`](crate::Connected::ended) |
//! | `Stop` | [`Handle::stop`](crate::Handle::stop) |
//! | `UpdateContainers(updates)` | [`RuntimeHandle::update_containers`](crate::RuntimeHandle::update_containers)`(updates, evictions)`: see [unsolicited updates](super::unsolicited_updates) |
//! | `RegistrationTimeout` `RequestTimeout` | [`Configuration::registration_timeout`](crate::Configuration::registration_timeout) [`request_timeout`](crate::Configuration::request_timeout); of a call: [`PluginCtx::deadline`](crate::PluginCtx::deadline) |
//! | `RuntimeNRIVersion` `PluginNRIVersion` | [`RuntimeInfo::nri_version`](crate::RuntimeInfo::nri_version), [`NRI_VERSION`](crate::NRI_VERSION) |
//! | `ErrNoService` | [`UpdateFailure::Disconnected`](crate::UpdateFailure::Disconnected) |
//! | `DefaultRegistrationTimeout` `DefaultRequestTimeout` | the runtime's own say, in the [`Configuration`](crate::Configuration) |
//! | `EventMask`, `api.MustParseEventMask` | [`EventMask`](crate::EventMask), [`EventMask::parse`](crate::EventMask::parse), and it is `FromStr` |
//!
//! # The program around it
//!
//! | Go | Rust |
//! |---|---|
//! | `main` with `flag`, a logger and `signal.Notify` | [`main!`](crate::main) in one line, or [`Program`](crate::Program) with options of its own (feature `cli`) |
//! | `-name` `-idx` `-socket-path` | `--name` `--index` `--socket`; a runtime that launched the plugin says it itself, and the options do no harm |
//! | `yaml.Unmarshal([]byte(config), &cfg)` in `Configure`, and a lock around `cfg` | [`configuration`](crate::configuration())`::<T>()`: read from TOML, YAML or JSON at every connection, [`read_configuration`](crate::read_configuration) for once (feature `config`) |
//! | `yaml.Unmarshal` of an annotation | [`effective_annotation_as`](crate::effective_annotation_as)`::<T>(..)` (feature `config`) |
//! | a struct with a `sync.Mutex` as the receiver of handlers | [`stateful`](crate::stateful)`(state)` |
//! | a channel and a goroutine, so that a handler returns at once | [`observe`](crate::observe)`(plugin)`: a bounded queue, and a count of what was dropped |
//! | `UpdateContainers` in a loop, until `failed` is empty | [`Unsolicited::apply_until_done`](crate::Unsolicited::apply_until_done), or [`apply`](crate::Unsolicited::apply) with a result per container |
//! | tests with a mock of the stub | `Harness` of the crate `nri-testkit`; any plugin, in Go too: its `nri-sim check` |
//!
//! # Handlers
//!
//! A Go plugin subscribes to what it has methods for, or to what `Configure` returns. Here
//! [`handlers`](crate::handlers) derives it from the closures (`on_create_container` and so on),
//! and a [`Plugin`](crate::Plugin) says it with [`events`](crate::Plugin::events), in place of
//! which `configure` may return a mask.
//!
//! | Go | Rust |
//! |---|---|
//! | `ConfigureInterface`: `(config, runtime, version) -> mask` | [`configure`](crate::Plugin::configure): `(cx, Configuration) -> Option<EventMask>` |
//! | `SynchronizeInterface`: `(pods, containers) -> updates` | [`synchronize`](crate::Plugin::synchronize), the same |
//! | `ShutdownInterface` | [`shutdown`](crate::Plugin::shutdown) |
//! | `RunPodInterface` `StopPodInterface` `RemovePodInterface` | [`run_pod_sandbox`](crate::Plugin::run_pod_sandbox) [`stop_pod_sandbox`](crate::Plugin::stop_pod_sandbox) [`remove_pod_sandbox`](crate::Plugin::remove_pod_sandbox) |
//! | `UpdatePodInterface` `PostUpdatePodInterface` | [`update_pod_sandbox`](crate::Plugin::update_pod_sandbox) [`post_update_pod_sandbox`](crate::Plugin::post_update_pod_sandbox) |
//! | `CreateContainerInterface`: `(pod, container) -> (adjust, updates)` | [`on_create_container`](crate::HandlersBuilder::on_create_container): `(cx, pod, container) -> Adjustment`, which has updates and evictions of others, too |
//! | `PostCreateContainerInterface` `StartContainerInterface` `PostStartContainerInterface` | [`post_create_container`](crate::Plugin::post_create_container) [`start_container`](crate::Plugin::start_container) [`post_start_container`](crate::Plugin::post_start_container) |
//! | `UpdateContainerInterface`: `(pod, container, resources) -> updates` | [`on_update_container`](crate::HandlersBuilder::on_update_container): `(cx, pod, container, resources) -> Updates` |
//! | `PostUpdateContainerInterface` `StopContainerInterface` `RemoveContainerInterface` | [`post_update_container`](crate::Plugin::post_update_container) [`stop_container`](crate::Plugin::stop_container) [`remove_container`](crate::Plugin::remove_container) |
//! | `ValidateContainerAdjustmentInterface` | [`validate_container_adjustment`](crate::Plugin::validate_container_adjustment) |
//!
//! # Messages
//!
//! Adjustments and updates are built with traits on the messages: `use nri_plugin::build::{Adjust
//! as _, SetResources as _, Update as _, Evict as _}`.
//!
//! | Go | Rust |
//! |---|---|
//! | `AddAnnotation` `RemoveAnnotation` | [`add_annotation`](crate::build::Adjust::add_annotation) [`remove_annotation`](crate::build::Adjust::remove_annotation) [`replace_annotation`](crate::build::Adjust::replace_annotation) |
//! | `AddEnv` `RemoveEnv` | [`add_env`](crate::build::Adjust::add_env) [`remove_env`](crate::build::Adjust::remove_env) [`replace_env`](crate::build::Adjust::replace_env) |
//! | `AddMount` `RemoveMount` | [`add_mount`](crate::build::Adjust::add_mount) [`remove_mount`](crate::build::Adjust::remove_mount) [`replace_mount`](crate::build::Adjust::replace_mount) |
//! | `SetArgs` `UpdateArgs` | [`set_args`](crate::build::Adjust::set_args) [`update_args`](crate::build::Adjust::update_args) [`remove_args`](crate::build::Adjust::remove_args) |
//! | `AddHooks` `AddRlimit` `AddCDIDevice` | [`add_hooks`](crate::build::Adjust::add_hooks) [`add_rlimit`](crate::build::Adjust::add_rlimit) [`add_cdi_device`](crate::build::Adjust::add_cdi_device) |
//! | `AddDevice` `RemoveDevice` | [`add_device`](crate::build::Adjust::add_device) [`remove_device`](crate::build::Adjust::remove_device) [`replace_device`](crate::build::Adjust::replace_device) |
//! | `AddOrReplaceNamespace` `RemoveNamespace` | [`replace_namespace`](crate::build::Adjust::replace_namespace) [`remove_namespace`](crate::build::Adjust::remove_namespace) [`add_namespace`](crate::build::Adjust::add_namespace) |
//! | `AddLinuxNetDevice` `RemoveLinuxNetDevice` | [`add_net_device`](crate::build::Adjust::add_net_device) [`remove_net_device`](crate::build::Adjust::remove_net_device) [`replace_net_device`](crate::build::Adjust::replace_net_device) |
//! | `SetLinuxSysctl` | [`add_sysctl`](crate::build::Adjust::add_sysctl) [`replace_sysctl`](crate::build::Adjust::replace_sysctl) [`remove_sysctl`](crate::build::Adjust::remove_sysctl) |
//! | `SetLinuxRDTClosID` `SetLinuxRDTSchemata` `SetLinuxRDTEnableMonitoring` `RemoveLinuxRDT` | [`set_rdt_clos_id`](crate::build::Adjust::set_rdt_clos_id) [`set_rdt_schemata`](crate::build::Adjust::set_rdt_schemata) [`set_rdt_enable_monitoring`](crate::build::Adjust::set_rdt_enable_monitoring) [`remove_rdt`](crate::build::Adjust::remove_rdt) |
//! | `SetLinuxCgroupsPath` `SetLinuxOomScoreAdj` `SetLinuxIOPriority` | [`set_cgroups_path`](crate::build::Adjust::set_cgroups_path) [`set_oom_score_adj`](crate::build::Adjust::set_oom_score_adj) [`set_io_priority`](crate::build::Adjust::set_io_priority) |
//! | `SetLinuxSeccompPolicy` `SetLinuxScheduler` `SetLinuxMemoryPolicy` | [`set_seccomp_policy`](crate::build::Adjust::set_seccomp_policy) [`set_scheduler`](crate::build::Adjust::set_scheduler) [`set_memory_policy`](crate::build::Adjust::set_memory_policy) |
//! | `SetLinuxMemoryLimit` … `SetLinuxMemoryUseHierarchy` | [`set_memory_limit`](crate::build::SetResources::set_memory_limit) … [`set_memory_use_hierarchy`](crate::build::SetResources::set_memory_use_hierarchy), on adjustments and updates alike |
//! | `SetLinuxCPUShares` … `SetLinuxCPUSetMems` | [`set_cpu_shares`](crate::build::SetResources::set_cpu_shares) … [`set_cpuset_mems`](crate::build::SetResources::set_cpuset_mems) |
//! | `SetLinuxPidLimits` `AddLinuxHugepageLimit` `AddLinuxUnified` | [`set_pids_limit`](crate::build::SetResources::set_pids_limit) [`add_hugepage_limit`](crate::build::SetResources::add_hugepage_limit) [`add_unified`](crate::build::SetResources::add_unified) |
//! | `SetLinuxBlockIOClass` `SetLinuxRDTClass` | [`set_blockio_class`](crate::build::SetResources::set_blockio_class) [`set_rdt_class`](crate::build::SetResources::set_rdt_class) |
//! | `ContainerUpdate`: `SetContainerId` `SetIgnoreFailure` | [`Update::of_container`](crate::build::Update::of_container) [`set_ignore_failure`](crate::build::Update::set_ignore_failure) |
//! | `api.MarkForRemoval` `api.IsMarkedForRemoval` | nothing: the methods that remove make the markers |
//! | `ContainerEviction` | [`Evict::of_container`](crate::build::Evict::of_container) |
//! | `api.ParsePluginName` `api.CheckPluginIndex` `api.CheckPluginName` | [`PluginId`](crate::PluginId) [`PluginIndex`](crate::PluginIndex) [`PluginName`](crate::PluginName), which are `FromStr` |
//! | `api.InferVersionFromRuntime` | [`RuntimeLevel::of`](crate::RuntimeLevel::of) |
//! | `plugin.GetEffectiveAnnotation(pod, key, container)` | [`effective_annotation`](crate::effective_annotation)`(&pod.annotations, key, &container.name)`, which returns the key that it found too |
//! | `plugin.AnnotationDomain` `plugin.RequiredPluginsAnnotation` | `noderesource.dev`; the runtime's validator reads `required-plugins.noderesource.dev` |
//!
//! # What is different
//!
//! * What a runtime would refuse is an error where it is built, not in the runtime's log: a key
//!   that begins with `-`, a variable that is set twice, an empty command line.
//! * A plugin can evict containers, in answers and unsolicited; `pkg/stub` cannot.
//! * Events that the runtime does not have are left out of the subscription. A Go plugin is closed.
//! * Getters are fields: messages are plain structures, absent ones `None`.
//! * A handler that panics does not end the process.
//!
//! ```
//! use nri_plugin::{Event, EventMask};
//!
//! let mask: EventMask = "CreateContainer,StopContainer".parse()?;
//! assert_eq!(mask, EventMask::from_iter([Event::CreateContainer, Event::StopContainer]));
//! # Ok::<(), nri_plugin::UnknownEvent>(())
//! ```
