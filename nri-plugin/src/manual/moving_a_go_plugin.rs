//! Moving a Go plugin to Rust, side by side.
//!
//! A plugin that limits the memory of containers by an annotation, `example.com/memory`, for a pod
//! or for one of its containers. In Go, with `pkg/stub`:
//!
//! ```go
//! type plugin struct{}
//!
//! func (p *plugin) CreateContainer(ctx context.Context, pod *api.PodSandbox, ctr *api.Container) (
//!     *api.ContainerAdjustment, []*api.ContainerUpdate, error) {
//!     value, ok := plug.GetEffectiveAnnotation(pod, "example.com/memory", ctr.GetName())
//!     if !ok {
//!         return nil, nil, nil
//!     }
//!     limit, err := strconv.ParseInt(value, 10, 64)
//!     if err != nil {
//!         return nil, nil, fmt.Errorf("example.com/memory: %w", err)
//!     }
//!     adjust := &api.ContainerAdjustment{}
//!     adjust.SetLinuxMemoryLimit(limit)
//!     return adjust, nil, nil
//! }
//!
//! func main() {
//!     idx := flag.String("idx", "10", "plugin index")
//!     flag.Parse()
//!     s, err := stub.New(&plugin{}, stub.WithPluginIdx(*idx), stub.WithPluginName("memory"))
//!     if err != nil {
//!         log.Fatal(err)
//!     }
//!     if err := s.Run(context.Background()); err != nil {
//!         log.Fatal(err)
//!     }
//! }
//! ```
//!
//! In Rust, with the features `cli` and `config`:
#![cfg_attr(all(feature = "cli", feature = "config"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "cli", feature = "config")), doc = "```ignore")]
//! use nri_plugin::prelude::*;
//!
//! const MEMORY: AnnotationKey = AnnotationKey::new("example.com/memory");
//!
//! fn plugin() -> impl Plugin {
//!     handlers()
//!         .on_create_container(|_cx, pod, container| async move {
//!             let mut adjust = Adjustment::new();
//!             if let Some(limit) = MEMORY.read(&pod.annotations, &container.name)? {
//!                 adjust.set_memory_limit(limit);
//!             }
//!             Ok(adjust)
//!         })
//!         .build()
//! }
//!
//! nri_plugin::main!("10-memory", plugin());
//! ```
//!
//! # Step by step
//!
//! 1. **A method becomes a handler.** What the Go plugin has methods for is what it is subscribed to;
//!    here it is what `handlers()` is given: `CreateContainer` is `on_create_container`, and so on. The
//!    pod and the container are there, not pointers that may be nil. The table of names is in
//!    [migrating from Go](super::migrating_from_go).
//! 2. **Fields of the plugin become a state.** Go calls handlers of one connection side by side, so such
//!    a plugin has a mutex. [`stateful`](crate::stateful)`(State::default())` gives the handlers `&mut
//!    State`, one at a time.
//! 3. **Annotations and configurations become types.** In place of a map and `strconv` or
//!    `yaml.Unmarshal`: a type of serde with `#[serde(deny_unknown_fields)]`, and errors that have the
//!    key, the line and the value. Go's YAML ignores what it does not know and takes names in any case;
//!    `#[serde(alias = "Name")]` takes what pods are known to write.
//! 4. **YAML is 1.2.** `0644` is six hundred and forty-four there, and octal in Go:
//!    `values::FileMode` reads modes as people mean them. `yes` and `on` are texts.
//! 5. **The command line stays.** `main!` understands `-idx 10`, `-name`, `-socket-path` and
//!    `-verbose`, so a unit or a DaemonSet needs a new image and nothing else. It connects again when the
//!    runtime restarts; with `--once` it ends, as Go plugins do.
//! 6. **Compare.** Both plugins at the same scenario, `nri-sim run scenario.toml --plugin
//!    '10-memory=./memory-go'` and then the other: the expectations hold for both or show where they
//!    differ.
//!
//! The plugins of the workspace's `plugins/` were moved in this way; each README ends with what differs
//! from the Go plugin of its name.
