//! A hub in this process, between a runtime and plugins that are processes of their own.

use nri_adaptation::{PluginInfo, PluginState};
use nri_hub::{Hub, HubConfig, HubHandle};
use nri_plugin::Ended;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::program::TEST_TIMEOUT;
use super::scratch::{CaseDir, Scratch};

/// A hub that runs.
#[derive(Debug)]
pub(super) struct RunningHub {
    handle: HubHandle,
    /// Where plugins connect.
    pub(super) case_dir: CaseDir,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<Ended, nri_hub::Error>>,
    // Last, since all else lives in it.
    tokio: Runtime,
}

impl RunningHub {
    /// Starts a hub at the runtime of a directory, and waits until plugins can connect.
    pub(super) fn start(scratch: &Scratch, above: &CaseDir) -> Result<Self, String> {
        let case_dir = scratch.case_dir()?;
        let text = format!(
            "socket_path = {:?}\nplugin_path = {:?}\nplugin_config_path = {:?}\nplugin_request_timeout = '20s'\n\
             [hub]\nruntime_socket = {:?}\ncontrol_socket = {:?}\n",
            case_dir.socket(),
            case_dir.plugins(),
            case_dir.plugin_configs(),
            above.socket(),
            case_dir.file("control.sock"),
        );
        let config = HubConfig::from_toml(&text).map_err(|e| e.to_string())?;
        let builder = Hub::builder(config).use_environment(false);
        let hub = builder.build().map_err(|e| e.to_string())?;
        let tokio = Runtime::new().map_err(|e| e.to_string())?;
        let handle = hub.handle();
        let (stop, stopped) = oneshot::channel();
        let run = tokio.spawn(hub.run(async {
            // Whoever stops it without a word stops it as well.
            let _ = stopped.await;
        }));
        let hub = Self {
            handle,
            case_dir,
            stop: Some(stop),
            run,
            tokio,
        };
        let mut open = hub.handle.watch_open();
        hub.within("plugins can connect", async {
            let _ = open.wait_for(|open| *open).await;
        })?;
        Ok(hub)
    }

    fn within(&self, what: &str, work: impl Future<Output = ()>) -> Result<(), String> {
        let bounded = async { tokio::time::timeout(TEST_TIMEOUT, work).await };
        self.tokio
            .block_on(bounded)
            .map_err(|_| format!("waited {TEST_TIMEOUT:?} in vain until {what} at the hub"))
    }

    /// Waits until so many plugins are ready.
    pub(super) fn wait_for_plugins(&self, count: usize) -> Result<(), String> {
        let nri = self.handle.nri();
        self.within(&format!("{count} plugins are ready"), async {
            let mut watch = nri.watch_plugins();
            let is_ready = |info: &&PluginInfo| info.state == PluginState::Ready;
            while watch.plugins().iter().filter(is_ready).count() != count {
                if watch.changed().await.is_err() {
                    // It has ended, and nothing comes any more: the bound says so.
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<(), String> {
        drop(self.stop.take());
        let ended = self
            .tokio
            .block_on(&mut self.run)
            .map_err(|e| e.to_string())?;
        ended.map(drop).map_err(|e| e.to_string())
    }
}
