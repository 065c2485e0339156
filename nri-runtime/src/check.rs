//! What this machine can and cannot do.

use std::fmt;
use std::path::Path;

use crate::config::{self, Config};
use crate::error::Error;
use crate::low_level::LowLevel;
use crate::network::Network;
use crate::trial;

/// One thing that the runtime needs, and whether it is there.
#[derive(Debug, Clone)]
pub struct Finding {
    what: &'static str,
    /// How it is there, or why not.
    found: std::result::Result<String, String>,
    needed: bool,
}

impl Finding {
    /// Whether the runtime cannot run without it, and it is not there.
    pub fn is_fatal(&self) -> bool {
        self.needed && self.found.is_err()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(how) => write!(f, "{}: yes, {how}", self.what),
            Err(why) => write!(f, "{}: no, {why}", self.what),
        }
    }
}

/// Looks at this machine. Changes nothing but that directories of the configuration are made.
pub async fn check(config: &Config) -> Vec<Finding> {
    let program = |program: &Path, key| {
        let found = config::find(program, key);
        found
            .map(|path| path.display().to_string())
            .map_err(|error| error.to_string())
    };
    let kernel = |feature: &str, path: &str, needle: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let there = text.split_whitespace().any(|word| word == needle);
        there
            .then(|| path.to_owned())
            .ok_or_else(|| format!("the kernel has no {feature}"))
    };
    let low = LowLevel::find(config).await;
    let users = match &low {
        Ok(low) => trial::user_namespaces(&config.root, low).await,
        Err(_) => Err(Error::internal("there is no OCI runtime")),
    };
    let users = users.map(|()| format!("with mapped ids below {}", config.root.display()));
    let low = low
        .map(|low| low.version().to_owned())
        .map_err(|error| error.to_string());
    let network = Network::new(&config.network).ready();
    let network = network.map(|()| config.network.config_dir.display().to_string());
    let root = match rustix::process::geteuid().is_root() {
        true => Ok("user 0".to_owned()),
        false => Err("start it as root".to_owned()),
    };
    let cgroups = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => Ok("cgroup v2".to_owned()),
        false if Path::new("/sys/fs/cgroup/memory").exists() => Ok("cgroup v1".to_owned()),
        false => Err("mount them at /sys/fs/cgroup".to_owned()),
    };
    let driver = config.low_level.check_driver();
    let driver = driver.map(|()| format!("{:?}", config.low_level.cgroup_driver).to_lowercase());
    let finding = |what, needed, found| Finding {
        what,
        found,
        needed,
    };
    vec![
        finding("the rights of root", true, root),
        finding("an OCI runtime", true, low),
        finding(
            "conmon",
            true,
            program(&config.low_level.conmon, "low_level.conmon"),
        ),
        finding("cgroups", true, cgroups),
        finding(
            "the cgroup driver",
            true,
            driver.map_err(|error| error.to_string()),
        ),
        finding(
            "overlayfs",
            true,
            kernel("overlayfs", "/proc/filesystems", "overlay"),
        ),
        finding(
            "skopeo, to pull images",
            false,
            program(&config.images.skopeo, "images.skopeo"),
        ),
        finding(
            "user namespaces of pods",
            false,
            users.map_err(|error| error.to_string()),
        ),
        finding(
            "a network for pods",
            false,
            network.map_err(|error| error.to_string()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_said_and_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            run: dir.path().to_owned(),
            ..Config::default()
        };
        config.low_level.programs = vec!["no-such-runtime".into()];
        config.network.config_dir = dir.path().to_owned();
        let findings = check(&config).await;
        let find = |what| {
            findings
                .iter()
                .find(|finding| finding.what == what)
                .unwrap()
        };
        let low = find("an OCI runtime");
        assert!(low.is_fatal());
        assert!(
            low.to_string().contains("apt install no-such-runtime"),
            "{low}"
        );
        let users = find("user namespaces of pods");
        assert!(!users.is_fatal() && users.found.is_err(), "{users}");
        let network = find("a network for pods");
        assert!(!network.is_fatal());
        assert!(
            network.to_string().starts_with("a network for pods: no, "),
            "{network}"
        );
    }
}
