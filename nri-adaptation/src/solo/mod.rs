//! For runtimes whose containers have no pods: Docker, podman, Nomad.
//!
//! NRI tells of pods and of containers in them. Here every container gets a pod of its own, or
//! shares that of another one, as `docker run --network container:X` has it, and the events of pods
//! are made of what happens to containers:
//!
//! * A pod begins to run with the creation of its first container, and is removed with its last
//!   one.
//! * It stops when no container of it is created or runs any more, and runs again when one of them
//!   is started again.
//!
//! The runtime implements [`Source`], what it has; [`SoloDomain`] shows that to NRI, and
//! [`SoloNri`] has one method for each thing that happens to a container. Containers that were
//! stopped may be started again, see [`Source::restartable`].
//!
//! ```
//! use std::sync::Arc;
//! use nri_adaptation::model::Container;
//! use nri_adaptation::solo::{SoloDomain, SoloNri, Source};
//! use nri_adaptation::{Config, Ctx, DomainError, Nri, RuntimeApi, api};
//!
//! /// A runtime that has nothing yet.
//! struct Daemon;
//!
//! #[async_trait::async_trait]
//! impl Source for Daemon {
//!     async fn all(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> { Ok(vec![]) }
//!     async fn get(&self, _: &str) -> Option<Arc<dyn Container>> { None }
//!     async fn update(&self, _: &Ctx, update: &api::ContainerUpdate) -> Result<(), DomainError> {
//!         Err(DomainError::NotFound(update.container_id.clone()))
//!     }
//!     async fn evict(&self, _: &Ctx, evict: &api::ContainerEviction) -> Result<(), DomainError> {
//!         Err(DomainError::NotFound(evict.container_id.clone()))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let mut config = Config::default();
//! # (config.disable_connections, config.plugin_path) = (true, "/nonexistent".into());
//! let domain = Arc::new(SoloDomain::new("toy", Arc::new(Daemon)));
//! let nri = Nri::builder(config).runtime("toy", "1.0").domain(domain.clone()).build()?;
//! nri.start().await?;
//! let solo = SoloNri::new(Arc::new(nri), domain);
//!
//! let cx = Ctx::new();
//! let container = api::Container { id: "c1".into(), name: "web".into(), ..Default::default() };
//! let creation = solo.create(&cx, &container).await?; // RunPodSandbox, CreateContainer
//! // ... apply `creation.adjustment()` and make the container; dropping `creation` undoes both ...
//! creation.commit();
//! for _ in 0..2 {
//!     solo.start(&cx, &container).await?;  // StartContainer; the second time RunPodSandbox before it
//!     solo.exited(&cx, &container).await?; // StopContainer, StopPodSandbox
//! }
//! solo.remove(&cx, &container).await?;     // RemoveContainer, RemovePodSandbox
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! May not enter: anything below the API of NRI.

mod creation;
mod domain;
mod nri;
mod pods;
mod source;
mod undo;

pub use creation::SoloCreation;
pub use domain::SoloDomain;
pub use nri::SoloNri;
pub use source::{Source, own_pod};
