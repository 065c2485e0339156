//! A runtime, a hub at it, and how plugins get to the hub.

use std::path::PathBuf;
use std::time::Duration;

use nri_hub::{Hub, HubConfig, HubHandle};
use nri_plugin::{Backoff, State};
use nri_testkit::{Connected, FakePlugin, TEST_TIMEOUT};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A hub that runs.
pub(crate) struct Staged {
    pub(crate) handle: HubHandle,
    pub(crate) directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<()>,
}

/// Describes a hub whose sockets are in a directory of its own.
pub(crate) struct Stage {
    pub(crate) directory: TempDir,
    pub(crate) config: HubConfig,
    aside: Option<Handle>,
}

impl Stage {
    pub(crate) fn at(runtime: PathBuf) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("nri-hub-")
            .tempdir()
            .unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut config = HubConfig::default();
        config.nri.socket_path = path("nri.sock");
        config.nri.plugin_path = path("plugins");
        config.nri.plugin_config_path = path("conf.d");
        config.hub.control_socket = path("control.sock");
        config.hub.runtime_socket = runtime;
        Self {
            directory,
            config,
            aside: None,
        }
    }

    /// Where that is done for which no request waits.
    pub(crate) fn aside(mut self, runtime: &Handle) -> Self {
        self.aside = Some(runtime.clone());
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut HubConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Runs it, without waiting for anything.
    pub(crate) fn begin(self) -> Staged {
        let mut backoff = Backoff::default();
        backoff.initial = Duration::from_millis(5);
        backoff.max = Duration::from_millis(20);
        let mut builder = Hub::builder(self.config)
            .use_environment(false)
            .backoff(backoff);
        if let Some(aside) = self.aside {
            builder = builder.aside(aside);
        }
        let hub = builder.build().unwrap();
        let handle = hub.handle();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            hub.run(stop).await.unwrap();
        });
        Staged {
            handle,
            directory: self.directory,
            stop: Some(stop),
            run,
        }
    }

    /// Runs it, and waits until plugins can connect.
    pub(crate) async fn run(self) -> Staged {
        let staged = self.begin();
        staged.open().await;
        staged
    }
}

impl Staged {
    pub(crate) async fn open(&self) {
        let mut open = self.handle.watch_open();
        within(open.wait_for(|open| *open)).await.unwrap();
    }

    pub(crate) async fn connected(&self) {
        let mut state = self.handle.watch_runtime();
        let ready = state.wait_for(|state| matches!(state, State::Ready(_)));
        within(ready).await.unwrap();
    }

    pub(crate) async fn join(&self, plugin: &FakePlugin) -> Connected {
        plugin.join(self.handle.nri()).await
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(mut self) {
        within(&mut self.run).await.unwrap();
    }

    /// Its run, which ends when another hub takes its place. Its directory stays.
    pub(crate) fn give_way(self) -> JoinHandle<()> {
        let Self {
            directory,
            stop,
            run,
            ..
        } = self;
        tokio::spawn(async move {
            // Nobody stops it.
            let _keep = (directory.keep(), stop);
            run.await.unwrap();
        })
    }

    pub(crate) async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        within(&mut self.run).await.unwrap();
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    match tokio::time::timeout(TEST_TIMEOUT, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {TEST_TIMEOUT:?} in vain"),
    }
}
