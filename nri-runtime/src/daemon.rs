//! The runtime as a whole: what requests are served by, and what happens without any.

use std::sync::Arc;

use nri_adaptation::{Nri, RuntimeApi as _};
use nri_domain_cri::CriNri;

use crate::config::Config;
use crate::conmon;
use crate::engine::Engine;
use crate::error::Result;
use crate::nri;
use crate::record::{Container, Pod, State};
use crate::streaming::Streaming;

/// The runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Daemon {
    pub(crate) engine: Arc<Engine>,
    pub(crate) nri: CriNri<Engine>,
    pub(crate) streaming: Arc<Streaming>,
    adaptation: Nri,
}

impl Daemon {
    /// Finds again what there is, and starts NRI on it.
    ///
    /// # Errors
    /// As [`Engine::open`]; NRI cannot be started.
    pub(crate) async fn start(config: Config) -> Result<Self> {
        let engine = Arc::new(Engine::open(config).await?);
        // What cannot be cleaned up now is tried again at the next start.
        if let Err(error) = engine.clear_half_made().await {
            tracing::warn!(%error, "something half-made is left");
        }
        recover(&engine).await?;
        let streaming = Arc::new(Streaming::start(engine.clone()).await?);
        let (adaptation, nri) = nri::start(&engine).await?;
        let daemon = Self {
            engine,
            nri,
            streaming,
            adaptation,
        };
        let containers = daemon.engine.store.all::<Container>();
        for container in containers.iter().filter(|one| one.state != State::Exited) {
            daemon.watch_container(container);
        }
        for pod in daemon
            .engine
            .store
            .all::<Pod>()
            .iter()
            .filter(|pod| pod.ready)
        {
            daemon.watch_pod(pod);
        }
        Ok(daemon)
    }

    /// Lets go of plugins. Pods and containers stay.
    pub(crate) async fn stop(&self) {
        self.adaptation.stop().await;
    }

    /// Why NRI is not what it should be, if it is not: a required plugin is missing.
    pub(crate) fn missing_plugins(&self) -> Option<String> {
        let readiness = self.adaptation.readiness();
        (!readiness.is_ready()).then(|| {
            format!(
                "plugins that are required are missing: {}",
                readiness.missing.join(", ")
            )
        })
    }

    /// Records the end of a container when it comes, and tells plugins.
    pub(crate) fn watch_container(&self, container: &Container) {
        let (daemon, id, process) = (self.clone(), container.id.clone(), container.conmon);
        tokio::spawn(async move {
            conmon::gone(process).await;
            match daemon.engine.exited(&id).await {
                Ok(container) => {
                    // After what is being said of the container at this moment, for example that it
                    // was started.
                    let _turn = daemon.engine.turn(&id).await;
                    if let Ok(seen) = container.seen() {
                        let (code, at) = (container.exit_code, container.finished_at);
                        daemon.nri.notify_exit(&seen, code, at).await;
                    }
                }
                // It is being removed, or was never made.
                Err(error) => tracing::debug!(container = id, %error, "an exit is not recorded"),
            }
        });
    }

    /// Records the end of a pod's pause process when it comes.
    pub(crate) fn watch_pod(&self, pod: &Pod) {
        let (engine, id, process) = (self.engine.clone(), pod.id.clone(), pod.conmon);
        tokio::spawn(async move {
            conmon::gone(process).await;
            if let Err(error) = engine.pod_ended(&id) {
                tracing::debug!(pod = id, %error, "the end of a pod is not recorded");
            }
        });
    }
}

/// Records what ended while we did not run.
async fn recover(engine: &Engine) -> Result<()> {
    for container in engine.store.all::<Container>() {
        let id = &container.id;
        if container.state != State::Exited && !conmon::runs(container.conmon) {
            engine.exited(id).await?;
        } else if container.state == State::Created {
            // It may have been started just before we died.
            match engine.low.is_started(id).await {
                Ok(true) => drop(engine.store.observe(id, Container::was_started)?),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(container = id, %error, "whether it was started is not known");
                }
            }
        }
    }
    for pod in engine.store.all::<Pod>() {
        if pod.ready && !conmon::runs(pod.conmon) {
            engine.pod_ended(&pod.id)?;
        }
    }
    Ok(())
}
