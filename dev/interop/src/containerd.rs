//! Our example plugins at a real containerd, with a real pod and container. It is built from its Go
//! module, which takes minutes, so this is for `--containerd` only. It takes root, runc and
//! unshare.

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

/// What containerd is run by: namespaces of its own, so that nothing of it is left, whatever
/// happens. Its shims keep sockets in `/run`.
const ALONE: [&str; 7] = [
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
];

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
        let go = |arguments: &[&str]| {
            let mut command = containerd::go("containerd");
            command.args(arguments);
            command
        };
        let ours = ["./cri", "./image", "./sleeper"];
        for mut command in [
            containerd::build_daemon(&directory),
            containerd::build("containerd", "netgo", &ours, &directory),
            containerd::build_crictl(&directory),
        ] {
            Program::start(scratch, "go build of containerd", &mut command)?
                .succeed_within(BUILDING)?;
        }
        let version = |module: &str| {
            let version = process::capture(&mut go(&["list", "-m", "-f", "{{.Version}}", module]));
            version.map(|version| version.trim().to_owned())
        };
        Ok(Self {
            version: version("github.com/containerd/containerd/v2")?,
            nri: version("github.com/containerd/nri")?,
            directory,
        })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts it in the directory of a case.
    fn start(&self, scratch: &Scratch, case_dir: &CaseDir) -> Result<Program, String> {
        let config = case_dir.file("containerd.toml");
        std::fs::write(&config, configuration(case_dir))
            .map_err(|e| format!("{}: {e}", config.display()))?;
        let mut command = Command::new("unshare");
        command.args(ALONE);
        command.args(["mount -t tmpfs tmpfs /run && exec \"$0\" --config \"$1\""]);
        command.arg(self.program("containerd")).arg(&config);
        // Where it looks for its shim.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories = vec![self.directory.clone()];
        directories.extend(std::env::split_paths(&path));
        let path = std::env::join_paths(directories).map_err(|e| e.to_string())?;
        command.env("PATH", path);
        Program::start(scratch, "containerd", &mut command)
    }

    /// Starts it, and brings it the image.
    fn start_with_image(&self, scratch: &Scratch, case_dir: &CaseDir) -> Result<Program, String> {
        let mut daemon = self.start(scratch, case_dir)?;
        let limit = Instant::now() + TEST_TIMEOUT;
        // It says that it is ready in its log only; that it answers is the thing itself.
        while let Err(error) = self.ctr(case_dir, &["version"]) {
            daemon.is_running()?;
            if Instant::now() > limit {
                return Err(format!("containerd does not answer: {error}"));
            }
        }
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

    fn ctr(&self, case_dir: &CaseDir, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.program("ctr"));
        command
            .arg("--address")
            .arg(case_dir.file("containerd.sock"));
        process::capture(command.args(["--namespace", "k8s.io"]).args(arguments))
    }
}

fn configuration(case_dir: &CaseDir) -> String {
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

    let mut daemon = containerd.start_with_image(scratch, &case_dir)?;
    let mut command = Command::new(examples.path("logger")?);
    command.args(["--once", "--format", "json", "--socket"]);
    command.arg(case_dir.socket());
    let mut logger = Program::start(scratch, "logger", &mut command)?;
    let mut heard = Vec::new();
    while !names(&heard).contains(&"Synchronize") {
        heard.push(logger.answer(TEST_TIMEOUT)?);
    }
    let cgroups = Cgroups(format!("nri-interop-{}", std::process::id()));
    let mut command = Command::new(containerd.program("cri"));
    command.arg(case_dir.file("containerd.sock")).arg(IMAGE);
    command.arg(&logs).arg(format!("/{}", cgroups.0));
    Program::start(scratch, "cri", &mut command)?.succeed_within(2 * TEST_TIMEOUT)?;
    while !names(&heard).contains(&"RemovePodSandbox") {
        heard.push(logger.answer(TEST_TIMEOUT)?);
    }
    drop(logger);
    daemon.hang_up();
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
    let mut daemon = containerd.start_with_image(scratch, &case_dir)?;
    let cgroups = Cgroups(format!("nri-conformance-{}", std::process::id()));
    let driver = Crictl::new(
        containerd.program("crictl"),
        case_dir.file("containerd.sock"),
        case_dir.socket(),
        IMAGE,
    )
    .directory(directory)
    .command(["/program".to_owned()])
    .host_network()
    .cgroup_parent(format!("/{}", cgroups.0));
    let checked = conformance::run(&driver, &containerd.nri);
    daemon.hang_up();
    drop(daemon);
    checked
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The parent of the pod's cgroups; runc removes what is in it, and not the parent itself.
struct Cgroups(String);

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
