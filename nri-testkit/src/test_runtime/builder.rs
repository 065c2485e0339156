//! How a runtime is built: its configuration, its directory, what is part of it.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{Builder, Config, Nri, RuntimeApi as _};
use nri_core::Ctx;
use tempfile::TempDir;

use super::runtime::TestRuntime;
use crate::{FakePlugin, MemoryDomain, Watcher};

type Configure = Box<dyn FnOnce(&mut Config) + Send>;
type Build = Box<dyn FnOnce(Builder) -> Builder + Send>;

/// Describes a [`TestRuntime`].
#[must_use = "nothing is built before `build` or `start`"]
pub struct TestRuntimeBuilder {
    directory: TempDir,
    domain: Arc<MemoryDomain>,
    configure: Vec<Configure>,
    build: Vec<Build>,
}

impl fmt::Debug for TestRuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntimeBuilder")
            .field("directory", &self.directory.path())
            .finish_non_exhaustive()
    }
}

impl TestRuntimeBuilder {
    /// Changes the configuration. Socket, plugin directory (`plugins`) and their configurations
    /// (`conf.d`) are in the runtime's own directory unless this says otherwise.
    pub fn config(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.configure.push(Box::new(change));
        self
    }

    /// Sets how long a plugin may take to answer; 2 s without it.
    pub fn request_timeout(self, time: Duration) -> Self {
        self.config(move |config| config.plugin_request_timeout = time)
    }

    /// Changes how the instance is built.
    pub fn with(mut self, build: impl FnOnce(Builder) -> Builder + Send + 'static) -> Self {
        self.build.push(Box::new(build));
        self
    }

    /// Makes a fake plugin a part of the runtime.
    ///
    /// # Panics
    /// Its identity is none.
    pub fn built_in(self, plugin: &FakePlugin) -> Self {
        match plugin.identity().parse() {
            Ok(id) => {
                let plugin = plugin.plugin();
                self.with(|builder| builder.plugin(id, plugin))
            }
            Err(error) => panic!("{} cannot be built in: {error}", plugin.identity()),
        }
    }

    /// What the runtime has; to be filled before the start.
    pub fn domain(&self) -> &Arc<MemoryDomain> {
        &self.domain
    }

    /// The runtime's own directory; to put plugins into it before the start.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Builds it without starting it.
    ///
    /// # Panics
    /// The configuration is impossible.
    pub fn build(self) -> TestRuntime {
        let path = self.directory.path();
        let mut config = Config::default();
        config.socket_path = path.join("nri.sock");
        config.plugin_path = path.join("plugins");
        config.plugin_config_path = path.join("conf.d");
        for directory in [&config.plugin_path, &config.plugin_config_path] {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            if let Err(error) = made {
                panic!("{} cannot be made: {error}", directory.display());
            }
        }
        for change in self.configure {
            change(&mut config);
        }
        let watcher = Arc::new(Watcher::default());
        let mut builder = Nri::builder(config)
            .runtime("nri-testkit", env!("CARGO_PKG_VERSION"))
            .domain(self.domain.clone())
            .observer(watcher.clone());
        for change in self.build {
            builder = change(builder);
        }
        let nri = match builder.build() {
            Ok(nri) => nri,
            Err(error) => panic!("the runtime of the test cannot be built: {error}"),
        };
        TestRuntime {
            nri,
            domain: self.domain,
            watcher,
            cx: Ctx::new(),
            directory: self.directory,
        }
    }

    /// Builds and starts it.
    ///
    /// # Panics
    /// It cannot be built or started.
    pub async fn start(self) -> TestRuntime {
        let runtime = self.build();
        if let Err(error) = runtime.nri.start().await {
            panic!("the runtime of the test does not start: {error}");
        }
        runtime
    }
}

impl TestRuntime {
    /// Begins to describe a runtime.
    ///
    /// # Panics
    /// There is no place for temporary directories.
    pub fn builder() -> TestRuntimeBuilder {
        let directory = match tempfile::Builder::new().prefix("nri-test-").tempdir() {
            Ok(directory) => directory,
            Err(error) => panic!("a test needs a temporary directory: {error}"),
        };
        TestRuntimeBuilder {
            directory,
            domain: Arc::new(MemoryDomain::new("test")),
            configure: Vec::new(),
            build: Vec::new(),
        }
    }

    /// A started runtime, with everything as by default.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }
}
