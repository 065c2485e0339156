//! A real low-level runtime (runc or crun), where one works here: a container that is created,
//! started, updated and deleted, so that an adjustment can be seen from inside.
//!
//! It is probed by running a container, not trusted for being on the PATH.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};
use serde_json::{Value, json};

/// A low-level runtime that has just run a container.
pub struct LowLevel {
    program: &'static str,
    directory: PathBuf,
}

/// A container that exists in a low-level runtime. Deleted with the value.
pub struct LowLevelContainer<'a> {
    runtime: &'a LowLevel,
    id: String,
    /// The container's process, as this host numbers it.
    pub pid: u32,
    release: PathBuf,
    output: PathBuf,
}

impl LowLevel {
    /// The first runtime that really works, or why none does.
    pub fn probe(directory: &Path) -> Result<Self, String> {
        let mut reasons = Vec::new();
        for program in ["runc", "crun"] {
            match Self::probe_one(program, directory) {
                Ok(runtime) => return Ok(runtime),
                Err(reason) => reasons.push(format!("{program}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// This runtime, or why it does not work.
    pub fn probe_one(program: &'static str, directory: &Path) -> Result<Self, String> {
        let runtime = Self {
            program,
            directory: directory.to_path_buf(),
        };
        runtime.run_a_container()?;
        Ok(runtime)
    }

    /// A copy of a spec without root and mounts that can run here.
    pub fn at_home(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        spec["mounts"] = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"},
        ]);
        bring_root(&mut spec);
        spec["linux"]["cgroupsPath"] = json!(cgroup("values"));
        spec
    }

    /// Creates a container from a spec that can run here, and deletes it. Its words if it refuses.
    ///
    /// A spec without a mount namespace is never tried: what it mounts would stay on this host,
    /// below a directory that is to be removed.
    pub fn takes(&self, spec: &Value) -> Result<(), String> {
        if !has_mount_namespace(spec) {
            return Err("not tried: there is no mount namespace of the container's own".to_owned());
        }
        let bundle = self.directory.join("values");
        write_bundle(&bundle, spec)?;
        let id = container_id("values");
        // Into a file: a container that lives would keep a pipe open.
        let output = bundle.join("output");
        let log = File::create(&output).map_err(|e| format!("{}: {e}", output.display()))?;
        let created = Command::new(self.program)
            .args(["create", "--bundle"])
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .map_err(|e| format!("{}: {e}", self.program))?;
        let deleted = self.command(&["delete", "--force", &id]);
        if created.success() {
            return deleted.map(drop);
        }
        let said = fs::read_to_string(&output).map_err(|e| e.to_string())?;
        Err(said.trim().replace('\n', " "))
    }

    /// The runtime's program.
    pub fn name(&self) -> &'static str {
        self.program
    }

    fn run_a_container(&self) -> Result<(), String> {
        let bundle = self.directory.join(format!("probe-{}", self.program));
        let mut spec = json!({
            "ociVersion": "1.0.2",
            "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "linux": {
                "cgroupsPath": cgroup("probe"),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            },
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        });
        bring_root(&mut spec);
        write_bundle(&bundle, &spec)?;
        let id = container_id("probe");
        let output = Command::new(self.program)
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            let _ = self.command(&["delete", "--force", &id]);
            Err(String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', " "))
        }
    }

    fn command(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(self.program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{}: {e}", self.program))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let reason = String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', " ");
            Err(format!("{} {}: {reason}", self.program, args.join(" ")))
        }
    }

    /// Creates (does not start) a container from a localised spec.
    pub fn create(&self, name: &str, spec: &Value) -> Result<LowLevelContainer<'_>, String> {
        let bundle = self.directory.join(name);
        write_bundle(&bundle, spec)?;
        let release = bundle.join("rootfs").join(RELEASE);
        make_fifo(&release)?;
        let output = bundle.join("output");
        let log = File::create(&output).map_err(|e| format!("{}: {e}", output.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let id = container_id(name);
        let status = Command::new(self.program)
            .args(["create", "--bundle"])
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .map_err(|e| format!("{}: {e}", self.program))?;
        if !status.success() {
            let said = fs::read_to_string(&output).unwrap_or_default();
            return Err(format!(
                "{} create: {}",
                self.program,
                said.trim().replace('\n', " ")
            ));
        }
        let mut container = LowLevelContainer {
            runtime: self,
            id,
            pid: 0,
            release,
            output,
        };
        container.pid = container.state()?["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or(0);
        Ok(container)
    }
}

impl LowLevelContainer<'_> {
    /// What the runtime says of the container, annotations included.
    pub fn state(&self) -> Result<Value, String> {
        let text = self.runtime.command(&["state", &self.id])?;
        serde_json::from_str(&text).map_err(|e| format!("{} state: {e}", self.runtime.program))
    }

    /// Lets the container's process run.
    pub fn start(&self) -> Result<(), String> {
        self.runtime.command(&["start", &self.id]).map(drop)
    }

    /// Changes the CPU shares of the running container.
    pub fn update_cpu_shares(&self, shares: u64) -> Result<(), String> {
        self.runtime
            .command(&["update", "--cpu-share", &shares.to_string(), &self.id])
            .map(drop)
    }

    /// Lets the container end, waits until it has, and returns what it printed.
    pub fn finish(&self) -> Result<String, String> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("the container has no process")?;
        let process =
            pidfd_open(pid, PidfdFlags::empty()).map_err(|e| format!("pidfd of {pid:?}: {e}"))?;
        // Opened for both directions, a FIFO never blocks, whether or not its reader has come yet
        // or is gone.
        let mut release = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.release)
            .map_err(|e| format!("{}: {e}", self.release.display()))?;
        release.write_all(b"\n").map_err(|e| e.to_string())?;
        let limit = rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))
            .map_err(|e| e.to_string())?;
        if ready == 0 {
            return Err("the container did not end within 20 s".to_owned());
        }
        fs::read_to_string(&self.output).map_err(|e| e.to_string())
    }
}

