//! A plugin that is part of the runtime's program: no process, no socket, no serialisation.
//!
//! It gives containers the memory limit that an annotation of their pod says.
//! `cargo run -p nri-adaptation --example built_in_plugin`

use std::error::Error;
use std::sync::Arc;

use nri_adaptation::build::{Adjust as _, SetResources as _};
use nri_adaptation::model::effective_annotation;
use nri_adaptation::{
    Config, Ctx, Event, EventMask, HandlerError, Nri, Plugin, PluginCtx, RuntimeApi, api,
    async_trait,
};

const MEMORY: &str = "memory.example.com/bytes";

struct Memory;

#[async_trait]
impl Plugin for Memory {
    fn events(&self) -> EventMask {
        Event::CreateContainer.into()
    }

    async fn create_container(
        &self,
        _: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let pod = request.pod.unwrap_or_default();
        let container = request.container.unwrap_or_default();
        let mut response = api::CreateContainerResponse::default();
        if let Some((key, bytes)) = effective_annotation(&pod.annotations, MEMORY, &container.name)
        {
            let bytes: i64 = bytes
                .parse()
                .map_err(|_| format!("{key}: {bytes:?} is no number"))?;
            let mut adjust = api::ContainerAdjustment::default();
            adjust
                .set_memory_limit(bytes)
                .add_env("MEMORY", bytes.to_string())?;
            response.adjust = Some(adjust);
        }
        Ok(response)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    // Plugins of this program only.
    config.disable_connections = true;
    config.plugin_path = "/nonexistent".into();
    let nri = Nri::builder(config)
        .runtime("example", "1.0")
        .plugin("10-memory".parse()?, Arc::new(Memory))
        .build()?;
    nri.start().await?;
    for plugin in nri.plugins() {
        println!("{} is {:?}: {}", plugin.id(), plugin.state, plugin.events);
    }

    let cx = Ctx::new();
    let annotations = [
        (format!("{MEMORY}/container.db"), "1073741824"),
        (MEMORY.to_owned(), "none"),
    ];
    let pod = api::PodSandbox {
        id: "p1".into(),
        name: "web".into(),
        annotations: annotations
            .map(|(key, value)| (key, value.to_owned()))
            .into(),
        ..Default::default()
    };
    nri.run_pod_sandbox(&cx, &pod).await?;
    for name in ["db", "cache"] {
        let container = api::Container {
            id: format!("id-of-{name}"),
            pod_sandbox_id: "p1".into(),
            name: name.to_owned(),
            ..Default::default()
        };
        let creation = match nri.create_container(&cx, &pod, &container).await {
            Ok(creation) => creation,
            Err(error) => {
                println!("refused: {error}");
                continue;
            }
        };
        // Every field, and every entry of a list or map, has an owner.
        for owned in creation.owners().iter() {
            println!(
                "{name}: {} {} by {}",
                owned.field.as_str_name(),
                owned.key.unwrap_or(""),
                owned.owner
            );
        }
        creation.commit();
        nri.remove_container(&cx, &pod, &container).await?;
    }
    nri.stop().await;
    Ok(())
}
