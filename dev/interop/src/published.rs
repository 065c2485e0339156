//! The plugins that the reference's project publishes, at our runtime: started with their usual
//! command lines, doing their usual job. One release has one of them in its own module, and that is
//! built here. The others are modules of their own that no module can depend on: whoever has them
//! built gives the directory.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::checks;
use super::pairing::{container, same, with_container};
use super::program::Program;
use super::runtime::{self, Runtime};
use super::scratch::{CaseDir, Scratch};
use super::table::Table;
use nri_dev::{process, workspace};

/// How long building one may take.
const BUILDING: Duration = Duration::from_secs(600);

/// A published plugin, and the job that it is given.
struct Published {
    name: &'static str,
    start: Start,
    /// How many plugins it registers.
    registers: usize,
    /// The annotations of the pod.
    annotations: fn() -> Value,
    /// What it must ask for.
    adjustment: fn() -> Value,
}

/// How it is started.
enum Start {
    /// With these arguments and the option that says where the socket is; `FILE:` stands for a file
    /// of the case.
    External(&'static [&'static str], &'static str),
    /// The same where `/etc` is another one, in which there is a hook for every container.
    WithHook(&'static [&'static str], &'static str),
    /// By the runtime.
    Launched,
}

/// Makes that `/etc`, in namespaces of its own, and becomes the program.
const WITH_HOOK: &str = r#"
set -e
mount -t tmpfs tmpfs /etc
mkdir -p /etc/containers/oci/hooks.d
echo '{"version": "1.0.0", "hook": {"path": "/bin/true", "args": ["true", "hooked"]},
       "when": {"always": true}, "stages": ["createRuntime"]}' > /etc/containers/oci/hooks.d/always.json
exec "$@"
"#;

/// A file of mounts of a host on which cgroups may be delegated.
const MOUNTS: &str =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

