//! Plugins that do what a test wants: answer, fail, hang, crash, send garbage. A fake plugin writes
//! down what it was asked.
//!
//! [`FakePlugin`] is the script and the record; [`FakePlugin::connect`] plays it over a connection
//! that can be misused, and [`FakePlugin::plugin`] makes an [`nri_core::Plugin`] of it, to be built
//! into a runtime or run by `nri-plugin`.
//!
//! What may not enter: how a runtime must take it.

mod behavior;
mod connected;
mod plugin;
mod seen;
mod served;
mod well_behaved;
mod wire;

use std::io;
use std::path::Path;
use std::sync::Arc;

use nri_adaptation::Nri;
use nri_core::Plugin;
use tokio::net::UnixStream;

pub use self::behavior::{Behavior, When};
pub use self::connected::Connected;
pub use self::plugin::FakePlugin;
pub use self::seen::ReceivedCall;
use self::well_behaved::WellBehaved;
pub use self::wire::Wire;
pub(crate) use self::wire::connect;
use crate::TEST_TIMEOUT;
use crate::ready::ready;

impl FakePlugin {
    /// Connects to a runtime's socket, without registering.
    ///
    /// # Errors
    /// There is no runtime.
    pub async fn connect(&self, socket: impl AsRef<Path>) -> io::Result<Connected> {
        self.over(wire::connect(socket.as_ref()).await?)
    }

    /// Connects and registers at an instance, and waits until it is ready: until what comes next
    /// reaches it.
    ///
    /// ```
    /// use nri_testkit::{FakePlugin, TestRuntime};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let runtime = TestRuntime::start().await;
    /// let plugin = FakePlugin::new("10-watch");
    /// let _connected = plugin.join(runtime.nri()).await;
    /// runtime.run_pod("p1").await;
    /// plugin.assert_events(&["RunPodSandbox p1"]);
    /// # });
    /// ```
    ///
    /// # Panics
    /// It does not become ready within [`TEST_TIMEOUT`](crate::TEST_TIMEOUT); the message says why.
    pub async fn join(&self, nri: &Nri) -> Connected {
        let identity = self.identity();
        let ready = ready(nri, identity);
        let connected = match self.connect(&nri.config().socket_path).await {
            Ok(connected) => connected,
            Err(error) => panic!("{identity} cannot connect: {error}"),
        };
        if let Err(error) = connected.register().await {
            panic!("{identity} cannot register: {error}");
        }
        tokio::select! {
            Ok(()) = ready => connected,
            reason = connected.connection().closed() => {
                panic!("{identity} is cut off before it is ready: {reason}")
            }
            () = tokio::time::sleep(TEST_TIMEOUT) => {
                panic!("waited {TEST_TIMEOUT:?} in vain for {identity} to be ready; it saw {:#?}", self.seen())
            }
        }
    }

    /// Plays it over a stream, without registering.
    ///
    /// # Errors
    /// The stream cannot be used.
    pub fn over(&self, stream: UnixStream) -> io::Result<Connected> {
        Connected::new(self.clone(), stream)
    }

    /// The same script and record as a plugin that cannot misbehave: for
    /// [`nri_adaptation::Builder::plugin`], and for `nri-plugin`, whose `Runner` connects again
    /// by itself. What needs a connection (to exit, to send garbage) is an error of its handler
    /// there.
    ///
    /// ```
    /// use nri_testkit::{FakePlugin, TestRuntime};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let inside = FakePlugin::new("10-inside");
    /// let outside = FakePlugin::new("20-outside");
    /// let runtime = TestRuntime::builder().built_in(&inside).start().await;
    /// let runner = nri_plugin::Runner::builder_shared(outside.plugin())
    ///     .identity("20-outside")
    ///     .socket(runtime.socket())
    ///     .use_environment(false)
    ///     .build()
    ///     .unwrap();
    /// let handle = runner.handle();
    /// let run = tokio::spawn(runner.run());
    /// runtime.wait_for_plugins(&["10-inside", "20-outside"]).await;
    /// runtime.run_pod("p1").await;
    /// inside.assert_events(&["RunPodSandbox p1"]);
    /// outside.assert_events(&["RunPodSandbox p1"]);
    /// handle.stop();
    /// run.await.unwrap().unwrap();
    /// # });
    /// ```
    pub fn plugin(&self) -> Arc<dyn Plugin> {
        Arc::new(WellBehaved(self.clone()))
    }
}
