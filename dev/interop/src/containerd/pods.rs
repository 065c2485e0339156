//! Pods of one container each, through crictl.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nri_dev::wait::within;
use nri_testkit::runtime_conformance::{
    ContainerSpec, Crictl, Driver, DriverError, Inside, PodSpec,
};
use tokio::runtime::Runtime;

use crate::program::TEST_TIMEOUT;

/// What plugins hear of a pod with a container until it runs.
pub(super) const BEGINNING: &[&str] = &[
    "RunPodSandbox",
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
];

/// What they hear of its end.
pub(super) const END: &[&str] = &[
    "StopContainer",
    "RemoveContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];

/// A pod with one container.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) container: String,
    /// What plugins have to hear of it, once, and nothing else.
    pub(super) told: Vec<&'static str>,
}

impl Life {
    /// The same where plugins hear of these events only.
    pub(super) fn told(mut self, events: &[&[&'static str]]) -> Self {
        self.told = events.concat();
        self
    }
}

/// Where pods are made; what is cloned has a directory of its own.
#[derive(Clone)]
pub(super) struct Pods {
    driver: Crictl,
    directory: PathBuf,
    tokio: Arc<Runtime>,
    number: Arc<AtomicUsize>,
}

impl Pods {
    /// A driver with a way to say where its files are.
    pub(super) fn new(driver: Crictl, directory: PathBuf) -> Result<Self, String> {
        std::fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        Ok(Self {
            driver: driver.directory(&directory),
            directory,
            tokio: Arc::new(Runtime::new().map_err(|e| e.to_string())?),
            number: Arc::default(),
        })
    }

    /// The same for another thread.
    pub(super) fn beside(&self, name: &str) -> Result<Self, String> {
        let directory = self.directory.join(name);
        std::fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        Ok(Self {
            driver: self.driver.clone().directory(&directory),
            directory,
            ..self.clone()
        })
    }

    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.tokio.block_on(work)
    }

    /// A pod and its container, with names of their own.
    fn specs(&self, name: &str, namespace: &str) -> (PodSpec, ContainerSpec) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{number}");
        let mut pod = PodSpec::default();
        pod.name.clone_from(&name);
        pod.uid = format!("uid-{name}");
        namespace.clone_into(&mut pod.namespace);
        let mut container = ContainerSpec::default();
        container.name = name;
        container.args = Driver::command(&self.driver);
        (pod, container)
    }

    /// Runs a pod with a container in a namespace.
    pub(super) fn begin(&self, name: &str, namespace: &str) -> Result<Life, String> {
        let (pod, container) = self.specs(name, namespace);
        let name = pod.name.clone();
        let ids = self.wait(async {
            let pod = self.driver.run_pod(&pod).await?;
            let container = self.driver.create_container(&pod, &container).await?;
            self.driver.start_container(&container).await?;
            Ok::<_, DriverError>((pod, container))
        });
        let (pod, container) = ids.map_err(|error| format!("{name}: {error}"))?;
        Ok(Life {
            name,
            pod,
            container,
            told: [BEGINNING, END].concat(),
        })
    }

    /// What its container has.
    pub(super) fn inspect(&self, life: &Life) -> Result<Inside, String> {
        let inside = self.wait(self.driver.inspect(&life.container));
        inside.map_err(|error| format!("{}: {error}", life.name))
    }

    /// Waits until its container has printed something. crictl removes what it printed with it.
    pub(super) fn wait_for_print(&self, life: &Life, text: &str) -> Result<(), String> {
        let log = self.directory.join(format!("{}.log", life.name));
        let mut printed = String::new();
        within(
            TEST_TIMEOUT,
            &format!("{} prints {text}", life.name),
            || {
                printed = super::read(&log)?;
                Ok(printed.contains(text))
            },
        )
        .map_err(|error| format!("{error}; it has printed {printed:?}"))
    }

    /// Ends it.
    pub(super) fn end(&self, life: &Life) -> Result<(), String> {
        let ended = self.wait(async {
            self.driver.stop_container(&life.container).await?;
            self.driver.remove_container(&life.container).await?;
            self.driver.stop_pod(&life.pod).await?;
            self.driver.remove_pod(&life.pod).await
        });
        ended.map_err(|error| format!("{}: {error}", life.name))
    }

    /// Asks for a pod with a container, one of which has to be refused; the reason that crictl
    /// gives.
    pub(super) fn refused(&self, name: &str, namespace: &str) -> Result<String, String> {
        let (pod, container) = self.specs(name, namespace);
        self.wait(async {
            let id = match self.driver.run_pod(&pod).await {
                Ok(id) => id,
                Err(reason) => return Ok(reason.to_string()),
            };
            let created = self.driver.create_container(&id, &container).await;
            // With whatever is in it.
            let _ = self.driver.stop_pod(&id).await;
            self.driver
                .remove_pod(&id)
                .await
                .map_err(|e| e.to_string())?;
            match created {
                Ok(_) => Err(format!("{name} is not refused")),
                Err(reason) => Ok(reason.to_string()),
            }
        })
    }

    /// The whole of it.
    pub(super) fn whole(&self, name: &str) -> Result<Life, String> {
        let life = self.begin(name, "interop")?;
        self.end(&life)?;
        Ok(life)
    }
}
