//! What a check needs of a runtime.

use std::sync::Arc;

use async_trait::async_trait;
use nri_core::build::SetResources as _;
use nri_core::{RuntimeApi, api};

/// What [`check`](super::check) needs of a runtime: to make pods and containers in it, and to take
/// them away.
///
/// The pods and containers can be of any kind, as long as they can be updated and evicted.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// Makes a pod that is ready; returns its full id.
    ///
    /// # Errors
    /// In words; the check ends with it.
    async fn create_pod(&self) -> Result<String, String>;

    /// Makes a container that runs, in a pod; returns its full id.
    ///
    /// # Errors
    /// In words; the check ends with it.
    async fn create_container(&self, pod: &str) -> Result<String, String>;

    /// Takes a container away that was made here, whatever its state.
    ///
    /// # Errors
    /// In words; the check ends with it.
    async fn remove_container(&self, id: &str) -> Result<(), String>;

    /// Takes a pod away that was made here.
    ///
    /// # Errors
    /// In words; the check ends with it.
    async fn remove_pod(&self, id: &str) -> Result<(), String>;

    /// Starts a container again that was made here and is stopped. Called only if the domain says
    /// that it is [restartable](nri_core::Domain::restartable). Default: an error.
    ///
    /// # Errors
    /// In words; the check ends with it.
    async fn start_again(&self, id: &str) -> Result<(), String> {
        Err(format!(
            "the domain is restartable, and the adapter cannot start container {id:?} again: implement Adapter::start_again"
        ))
    }

    /// Two updates that the runtime can apply and that set different fields. Default: a memory
    /// limit, and CPU shares.
    fn updates(&self) -> [api::LinuxResources; 2] {
        let (mut memory, mut cpu) = <(api::LinuxResources, api::LinuxResources)>::default();
        memory.set_memory_limit(64 << 20);
        cpu.set_cpu_shares(512);
        [memory, cpu]
    }

    /// Gives the runtime an NRI to call, where its domain does so when it updates or evicts a
    /// container. Default: nothing is done.
    fn attach(&self, nri: Arc<dyn RuntimeApi>) {
        let _ = nri;
    }
}
