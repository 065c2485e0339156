//! The containerd that our own runtime and plugins are set beside: how it is built from its Go
//! module, and how it is configured to run where nothing of it is left behind.
//!
//! What may not enter: what is done with it.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::{process, workspace};

/// Where the Go modules are.
fn module(name: &str) -> std::path::PathBuf {
    let modules = workspace::root().join("nri-testkit/interop");
    modules.join(name)
}

/// Go, in one of the modules that [`build`] builds of.
fn go(name: &str) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module(name));
    command
}

/// The version of a module that containerd is built of.
///
/// # Errors
/// Go does not say.
pub fn version(module: &str) -> Result<String, String> {
    let mut go = go("containerd");
    let version = process::capture(go.args(["list", "-m", "-f", "{{.Version}}", module]))?;
    Ok(version.trim().to_owned())
}

/// The search path of a containerd: it looks there for its shim, which is beside it.
///
/// # Errors
/// A directory that no search path can have.
pub fn path(directory: &Path) -> Result<OsString, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [directory.to_owned()];
    let all = all.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all).map_err(|e| format!("PATH: {e}"))
}

/// A command that builds programs of a module, without libraries, so that they run in containers
/// too. `what` is `tool` for those that the module only names.
pub fn build(name: &str, tags: &str, what: &[&str], into: &Path) -> Command {
    let mut command = go(name);
    command.args(["build", "-buildvcs=false", "-tags", tags, "-o"]);
    command.arg(format!("{}/", into.display())).args(what);
    command.env("CGO_ENABLED", "0");
    command
}

/// A command that builds containerd, its shim and ctr; it takes minutes the first time.
pub fn build_daemon(into: &Path) -> Command {
    let tags = "no_btrfs no_zfs no_devmapper";
    build("containerd", tags, &["tool"], into)
}

/// A command that builds crictl.
pub fn build_crictl(into: &Path) -> Command {
    build("crictl", "netgo", &["tool"], into)
}

/// Where a containerd has things, and what differs between its uses.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The directory of what it keeps.
    pub root: &'a Path,
    /// The directory of what it keeps as long as the machine runs.
    pub state: &'a Path,
    /// The socket of CRI.
    pub socket: &'a Path,
    /// The socket of NRI.
    pub nri: &'a Path,
    /// The directory of the plugins that it launches.
    pub plugins: &'a Path,
    /// The directory of their configurations.
    pub plugin_configs: &'a Path,
    /// The directory of CNI's plugins.
    pub cni_plugins: &'a Path,
    /// The directory of CNI's configurations.
    pub cni: &'a Path,
    /// How long it waits for a plugin.
    pub request_timeout: &'a str,
    /// What unpacks and mounts images.
    pub snapshotter: &'a str,
    /// The image of pods.
    pub pause: &'a str,
}

/// Its configuration, for a machine without AppArmor and without the right to lower OOM scores.
pub fn configuration(places: &Places<'_>) -> String {
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
path = "{root}/opt"
[plugins.'io.containerd.nri.v1.nri']
socket_path = "{nri}"
plugin_path = "{plugins}"
plugin_config_path = "{configs}"
plugin_request_timeout = "{request_timeout}"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "{snapshotter}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{cni_plugins}"]
conf_dir = "{cni}"
"#,
        root = places.root.display(),
        state = places.state.display(),
        socket = places.socket.display(),
        nri = places.nri.display(),
        plugins = places.plugins.display(),
        configs = places.plugin_configs.display(),
        request_timeout = places.request_timeout,
        snapshotter = places.snapshotter,
        pause = places.pause,
        cni_plugins = places.cni_plugins.display(),
        cni = places.cni.display(),
    )
}
