//! Whether a runtime's [`Domain`] keeps the rules that NRI relies on, for the runtime's own tests.
//!
//! [`check`] makes pods and containers through an [`Adapter`], uses the domain as NRI does, and
//! returns a [`Report`] of every [`Rule`] that was broken, with what was seen. It needs nothing but
//! a tokio runtime.
//!
//! What may not enter: rules that NRI does not rely on.

mod adapter;
mod checks;
mod probe;
mod report;
mod through_nri;

use std::sync::Arc;
use std::time::Duration;

use nri_core::Domain;

pub use self::adapter::Adapter;
pub use self::report::{Finding, Report, Rule};

use self::probe::Probe;

/// How long a domain may take for one call, by default.
const TIME: Duration = Duration::from_secs(10);

/// Why a check came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the domain cannot be checked: {0}")]
pub struct CheckFailed(String);

/// Checks a domain.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use async_trait::async_trait;
/// use nri_core::api::{Container, ContainerState, PodSandbox};
/// use nri_testkit::MemoryDomain;
/// use nri_testkit::domain_conformance::{Adapter, check};
///
/// struct InMemory(Arc<MemoryDomain>, AtomicUsize);
///
/// #[async_trait]
/// impl Adapter for InMemory {
///     async fn create_pod(&self) -> Result<String, String> {
///         let id = format!("pod-{}", self.1.fetch_add(1, Ordering::Relaxed));
///         self.0.put_pod(PodSandbox { id: id.clone(), ..Default::default() });
///         Ok(id)
///     }
///     async fn create_container(&self, pod: &str) -> Result<String, String> {
///         let id = format!("container-{}", self.1.fetch_add(1, Ordering::Relaxed));
///         self.0.put_container(Container {
///             id: id.clone(),
///             pod_sandbox_id: pod.to_owned(),
///             state: ContainerState::ContainerRunning.into(),
///             ..Default::default()
///         });
///         Ok(id)
///     }
///     async fn remove_container(&self, id: &str) -> Result<(), String> {
///         self.0.remove_container(id);
///         Ok(())
///     }
///     async fn remove_pod(&self, id: &str) -> Result<(), String> {
///         self.0.remove_pod(id);
///         Ok(())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let domain = Arc::new(MemoryDomain::new("test"));
/// let report = check(domain.clone(), &InMemory(domain, AtomicUsize::new(0))).await?;
/// report.assert_ok();
/// # Ok::<(), nri_testkit::domain_conformance::CheckFailed>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// The adapter cannot make what is needed, or take it away.
pub async fn check(domain: Arc<dyn Domain>, adapter: &dyn Adapter) -> Result<Report, CheckFailed> {
    check_within(domain, adapter, TIME).await
}

/// As [`check`], with the time that one call of the domain may take; 10 s there.
///
/// # Errors
/// As there.
pub async fn check_within(
    domain: Arc<dyn Domain>,
    adapter: &dyn Adapter,
    time: Duration,
) -> Result<Report, CheckFailed> {
    let probe = Probe::new(domain, adapter, time);
    checks::all(&probe).await.map_err(CheckFailed)?;
    // A domain that hangs or panics would do so in NRI's hands, too.
    if !probe.has_found(Rule::Answers) {
        through_nri::all(&probe).await.map_err(CheckFailed)?;
    }
    Ok(probe.report())
}
