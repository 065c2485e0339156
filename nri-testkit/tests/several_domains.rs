//! Several domains in one instance: each found by its name, each container by its id, as long as
//! only one domain has it.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

use std::sync::Arc;

use nri_adaptation::{Config, Domain, DomainError, Nri, RuntimeApi as _};
use nri_core::api;
use nri_core::build::{SetResources as _, Update as _};
use nri_testkit::{FakePlugin, MemoryDomain};

fn container(id: &str) -> api::Container {
    api::Container {
        id: id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_container_is_found_by_its_id_unless_two_domains_have_it() {
    let directory = tempfile::tempdir().unwrap();
    let domains = ["k8s.io", "moby"].map(|name| Arc::new(MemoryDomain::new(name)));
    let mut config = Config::default();
    config.socket_path = directory.path().join("nri.sock");
    config.plugin_path = directory.path().join("none");
    let mut builder = Nri::builder(config);
    for domain in &domains {
        domain.put_container(container(&format!("only-{}", domain.name())));
        domain.put_container(container("both"));
        builder = builder.domain(Arc::clone(domain) as Arc<dyn Domain>);
    }
    let nri = builder.build().unwrap();
    nri.start().await.unwrap();

    let moby = nri.domain("moby").unwrap();
    assert!(moby.get_container("only-moby").await.is_some());
    assert!(moby.get_container("only-k8s.io").await.is_none());
    assert!(nri.domain("other").is_none());
    let found = nri
        .domain_of("only-moby")
        .await
        .map(|d| d.name().to_owned());
    assert_eq!(found, Ok("moby".to_owned()));
    let unknown = nri.domain_of("nowhere").await.map(drop);
    assert_eq!(unknown, Err(DomainError::NotFound("nowhere".into())));
    let Err(DomainError::Invalid { id, reason }) = nri.domain_of("both").await.map(drop) else {
        panic!("nobody knows which one is meant");
    };
    assert_eq!(id, "both");
    assert!(
        reason.contains("\"k8s.io\"") && reason.contains("\"moby\""),
        "{reason}"
    );

    // A plugin says ids only: what is clear is done, what is not is reported.
    let plugin = FakePlugin::new("10-updates");
    let connected = plugin.join(&nri).await;
    let updates: Vec<_> = ["only-moby", "both"]
        .into_iter()
        .map(|id| {
            let mut update = api::ContainerUpdate::of_container(id).unwrap();
            update.set_pids_limit(7);
            update
        })
        .collect();
    let failed = connected.update(updates, Vec::new()).await.unwrap();
    let failed: Vec<_> = failed.iter().map(|update| &*update.container_id).collect();
    assert_eq!(failed, ["both"]);
    assert_eq!(domains[1].updates().len(), 1);
    nri.stop().await;
}