const ALL: &[Published] = &[
    Published {
        name: "logger",
        start: Start::External(
            &[
                "-idx",
                "10",
                "-events",
                "all",
                "-log-file",
                "FILE:log",
                "-add-env",
                "LOGGED",
            ],
            "-socket-path",
        ),
        registers: 1,
        annotations: || json!({}),
        adjustment: || json!({"env": [{"key": "LOGGED"}]}),
    },
    Published {
        name: "device-injector",
        start: Start::External(&["-idx", "10"], "-socket-path"),
        registers: 1,
        annotations: || {
            json!({
                "devices.noderesource.dev/container.c-name": "- path: /dev/nri-null\n  type: c\n  major: 1\n  minor: 3\n",
                "mounts.noderesource.dev/container.c-name":
                    "- source: /home\n  destination: /host-home\n  type: bind\n  options:\n  - bind\n  - ro\n",
            })
        },
        adjustment: || {
            json!({
                "mounts": [{"destination": "/host-home", "type": "bind", "source": "/home", "options": ["bind", "ro"]}],
                "linux": {"devices": [{"path": "/dev/nri-null", "type": "c", "major": "1", "minor": "3"}]},
            })
        },
    },
    Published {
        name: "ulimit-adjuster",
        start: Start::External(&["-idx", "10"], "-socket"),
        registers: 1,
        annotations: || json!({"ulimits.noderesource.dev/container.c-name": "- type: nofile\n  soft: 1024\n  hard: 4096\n"}),
        adjustment: || json!({"rlimits": [{"type": "RLIMIT_NOFILE", "hard": "4096", "soft": "1024"}]}),
    },
    Published {
        name: "rdt",
        start: Start::Launched,
        registers: 1,
        annotations: || {
            json!({
                "closid.rdt.noderesource.dev/container.c-name": "gold",
                "schemata.rdt.noderesource.dev/container.c-name": "L3:0=ff,MB:0=50",
                "enablemonitoring.rdt.noderesource.dev/container.c-name": "true",
            })
        },
        adjustment: || {
            json!({"linux": {"rdt": {
                "closId": {"value": "gold"},
                "schemata": {"value": ["L3:0=ff", "MB:0=50"]},
                "enableMonitoring": {"value": true},
            }}})
        },
    },
    Published {
        name: "writable-cgroups",
        start: Start::External(
            &["-idx", "10", "-host-mount-file", "FILE:mounts"],
            "-socket-path",
        ),
        registers: 1,
        annotations: || json!({"writable-cgroups.noderesource.dev/container.c-name": "true"}),
        adjustment: || json!({"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]}]}),
    },
    Published {
        name: "hook-injector",
        start: Start::WithHook(&["-idx", "10", "-disableWatch"], "-socket-path"),
        registers: 1,
        annotations: || json!({}),
        adjustment: || json!({"hooks": {"createRuntime": [{"path": "/bin/true", "args": ["true", "hooked"]}]}}),
    },
    Published {
        name: "network-device-injector",
        start: Start::External(&["-idx", "10"], "-socket"),
        registers: 1,
        annotations: || json!({}),
        // The pod asks for no device: to move one takes a network namespace.
        adjustment: || json!({}),
    },
    Published {
        name: "differ",
        start: Start::External(
            &["-log-file", "FILE:log", "-verbose-level", "3"],
            "-socket-path",
        ),
        // Before and behind all others.
        registers: 2,
        annotations: || json!({}),
        adjustment: || json!({}),
    },
];

/// The module whose tool is the one plugin that a release of the reference has in its own module.
const MODULE: &str = "nri-testkit/interop/published";

/// That plugin. It knows no option for the socket: it is made to be launched.
const IN_A_RELEASE: Published = Published {
    name: "ulimit-adjuster",
    start: Start::Launched,
    registers: 1,
    annotations: || json!({"ulimits.nri.containerd.io/container.c-name": "- type: nofile\n  soft: 1024\n  hard: 4096\n"}),
    adjustment: || json!({"rlimits": [{"type": "RLIMIT_NOFILE", "hard": "4096", "soft": "1024"}]}),
};

/// Builds the one that a release has in its own module, and tries it.
///
/// # Errors
/// It cannot be built.
pub(super) fn run_released(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    table: &mut Table,
) -> Result<(), String> {
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.current_dir(workspace::root().join(MODULE));
        command.args(arguments);
        command
    };
    let directory = scratch.path().join("published");
    let mut build = go(&["build", "-buildvcs=false", "-o"]);
    build.arg(format!("{}/", directory.display())).arg("tool");
    Program::start(scratch, "go build of a published plugin", &mut build)?
        .succeed_within(BUILDING)?;
    let which = [
        "list",
        "-m",
        "-f",
        "{{.Version}}",
        "github.com/containerd/nri",
    ];
    let version = process::capture(&mut go(&which))?;
    let peer = format!("published {}", version.trim());
    let plugin = &IN_A_RELEASE;
    let program = directory.join(plugin.name);
    table.row(&peer, "plugin at our runtime", plugin.name, || {
        try_one(scratch, sim, plugin, &program)
    });
    if let runtime::Kind::Ours(sim) = sim {
        table.row(&peer, "plugin at our runtime", "nri-sim check", || {
            // It is built with v0.4.
            checks::of_launched(sim, &program, &["SplitSync"])
        });
    }
    Ok(())
}

/// Tries those that are in the directory.
///
/// # Errors
/// There is none of them.
pub(super) fn run(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    directory: &Path,
    table: &mut Table,
) -> Result<(), String> {
    let there: Vec<&Published> = ALL
        .iter()
        .filter(|plugin| directory.join(plugin.name).is_file())
        .collect();
    if there.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|plugin| plugin.name).collect();
        return Err(format!(
            "{}: there is none of {}",
            directory.display(),
            names.join(", ")
        ));
    }
    for plugin in there {
        table.row("published", "plugin at our runtime", plugin.name, || {
            try_one(scratch, sim, plugin, &directory.join(plugin.name))
        });
    }
    let ours = build_ours()?;
    for (name, cases) in ALIKE {
        let plugin = ALL.iter().find(|plugin| plugin.name == *name);
        let plugin = plugin.ok_or_else(|| format!("{name} is not tried"))?;
        let (go, own) = (directory.join(name), path_of(&ours, name)?);
        if go.is_file() {
            table.row("published", "and ours, the same pods", name, || {
                alike(scratch, sim, plugin, [&go, own], cases)
            });
        }
    }
    Ok(())
}

/// Annotations of pods with which the published plugin and ours ask for the same.
type Annotations = &'static [(&'static str, &'static str)];

