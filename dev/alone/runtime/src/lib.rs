//! A runtime on `nri-adaptation` alone: that it builds says that all names which a runtime needs
//! are to be had there. It is not run; the examples of `nri-adaptation` are.
//!
//! What may not enter: another dependency.

use std::sync::Arc;

use nri_adaptation::build::{Adjust as _, SetResources as _};
use nri_adaptation::merge::{OnUnsupported, Support, SupportedFields};
use nri_adaptation::model::{Container, PodSandbox};
use nri_adaptation::{
    AuditRecord, Builder, Config, Creation, Ctx, Domain, DomainError, ErrorClass, Event,
    EventError, EventMask, HandlerError, Metrics, Nri, Observer, Plugin, PluginCallReport,
    PluginCtx, PluginId, PluginInfo, RuntimeApi, UpdateResult, api, async_trait,
};

/// What the runtime has: nothing.
#[derive(Debug)]
pub struct Empty;

#[async_trait]
impl Domain for Empty {
    fn name(&self) -> &str {
        "k8s.io"
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        Ok(Vec::new())
    }

    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        Ok(Vec::new())
    }

    async fn get_pod_sandbox(&self, _: &str) -> Option<Arc<dyn PodSandbox>> {
        None
    }

    async fn get_container(&self, _: &str) -> Option<Arc<dyn Container>> {
        None
    }

    async fn update_container(
        &self,
        _: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        Err(DomainError::NotFound(update.container_id.clone()))
    }

    async fn evict_container(
        &self,
        _: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        Err(DomainError::NotFound(eviction.container_id.clone()))
    }
}

/// A plugin that is part of the program.
#[derive(Debug)]
pub struct BuiltIn;

#[async_trait]
impl Plugin for BuiltIn {
    fn events(&self) -> EventMask {
        Event::CreateContainer.into()
    }

    async fn create_container(
        &self,
        _: &PluginCtx,
        _: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let mut response = api::CreateContainerResponse::default();
        let adjust = response.adjust.get_or_insert_default();
        adjust.add_env("A", "1")?.set_memory_limit(1 << 30);
        Ok(response)
    }
}

/// Someone who watches, and keeps metrics.
#[derive(Debug)]
pub struct Watches;

impl Observer for Watches {
    fn plugin_call(&self, report: &PluginCallReport<'_>) {
        println!("{}", report.outcome.name());
    }

    fn plugin_disconnected(&self, plugin: &PluginInfo, reason: &str) {
        println!("{}: {reason}", plugin.id());
    }

    fn adjusted(&self, record: &AuditRecord<'_>) {
        println!("{}", record.to_line());
    }
}

impl Metrics for Watches {
    fn record_invocation(&self, _: &PluginId, _: &'static str, result: Result<(), ErrorClass>) {
        println!("{}", result.map_or_else(ErrorClass::as_str, |()| "success"));
    }
}

/// An instance with all of these.
///
/// # Errors
/// The configuration is wrong, or the instance cannot be built.
pub fn build(toml: &str) -> Result<Nri, Box<dyn std::error::Error>> {
    let fields = SupportedFields::ALL.without(api::Field::RdtClosId);
    let support = Support::only(fields).on_unsupported(OnUnsupported::LeaveOut);
    let builder: Builder = Nri::builder(Config::from_toml(toml)?);
    let builder = builder.domain(Arc::new(Empty)).support(support);
    let builder = builder.plugin("10-built-in".parse()?, Arc::new(BuiltIn));
    let builder = builder.observer(Arc::new(Watches));
    Ok(builder.metrics(Arc::new(Watches)).build()?)
}

/// A container that is created, and whose resources are changed.
///
/// # Errors
/// Plugins refuse it.
pub async fn life(
    nri: &Nri,
    pod: &dyn PodSandbox,
    container: &dyn Container,
) -> Result<UpdateResult, EventError> {
    let cx = Ctx::new();
    let creation: Creation = nri.create_container(&cx, pod, container).await?;
    creation.commit();
    nri.update_container(&cx, pod, container, None).await
}
