//! A plugin of the test's own that takes part in a runtime.

/// A plugin that is ready at a [`TestRuntime`](crate::TestRuntime). Dropping it ends the plugin.
#[derive(Debug)]
pub struct Joined {
    pub(super) handle: nri_plugin::Handle,
    pub(super) task: tokio::task::JoinHandle<Result<nri_plugin::Ended, nri_plugin::Error>>,
}

impl Joined {
    /// To ask the runtime for something outside of any request, and to see how the plugin is.
    pub fn handle(&self) -> &nri_plugin::Handle {
        &self.handle
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.handle.stop();
        self.task.abort();
    }
}
