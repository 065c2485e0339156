//! The life of one pod with one container, as a CRI runtime would live it: every event from
//! RunPodSandbox to RemovePodSandbox, with a real container behind it where there is a low-level
//! runtime.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nri_adaptation::Nri;
use nri_core::api;
use nri_core::merge::Owners;
use nri_core::model::PodSandbox as _;
use nri_core::oci::{self, ApplyOptions};
use nri_core::{Ctx, RuntimeApi as _};
use nri_domain_cri::{ContainerRecord, CriState, PodRecord};
use serde_json::Value;

use super::inside::{self, Evidence};
use nri_dev::low_level::{self, LowLevel, LowLevelContainer};

/// What came of it.
pub(super) struct Told {
    /// What the plugins asked for, and who of them.
    pub(super) adjustment: api::ContainerAdjustment,
    pub(super) owners: Owners,
    /// The OCI spec as the runtime made it, and as adjusted.
    pub(super) before: Value,
    pub(super) after: Value,
    /// What was seen inside the real container, if there was one.
    pub(super) seen: Option<Seen>,
}

/// A real container.
pub(super) struct Seen {
    /// What had to be replaced in its spec, in words.
    pub(super) substitutions: Vec<String>,
    /// What of the adjustment was looked for in it.
    pub(super) evidence: Vec<Evidence>,
}

/// CPU shares before and after the update in the middle of the story.
const UPDATED_SHARES: u64 = 768;

/// Lives the whole life. `work` is where a real container's bundle may be.
pub(super) async fn tell(
    nri: &Nri,
    mut pod: PodRecord,
    mut container: ContainerRecord,
    low_level: Option<&LowLevel>,
    work: &Path,
) -> Result<Told, String> {
    let cx = Ctx::new();
    pod.pid = std::process::id();
    nri.run_pod_sandbox(&cx, &pod).await.map_err(text)?;

    let creation = nri
        .create_container(&cx, &pod, &container)
        .await
        .map_err(text)?;
    let adjustment = creation.adjustment().cloned().unwrap_or_default();
    let owners = creation.owners().clone();
    let before = Value::clone(&container.spec);
    let asked = (&owners, &container.id);
    let applied =
        oci::apply(&before, &adjustment, &ApplyOptions::default(), asked).map_err(text)?;
    let after = applied.spec;

    // From here on the container exists: in a low-level runtime, or at least in this story.
    let real = low_level
        .map(|runtime| Real::create(runtime, &after, work))
        .transpose()?;
    container.spec = Arc::new(after.clone());
    container.state = CriState::Created;
    container.created_at = now();
    container.pid = real
        .as_ref()
        .map_or(std::process::id(), |real| real.container.pid);
    creation.commit();
    nri.post_create_container(&cx, &pod, &container)
        .await
        .map_err(text)?;

    nri.start_container(&cx, &pod, &container)
        .await
        .map_err(text)?;
    if let Some(real) = &real {
        real.container.start()?;
    }
    container.state = CriState::Running;
    container.started_at = now();
    nri.post_start_container(&cx, &pod, &container)
        .await
        .map_err(text)?;

    let requested = api::LinuxResources {
        cpu: Some(api::LinuxCpu {
            shares: Some(api::OptionalUInt64 {
                value: UPDATED_SHARES,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let update = nri
        .update_container(&cx, &pod, &container, Some(requested.clone()))
        .await
        .map_err(text)?;
    let resources = update.resources.unwrap_or(requested);
    let shares = resources
        .cpu
        .and_then(|cpu| cpu.shares)
        .map_or(UPDATED_SHARES, |shares| shares.value);
    if let Some(real) = &real {
        real.container.update_cpu_shares(shares)?;
    }
    nri.post_update_container(&cx, &pod, &container)
        .await
        .map_err(text)?;

    let linux = pod.to_message().linux.unwrap_or_default();
    nri.update_pod_sandbox(&cx, &pod, linux.pod_overhead, linux.pod_resources)
        .await
        .map_err(text)?;
    nri.post_update_pod_sandbox(&cx, &pod).await.map_err(text)?;

    let seen = real
        .map(|real| real.finish(&adjustment, shares))
        .transpose()?;
    container.state = CriState::Exited;
    container.finished_at = now();
    container.pid = 0;
    nri.stop_container(&cx, &pod, &container)
        .await
        .map_err(text)?;
    nri.remove_container(&cx, &pod, &container)
        .await
        .map_err(text)?;
    nri.stop_pod_sandbox(&cx, &pod).await.map_err(text)?;
    nri.remove_pod_sandbox(&cx, &pod).await.map_err(text)?;
    Ok(Told {
        adjustment,
        owners,
        before,
        after,
        seen,
    })
}

/// The container in a low-level runtime.
struct Real<'a> {
    container: LowLevelContainer<'a>,
    substitutions: Vec<String>,
}

impl<'a> Real<'a> {
    fn create(runtime: &'a LowLevel, spec: &Value, work: &Path) -> Result<Self, String> {
        let (local, substitutions) = low_level::localise(spec, "web", &work.join("sources"))?;
        Ok(Self {
            container: runtime.create("web", &local)?,
            substitutions,
        })
    }

    fn finish(self, adjustment: &api::ContainerAdjustment, shares: u64) -> Result<Seen, String> {
        let state = self.container.state()?;
        let printed = self.container.finish()?;
        let evidence = inside::look(adjustment, shares, &state, &printed);
        Ok(Seen {
            substitutions: self.substitutions,
            evidence,
        })
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
