//! A real containerd: our example plugins at it, with a real pod and container, and what it keeps
//! of what NRI promises. It is built from its Go module, which takes minutes, so this is for
//! `--containerd` only. It takes root, runc and unshare.
//!
//! What may not enter: the hub.

pub(super) mod behind_a_hub;
mod pods;
mod recorder;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::conformance;
use super::pairing::{expect, names};
use super::program::{Program, TEST_TIMEOUT};
use super::scratch::{CaseDir, Scratch};
use nri_dev::examples::Examples;
use nri_dev::{containerd, process};
use nri_testkit::runtime_conformance::Crictl;

/// How long building it may take.
const BUILDING: Duration = Duration::from_secs(1800);

/// The image of the container, and of the pod's own.
const IMAGE: &str = "localhost/interop:1";

/// What containerd is run in: namespaces of its own, so that nothing of it is left, whatever
/// happens. Its shims keep sockets in `/run`. The shell in it ends with its input.
const ALONE: [&str; 7] = [
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
];

/// What that shell does: it starts containerd and kills it, and kills what runs beside it, by the
/// pid that it has there. Shims and containers outlive a containerd that is killed.
const SHELL: &str = r#"
mount -t tmpfs tmpfs /run || exit 1
while read -r word pid; do
    case $word in
    start) "$0" --config "$1" & daemon=$! ;;
    kill) kill -9 "$daemon"; wait "$daemon"; echo killed ;;
    end) kill -9 "$pid"; echo ended ;;
    esac
done
"#;

/// How long its plugins may take, unless more is needed: its own default.
const REQUEST_TIMEOUT: &str = "2s";

/// containerd, built.
pub(super) struct Containerd {
    directory: PathBuf,
    /// Its version.
    pub(super) version: String,
    /// The version of the reference that it has.
    nri: String,
}

impl Containerd {
    pub(super) fn build(scratch: &Scratch) -> Result<Self, String> {
        process::capture(Command::new("runc").arg("--version"))
            .map_err(|e| format!("containerd needs runc: {e}"))?;
        let directory = scratch.path().join("containerd");
        let ours = ["./cri", "./image", "./sleeper"];
        for mut command in [
            containerd::build_daemon(&directory),
            containerd::build("containerd", "netgo", &ours, &directory),
            containerd::build_crictl(&directory),
        ] {
            Program::start(scratch, "go build of containerd", &mut command)?
                .succeed_within(BUILDING)?;
        }
        Ok(Self {
            version: containerd::version("github.com/containerd/containerd/v2")?,
            nri: containerd::version("github.com/containerd/nri")?,
            directory,
        })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts it in the directory of a case, and brings it the image.
    fn start(
        &self,
        scratch: &Scratch,
        case_dir: &CaseDir,
        request_timeout: &str,
    ) -> Result<Daemon, String> {
        let config = case_dir.file("containerd.toml");
        std::fs::write(&config, configuration(case_dir, request_timeout))
            .map_err(|e| format!("{}: {e}", config.display()))?;
        let mut command = Command::new("unshare");
        command.args(ALONE).arg(SHELL);
        command.arg(self.program("containerd")).arg(&config);
        command.env("PATH", containerd::path(&self.directory)?);
        let mut daemon = Daemon(Program::start(scratch, "containerd", &mut command)?);
        daemon.start()?;
        self.wait_for(&mut daemon, case_dir)?;
        let image = case_dir.file("image.tar");
        let mut command = Command::new(self.program("image"));
        command.arg(self.program("sleeper")).arg(IMAGE);
        process::capture(command.arg(&image))?;
        let path = image.display().to_string();
        let import = [
            "images",
            "import",
            "--local",
            "--snapshotter",
            "native",
            &path,
        ];
        self.ctr(case_dir, &import)?;
        Ok(daemon)
    }

    /// Waits until it serves CRI. It says so in its log only; that it answers is the thing itself.
    fn wait_for(&self, daemon: &mut Daemon, case_dir: &CaseDir) -> Result<(), String> {
        let limit = Instant::now() + TEST_TIMEOUT;
        let socket = format!("unix://{}", case_dir.file("containerd.sock").display());
        let asked = || {
            let mut command = Command::new(self.program("crictl"));
            command.args(["--config", "/dev/null", "--runtime-endpoint", &socket]);
            command.args(["--image-endpoint", &socket, "pods", "--quiet"]);
            process::capture(&mut command)
        };
        while let Err(error) = asked() {
            daemon.0.is_running()?;
            if Instant::now() > limit {
                return Err(format!("containerd does not answer: {error}"));
            }
        }
        Ok(())
    }

    /// crictl at it, with files and logs in a directory.
    fn crictl(&self, case_dir: &CaseDir, directory: PathBuf, cgroups: &Cgroups) -> Crictl {
        let (program, socket) = (self.program("crictl"), case_dir.file("containerd.sock"));
        Crictl::new(program, socket, case_dir.socket(), IMAGE)
            .directory(directory)
            .command(["/program".to_owned()])
            .host_network()
            .cgroup_parent(format!("/{}", cgroups.0))
    }

    fn ctr(&self, case_dir: &CaseDir, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.program("ctr"));
        command
            .arg("--address")
            .arg(case_dir.file("containerd.sock"));
        process::capture(command.args(["--namespace", "k8s.io"]).args(arguments))
    }
}

