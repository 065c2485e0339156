//! What is measured and what is counted: a runtime that relays one and the same request again and
//! again. The test `counted_calls` has it too.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nri_adaptation::{Config, Creation, Ctx, Domain, Nri, Observer, PluginInfo, RuntimeApi as _};
use nri_core::api;
use nri_testkit::MemoryDomain;
use prost::Message as _;
use serde::Deserialize;
use tokio::sync::watch;

type Failure = Box<dyn Error + Send + Sync>;

/// What is called.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// `CreateContainer`, then its end, of which no plugin wants to hear.
    Create,
    /// `RunPodSandbox`, then its end, likewise.
    Run,
    /// `UpdatePodSandbox`, of which no plugin wants to hear.
    Unheard,
}

/// A `CreateContainerRequest` in base64.
pub(crate) fn read_request(text: &str) -> Result<api::CreateContainerRequest, Failure> {
    let bytes = STANDARD.decode(text.split_whitespace().collect::<String>())?;
    Ok(api::CreateContainerRequest::decode(&*bytes)?)
}

/// So many containers like that of a request, each in a pod of its own.
pub(crate) fn existing(
    like: &api::CreateContainerRequest,
    containers: usize,
) -> impl Iterator<Item = (api::PodSandbox, api::Container)> {
    (0..containers).map(|number| {
        let mut pod = like.pod.clone().unwrap_or_default();
        pod.id = format!("existing-pod-{number}");
        let mut container = like.container.clone().unwrap_or_default();
        container.id = format!("existing-{number}");
        container.pod_sandbox_id.clone_from(&pod.id);
        (pod, container)
    })
}

/// How a runtime is to be.
pub(crate) struct Setup {
    pub(crate) socket: PathBuf,
    /// The creation that is asked for: a `CreateContainerRequest` in base64.
    pub(crate) request: String,
    pub(crate) containers: usize,
    pub(crate) in_flight: usize,
}

/// The runtime.
pub(crate) struct Work {
    pub(crate) nri: Nri,
    request: api::CreateContainerRequest,
    synchronized: watch::Receiver<usize>,
}

/// Counts the plugins that are synchronised.
struct Count(watch::Sender<usize>);

impl Observer for Count {
    fn plugin_synchronized(&self, _plugin: &PluginInfo) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Work {
    pub(crate) async fn start(setup: Setup) -> Result<Self, Failure> {
        let request = read_request(&setup.request)?;
        let domain = MemoryDomain::new("pair");
        for (pod, container) in existing(&request, setup.containers) {
            domain.put_pod(pod);
            domain.put_container(container);
        }
        let domain: Arc<dyn Domain> = Arc::new(domain);
        let mut config = Config::from_toml(&format!(
            "plugin_request_timeout = '20s'\n[plugins.pair]\nmax_in_flight = {}\n",
            setup.in_flight
        ))?;
        config.socket_path = setup.socket;
        config.plugin_path = PathBuf::new();
        let (count, synchronized) = watch::channel(0);
        let nri = Nri::builder(config)
            .runtime("pair", "1.0")
            .domain(domain)
            .observer(Arc::new(Count(count)))
            .build()?;
        nri.start().await?;
        Ok(Self {
            nri,
            request,
            synchronized,
        })
    }

    /// Waits until so many plugins have been synchronised.
    pub(crate) async fn wait(&self, plugins: usize) -> Result<(), Failure> {
        let mut synchronized = self.synchronized.clone();
        synchronized.wait_for(|count| *count >= plugins).await?;
        Ok(())
    }

    /// A call with ids of its own.
    pub(crate) fn prepare(&self, what: What, caller: usize, number: usize) -> Call {
        let mut request = self.request.clone();
        let mut pod = request.pod.take().unwrap_or_default();
        pod.id = match what {
            What::Run => format!("pod-{caller}-{number}"),
            What::Create | What::Unheard => format!("pod-{caller}"),
        };
        let mut container = request.container.take().unwrap_or_default();
        container.pod_sandbox_id.clone_from(&pod.id);
        container.id = format!("container-{caller}-{number}");
        Call {
            what,
            cx: Ctx::new(),
            pod,
            container,
        }
    }
}

/// One call that is measured.
pub(crate) struct Call {
    what: What,
    cx: Ctx,
    pub(crate) pod: api::PodSandbox,
    pub(crate) container: api::Container,
}

impl Call {
    /// Makes it.
    pub(crate) async fn make(&self, nri: &Nri) -> Result<Option<Creation>, Failure> {
        let Self {
            cx, pod, container, ..
        } = self;
        Ok(match self.what {
            What::Create => Some(nri.create_container(cx, pod, container).await?),
            What::Run => {
                nri.run_pod_sandbox(cx, pod).await?;
                None
            }
            What::Unheard => {
                nri.update_pod_sandbox(cx, pod, None, None).await?;
                None
            }
        })
    }

    /// Takes back what it made, which no plugin hears of.
    pub(crate) async fn end(&self, nri: &Nri, made: Option<Creation>) -> Result<(), Failure> {
        if let Some(creation) = made {
            creation.commit();
        }
        match self.what {
            What::Create => {
                nri.remove_container(&self.cx, &self.pod, &self.container)
                    .await?;
            }
            What::Run => nri.remove_pod_sandbox(&self.cx, &self.pod).await?,
            What::Unheard => {}
        }
        Ok(())
    }
}