impl Drop for LowLevelContainer<'_> {
    fn drop(&mut self) {
        if let Err(reason) = self.runtime.command(&["delete", "--force", &self.id]) {
            eprintln!("demo: {reason}");
        }
    }
}

/// The FIFO in the container's root that its process waits for.
const RELEASE: &str = "release";

/// What the container runs: it shows what it got, waits until it was updated, and shows that too.
const SCRIPT: &str = "env; echo '--mounts'; while read -r _ at _; do echo \"$at\"; done < /proc/self/mounts; \
    echo '--'; read -r _ < /release; \
    echo \"cpu shares: $(cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/cpu.weight 2>/dev/null)\"";

/// Whether what a container of this spec mounts goes away with it.
pub fn has_mount_namespace(spec: &Value) -> bool {
    let namespaces = spec["linux"]["namespaces"].as_array();
    namespaces.is_some_and(|list| list.iter().any(|entry| entry["type"] == "mount"))
}

/// A copy of `spec` that can run on this machine, and every substitution in words.
pub fn localise(
    spec: &Value,
    name: &str,
    bundle_sources: &Path,
) -> Result<(Value, Vec<String>), String> {
    let mut spec = spec.clone();
    let mut named = Vec::new();

    bring_root(&mut spec);
    named.push(format!(
        "root file system: empty, read-only, with this host's {} bound read-only",
        HOST_ROOT.join(", ")
    ));
    let process = &mut spec["process"];
    named.push(format!(
        "command: a script that shows what it got, for {}",
        process["args"]
    ));
    process["args"] = json!(["/bin/sh", "-c", SCRIPT]);
    process["terminal"] = json!(false);
    if process["cwd"] != "/" {
        named.push(format!("working directory: /, for {}", process["cwd"]));
        process["cwd"] = json!("/");
    }
    for member in ["apparmorProfile", "selinuxLabel"] {
        if let Some(value) = process
            .as_object_mut()
            .and_then(|process| process.remove(member))
        {
            named.push(format!("{member}: dropped ({value}: no such profile here)"));
        }
    }

    for rlimit in process["rlimits"].as_array_mut().into_iter().flatten() {
        named.extend(lower_to_ours(rlimit));
    }

    let linux = &mut spec["linux"];
    let path = cgroup(name);
    named.push(format!("cgroup path: {path}, for {}", linux["cgroupsPath"]));
    linux["cgroupsPath"] = json!(path);
    for namespace in linux["namespaces"].as_array_mut().into_iter().flatten() {
        if let Some(path) = namespace
            .as_object_mut()
            .and_then(|namespace| namespace.remove("path"))
        {
            named.push(format!(
                "{} namespace: a new one, for {path}",
                text(&namespace["type"])
            ));
        }
    }
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if let Some(resources) = linux["resources"].as_object_mut() {
        for (member, usable) in [
            ("unified", v2),
            (
                "hugepageLimits",
                v2 || Path::new("/sys/fs/cgroup/hugetlb").exists(),
            ),
        ] {
            if !usable && resources.remove(member).is_some() {
                named.push(format!(
                    "resources.{member}: dropped (no such controller here)"
                ));
            }
        }
        let swap = v2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
        let memory = resources.get_mut("memory").and_then(Value::as_object_mut);
        if !swap && memory.is_some_and(|memory| memory.remove("swap").is_some()) {
            named.push("resources.memory.swap: dropped (no swap controller here)".to_owned());
        }
    }

    fs::create_dir_all(bundle_sources).map_err(|e| format!("{}: {e}", bundle_sources.display()))?;
    let mounts = spec["mounts"].as_array_mut().into_iter().flatten();
    for (number, mount) in mounts.enumerate() {
        let source = text(&mount["source"]).to_owned();
        if mount["type"] == "bind" && !Path::new(&source).exists() {
            let destination = text(&mount["destination"]);
            let replacement = bundle_sources.join(number.to_string());
            let is_file = [
                "/etc/hosts",
                "/etc/hostname",
                "/etc/resolv.conf",
                "/dev/termination-log",
            ]
            .contains(&destination);
            let made = if is_file {
                fs::write(&replacement, "")
            } else {
                fs::create_dir_all(&replacement)
            };
            made.map_err(|e| format!("{}: {e}", replacement.display()))?;
            let kind = if is_file { "file" } else { "directory" };
            named.push(format!(
                "source of {destination}: an empty {kind}, for {source}"
            ));
            mount["source"] = json!(replacement);
        }
    }
    Ok((spec, named))
}

