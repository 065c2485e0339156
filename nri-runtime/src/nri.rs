//! NRI's view of the runtime: what plugins are shown, and what they may have done. With the calls
//! in `pods` and `containers` this is all that there is of NRI in this runtime.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nri_adaptation::{Nri, RuntimeApi as _};
use nri_core::Ctx;
use nri_core::model::{Container as NriContainer, PodSandbox};
use nri_domain_cri::{
    ActionError, ContainerRecord, CriActions, CriDomain, CriNri, CriState, CriStore, ImageIdentity,
    PodRecord, PodState, ResolvedUpdate, SpecHooks, StoreError, cri,
};
use prost::Message as _;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::record::{Container, Pod, State, resources, unreadable};

/// The name by which plugins know this runtime.
pub(crate) const NAME: &str = "nri-runtime";

/// Starts NRI on what there is: launches the installed plugins, then listens for others.
///
/// # Errors
/// A socket or a directory that cannot be used.
pub(crate) async fn start(engine: &Arc<Engine>) -> Result<(Nri, CriNri<Engine>)> {
    let refused = |error: &dyn std::fmt::Display| Error::internal(format!("NRI: {error}"));
    let nri = Nri::builder(engine.config.nri.clone())
        .runtime(NAME, env!("CARGO_PKG_VERSION"))
        .domain(Arc::new(CriDomain::new(engine.clone())))
        .build()
        .map_err(|error| refused(&error))?;
    nri.start().await.map_err(|error| refused(&error))?;
    Ok((nri.clone(), CriNri::new(Arc::new(nri), engine.clone())))
}

impl Pod {
    /// The pod as plugins are shown it.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub(crate) fn seen(&self) -> Result<PodRecord> {
        let config = cri::PodSandboxConfig::decode(&self.config.encode_to_vec());
        let mut record = PodRecord::new(&*self.id, Arc::new(config.map_err(unreadable)?));
        record.runtime_handler.clone_from(&self.runtime_handler);
        record.state = match self.ready {
            true => PodState::Ready,
            false => PodState::NotReady,
        };
        record.pid = self.pid;
        record.ips.clone_from(&self.ips);
        record.overhead = self.overhead.as_ref().map(resources).transpose()?;
        record.resources = self.resources.as_ref().map(resources).transpose()?;
        record.spec = Some(Arc::new(self.spec.clone()));
        record.created_at = self.created_at;
        Ok(record)
    }
}

impl Container {
    /// The container as plugins are shown it.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub(crate) fn seen(&self) -> Result<ContainerRecord> {
        let config = cri::ContainerConfig::decode(&self.config.encode_to_vec());
        let (config, spec) = (Arc::new(config.map_err(unreadable)?), self.spec.clone());
        let mut record = ContainerRecord::new(&*self.id, &*self.pod_id, config, Arc::new(spec));
        record.removed_annotations = self.removed_annotations.clone();
        record.labels = self.image.labels.clone();
        record.state = match self.state {
            State::Created => CriState::Created,
            State::Running => CriState::Running,
            State::Exited => CriState::Exited,
        };
        record.pid = self.pid;
        record.created_at = self.created_at;
        record.started_at = self.started_at;
        record.finished_at = self.finished_at;
        record.exit_code = self.exit_code;
        record.reason.clone_from(&self.reason);
        record.message.clone_from(&self.message);
        record.image = Some(ImageIdentity {
            name: self.image.name.clone(),
            digest: self.image.digest.clone(),
            config_digest: self.image.id.clone(),
        });
        Ok(record)
    }
}

#[async_trait]
impl CriStore for Engine {
    async fn pods(&self) -> Result<Vec<Arc<dyn PodSandbox>>, StoreError> {
        let seen = |pod: &Pod| Ok(Arc::new(pod.seen()?) as Arc<dyn PodSandbox>);
        self.store.all().iter().map(seen).collect()
    }

    async fn containers(&self) -> Result<Vec<Arc<dyn NriContainer>>, StoreError> {
        let seen = |container: &Container| Ok(Arc::new(container.seen()?) as Arc<dyn NriContainer>);
        self.store.all().iter().map(seen).collect()
    }
}

#[async_trait]
impl CriActions for Engine {
    async fn update_container(
        &self,
        _: &Ctx,
        id: &str,
        update: &ResolvedUpdate,
    ) -> Result<(), ActionError> {
        let updated = self.update(id, update).await;
        updated.map(drop).map_err(ActionError::failed)
    }

    async fn stop_container(&self, _: &Ctx, id: &str, reason: &str) -> Result<(), ActionError> {
        let why = Some(("Evicted", reason));
        let stopped = self.stop(id, Duration::ZERO, why).await;
        stopped.map_err(ActionError::failed)
    }
}

impl SpecHooks for Engine {
    fn apply_options(&self, _: &dyn PodSandbox) -> nri_core::oci::ApplyOptions {
        self.apply_options()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plugins_see_what_cri_said() {
        let pod: Pod = serde_json::from_value(json!({
            "id": "p1", "runtime_handler": "", "ready": true, "spec": {}, "pid": 7,
            "conmon": {"pid": 6, "started": 1}, "ips": ["10.0.0.2"],
            "config": {"metadata": {"name": "web", "namespace": "shop", "uid": "u"},
                       "labels": {"app": "web"}},
            "overhead": null, "resources": {"cpu_shares": 2}, "created_at": 5,
        }))
        .unwrap();
        assert_eq!(pod.name(), "web_shop_u_0");
        let seen = pod.seen().unwrap().to_message();
        assert_eq!(
            (&*seen.name, &*seen.ips[0], seen.pid),
            ("web", "10.0.0.2", 7)
        );
        assert_eq!(seen.labels["app"], "web");
        let shares = seen
            .linux
            .unwrap()
            .pod_resources
            .unwrap()
            .cpu
            .unwrap()
            .shares;
        assert_eq!(shares.unwrap().value, 2);

        let mut container = crate::record::tests::container("c1");
        container.state = State::Exited;
        assert_eq!(
            (container.reason(), &*container.name()),
            ("OOMKilled", "p1_app_0")
        );
        let seen = container.seen().unwrap().to_message();
        assert_eq!(
            (&*seen.name, &*seen.status_reason, seen.exit_code),
            ("app", "OOMKilled", 137)
        );
        assert_eq!(seen.cdi_devices[0].name, "v.com/gpu=0");
        assert_eq!(seen.labels["from"], "image");
    }

    /// The README says so, and how many of each there are.
    #[test]
    fn nri_is_at_most_150_lines_of_this_runtime() {
        let code = |text: &str| -> Vec<String> {
            let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
            let lines = code.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
            lines.map(str::to_owned).collect()
        };
        let own = code(include_str!("nri.rs")).len();
        let parts = ["nri", "Nri", "Ctx", "token", "seen", "told", "plugins"];
        let elsewhere = [
            include_str!("containers.rs"),
            include_str!("pods.rs"),
            include_str!("daemon.rs"),
            include_str!("server/runtime.rs"),
        ];
        let lines = elsewhere.iter().flat_map(|text| code(text));
        let calls = lines
            .filter(|line| parts.iter().any(|part| line.contains(part)))
            .count();
        assert!(own + calls <= 150, "{own} lines and {calls} calls");
        let said = format!("`nri.rs`, {own} lines of code");
        let readme = include_str!("../README.md");
        assert!(readme.contains(&said), "the README does not say: {said}");
        let said = format!("and {calls} lines at\nthe places");
        assert!(readme.contains(&said), "the README does not say: {said}");
    }
}