/// A containerd that runs, in its namespaces.
struct Daemon(Program);

impl Daemon {
    /// Starts it, at first and after it was killed; it does not serve yet.
    fn start(&mut self) -> Result<(), String> {
        self.0.say("start")
    }

    /// Kills it, and nothing else, and waits until it is dead.
    fn kill(&mut self) -> Result<(), String> {
        self.0.say("kill")?;
        self.0.line(TEST_TIMEOUT).map(drop)
    }

    /// Kills a process beside it, by the pid that it has there.
    fn end_process(&mut self, pid: u64) -> Result<(), String> {
        self.0.say(&format!("end {pid}"))?;
        self.0.line(TEST_TIMEOUT).map(drop)
    }
}

fn configuration(case_dir: &CaseDir, request_timeout: &str) -> String {
    let (root, state) = (case_dir.file("root"), case_dir.file("state"));
    containerd::configuration(&containerd::Places {
        root: &root,
        state: &state,
        socket: &case_dir.file("containerd.sock"),
        nri: &case_dir.socket(),
        plugins: &case_dir.plugins(),
        plugin_configs: &case_dir.plugin_configs(),
        // Pods have the network of the host.
        cni_plugins: &root,
        cni: &root,
        request_timeout,
        snapshotter: "native",
        pause: IMAGE,
    })
}

/// One pod with one container, with our logger and our annotate.
pub(super) fn run(
    scratch: &Scratch,
    containerd: &Containerd,
    examples: &Examples,
) -> Result<String, String> {
    let case_dir = scratch.case_dir()?;
    let logs = case_dir.file("logs");
    std::fs::create_dir(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    let annotate = case_dir.plugin_configs().join("annotate.conf");
    std::fs::write(&annotate, "[env]\nNRI_ADDED = \"yes\"\n")
        .map_err(|e| format!("{}: {e}", annotate.display()))?;
    let installed = case_dir.plugins().join("10-annotate");
    std::os::unix::fs::symlink(examples.path("annotate")?, &installed)
        .map_err(|e| format!("{}: {e}", installed.display()))?;

    let daemon = containerd.start(scratch, &case_dir, REQUEST_TIMEOUT)?;
    let mut command = Command::new(examples.path("logger")?);
    command.args(["--once", "--format", "json", "--socket"]);
    command.arg(case_dir.socket());
    let mut logger = Program::start(scratch, "logger", &mut command)?;
    let mut heard = Vec::new();
    while !names(&heard).contains(&"Synchronize") {
        heard.push(logger.answer(TEST_TIMEOUT)?);
    }
    let cgroups = Cgroups::new("interop");
    let mut command = Command::new(containerd.program("cri"));
    command.arg(case_dir.file("containerd.sock")).arg(IMAGE);
    command.arg(&logs).arg(format!("/{}", cgroups.0));
    Program::start(scratch, "cri", &mut command)?.succeed_within(2 * TEST_TIMEOUT)?;
    while !names(&heard).contains(&"RemovePodSandbox") {
        heard.push(logger.answer(TEST_TIMEOUT)?);
    }
    drop(logger);
    drop(daemon);

    let expected = [
        "RunPodSandbox",
        "CreateContainer",
        "ValidateContainerAdjustment",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "UpdateContainer",
        "PostUpdateContainer",
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
    ];
    let lived: Vec<Value> = heard
        .into_iter()
        .filter(|line| expected.iter().any(|event| line["event"] == *event))
        .collect();
    expect("events", names(&lived), expected.to_vec())?;
    let printed = read(&logs.join("container.log"))?;
    expect(
        "variable in the container",
        printed.contains("NRI_ADDED=yes"),
        true,
    )?;
    Ok(format!(
        "{} events of a real pod and container at our logger; the variable of our annotate in the container (NRI {})",
        lived.len(),
        containerd.nri
    ))
}

/// What it keeps of what NRI promises to plugins.
pub(super) fn conformance(scratch: &Scratch, containerd: &Containerd) -> Result<String, String> {
    let case_dir = scratch.case_dir()?;
    let directory = case_dir.file("crictl");
    std::fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let daemon = containerd.start(scratch, &case_dir, REQUEST_TIMEOUT)?;
    let cgroups = Cgroups::new("conformance");
    let driver = containerd.crictl(&case_dir, directory, &cgroups);
    let checked = conformance::run(&driver, &containerd.nri);
    drop(daemon);
    checked
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The parent of the pod's cgroups; runc removes what is in it, and not the parent itself.
struct Cgroups(String);

impl Cgroups {
    fn new(what: &str) -> Self {
        Self(format!("nri-{what}-{}", std::process::id()))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let all = hierarchies.flatten().map(|entry| entry.path());
        for hierarchy in all.chain([PathBuf::from("/sys/fs/cgroup")]) {
            // It is there where the controller is in use.
            let _ = std::fs::remove_dir(hierarchy.join(&self.0));
        }
    }
}
