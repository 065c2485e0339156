//! What every simulated runtime can be told on the command line, and the configuration that comes
//! of it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nri_adaptation::Config;
use nri_proto::{InvalidSocketPath, SocketPath};
use tempfile::TempDir;

use super::error::SimError;
use crate::named_file::read_file;

/// How the simulated runtime is set up. With the feature `cli` these are options of a command line.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct RuntimeOptions {
    /// The unix socket on which plugins connect [default: nri.sock in a fresh temporary
    /// directory].
    #[cfg_attr(feature = "cli", arg(long, value_name = "PATH"))]
    pub socket: Option<PathBuf>,
    /// A directory of plugins to launch: executable files called NN-name [default: none are
    /// launched].
    #[cfg_attr(feature = "cli", arg(long, value_name = "DIR"))]
    pub plugins: Option<PathBuf>,
    /// A directory of their configurations: NN-name.conf, or name.conf [default: none].
    #[cfg_attr(feature = "cli", arg(long, value_name = "DIR"))]
    pub plugin_config: Option<PathBuf>,
    /// The runtime's configuration, as TOML, such as plugin_request_timeout = "5s"; a whole file
    /// of containerd or CRI-O will do.
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE"))]
    pub config: Option<PathBuf>,
    /// Pods and containers may run again after a stop, as in Docker: run-pod of a stopped pod,
    /// start-container of a container that has ended.
    #[cfg_attr(feature = "cli", arg(long))]
    pub restartable: bool,
}

/// A runtime's configuration, and the temporary directory in which it is at home. The directory is
/// gone with the value.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Whether pods and containers may run again after a stop.
    pub restartable: bool,
    _home: TempDir,
}

impl RuntimeOptions {
    /// Reads what is to be read. What is said here goes before the file; paths that nobody names
    /// are in a fresh temporary directory, so the node's own runtime is left alone.
    ///
    /// # Errors
    /// A file or directory that is not there, or a configuration that is none.
    pub fn setup(&self) -> Result<Setup, SimError> {
        self.complete(|usual| match &self.config {
            Some(file) => read(file, usual),
            None => Ok(usual),
        })
    }

    /// The same with a configuration that does not come from a file. Its paths do not count.
    pub(super) fn setup_with(&self, config: Config) -> Result<Setup, SimError> {
        self.complete(|usual| {
            let mut config = config;
            config.socket_path = usual.socket_path;
            config.plugin_path = usual.plugin_path;
            config.plugin_config_path = usual.plugin_config_path;
            Ok(config)
        })
    }

    fn complete(
        &self,
        configured: impl FnOnce(Config) -> Result<Config, SimError>,
    ) -> Result<Setup, SimError> {
        let home = TempDir::with_prefix("nri-sim-").map_err(|error| SimError::Setup {
            path: std::env::temp_dir(),
            reason: format!("cannot make a temporary directory: {error}"),
        })?;
        let mut usual = Config::default();
        usual.socket_path = home.path().join("nri.sock");
        usual.plugin_path = home.path().join("plugins");
        usual.plugin_config_path = home.path().join("conf.d");
        let mut config = configured(usual)?;
        for (path, option) in [
            (&mut config.socket_path, &self.socket),
            (&mut config.plugin_path, &self.plugins),
            (&mut config.plugin_config_path, &self.plugin_config),
        ] {
            if let Some(said) = option {
                path.clone_from(said);
            }
        }
        // Nothing is the usual place.
        if !config.socket_path.as_os_str().is_empty() {
            let wrong = |error: InvalidSocketPath| SimError::Setup {
                path: config.socket_path.clone(),
                reason: error.to_string(),
            };
            config.socket_path = SocketPath::parse(&config.socket_path)
                .map_err(wrong)?
                .into_path_buf();
        }
        // Empty ones of our own: nothing is launched, and nobody is told that they are missing.
        for directory in [&config.plugin_path, &config.plugin_config_path] {
            if directory.starts_with(home.path()) {
                let made = DirBuilder::new().mode(0o700).create(directory);
                made.map_err(|error| SimError::Setup {
                    path: directory.clone(),
                    reason: format!("cannot make the directory: {error}"),
                })?;
            }
        }
        for directory in [&self.plugins, &self.plugin_config].into_iter().flatten() {
            if !directory.is_dir() {
                return Err(SimError::Setup {
                    path: directory.clone(),
                    reason: "there is no such directory: make it, or leave the option out"
                        .to_owned(),
                });
            }
        }
        Ok(Setup {
            config,
            restartable: self.restartable,
            _home: home,
        })
    }
}

fn read(file: &Path, absent: Config) -> Result<Config, SimError> {
    let wrong = |reason: String| SimError::Setup {
        path: file.to_owned(),
        reason,
    };
    let text = read_file(file).map_err(|error| wrong(error.to_string()))?;
    Config::from_whole_toml(&text, absent).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn options_go_before_the_file_and_what_nobody_says_is_our_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nri.toml");
        fs::write(
            &file,
            "socket_path = '/run/said.sock'\nplugin_request_timeout = '7s'\n",
        )
        .unwrap();
        let mut options = RuntimeOptions {
            config: Some(file),
            ..Default::default()
        };
        let setup = options.setup().unwrap();
        assert_eq!(setup.config.socket_path, Path::new("/run/said.sock"));
        assert_eq!(setup.config.plugin_request_timeout.as_secs(), 7);
        let plugins = fs::read_dir(&setup.config.plugin_path).unwrap();
        assert_eq!(plugins.count(), 0);

        options.socket = Some("/run/other.sock".into());
        assert_eq!(
            options.setup().unwrap().config.socket_path,
            Path::new("/run/other.sock")
        );

        options.socket = Some("unix:///run/other.sock".into());
        assert_eq!(
            options.setup().unwrap().config.socket_path,
            Path::new("/run/other.sock")
        );
        options.socket = Some("tcp://127.0.0.1:80".into());
        let error = options.setup().unwrap_err().to_string();
        assert!(error.contains("unix:///path"), "{error}");

        // A whole file of a runtime, and paths in it whose keys are in another case.
        let whole = directory.path().join("config.toml");
        let text =
            "version = 3\n[plugins.'io.containerd.nri.v1.nri']\nSocketPath = '/run/whole.sock'";
        fs::write(&whole, text).unwrap();
        options = RuntimeOptions {
            config: Some(whole),
            ..Default::default()
        };
        assert_eq!(
            options.setup().unwrap().config.socket_path,
            Path::new("/run/whole.sock")
        );

        let none = RuntimeOptions::default().setup().unwrap();
        let home = none.config.socket_path.parent().unwrap().to_owned();
        assert!(home.is_dir());
        drop(none);
        assert!(!home.exists());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = || Some(PathBuf::from("/nonexistent"));
        for options in [
            RuntimeOptions {
                plugins: missing(),
                ..Default::default()
            },
            RuntimeOptions {
                plugin_config: missing(),
                ..Default::default()
            },
            RuntimeOptions {
                config: missing(),
                ..Default::default()
            },
        ] {
            assert!(
                options
                    .setup()
                    .unwrap_err()
                    .to_string()
                    .starts_with("/nonexistent: ")
            );
        }
    }
}
