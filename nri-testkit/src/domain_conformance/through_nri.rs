//! The rules that show only with NRI around the domain: a plugin that updates and evicts containers
//! while others are created.

use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{Config, Nri, RuntimeApi};
use nri_core::api::{self, ContainerEviction, CreateContainerResponse};
use nri_core::{Ctx, Event};

use super::probe::{Probe, is_stopped, update};
use super::report::Rule;
use crate::{Behavior, FakePlugin};

/// The container that is created, and is not the runtime's.
const NEW: &str = "nri-conformance-new";

pub(super) async fn all(probe: &Probe<'_>) -> Result<(), String> {
    let adapter = probe.adapter;
    let pod = adapter.create_pod().await?;
    let updated = adapter.create_container(&pod).await?;
    let evicted = adapter.create_container(&pod).await?;
    let [first, _] = adapter.updates();
    let answer = CreateContainerResponse {
        update: vec![update(&updated, Some(first))],
        evict: vec![ContainerEviction {
            container_id: evicted.clone(),
            reason: "conformance".to_owned(),
        }],
        ..Default::default()
    };
    let plugin =
        FakePlugin::new("10-conformance").on(Event::CreateContainer, Behavior::answer(answer));
    match started(probe, &plugin).await {
        Ok(nri) => {
            adapter.attach(Arc::new(nri.clone()));
            create(probe, &nri, &pod, &evicted).await;
            nri.stop().await;
        }
        Err(error) => probe.found(Rule::Listed, format!("NRI does not start: {error}")),
    }
    for id in [&updated, &evicted] {
        adapter.remove_container(id).await?;
    }
    adapter.remove_pod(&pod).await
}

/// Has a container created, in answer to which the plugin wants something of others.
async fn create(probe: &Probe<'_>, nri: &Nri, pod: &str, evicted: &str) {
    let (api, pod_id, domain) = (nri.clone(), pod.to_owned(), Arc::clone(&probe.domain));
    let life = tokio::spawn(async move {
        let pod = match domain.get_pod_sandbox(&pod_id).await {
            Some(pod) => pod,
            None => return Ok(()),
        };
        let container = api::Container {
            id: NEW.to_owned(),
            pod_sandbox_id: pod_id,
            ..Default::default()
        };
        let cx = Ctx::new();
        let creation = api.create_container(&cx, &*pod, &container).await?;
        creation.commit();
        api.remove_container(&cx, &*pod, &container).await
    });
    let abort = life.abort_handle();
    match tokio::time::timeout(probe.time, life).await {
        Ok(Ok(Ok(()))) => {
            let now = probe.container(evicted).await;
            probe.expect(Rule::EvictionStops, is_stopped(now.as_deref()), || {
                format!("container {evicted:?} was evicted through NRI and is not stopped")
            });
        }
        Ok(Ok(Err(error))) => probe.found(
            Rule::Reentrant,
            format!("a creation that updates and evicts other containers: {error}"),
        ),
        Ok(Err(panic)) => probe.found(Rule::Answers, format!("a creation through NRI: {panic}")),
        Err(_) => {
            abort.abort();
            let time = probe.time;
            probe.found(
                Rule::Reentrant,
                format!(
                    "a creation that updates and evicts other containers took more than {time:?}"
                ),
            );
        }
    }
}

/// An instance with one plugin, which is part of it.
async fn started(probe: &Probe<'_>, plugin: &FakePlugin) -> Result<Nri, String> {
    let in_words = |error: &dyn std::fmt::Display| error.to_string();
    let mut config = Config::default();
    config.disable_connections = true;
    config.plugin_path = "/nonexistent".into();
    // Plugins are not what is examined.
    config.plugin_request_timeout = probe.time.max(Duration::from_secs(2));
    let id = plugin
        .identity()
        .parse()
        .map_err(|error| in_words(&error))?;
    let nri = Nri::builder(config)
        .domain(Arc::clone(&probe.domain))
        .plugin(id, plugin.plugin())
        .build()
        .map_err(|error| in_words(&error))?;
    nri.start().await.map_err(|error| in_words(&error))?;
    Ok(nri)
}
