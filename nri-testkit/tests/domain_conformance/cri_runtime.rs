//! A CRI runtime keeps the rules by the domain that is made of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_core::model::{Container, PodSandbox};
use nri_core::{ContainerOutline, Ctx, Outline, PodOutline};
use nri_domain_cri::cri::{ContainerConfig, PodSandboxConfig};
use nri_domain_cri::{
    ActionError, ContainerRecord, CriActions, CriDomain, CriState, CriStore, PodRecord, PodState,
    ResolvedUpdate, SpecHooks, StoreError,
};
use nri_testkit::domain_conformance::{Adapter, check};
use serde_json::json;

/// A CRI runtime without processes.
#[derive(Default)]
struct CriRuntime {
    pods: Mutex<BTreeMap<String, PodRecord>>,
    containers: Mutex<BTreeMap<String, ContainerRecord>>,
}

#[async_trait]
impl CriStore for CriRuntime {
    async fn outline(&self) -> Result<Option<Outline>, StoreError> {
        let (pods, containers) = (self.pods().await?, self.containers().await?);
        let pods = pods.iter().map(|pod| PodOutline::of(&**pod));
        let containers = containers.iter().map(|it| ContainerOutline::of(&**it));
        Ok(Some(Outline::new(pods.collect(), containers.collect())))
    }
    async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
        let pods = self.pods.lock().unwrap();
        let shown = |pod: &PodRecord| Arc::new(pod.clone()) as Arc<dyn PodSandbox>;
        Ok(pods.values().map(shown).collect())
    }
    async fn containers(&self) -> Result<Vec<Arc<dyn Container>>, StoreError> {
        let containers = self.containers.lock().unwrap();
        let shown = |container: &ContainerRecord| Arc::new(container.clone()) as Arc<dyn Container>;
        Ok(containers.values().map(shown).collect())
    }
}

#[async_trait]
impl CriActions for CriRuntime {
    async fn update_container(
        &self,
        _: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> Result<(), ActionError> {
        let mut containers = self.containers.lock().unwrap();
        let record = containers.get_mut(id).ok_or(ActionError::NotFound)?;
        let mut spec = (*record.spec).clone();
        let resources = &mut spec["linux"]["resources"];
        nri_core::oci::resources::apply_resources(&update.nri, resources, true)
            .map_err(|error| ActionError::failed(error.to_string()))?;
        record.spec = Arc::new(spec);
        Ok(())
    }

    async fn stop_container(&self, _: &Ctx, id: &str, _: &str) -> Result<(), ActionError> {
        let mut containers = self.containers.lock().unwrap();
        let record = containers.get_mut(id).ok_or(ActionError::NotFound)?;
        record.state = CriState::Exited;
        Ok(())
    }
}

impl SpecHooks for CriRuntime {}

struct OfCri(Arc<CriRuntime>, AtomicUsize);

#[async_trait]
impl Adapter for OfCri {
    async fn create_pod(&self) -> Result<String, String> {
        let id = format!("pod-{:08}", self.1.fetch_add(1, Ordering::Relaxed));
        let config = PodSandboxConfig::from_json(
            r#"{"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}"#,
        );
        let mut pod = PodRecord::new(&id, Arc::new(config.map_err(|e| e.to_string())?));
        pod.state = PodState::Ready;
        self.0.pods.lock().unwrap().insert(id.clone(), pod);
        Ok(id)
    }

    async fn create_container(&self, pod: &str) -> Result<String, String> {
        let id = format!("container-{:08}", self.1.fetch_add(1, Ordering::Relaxed));
        let config =
            ContainerConfig::from_json(r#"{"metadata": {"name": "app"}, "image": {"image": "i"}}"#);
        let config = Arc::new(config.map_err(|e| e.to_string())?);
        let spec = json!({"linux": {"resources": {"memory": {"reservation": 5}}}});
        let mut record = ContainerRecord::new(&id, pod, config, Arc::new(spec));
        record.state = CriState::Running;
        self.0.containers.lock().unwrap().insert(id.clone(), record);
        Ok(id)
    }

    async fn remove_container(&self, id: &str) -> Result<(), String> {
        self.0.containers.lock().unwrap().remove(id);
        Ok(())
    }

    async fn remove_pod(&self, id: &str) -> Result<(), String> {
        self.0.pods.lock().unwrap().remove(id);
        Ok(())
    }
}

#[tokio::test]
async fn a_cri_runtime_keeps_the_rules() {
    let runtime = Arc::new(CriRuntime::default());
    let domain = CriDomain::new(Arc::clone(&runtime));
    let adapter = OfCri(runtime, AtomicUsize::new(0));
    check(Arc::new(domain), &adapter).await.unwrap().assert_ok();
}
