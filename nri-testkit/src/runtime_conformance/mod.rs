//! Whether a runtime keeps what NRI promises to plugins, as plugins see it: for the tests of a
//! runtime, whatever it is written in and however it embeds NRI.
//!
//! [`check`] has pods and containers made through a [`Driver`], which the author of the runtime
//! implements (over its own API, its command line; [`Crictl`] is there for whatever speaks CRI),
//! connects plugins to its socket, and looks at what reaches them and what becomes of their
//! answers. The [`Report`] is a table of named [`Check`]s, each passed, failed with what was seen
//! and what to do, or skipped where the driver cannot do what it needs.
//!
//! ```
//! use std::sync::Mutex;
//! use std::time::Duration;
//! use async_trait::async_trait;
//! use nri_adaptation::RuntimeApi as _;
//! use nri_core::{Ctx, api};
//! use nri_testkit::TestRuntime;
//! use nri_testkit::runtime_conformance::{Check, ContainerSpec, Driver, DriverError, PodSpec, check_within};
//!
//! /// The simplest runtime that there is.
//! struct Simplest(TestRuntime, Mutex<u32>);
//!
//! impl Simplest {
//!     fn pod_of(&self, container: &str) -> Result<api::PodSandbox, DriverError> {
//!         let domain = self.0.domain();
//!         let container = domain.container(container).ok_or("no such container")?;
//!         Ok(domain.pod(&container.pod_sandbox_id).ok_or("no such pod")?)
//!     }
//!     fn id(&self) -> String {
//!         let mut last = self.1.lock().unwrap();
//!         *last += 1;
//!         format!("id-{last:04}")
//!     }
//! }
//!
//! #[async_trait]
//! impl Driver for Simplest {
//!     fn socket(&self) -> std::path::PathBuf {
//!         self.0.socket()
//!     }
//!     async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError> {
//!         let pod = self.0.try_run(api::PodSandbox { id: self.id(), ..spec.to_message() }).await;
//!         Ok(pod.map_err(|refused| refused.to_string())?.id)
//!     }
//!     async fn create_container(&self, pod: &str, spec: &ContainerSpec) -> Result<String, DriverError> {
//!         let pod = self.0.domain().pod(pod).ok_or("no such pod")?;
//!         let (id, pod_sandbox_id) = (self.id(), pod.id.clone());
//!         let container = api::Container { id, pod_sandbox_id, ..spec.to_message() };
//!         let made = self.0.try_create_as(&pod, container).await;
//!         let made = made.map_err(|refused| refused.to_string())?;
//!         let told = self.0.nri().post_create_container(&Ctx::new(), &pod, &made).await;
//!         told.map_err(|failed| failed.to_string())?;
//!         Ok(made.id)
//!     }
//!     async fn start_container(&self, id: &str) -> Result<(), DriverError> {
//!         // ... as the others ...
//! #       let (pod, nri, cx) = (self.pod_of(id)?, self.0.nri(), Ctx::new());
//! #       let mut container = self.0.domain().container(id).ok_or("no such container")?;
//! #       let started = nri.start_container(&cx, &pod, &container).await;
//! #       if let Err(refused) = started {
//! #           nri.stop_container(&cx, &pod, &container).await.map_err(|error| error.to_string())?;
//! #           return Err(refused.to_string().into());
//! #       }
//! #       (container.state, container.pid) = (api::ContainerState::ContainerRunning.into(), 1);
//! #       self.0.domain().put_container(container.clone());
//! #       nri.post_start_container(&cx, &pod, &container).await.map_err(|error| error.to_string())?;
//!         Ok(())
//!     }
//! #   async fn stop_container(&self, id: &str) -> Result<(), DriverError> {
//! #       self.0.stop_container(&self.pod_of(id)?, id).await;
//! #       Ok(())
//! #   }
//! #   async fn remove_container(&self, id: &str) -> Result<(), DriverError> {
//! #       self.0.remove_container(&self.pod_of(id)?, id).await;
//! #       Ok(())
//! #   }
//! #   async fn stop_pod(&self, id: &str) -> Result<(), DriverError> {
//! #       self.0.stop_pod(&self.0.domain().pod(id).ok_or("no such pod")?).await;
//! #       Ok(())
//! #   }
//! #   async fn remove_pod(&self, id: &str) -> Result<(), DriverError> {
//! #       self.0.remove_pod(&self.0.domain().pod(id).ok_or("no such pod")?).await;
//! #       Ok(())
//! #   }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let runtime = Simplest(TestRuntime::start().await, Mutex::default());
//! let report = check_within(&runtime, Duration::from_secs(2)).await;
//! println!("{report}");
//! // Nobody watches for the exits of its containers.
//! assert!(report.failed().contains(&Check::Evicted));
//! # });
//! ```
//!
//! What may not enter: what runtimes are free to do as they like.

mod bench;
mod crictl;
mod driver;
mod report;
mod scenes;

use std::time::Duration;

pub use self::crictl::Crictl;
pub use self::driver::{ContainerSpec, Driver, DriverError, Inside, PodSpec};
pub use self::report::{Check, CheckResult, Report};
pub use crate::conformance::Outcome;

use self::bench::Bench;

/// How long is waited for what must reach a plugin, by default.
const TIME: Duration = Duration::from_secs(10);

/// Checks a runtime. Nobody else should use it meanwhile.
pub async fn check(driver: &dyn Driver) -> Report {
    check_within(driver, TIME).await
}

/// As [`check`], with the time that is waited for what must reach a plugin: 10 s there, and never
/// more than half of [`TEST_TIMEOUT`](crate::TEST_TIMEOUT).
pub async fn check_within(driver: &dyn Driver, time: Duration) -> Report {
    let bench = Bench::new(driver, time.min(crate::TEST_TIMEOUT / 2));
    for scene in scenes::ALL {
        let ended = (scene.play)(&bench).await;
        bench.end(scene.checks, ended).await;
    }
    bench.report()
}