/// Lowers a limit that is above our own hard one, which not even root may exceed everywhere; in
/// words.
fn lower_to_ours(rlimit: &mut Value) -> Option<String> {
    let kind = text(&rlimit["type"]).to_owned();
    let resource = RESOURCES.iter().find(|(name, _)| *name == kind)?.1;
    let ours = getrlimit(resource).maximum?;
    let mut changed = None;
    for bound in ["hard", "soft"] {
        if let Some(value) = rlimit[bound].as_u64().filter(|value| *value > ours) {
            rlimit[bound] = json!(ours);
            changed = Some(format!(
                "{kind}: {ours}, for {value} (the most that we may have ourselves)"
            ));
        }
    }
    changed
}

const RESOURCES: [(&str, Resource); 5] = [
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_STACK", Resource::Stack),
];

/// What of the host makes up a root file system in which a shell runs.
const HOST_ROOT: [&str; 5] = ["/bin", "/sbin", "/lib", "/lib64", "/usr"];

fn bring_root(spec: &mut Value) {
    spec["root"] = json!({"path": "rootfs", "readonly": true});
    let present = HOST_ROOT.iter().filter(|path| Path::new(path).exists());
    let binds: Vec<Value> = present
        .map(|path| json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}))
        .collect();
    match spec["mounts"].as_array_mut() {
        Some(mounts) => mounts.splice(0..0, binds).for_each(drop),
        None => spec["mounts"] = json!(binds),
    }
}

fn write_bundle(bundle: &Path, spec: &Value) -> Result<(), String> {
    fs::create_dir_all(bundle.join("rootfs")).map_err(|e| format!("{}: {e}", bundle.display()))?;
    let file = bundle.join("config.json");
    fs::write(&file, spec.to_string()).map_err(|e| format!("{}: {e}", file.display()))
}

fn make_fifo(path: &Path) -> Result<(), String> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Names of this process's own, so that two demos at once do not meet.
fn container_id(name: &str) -> String {
    format!("nri-demo-{name}-{}", std::process::id())
}

fn cgroup(name: &str) -> String {
    format!("/{}", container_id(name))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}
