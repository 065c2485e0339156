//! Refuses containers to which other plugins have done what an operator does not allow. The README
//! says how.

mod file;
mod judging;
mod pods;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use nri_plugin::policy::Policy;
use nri_plugin::prelude::*;

use pods::Pods;

fn plugin() -> impl Plugin {
    let policy: Arc<RwLock<Option<Arc<Policy>>>> = Arc::default();
    let configured = Arc::clone(&policy);
    let pods = Pods::default();
    let (known, created, removed) = (pods.clone(), pods.clone(), pods.clone());
    handlers()
        .on_configure(move |_cx, configuration| {
            let read = file::read(&configuration).map(|policy| {
                let policy = Some(Arc::new(policy));
                *configured.write().unwrap_or_else(PoisonError::into_inner) = policy;
                None
            });
            async { read }
        })
        .on_synchronize(move |_cx, pods, containers| {
            known.set(pods, containers);
            async { Ok(()) }
        })
        .on_post_create_container(move |_cx, pod, container| {
            created.add(&container.id, pod);
            async { Ok(()) }
        })
        .on_remove_container(move |_cx, _pod, container| {
            removed.remove(&container.id);
            async { Ok(()) }
        })
        .on_validate_container_adjustment(move |_cx, pod, container, proposal| {
            let policy = policy
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let pods = pods.clone();
            async move {
                let policy = policy.ok_or("there is no policy yet")?;
                let said = judging::judge(&policy, &pod, &container, &proposal, |id| pods.of(id));
                for line in said.recorded {
                    tracing::warn!(
                        pod = pod.name,
                        namespace = pod.namespace,
                        container = container.name,
                        "{line}"
                    );
                }
                match said.refused.is_empty() {
                    true => Ok(()),
                    false => Err(said.refused.join("; ").into()),
                }
            }
        })
        .build()
}

nri_plugin::main!("90-mutation-guard", plugin());
