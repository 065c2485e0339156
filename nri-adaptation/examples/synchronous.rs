//! A runtime without async code: `blocking::Nri` waits for each call, in whatever thread makes it,
//! and has threads of its own on which plugins connect and answer.
//!
//! `cargo run -p nri-adaptation --features blocking --example synchronous`

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nri_adaptation::blocking::Nri;
use nri_adaptation::build::Adjust as _;
use nri_adaptation::{
    Config, Ctx, Event, EventMask, HandlerError, Plugin, PluginCtx, api, async_trait,
};

/// A plugin that adds a variable.
struct Adds;

#[async_trait]
impl Plugin for Adds {
    fn events(&self) -> EventMask {
        Event::CreateContainer.into()
    }

    async fn create_container(
        &self,
        _: &PluginCtx,
        _: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, HandlerError> {
        let mut response = api::CreateContainerResponse::default();
        response
            .adjust
            .get_or_insert_default()
            .add_env("ADDED", "yes")?;
        Ok(response)
    }
}

/// Creates a container in a pod. An error after NRI's answer undoes the creation.
fn create(nri: &Nri, pod: &api::PodSandbox, id: &str) -> Result<(), Box<dyn Error>> {
    let container = api::Container {
        id: id.into(),
        pod_sandbox_id: pod.id.clone(),
        ..Default::default()
    };
    // Every call has a time limit: a thread that waits for ever is lost.
    let cx = Ctx::new().with_deadline(Instant::now() + Duration::from_secs(60));
    let creation = nri.create_container(&cx, pod, &container)?;
    if id == "c3" {
        return Err("the disk is full".into());
    }
    for variable in creation.adjustment().iter().flat_map(|it| &it.env) {
        println!("{id}: {}={}", variable.key, variable.value);
    }
    creation.commit();
    nri.post_create_container(&cx, pod, &container)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_toml("disable_connections = true\nplugin_path = '/nonexistent'")?;
    let builder = nri_adaptation::Nri::builder(config);
    let nri = Nri::new(builder.plugin("10-adds".parse()?, Arc::new(Adds)).build()?)?;
    nri.start()?;
    let pod = api::PodSandbox {
        id: "p1".into(),
        name: "web".into(),
        ..Default::default()
    };
    nri.run_pod_sandbox(&Ctx::new(), &pod)?;
    thread::scope(|threads| {
        for id in ["c1", "c2", "c3"] {
            let (nri, pod) = (&nri, &pod);
            threads.spawn(move || {
                if let Err(error) = create(nri, pod, id) {
                    println!("{id}: {error}");
                }
            });
        }
    });
    nri.remove_pod_sandbox(&Ctx::new(), &pod)?;
    nri.stop();
    Ok(())
}
