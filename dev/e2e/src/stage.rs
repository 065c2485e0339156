//! Where everything happens: namespaces of our own with an empty `/run`, and the runtime in them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nri_dev::process;
use nri_testkit::{Connected, FakePlugin};
use serde_json::json;

use crate::crictl::{Crictl, IMAGE};
use crate::directories::{cgroup_directories, entries};
use crate::events::Events;
use crate::expect::LIMIT;
use crate::machine;
use crate::needs::Needs;
use crate::part::Part;
use crate::processes::pids;
use crate::registry::{ADDRESS, MIRRORED};

pub(crate) const SOCKET: &str = "/run/e2e/cri.sock";
pub(crate) const NRI: &str = "/run/e2e/nri.sock";
pub(crate) const ROOT: &str = "/run/e2e/root";
const RUN: &str = "/run/e2e/run";

/// The runtime in its surroundings.
pub(crate) struct Stage {
    directory: PathBuf,
    needs: Needs,
    cgroup: String,
    config: PathBuf,
    log: PathBuf,
    runtime: Option<Child>,
    pub(crate) crictl: Crictl,
}

impl Stage {
    /// Prepares the namespaces and starts the runtime.
    ///
    /// # Errors
    /// What the machine cannot do; those of the programs that are run.
    pub(crate) fn set(directory: &Path, needs: Needs, parts: &[Part]) -> Result<Self, String> {
        let run = |program: &str, arguments: &str| {
            process::run(Command::new(program).args(arguments.split(' ')))
        };
        run("mount", "--make-rprivate /")?;
        run("mount", "-t tmpfs tmpfs /run")?;
        // Where libraries of CNI's put things whatever they are told.
        fs::create_dir_all("/var/lib/cni").map_err(|e| format!("/var/lib/cni: {e}"))?;
        run("mount", "-t tmpfs tmpfs /var/lib/cni")?;
        run("ip", "link set lo up")?;
        let cgroup = crate::cgroup(directory);
        machine::check(directory, &cgroup, parts)?;
        for dir in ["plugins", "cni", "cdi"] {
            let dir = Path::new("/run/e2e").join(dir);
            fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        let write = |path: &Path, text: String| {
            fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "e2e",
            "plugins": [
                {"type": "bridge", "bridge": "e2e0", "isGateway": true, "ipMasq": true, "ipam": {
                    "type": "host-local", "dataDir": "/run/e2e/ips",
                    "ranges": [[{"subnet": "10.88.7.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        write(
            Path::new("/run/e2e/cni/10-e2e.conflist"),
            network.to_string(),
        )?;
        let device = |name: &str| {
            json!({"name": name, "containerEdits": {
                "env": [format!("CDI_{}=yes", name.to_ascii_uppercase())],
                "deviceNodes": [{"path": format!("/dev/cdi-{name}"), "hostPath": "/dev/null"}],
            }})
        };
        let devices = ["field", "annotation", "plugin"].map(device);
        let devices = json!({"cdiVersion": "0.6.0", "kind": "e2e.local/dev", "devices": devices});
        write(Path::new("/run/e2e/cdi/e2e.json"), devices.to_string())?;
        let config = directory.join("config.toml");
        let images = directory.join("images").display().to_string();
        let mirrors = MIRRORED.map(|prefix| {
            format!(
                "[[images.mirrors]]\nprefix = {prefix:?}\n\
                 location = \"docker://{ADDRESS}\"\ninsecure = true\n"
            )
        });
        write(
            &config,
            format!(
                "socket = {SOCKET:?}\nroot = {ROOT:?}\nrun = {RUN:?}\n\
             cdi_dirs = [\"/run/e2e/cdi\"]\n\
             [low_level]\ncgroup_parent = \"/{cgroup}\"\n\
             rlimits = [\"core=0:4096\", \"nofile=1024\"]\n\
             rlimits_annotation = \"ulimits.noderesource.dev\"\n\
             [[images.mirrors]]\nprefix = \"e2e.local\"\nlocation = \"dir:{images}\"\n\
             {}\
             [network]\nconfig_dir = \"/run/e2e/cni\"\n\
             [nri]\nsocket_path = {NRI:?}\nplugin_path = \"/run/e2e/plugins\"\n\
             plugin_request_timeout = \"20s\"\n",
                mirrors.concat(),
            ),
        )?;
        let crictl = Crictl::new(&needs.crictl, SOCKET)?;
        let log = directory.join("runtime.log");
        let mut stage = Self {
            directory: directory.to_owned(),
            needs,
            cgroup,
            config,
            log,
            runtime: None,
            crictl,
        };
        stage.check()?;
        stage.start()?;
        stage.crictl.run(&["pull", IMAGE])?;
        Ok(stage)
    }

    /// What the runtime itself says of this machine.
    ///
    /// # Errors
    /// What it needs and does not find.
    pub(crate) fn check(&self) -> Result<String, String> {
        let mut check = self.program();
        process::capture(check.arg("check"))
    }

    /// The runtime, with its configuration.
    fn program(&self) -> Command {
        let mut program = Command::new(&self.needs.runtime);
        program.arg("--config").arg(&self.config);
        program
    }

    /// Where logs and reports are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of the runtime's log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The parent of all cgroups.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The process of the runtime.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn pid(&self) -> Result<u32, String> {
        let runtime = self.runtime.as_ref().ok_or("nri-runtime does not run")?;
        Ok(runtime.id())
    }

    pub(crate) fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Starts the runtime and waits until it serves.
    ///
    /// # Errors
    /// It ends; it does not serve in time.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|e| format!("{}: {e}", self.log.display()))?;
        let mut child = self
            .program()
            .arg("serve")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("nri-runtime: {e}"))?;
        let begin = Instant::now();
        while !self.crictl.answers() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("nri-runtime has ended ({status}): {}", self.said()));
            }
            if begin.elapsed() > LIMIT {
                return Err(format!("nri-runtime does not serve: {}", self.said()));
            }
            std::thread::yield_now();
        }
        self.runtime = Some(child);
        Ok(())
    }

    /// The end of the runtime's log.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Kills the runtime without a word.
    ///
    /// # Errors
    /// It has ended by itself.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let mut child = self.runtime.take().ok_or("nri-runtime does not run")?;
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("nri-runtime has ended ({status}): {}", self.said()));
        }
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|e| format!("nri-runtime: {e}"))?;
        Ok(())
    }

    /// Connects a plugin and waits until it has been shown what there is.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn join(&self, plugin: &FakePlugin) -> Result<Connected, String> {
        let connected = plugin
            .connect(NRI)
            .await
            .map_err(|e| format!("a plugin: {e}"))?;
        connected
            .register()
            .await
            .map_err(|e| format!("a plugin: {e}"))?;
        plugin.wait_for("Synchronize").await;
        Ok(connected)
    }

    /// Whether nothing is left of any pod or container.
    ///
    /// # Errors
    /// What is left.
    pub(crate) fn is_clean(&self) -> Result<(), String> {
        let mut left = Vec::new();
        for dir in [
            "root/pods",
            "root/containers",
            "run/netns",
            "run/s",
            "run/exits",
            "run/commands",
            "run/low-level",
        ] {
            let dir = Path::new("/run/e2e").join(dir);
            left.extend(entries(&dir).map(|path| path.display().to_string()));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts = mounts.lines().filter(|line| line.contains("/run/e2e/"));
        left.extend(mounts.map(str::to_owned));
        let cgroups = cgroup_directories(&self.cgroup);
        let cgroups = cgroups.flat_map(|dir| entries(&dir).collect::<Vec<_>>());
        // On cgroup v1, low-level runtimes leave the one of the unified hierarchy, where nothing
        // is.
        let cgroups =
            cgroups.filter(|dir| dir.is_dir() && !dir.starts_with("/sys/fs/cgroup/unified"));
        left.extend(cgroups.map(|path| path.display().to_string()));
        let ips = entries(Path::new("/run/e2e/ips/e2e"));
        let ips = ips.filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("10."))
        });
        left.extend(ips.map(|path| format!("the address {}", path.display())));
        let links = process::capture(Command::new("ip").args(["-brief", "link"]))?;
        left.extend(
            links
                .lines()
                .filter(|line| line.contains("veth"))
                .map(str::to_owned),
        );
        let living = pids("conmon", "");
        left.extend(living.into_iter().map(|pid| format!("conmon {pid}")));
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("left behind: {}\n{}", left.join(", "), self.said())),
        }
    }

    /// Ends the runtime as an operator does.
    ///
    /// # Errors
    /// It does not end well; a second one is not refused.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.crictl.run(&["rmi", "--all"])?;
        let layers = entries(&Path::new(ROOT).join("images/layers")).count();
        if layers > 0 {
            return Err(format!("{layers} layers are left of no image"));
        }
        let second = self.program().arg("serve").output();
        let second = second.map_err(|e| format!("nri-runtime: {e}"))?;
        let said = String::from_utf8_lossy(&second.stderr);
        if second.status.success() || !said.contains("another instance") {
            return Err(format!("a second instance is not refused: {said}"));
        }
        // One that listens keeps nobody from ending.
        let events = Events::listen(self)?;
        let mut child = self.runtime.take().ok_or("nri-runtime does not run")?;
        process::run(Command::new("kill").arg(child.id().to_string()))?;
        let status = child.wait().map_err(|e| format!("nri-runtime: {e}"))?;
        events.end()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("nri-runtime ends with {status}: {}", self.said())),
        }
    }
}