/// More than what each is tried with above: other names of keys, other spellings of values.
const ALIKE: &[(&str, &[Annotations])] = &[
    (
        "device-injector",
        &[
            &[
                (
                    "devices.nri.io/container.c-name",
                    "- {path: /dev/a, type: b, major: 8, minor: 1, file_mode: 0640, uid: 0, gid: 7}",
                ),
                (
                    "devices.noderesource.dev/pod",
                    "- {path: /dev/b, type: c, major: 1, minor: 3}",
                ),
                (
                    "mounts.nri.io",
                    "- source: tmpfs\n  destination: /t\n  type: tmpfs\n  options: [size=1m]",
                ),
            ],
            &[
                (
                    "devices.nri.io",
                    "- {path: /dev/a, type: c, major: 1, minor: 3, file_mode: 438}",
                ),
                (
                    "devices.noderesource.dev",
                    "[{\"path\": \"/dev/b\", \"type\": \"c\", \"major\": 1, \"minor\": 3}]",
                ),
                (
                    "cdi-devices.noderesource.dev/pod",
                    "- vendor0.com/device=null\n- vendor1.com/device=dev0",
                ),
                (
                    "network-devices.nri.io/pod",
                    "- hostIf: ens2.100\n  Name: netdev0",
                ),
            ],
            &[
                (
                    "sysctl.noderesource.dev",
                    "net.core.somaxconn: \"256\"\nkernel.shm_rmid_forced: \"1\"",
                ),
                (
                    "io-priority.nri.io/pod",
                    "class: IOPRIO_CLASS_BE\npriority: 4",
                ),
                (
                    "scheduling-policy.noderesource.dev",
                    "policy: SCHED_DEADLINE\nruntime: 10\ndeadline: 20\nperiod: 30\nflags: [SCHED_FLAG_RECLAIM]",
                ),
                (
                    "memory-policy.nri.io",
                    "mode: MPOL_INTERLEAVE\nnodes: \"0-1\"\nflags: [MPOL_F_STATIC_NODES]",
                ),
            ],
            &[("devices.nri.io", ""), ("mounts.nri.io", "[]")],
        ],
    ),
    (
        "ulimit-adjuster",
        &[
            &[(
                "ulimits.nri.containerd.io/container.c-name",
                "- {type: RLIMIT_NOFILE, soft: 1, hard: 2}\n- {type: rlimit_core}",
            )],
            &[
                ("ulimits.noderesource.dev", "- type: nofile"),
                ("ulimits.noderesource.dev/pod", "- type: nofile"),
            ],
            &[("ulimits.noderesource.dev/container.c-name", "")],
        ],
    ),
    (
        "rdt",
        &[
            &[
                ("closid.rdt.noderesource.dev/container.c-name", "a b"),
                (
                    "enablemonitoring.rdt.noderesource.dev/container.c-name",
                    "0",
                ),
            ],
            &[
                (
                    "schemata.rdt.noderesource.dev/container.c-name",
                    "L3:0=ff;1=f",
                ),
                ("closid.rdt.noderesource.dev", "gold"),
            ],
        ],
    ),
    (
        "writable-cgroups",
        &[
            &[
                ("writable-cgroups.noderesource.dev", "true"),
                (
                    "writable-cgroups.noderesource.dev/container.c-name",
                    "false",
                ),
            ],
            &[("writable-cgroups.noderesource.dev/pod", "true")],
        ],
    ),
];

fn alike(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    plugin: &Published,
    programs: [&Path; 2],
    cases: &[Annotations],
) -> Result<String, String> {
    for annotations in cases {
        let annotations = json!(BTreeMap::from_iter(annotations.iter().copied()));
        let [(go, _), (own, _)] = [
            asked(scratch, sim, plugin, programs[0], &annotations)?,
            asked(scratch, sim, plugin, programs[1], &annotations)?,
        ];
        same(&format!("the adjustment for {annotations}"), &own, &go)?;
    }
    Ok(format!("the same adjustments for {} pods", cases.len()))
}

/// Our plugins, built, by name.
fn build_ours() -> Result<BTreeMap<String, PathBuf>, String> {
    let all = OURS.iter().chain(OURS_ALONE);
    let names: Vec<String> = all.map(|name| format!("nri-{name}")).collect();
    let what: Vec<&str> = names
        .iter()
        .flat_map(|name| ["--package", name.as_str()])
        .collect();
    process::build(&what)
}

fn path_of<'p>(ours: &'p BTreeMap<String, PathBuf>, name: &str) -> Result<&'p Path, String> {
    let path = ours.get(&format!("nri-{name}"));
    path.map(PathBuf::as_path)
        .ok_or_else(|| format!("nri-{name} was not built"))
}

/// Those of [`ALL`] that there is one of ours for.
const OURS: &[&str] = &[
    "logger",
    "device-injector",
    "ulimit-adjuster",
    "rdt",
    "writable-cgroups",
    "hook-injector",
    "network-device-injector",
];

/// The rest of our plugins.
const OURS_ALONE: &[&str] = &["annotate", "differ", "mutation-guard", "template"];

/// Those of ours that do nothing without a configuration, and one.
const CONFIGURED: &[(&str, &str)] = &[
    ("nri-annotate", "plugins/annotate/annotate.yaml"),
    (
        "nri-mutation-guard",
        "plugins/mutation-guard/scenarios/openshift.conf",
    ),
];

