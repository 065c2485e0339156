//! A validator: it sees what all plugins together ask for, and accepts it or rejects it.
//!
//! This one lets no plugin mount the runtime's own sockets. Hooks are rejected by the default
//! validator, which an operator turns on. `cargo run -p nri-adaptation --example validator`

use std::error::Error;
use std::sync::Arc;

use nri_adaptation::build::Adjust as _;
use nri_adaptation::{
    Config, Ctx, Event, EventMask, HandlerError, Nri, Plugin, PluginCtx, RuntimeApi, api,
    async_trait,
};

struct NoSockets;

#[async_trait]
impl Plugin for NoSockets {
    fn events(&self) -> EventMask {
        Event::ValidateContainerAdjustment.into()
    }

    async fn validate_container_adjustment(
        &self,
        _: &PluginCtx,
        request: api::ValidateContainerAdjustmentRequest,
    ) -> Result<api::ValidateContainerAdjustmentResponse, HandlerError> {
        let mounts = request.adjust.unwrap_or_default().mounts;
        let mut response = api::ValidateContainerAdjustmentResponse::default();
        if let Some(mount) = mounts
            .iter()
            .find(|mount| mount.source.starts_with("/run/runtime/"))
        {
            response.reject = true;
            response.reason = format!("nobody mounts {}", mount.source);
        }
        Ok(response)
    }
}

/// A plugin that does to a container what its name says.
struct Obeys;

#[async_trait]
impl Plugin for Obeys {
    fn events(&self) -> EventMask {
        Event::CreateContainer.into()
    }

    async fn create_container(
        &self,
        _: &PluginCtx,
        request: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let mut response = api::CreateContainerResponse::default();
        let adjust = response.adjust.get_or_insert_default();
        match request.container.unwrap_or_default().name.as_str() {
            "socket" => adjust.add_mount(api::Mount {
                source: "/run/runtime/api.sock".into(),
                destination: "/api.sock".into(),
                ..Default::default()
            })?,
            "hook" => adjust.add_hooks(api::Hooks {
                prestart: vec![api::Hook::default()],
                ..Default::default()
            }),
            _ => adjust.add_env("HELLO", "world")?,
        };
        Ok(response)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_toml(
        "disable_connections = true\nplugin_path = '/nonexistent'\n\
         [default_validator]\nenable = true\nreject_oci_hook_adjustment = true",
    )?;
    let nri = Nri::builder(config)
        .plugin("10-obeys".parse()?, Arc::new(Obeys))
        .plugin("90-no-sockets".parse()?, Arc::new(NoSockets))
        .build()?;
    nri.start().await?;

    let cx = Ctx::new();
    let pod = api::PodSandbox {
        id: "p1".into(),
        name: "web".into(),
        ..Default::default()
    };
    nri.run_pod_sandbox(&cx, &pod).await?;
    for name in ["socket", "hook", "variable"] {
        let (id, pod_sandbox_id) = (name.to_owned(), pod.id.clone());
        let container = api::Container {
            id: id.clone(),
            name: id,
            pod_sandbox_id,
            ..Default::default()
        };
        // A rejection is an error of the creation, and undoes it towards the plugins.
        match nri.create_container(&cx, &pod, &container).await {
            Ok(creation) => {
                println!("{name}: created");
                creation.commit();
            }
            Err(error) => println!("{name}: {error} (code {})", error.code()),
        }
    }
    nri.stop().await;
    Ok(())
}
