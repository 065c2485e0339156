//! The configuration: one TOML file, with defaults for everything.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nri_domain_cri::cdi;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rlimits;

/// What is there where systemd is.
const SYSTEMD: &str = "/run/systemd/system";

/// The configuration. An empty file is one: all keys have defaults.
///
/// ```
/// let config = nri_runtime::Config::from_toml("root = \"/srv/runtime\"")?;
/// assert_eq!(config.root.to_str(), Some("/srv/runtime"));
/// assert_eq!(config.low_level.programs[0].to_str(), Some("runc"));
/// # Ok::<(), nri_runtime::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The socket that CRI is served on. Default: `/run/nri-runtime/nri-runtime.sock`.
    pub socket: PathBuf,
    /// What outlives the machine's next start: images, pods and containers. Default:
    /// `/var/lib/nri-runtime`.
    pub root: PathBuf,
    /// What does not: sockets and network namespaces. Default: `/run/nri-runtime`.
    pub run: PathBuf,
    /// Where exec, attach and port forwarding are served, for who has got a URL by CRI. Only
    /// loopback addresses make sense. Default: `127.0.0.1:0`, which is a port that is free.
    pub streaming: SocketAddr,
    /// A static program that keeps a pod's namespaces, in place of the built-in one.
    pub pause: Option<PathBuf>,
    /// Where the specifications of CDI devices are; later directories go before earlier ones.
    /// None: there are no such devices. Default: `/etc/cdi`, `/var/run/cdi`.
    pub cdi_dirs: Vec<PathBuf>,
    /// Programs that run containers.
    pub low_level: LowLevel,
    /// Where images come from.
    pub images: Images,
    /// The network of pods.
    pub network: Network,
    /// NRI, with the keys that containerd has for it. Default: on, at its usual socket.
    pub nri: nri_adaptation::Config,
}

/// Who makes the cgroups of containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CgroupDriver {
    /// The low-level runtime.
    #[default]
    Cgroupfs,
    /// systemd: each container is a scope of its, in a slice.
    Systemd,
}

/// Programs that run containers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LowLevel {
    /// OCI runtimes, the first that is there is used. Names are looked for in `PATH`. Default:
    /// runc, crun.
    pub programs: Vec<PathBuf>,
    /// conmon, which holds containers while we do not run.
    pub conmon: PathBuf,
    /// Who makes the cgroups: the low-level runtime, in their file system, or systemd, whom it
    /// asks. A kubelet asks which it is. Default: `cgroupfs`.
    pub cgroup_driver: CgroupDriver,
    /// The cgroup of pods that name none; with systemd a slice. Default: empty, which is
    /// `/nri-runtime`, or `nri-runtime.slice`.
    pub cgroup_parent: String,
    /// Limits of the processes of containers, as in `nofile=1024:4096` (soft and hard) or
    /// `core=unlimited` (both). Default: none, and they are those of conmon, which are ours.
    pub rlimits: Vec<String>,
    /// The annotation of pods that sets such limits, which go before the configured ones:
    /// `KEY/container.NAME`, `KEY/pod` or `KEY`, with a list in YAML or JSON, as the NRI plugin
    /// `ulimit-adjuster` reads it from `ulimits.noderesource.dev`. Default: empty, so that no pod
    /// gives itself more than it has.
    pub rlimits_annotation: String,
}

/// Where images come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Images {
    /// skopeo, which fetches images.
    pub skopeo: PathBuf,
    /// Other places for images whose names begin alike. The longest prefix counts.
    pub mirrors: Vec<Mirror>,
    /// The most bytes that a layer may have once it is unpacked. Default: 16 GiB.
    pub max_layer_bytes: u64,
    /// The most files that a layer may have. Default: 1,000,000.
    pub max_layer_files: u64,
}

/// A place for images whose names begin with `prefix`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Mirror {
    /// What names begin with, up to a `/`: `registry.k8s.io`, or `docker.io/library`.
    pub prefix: String,
    /// What stands there instead, with the transport as skopeo knows it:
    /// `docker://127.0.0.1:5000`, or `oci:/srv/images`.
    pub location: String,
    /// Plain HTTP, or a certificate that is not checked. Only for registries on this machine.
    #[serde(default)]
    pub insecure: bool,
}

/// The network of pods.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Network {
    /// CNI's configurations; the first `*.conflist` counts. Default: `/etc/cni/net.d`.
    pub config_dir: PathBuf,
    /// CNI's plugins. Default: `/opt/cni/bin`, `/usr/lib/cni`, `/usr/libexec/cni`.
    pub plugin_dirs: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: "/run/nri-runtime/nri-runtime.sock".into(),
            root: "/var/lib/nri-runtime".into(),
            run: "/run/nri-runtime".into(),
            streaming: (Ipv4Addr::LOCALHOST, 0).into(),
            pause: None,
            cdi_dirs: cdi::DIRECTORIES.map(PathBuf::from).to_vec(),
            low_level: LowLevel::default(),
            images: Images::default(),
            network: Network::default(),
            nri: nri_adaptation::Config::default(),
        }
    }
}

