//! A fake plugin on a connection.

use std::io;
use std::sync::{Arc, OnceLock};

use nri_core::api;
use nri_proto::transport::{CallError, CallOptions, Connection, Role, RuntimeClient};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::plugin::FakePlugin;
use super::served::{Link, Served, registration};
use super::wire::Wire;
use crate::TEST_TIMEOUT;

/// A fake plugin on a connection. Dropping it cuts the connection, as the end of the plugin's
/// process would.
#[derive(Debug)]
pub struct Connected {
    plugin: FakePlugin,
    connection: Connection,
    runtime: RuntimeClient,
    wire: Arc<Wire>,
}

impl Connected {
    pub(super) fn new(plugin: FakePlugin, stream: UnixStream) -> io::Result<Self> {
        let (wire, stream) = Wire::tap(stream)?;
        let wire = Arc::new(wire);
        let link = Arc::new(OnceLock::new());
        let connection = Connection::builder(Role::Plugin)
            .limits(plugin.inner.limits.clone())
            .serve(Served {
                plugin: plugin.clone(),
                link: Arc::clone(&link),
            })
            .start(stream);
        let runtime = RuntimeClient::new(connection.client());
        let last_answer = Arc::new(Notify::new());
        let linked = Link {
            runtime: runtime.clone(),
            wire: Arc::clone(&wire),
            last_answer: Arc::clone(&last_answer),
        };
        // It is set once, here; and nothing runs before this task yields or the runtime answers a
        // registration.
        let _ = link.set(linked);
        let (ends, cut) = (connection.clone(), Arc::clone(&wire));
        tokio::spawn(async move {
            tokio::select! {
                _ = ends.closed() => {}
                () = last_answer.notified() => {
                    ends.answered().await;
                    cut.cut();
                }
            }
        });
        Ok(Self {
            plugin,
            connection,
            runtime,
            wire,
        })
    }

    /// The plugin: its script and its record.
    pub fn plugin(&self) -> &FakePlugin {
        &self.plugin
    }

    /// Registers under its identity.
    ///
    /// # Errors
    /// What the runtime answers instead.
    pub async fn register(&self) -> Result<(), CallError> {
        self.register_as(self.plugin.identity()).await
    }

    /// Registers (again) under any identity.
    ///
    /// # Errors
    /// What the runtime answers instead.
    pub async fn register_as(&self, identity: &str) -> Result<(), CallError> {
        let request = registration(identity, &self.plugin.inner.nri_version);
        let options = CallOptions::timeout(TEST_TIMEOUT);
        self.runtime.register_plugin(&request, options).await?;
        Ok(())
    }

    /// Asks for updates and evictions outside of any request; returns the updates that the runtime
    /// could not apply.
    ///
    /// # Errors
    /// What the runtime answers instead.
    pub async fn update(
        &self,
        update: Vec<api::ContainerUpdate>,
        evict: Vec<api::ContainerEviction>,
    ) -> Result<Vec<api::ContainerUpdate>, CallError> {
        let request = api::UpdateContainersRequest { update, evict };
        let options = CallOptions::timeout(TEST_TIMEOUT);
        let response = self.runtime.update_containers(&request, options).await?;
        Ok(response.failed)
    }

    /// The bytes below.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits until the connection has ended, and says why.
    ///
    /// # Panics
    /// It has not within [`TEST_TIMEOUT`].
    pub async fn closed(&self) -> String {
        match tokio::time::timeout(TEST_TIMEOUT, self.connection.closed()).await {
            Ok(reason) => reason.to_string(),
            Err(_) => panic!(
                "waited {TEST_TIMEOUT:?} in vain for the end of {}'s connection; it saw {:#?}",
                self.plugin.identity(),
                self.plugin.seen()
            ),
        }
    }

    /// Cuts the connection.
    pub fn exit(self) {}
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.wire.cut();
    }
}
