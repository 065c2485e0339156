//! An instance with a plugin directory, and an observer that one can wait for.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nri_adaptation::{Config, Ctx, Nri, Observer, PluginInfo, RuntimeApi as _};
use nri_core::api;
use tokio::sync::watch;

use crate::TEST_TIMEOUT;

/// What the instance told; one can wait for it.
pub(crate) struct Notices(pub(crate) watch::Sender<Vec<String>>);

impl Notices {
    fn push(&self, notice: String) {
        self.0.send_modify(|notices| notices.push(notice));
    }
}

impl Observer for Notices {
    fn plugin_synchronized(&self, plugin: &PluginInfo) {
        self.push(format!("synchronized {}", plugin.plugin));
    }
    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        self.push(format!("gone {}: {reason}", plugin.plugin));
    }
    fn plugin_exited(&self, plugin: &PluginInfo, reason: &str, pause: Option<Duration>) {
        self.push(format!("down {} for {pause:?}: {reason}", plugin.plugin));
    }
    fn plugin_refused(&self, peer: &str, reason: &str) {
        self.push(format!("refused {peer}: {reason}"));
    }
}

/// The lines of the log that have all of these words.
pub(crate) fn logged(words: &[&str]) -> Vec<String> {
    let log = crate::LOG.lock().unwrap().clone();
    let lines = log
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    lines.map(str::to_owned).collect()
}

/// A copy of this program that nobody else can change, whatever the umask it was built with.
pub(crate) fn program() -> &'static Path {
    static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = COPY.get_or_init(|| tempfile::tempdir().unwrap());
        let path = dir.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    })
}

pub(crate) struct Setup {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) notices: Arc<Notices>,
}

impl Setup {
    pub(crate) fn new(plugins: &[&str], configs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (plugin_dir, config_dir) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        for directory in [&plugin_dir, &config_dir] {
            // Whatever the umask: what others can write to is not launched from.
            DirBuilder::new().mode(0o755).create(directory).unwrap();
        }
        for plugin in plugins {
            symlink(program(), plugin_dir.join(plugin)).unwrap();
        }
        let setup = Self {
            dir,
            notices: Arc::new(Notices(watch::Sender::new(Vec::new()))),
        };
        for (name, text) in configs {
            setup.configure(name, text);
        }
        setup
    }

    pub(crate) fn install(&self, plugin: &str) {
        symlink(program(), self.path(plugin)).unwrap();
    }

    /// Puts a file into the plugin directory, executable.
    pub(crate) fn write(&self, plugin: &str, content: &[u8]) {
        let path = self.path(plugin);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a configuration where it belongs, with a mode that nobody else can write to.
    pub(crate) fn configure(&self, name: &str, content: &str) {
        let path = self.dir.path().join("conf.d").join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(name)
    }

    pub(crate) fn instance(&self, configure: impl FnOnce(&mut Config)) -> Nri {
        let mut config = Config::default();
        config.socket_path = self.dir.path().join("nri.sock");
        config.plugin_path = self.dir.path().join("plugins");
        config.plugin_config_path = self.dir.path().join("conf.d");
        // The machine may be busy; a process takes its time to start.
        config.plugin_registration_timeout = TEST_TIMEOUT;
        config.plugin_request_timeout = TEST_TIMEOUT;
        configure(&mut config);
        let builder = Nri::builder(config)
            .runtime("test-runtime", "1")
            .observer(self.notices.clone());
        builder.build().unwrap()
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.0.borrow().clone()
    }

    pub(crate) async fn wait_for(&self, notice: &str) {
        self.wait_for_count(notice, 1).await;
    }

    pub(crate) async fn wait_for_count(&self, notice: &str, count: usize) {
        let mut notices = self.notices.0.subscribe();
        let enough = |all: &Vec<String>| all.iter().filter(|n| n.contains(notice)).count() >= count;
        let there = notices.wait_for(enough);
        if tokio::time::timeout(TEST_TIMEOUT, there).await.is_err() {
            panic!("no {notice:?} in {:?}", self.notices());
        }
    }
}

pub(crate) fn names(nri: &Nri) -> Vec<String> {
    nri.plugins()
        .iter()
        .map(|info| info.plugin.to_string())
        .collect()
}

pub(crate) fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) async fn created(nri: &Nri, id: &str) -> BTreeMap<String, String> {
    let pod = api::PodSandbox {
        id: "p".into(),
        ..Default::default()
    };
    let container = api::Container {
        id: id.into(),
        pod_sandbox_id: "p".into(),
        ..Default::default()
    };
    let creation = nri
        .create_container(&Ctx::new(), &pod, &container)
        .await
        .unwrap();
    let annotations = creation
        .adjustment()
        .map(|adjust| adjust.annotations.clone());
    creation.commit();
    annotations.unwrap_or_default()
}