/// Tries our plugins with the command lines of the published ones: they have to ask for the same.
/// Each of ours is checked as any plugin is.
///
/// # Errors
/// They do not build.
pub(super) fn run_ours(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    table: &mut Table,
) -> Result<(), String> {
    let ours = build_ours()?;
    for plugin in ALL.iter().filter(|plugin| OURS.contains(&plugin.name)) {
        let path = path_of(&ours, plugin.name)?;
        table.row(
            "ours, as published",
            "plugin at our runtime",
            plugin.name,
            || try_one(scratch, sim, plugin, path),
        );
    }
    if let runtime::Kind::Ours(sim) = sim {
        for (name, path) in &ours {
            let subject = format!("nri-sim check of {name}");
            table.row("ours", "plugin at our runtime", &subject, || {
                let mut configured = CONFIGURED.iter().filter(|(of, _)| of == name);
                let file = configured
                    .next()
                    .map(|(_, file)| workspace::root().join(file));
                checks::of_ours(sim, path, file.as_deref())
            });
        }
    }
    Ok(())
}

fn try_one(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    plugin: &Published,
    path: &Path,
) -> Result<String, String> {
    let (adjustment, logged) = asked(scratch, sim, plugin, path, &(plugin.annotations)())?;
    same("adjustment", &adjustment, &(plugin.adjustment)())?;
    Ok(match logged {
        0 => format!("its adjustment: {adjustment}"),
        lines => format!("its adjustment: {adjustment}; {lines} lines in its log"),
    })
}

/// What a plugin asks for in a pod with such annotations, and how many lines it logs.
fn asked(
    scratch: &Scratch,
    sim: runtime::Kind<'_>,
    plugin: &Published,
    path: &Path,
    annotations: &Value,
) -> Result<(Value, usize), String> {
    let case_dir = scratch.case_dir()?;
    let mounts = case_dir.file("mounts");
    std::fs::write(&mounts, MOUNTS).map_err(|e| format!("{}: {e}", mounts.display()))?;
    let running = match &plugin.start {
        Start::External(arguments, socket) => Some((Command::new(path), *arguments, *socket)),
        Start::WithHook(arguments, socket) => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
            command.args([WITH_HOOK, "sh"]).arg(path);
            Some((command, *arguments, *socket))
        }
        Start::Launched => {
            let installed = case_dir.plugins().join(format!("10-{}", plugin.name));
            symlink(path, &installed).map_err(|e| format!("{}: {e}", installed.display()))?;
            None
        }
    };
    let mut runtime = Runtime::start(scratch, sim, &case_dir)?;
    runtime.open()?;
    let running = running.map(|(mut command, arguments, socket)| {
        for argument in arguments {
            match argument.strip_prefix("FILE:") {
                Some(name) => command.arg(case_dir.file(name)),
                None => command.arg(argument),
            };
        }
        command.arg(socket).arg(case_dir.socket());
        Program::start(scratch, plugin.name, &mut command)
    });
    let running = running.transpose()?;
    runtime.wait_for_plugins(plugin.registers)?;
    let adjustment = live(&mut runtime, annotations)?;
    let logged = read_log(&case_dir)?;
    if let Some(running) = &running {
        // Ours would wait for the runtime to come again.
        running.terminate()?;
    }
    runtime.quit()?;
    if let Some(running) = running {
        running.finish()?;
    }
    Ok((adjustment, logged))
}

/// One pod with one container through its life; returns what is asked for, without what differs
/// every time.
fn live(runtime: &mut Runtime, annotations: &Value) -> Result<Value, String> {
    let pod = json!({"id": "pod", "name": "p", "namespace": "default", "annotations": annotations});
    runtime.done("run-pod", json!({"pod": pod}))?;
    let mut asked = container("c", "pod");
    asked["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "ro"]}]);
    let created = runtime.done("create-container", with_container(asked))?;
    let id = || json!({"container_id": "c"});
    for command in [
        "post-create-container",
        "start-container",
        "post-start-container",
        "update-container",
        "post-update-container",
        "stop-container",
        "remove-container",
    ] {
        runtime.done(command, id())?;
    }
    for command in ["stop-pod", "remove-pod"] {
        runtime.done(command, json!({"pod_id": "pod"}))?;
    }
    let mut adjustment = created["adjustment"].clone();
    if adjustment.is_null() {
        adjustment = json!({});
    }
    // The logger gives its process.
    for entry in adjustment["env"].as_array_mut().into_iter().flatten() {
        entry.as_object_mut().map(|entry| entry.remove("value"));
    }
    if adjustment["env"].is_null() {
        adjustment.as_object_mut().map(|a| a.remove("env"));
    }
    Ok(adjustment)
}

/// How many lines the plugin logged, where it was told a file.
fn read_log(case_dir: &CaseDir) -> Result<usize, String> {
    let path = case_dir.file("log");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
