//! NRI's view of the runtime: what plugins are shown, and what they may have done. With the calls in
//! `pods` and `containers` this is all that there is of NRI in this runtime.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_adaptation::{Nri, RuntimeApi as _};
use nri_core::Ctx;
use nri_core::model::{Container as NriContainer, PodSandbox};
use nri_domain_cri::{
    ActionError, CriActions, CriDomain, CriNri, CriStore, ResolvedUpdate, SpecHooks, StoreError,
};
use tonic::Code;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::record::{Container, Pod};

/// The name by which plugins know this runtime.
pub(crate) const NAME: &str = "nri-runtime";

/// Starts NRI on what there is: launches the installed plugins, then listens for others.
///
/// # Errors
/// A socket or a directory that cannot be used.
pub(crate) async fn start(engine: &Arc<Engine>) -> Result<(Nri, CriNri<Engine>)> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(format!("NRI: {error}"));
    let domain = Arc::new(CriDomain::new(engine.clone()));
    let nri = Nri::builder(engine.config.nri.clone())
        .runtime(NAME, env!("CARGO_PKG_VERSION"))
        .domain(domain)
        .build()
        .map_err(|error| failed(&error))?;
    nri.start().await.map_err(|error| failed(&error))?;
    let calls = CriNri::new(Arc::new(nri.clone()), engine.clone());
    Ok((nri, calls))
}

#[async_trait]
impl CriStore for Engine {
    async fn pods(&self) -> std::result::Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
        let pods = self.store.all::<Pod>();
        pods.iter()
            .map(|pod| Ok(Arc::new(pod.seen()?) as Arc<dyn PodSandbox>))
            .collect()
    }

    async fn containers(&self) -> std::result::Result<Vec<Arc<dyn NriContainer>>, StoreError> {
        let containers = self.store.all::<Container>();
        let seen = |container: &Container| Ok(Arc::new(container.seen()?) as Arc<dyn NriContainer>);
        containers.iter().map(seen).collect()
    }
}

#[async_trait]
impl CriActions for Engine {
    async fn update_container(
        &self,
        _: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> std::result::Result<(), ActionError> {
        self.update(id, update).await.map(drop).map_err(refused)
    }

    async fn stop_container(
        &self,
        _: &Ctx,
        id: &str,
        grace: Duration,
        reason: &str,
    ) -> std::result::Result<(), ActionError> {
        self.stop(id, grace, Some(("Evicted", reason)))
            .await
            .map_err(refused)
    }
}

impl SpecHooks for Engine {}

fn refused(error: Error) -> ActionError {
    match error.code() {
        Code::NotFound => ActionError::NotFound,
        _ => ActionError::Failed(Box::new(error)),
    }
}
