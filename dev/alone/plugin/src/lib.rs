//! A plugin on `nri-plugin` alone, without an async runtime, which is for its program to choose:
//! that it builds says that all names which a plugin needs are to be had there.
//!
//! What may not enter: another dependency.

use nri_plugin::build::{Adjust as _, SetResources as _, Update as _};
use nri_plugin::{
    AfterShutdown, Backoff, Configuration, Ended, Error, Event, EventMask, HandlerError, Plugin,
    PluginCtx, Runner, RuntimeHandle as _, api, async_trait, effective_annotation, handlers,
};

/// A plugin that is a type.
#[derive(Debug)]
pub struct Limits;

#[async_trait]
impl Plugin for Limits {
    fn events(&self) -> EventMask {
        EventMask::from_iter([Event::CreateContainer, Event::StopContainer])
    }

    async fn configure(
        &self,
        _: &PluginCtx,
        configuration: Configuration,
    ) -> Result<Option<EventMask>, HandlerError> {
        println!("{}: {}", configuration.runtime.name, configuration.config);
        Ok(None)
    }

    fn failure_policy(&self) -> Option<api::FailurePolicy> {
        Some(api::FailurePolicy::default())
    }

    async fn create_container(
        &self,
        cx: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let pod = request.pod.ok_or("the request has no pod")?;
        let mut response = api::CreateContainerResponse::default();
        if let Some((_, bytes)) = effective_annotation(&pod.annotations, "example.com/memory", "") {
            let adjust = response.adjust.get_or_insert_default();
            adjust
                .set_memory_limit(bytes.parse()?)
                .add_env("MEMORY", bytes)?;
        }
        println!("{:?}", cx.deadline());
        Ok(response)
    }
}

/// Runs it until it is stopped.
///
/// # Errors
/// It cannot connect, or is refused.
pub async fn run() -> Result<Ended, Error> {
    let mut backoff = Backoff::default();
    backoff.after_shutdown = AfterShutdown::End;
    let runner = Runner::builder(Limits)
        .default_identity("10-limits")
        .build()?;
    runner.run_forever(backoff).await
}

/// Runs closures, and updates a container meanwhile.
///
/// # Errors
/// It cannot connect, is refused, or the update fails as a whole.
pub async fn run_closures() -> Result<(), Box<dyn std::error::Error>> {
    let plugin = handlers().on_stop_container(|_, _, _| async { Ok(()) });
    let runner = Runner::builder(plugin.build())
        .identity("20-closures")
        .build()?;
    let connected = runner.connect().await?;
    let mut update = api::ContainerUpdate::of_container("c1")?;
    update.set_cpu_shares(512);
    let failed = connected
        .runtime()
        .update_containers(vec![update], vec![])
        .await?;
    println!("{} failed; {}", failed.len(), connected.ended().await?);
    Ok(())
}