impl Default for LowLevel {
    fn default() -> Self {
        Self {
            programs: vec!["runc".into(), "crun".into()],
            conmon: "conmon".into(),
            cgroup_driver: CgroupDriver::default(),
            cgroup_parent: String::new(),
            rlimits: Vec::new(),
            rlimits_annotation: String::new(),
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            skopeo: "skopeo".into(),
            mirrors: Vec::new(),
            max_layer_bytes: 16 << 30,
            max_layer_files: 1_000_000,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            config_dir: "/etc/cni/net.d".into(),
            plugin_dirs: ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"]
                .map(PathBuf::from)
                .to_vec(),
        }
    }
}

impl LowLevel {
    /// The cgroup of pods that name none.
    pub(crate) fn parent(&self) -> &str {
        match (&*self.cgroup_parent, self.cgroup_driver) {
            ("", CgroupDriver::Cgroupfs) => "/nri-runtime",
            ("", CgroupDriver::Systemd) => "nri-runtime.slice",
            (parent, _) => parent,
        }
    }

    /// Says so if systemd is to make the cgroups and is not there.
    ///
    /// # Errors
    /// It is not; what to do.
    pub(crate) fn check_driver(&self) -> Result<()> {
        // Where systemd says that it is the one who has started this machine.
        if self.cgroup_driver == CgroupDriver::Systemd && !Path::new(SYSTEMD).exists() {
            return Err(Error::internal(format!(
                "systemd has not started this machine (there is no {SYSTEMD}): set \
                 `low_level.cgroup_driver` to \"cgroupfs\""
            )));
        }
        Ok(())
    }
}

impl Config {
    /// Where the configuration is if nobody says otherwise.
    pub const DEFAULT_PATH: &'static str = "/etc/nri-runtime/config.toml";

    /// Reads a configuration.
    ///
    /// # Errors
    /// A text that is no TOML, a key that is not known, a value that cannot be.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)
            .map_err(|error| Error::invalid(format!("the configuration: {error}")))?;
        config.checked()
    }

    /// Reads the configuration's file; without a file of the [default](Self::DEFAULT_PATH) name,
    /// all is as by default.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), and a file that is named and not there.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let file = path.unwrap_or(Path::new(Self::DEFAULT_PATH));
        match fs::read_to_string(file) {
            Ok(text) => Self::from_toml(&text).map_err(|error| error.of(file.display())),
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(Error::file("read the configuration", file, error)),
        }
    }

    /// The configuration as its file would have it, with everything in it.
    ///
    /// # Errors
    /// A path that is no UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::invalid(format!("the configuration: {error}")))
    }

    fn checked(self) -> Result<Self> {
        let absolute = [
            ("socket", &self.socket),
            ("root", &self.root),
            ("run", &self.run),
        ];
        for (key, path) in absolute {
            if !path.is_absolute() {
                return Err(Error::invalid(format!(
                    "the configuration: `{key}` is {:?}, and must be an absolute path",
                    path.display()
                )));
            }
        }
        rlimits::configured(&self.low_level.rlimits)
            .map_err(|error| error.of("the configuration: `low_level.rlimits`"))?;
        for mirror in &self.images.mirrors {
            if mirror.prefix.is_empty() || !mirror.location.contains(':') {
                return Err(Error::invalid(format!(
                    "the configuration: a mirror needs a prefix and a location with a transport, \
                     as in \"docker://127.0.0.1:5000\", and has {:?} and {:?}",
                    mirror.prefix, mirror.location
                )));
            }
        }
        Ok(self)
    }
}

/// Finds a program: by its path, or by its name in `PATH`.
///
/// # Errors
/// It is not there; how to install it.
pub(crate) fn find(program: &Path, key: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = match program.components().count() {
        1 => std::env::split_paths(&path)
            .map(|dir| dir.join(program))
            .collect(),
        _ => vec![program.to_owned()],
    };
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::internal(format!(
            "there is no {0}: install it (Debian: `apt install {0}`), or set `{key}`",
            program.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_written_and_read() {
        let text = toml::to_string(&Config::default()).unwrap();
        let config = Config::from_toml(&text).unwrap();
        assert_eq!(toml::to_string(&config).unwrap(), text);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, part) in [
            ("rot = 1", "unknown field `rot`"),
            ("low_level.cgroup_driver = \"x\"", "`cgroupfs` or `systemd`"),
            ("root = \"var\"", "`root` is \"var\""),
            (
                "[[images.mirrors]]\nprefix = \"a\"\nlocation = \"b\"",
                "has \"a\" and \"b\"",
            ),
            ("low_level.rlimits = [\"nofile=2:1\"]", "nofile=2:1"),
            (
                "[nri]\nplugin_request_timeout = \"x\"",
                "plugin_request_timeout",
            ),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn systemd_is_needed_by_its_driver_alone() {
        let mut low = LowLevel::default();
        low.check_driver().unwrap();
        assert_eq!(low.parent(), "/nri-runtime");
        low.cgroup_driver = CgroupDriver::Systemd;
        assert_eq!(low.parent(), "nri-runtime.slice");
        assert_eq!(low.check_driver().is_ok(), Path::new(SYSTEMD).exists());
    }

    #[test]
    fn a_program_that_is_not_there_says_how_to_get_it() {
        let error = find(Path::new("no-such-program"), "low_level.conmon").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("apt install no-such-program"), "{error}");
        assert!(error.contains("`low_level.conmon`"), "{error}");
        assert!(find(Path::new("sh"), "").unwrap().is_absolute());
    }
}
