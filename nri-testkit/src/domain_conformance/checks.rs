//! The rules that can be checked by calling the domain alone.

use std::sync::Arc;

use nri_core::api::{
    ContainerAdjustment, ContainerState, LinuxContainerAdjustment, LinuxResources,
};
use nri_core::merge;
use nri_core::{ContainerOutline, Ctx, Domain, DomainError, Outline, PodOutline};

use super::probe::{NoAnswer, Probe, is_stopped, resources, shown, update};
use super::report::Rule;

/// How many containers are updated at the same time.
const PARALLEL: usize = 8;

pub(super) async fn all(probe: &Probe<'_>) -> Result<(), String> {
    let pod = probe.adapter.create_pod().await?;
    let container = probe.adapter.create_container(&pod).await?;
    name(probe).await;
    listing(probe, &pod, &container).await;
    outline(probe, &pod, &container).await;
    ids(probe, &pod, &container).await;
    updates(probe, &container).await;
    parallel(probe, &pod).await?;
    eviction(probe, &container).await;
    restarts(probe, &container).await?;
    probe.adapter.remove_container(&container).await?;
    probe.adapter.remove_pod(&pod).await?;
    removed(probe, &pod, &container).await;
    Ok(())
}

/// An outline says of a pod and a container what the listing says of them, and they are found when
/// they are asked for with others.
async fn outline(probe: &Probe<'_>, pod: &str, container: &str) {
    let outline = |domain: Arc<dyn Domain>| async move { domain.outline().await };
    let mut outline = match probe.call("outline", outline).await {
        Ok(Ok(Some(outline))) => outline,
        Ok(Ok(None)) | Err(NoAnswer) => return,
        Ok(Err(error)) => return probe.found(Rule::Outline, format!("outline: {error}")),
    };
    let listed = |domain: Arc<dyn Domain>| async move { domain.list_pod_sandboxes().await };
    let Ok(Ok(pods)) = probe.call("list_pod_sandboxes", listed).await else {
        return;
    };
    let containers = probe.listed_containers().await;
    let mut listed = Outline::new(
        pods.iter().map(|pod| PodOutline::of(&**pod)).collect(),
        containers
            .iter()
            .map(|it| ContainerOutline::of(&**it))
            .collect(),
    );
    // Others may come and go.
    for outline in [&mut outline, &mut listed] {
        outline.pods.retain(|it| it.id == pod);
        outline.containers.retain(|it| it.id == container);
    }
    probe.expect(Rule::Outline, outline == listed, || {
        format!(
            "the outline says {}, and the listing {}",
            shown(&outline),
            shown(&listed)
        )
    });
    let ids = |id: &str| vec!["no-such-id".to_owned(), id.to_owned()];
    let asked = ids(pod);
    let pods = |domain: Arc<dyn Domain>| async move {
        let pods = domain.get_pod_sandboxes(&asked).await?;
        Ok(pods.iter().map(|pod| pod.id()).collect())
    };
    let pods = probe.call("get_pod_sandboxes", pods).await;
    found_alone(probe, "get_pod_sandboxes", pod, pods);
    let asked = ids(container);
    let containers = |domain: Arc<dyn Domain>| async move {
        let containers = domain.get_containers(&asked).await?;
        Ok(containers.iter().map(|it| it.id()).collect())
    };
    let containers = probe.call("get_containers", containers).await;
    found_alone(probe, "get_containers", container, containers);
}

/// Of two ids one is not there, and that takes nothing from the other.
fn found_alone(
    probe: &Probe<'_>,
    what: &str,
    id: &str,
    found: Result<Result<Vec<String>, DomainError>, NoAnswer>,
) {
    match found {
        Ok(Ok(found)) => probe.expect(Rule::Outline, found == [id], || {
            format!(
                "{what} of {id:?} and of one that is not there finds {}",
                shown(&found)
            )
        }),
        Ok(Err(error)) => probe.found(Rule::Outline, format!("{what}: {error}")),
        Err(NoAnswer) => {}
    }
}

async fn name(probe: &Probe<'_>) {
    let name = |domain: Arc<dyn Domain>| async move { domain.name().to_owned() };
    let (Ok(first), Ok(second)) = (
        probe.call("name", name).await,
        probe.call("name", name).await,
    ) else {
        return;
    };
    probe.expect(Rule::Name, !first.is_empty(), || "the name is empty".into());
    probe.expect(Rule::Name, first == second, || {
        format!("the name was {first:?} and then {second:?}")
    });
}

async fn listing(probe: &Probe<'_>, pod: &str, container: &str) {
    let pods = probe.listed_pods().await;
    let times = |ids: &[String], id: &str| ids.iter().filter(|listed| *listed == id).count();
    let count = times(&pods, pod);
    probe.expect(Rule::Listed, count == 1, || {
        format!(
            "pod {pod:?} exists and is listed {count} times among {}",
            shown(&pods)
        )
    });
    let containers = probe.listed_containers().await;
    let ids: Vec<String> = containers.iter().map(|c| c.id()).collect();
    let count = times(&ids, container);
    probe.expect(Rule::Listed, count == 1, || {
        format!(
            "container {container:?} exists and is listed {count} times among {}",
            shown(&ids)
        )
    });
    for id in &pods {
        let found = probe.pod(id).await;
        probe.expect(Rule::ListedIsFound, found.as_ref() == Some(id), || {
            format!("pod {id:?} is listed, and looked up it is {found:?}")
        });
    }
    for listed in containers {
        let id = listed.id();
        let found = probe.container(&id).await;
        let same = found.as_ref().is_some_and(|found| {
            found.id() == id && found.pod_sandbox_id() == listed.pod_sandbox_id()
        });
        probe.expect(Rule::ListedIsFound, same, || {
            let found = found.map(|found| found.to_message());
            format!(
                "container {id:?} is listed, and looked up it is {}",
                shown(&found)
            )
        });
        let has = probe.has_container(&id).await;
        probe.expect(Rule::ListedIsFound, has != Some(false), || {
            format!("container {id:?} is listed, and has_container denies it")
        });
        if id == container {
            let its = listed.pod_sandbox_id();
            probe.expect(Rule::Pod, its == pod, || {
                format!("container {id:?} of pod {pod:?} names {its:?}")
            });
            let state = listed.status().state;
            probe.expect(
                Rule::State,
                state == ContainerState::ContainerRunning,
                || format!("container {id:?} runs and is listed as {state:?}"),
            );
        }
    }
}

async fn ids(probe: &Probe<'_>, pod: &str, container: &str) {
    // Parts of an id that exists, and what only looks like it.
    let parts = |id: &str| -> Vec<String> {
        let cuts = [1, id.len() / 2, id.len().saturating_sub(1)];
        let prefixes = cuts.into_iter().filter_map(|cut| id.get(..cut));
        let suffix = id.get(1..);
        let all = prefixes.chain(suffix).filter(|part| *part != id);
        all.map(str::to_owned).chain([format!("{id}0")]).collect()
    };
    let mut all: Vec<(Rule, String, bool)> = Vec::new();
    all.extend(parts(pod).into_iter().map(|id| (Rule::FullIds, id, true)));
    all.extend(
        parts(container)
            .into_iter()
            .map(|id| (Rule::FullIds, id, false)),
    );
    for unknown in ["", "no-such-id", "no/such id\u{e4}"] {
        all.push((Rule::Unknown, unknown.to_owned(), true));
        all.push((Rule::Unknown, unknown.to_owned(), false));
    }
    for (rule, id, is_pod) in all {
        if is_pod {
            let found = probe.pod(&id).await;
            probe.expect(rule, found.is_none(), || {
                format!("get_pod_sandbox({id:?}) finds {found:?}")
            });
            continue;
        }
        let found = probe.container(&id).await.map(|c| c.id());
        probe.expect(rule, found.is_none(), || {
            format!("get_container({id:?}) finds {found:?}")
        });
        let has = probe.has_container(&id).await;
        probe.expect(rule, has != Some(true), || {
            format!("has_container({id:?}) is true")
        });
        let [resources, _] = probe.adapter.updates();
        let results = [
            ("update", probe.update(&id, Some(resources)).await),
            ("evict", probe.evict(&id).await),
        ];
        for (what, result) in results {
            if let Ok(result) = result {
                let not_found = matches!(result, Err(DomainError::NotFound(_)));
                probe.expect(rule, not_found, || {
                    format!("{what}_container of {id:?} returns {result:?}")
                });
            }
        }
    }
}

/// What resources come to with those of an update, rules of the device cgroup aside, which updates
/// do not have.
fn with(before: &LinuxResources, set: &LinuxResources) -> LinuxResources {
    let adjustment = |resources: &LinuxResources| ContainerAdjustment {
        linux: Some(LinuxContainerAdjustment {
            resources: Some(LinuxResources {
                devices: Vec::new(),
                ..resources.clone()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let container = merge::apply(&Default::default(), &adjustment(before));
    resources(&merge::apply(&container, &adjustment(set)))
}

/// Whether `shown` has all that `set` sets.
fn has_all(shown: &LinuxResources, set: &LinuxResources) -> bool {
    with(shown, set) == with(&LinuxResources::default(), shown)
}

async fn updates(probe: &Probe<'_>, id: &str) {
    let Some(before) = probe.container(id).await else {
        return;
    };
    let as_it_was = before.to_message();
    let [first, second] = probe.adapter.updates();
    for (set, earlier) in [(&first, None), (&second, Some(&first))] {
        let was = probe.resources(id).await;
        let result = probe.update(id, Some(set.clone())).await;
        if !probe.succeeded(
            Rule::UpdateVisible,
            "an update that can be applied",
            &result,
        ) {
            return;
        }
        let is = probe.resources(id).await;
        probe.expect(Rule::UpdateVisible, has_all(&is, set), || {
            format!(
                "{} was set, and the container shows {}",
                shown(set),
                shown(&is)
            )
        });
        if let Some(earlier) = earlier {
            probe.expect(Rule::UpdateOverlays, has_all(&is, earlier), || {
                format!(
                    "{} was set on top of {}, and the container shows {}",
                    shown(set),
                    shown(earlier),
                    shown(&is)
                )
            });
        }
        probe.expect(Rule::UpdateOverlays, has_all(&is, &with(&was, set)), || {
            format!(
                "{} was set, and what was {} is now {}",
                shown(set),
                shown(&was),
                shown(&is)
            )
        });
    }
    let still = before.to_message();
    probe.expect(Rule::Snapshots, still == as_it_was, || {
        format!(
            "a snapshot of container {id:?} showed {}, and after updates it shows {}",
            shown(&as_it_was.linux),
            shown(&still.linux)
        )
    });
    let was = probe.container(id).await.map(|c| c.to_message());
    for nothing in [None, Some(LinuxResources::default())] {
        let result = probe.update(id, nothing).await;
        if let Ok(result) = &result {
            let fits = matches!(result, Ok(()) | Err(DomainError::Invalid { .. }));
            probe.expect(Rule::EmptyUpdate, fits, || {
                format!("an update without resources returns {result:?}")
            });
        }
    }
    let is = probe.container(id).await.map(|c| c.to_message());
    probe.expect(Rule::EmptyUpdate, was == is, || {
        format!(
            "an update without resources made {} of {}",
            shown(&is),
            shown(&was)
        )
    });
}

async fn parallel(probe: &Probe<'_>, pod: &str) -> Result<(), String> {
    let mut containers = Vec::new();
    for _ in 0..PARALLEL {
        containers.push(probe.adapter.create_container(pod).await?);
    }
    // Every container gets both updates at the same time, while everything is listed.
    let [first, second] = probe.adapter.updates();
    let mut calls = Vec::new();
    for id in &containers {
        for set in [&first, &second] {
            let (domain, update) = (Arc::clone(&probe.domain), update(id, Some(set.clone())));
            calls.push(tokio::spawn(async move {
                domain.list_pod_sandboxes().await?;
                domain.update_container(&Ctx::new(), &update).await?;
                domain.list_containers().await.map(drop)
            }));
        }
    }
    let together = async {
        let mut results = Vec::new();
        for call in &mut calls {
            results.push(call.await);
        }
        results
    };
    let Ok(results) = tokio::time::timeout(probe.time, together).await else {
        for call in calls {
            call.abort();
        }
        let count = PARALLEL * 2;
        let time = probe.time;
        probe.found(
            Rule::Parallel,
            format!(
                "{count} updates with listings at the same time did not return within {time:?}"
            ),
        );
        return cleaned(probe, containers).await;
    };
    for result in results {
        let error = match result {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        probe.found(
            Rule::Parallel,
            format!("one of several calls at a time: {error}"),
        );
    }
    for id in &containers {
        let is = probe.resources(id).await;
        for set in [&first, &second] {
            probe.expect(Rule::Parallel, has_all(&is, set), || {
                format!(
                    "{} was set while another update ran, and the container shows {}",
                    shown(set),
                    shown(&is)
                )
            });
        }
    }
    cleaned(probe, containers).await
}

async fn cleaned(probe: &Probe<'_>, containers: Vec<String>) -> Result<(), String> {
    for id in containers {
        probe.adapter.remove_container(&id).await?;
    }
    Ok(())
}

async fn eviction(probe: &Probe<'_>, id: &str) {
    let before = probe.container(id).await;
    let as_it_was = before.as_ref().map(|c| c.to_message());
    let result = probe.evict(id).await;
    if !probe.succeeded(
        Rule::EvictionStops,
        "the eviction of a running container",
        &result,
    ) {
        return;
    }
    let now = probe.container(id).await;
    probe.expect(Rule::EvictionStops, is_stopped(now.as_deref()), || {
        let state = now.as_ref().map(|c| c.status().state);
        format!("container {id:?} was evicted, and is {state:?}")
    });
    let still = before.as_ref().map(|c| c.to_message());
    probe.expect(Rule::Snapshots, still == as_it_was, || {
        format!("a snapshot of container {id:?} changed when it was evicted")
    });
    if now.is_some() {
        let again = probe.evict(id).await;
        probe.succeeded(Rule::EvictedTwice, "a second eviction", &again);
    }
    let listed = probe.listed_containers().await;
    let listed = listed.iter().find(|c| c.id() == id);
    probe.expect(Rule::State, is_stopped(listed.map(|c| &**c)), || {
        format!("container {id:?} was stopped and is not listed as such")
    });
}

/// Whether a container that was evicted may run again, and does so.
async fn restarts(probe: &Probe<'_>, id: &str) -> Result<(), String> {
    let said = |domain: Arc<dyn Domain>| async move { domain.restartable() };
    let (Ok(first), Ok(second)) = (
        probe.call("restartable", said).await,
        probe.call("restartable", said).await,
    ) else {
        return Ok(());
    };
    probe.expect(Rule::KeepsStopped, first == second, || {
        format!("restartable was {first} and then {second}")
    });
    if !first || probe.has_found(Rule::EvictionStops) {
        return Ok(());
    }
    let state = listed_state(probe, id).await;
    let stopped = state == Some(ContainerState::ContainerStopped);
    probe.expect(Rule::KeepsStopped, stopped, || {
        format!("container {id:?} is stopped and may run again, and is listed as {state:?}")
    });
    if !stopped {
        return Ok(());
    }
    probe.adapter.start_again(id).await?;
    let state = listed_state(probe, id).await;
    let runs = state == Some(ContainerState::ContainerRunning);
    probe.expect(Rule::RunsAgain, runs, || {
        format!("container {id:?} was started again, and is listed as {state:?}")
    });
    let [resources, _] = probe.adapter.updates();
    let updated = probe.update(id, Some(resources)).await;
    let what = "an update of a container that was started again";
    if probe.succeeded(Rule::RunsAgain, what, &updated) {
        eviction(probe, id).await;
    }
    Ok(())
}

async fn listed_state(probe: &Probe<'_>, id: &str) -> Option<ContainerState> {
    let listed = probe.listed_containers().await;
    let container = listed.iter().find(|container| container.id() == id);
    container.map(|container| container.status().state)
}

async fn removed(probe: &Probe<'_>, pod: &str, container: &str) {
    let pods = probe.listed_pods().await;
    let containers = probe.listed_containers().await;
    let listed = pods.iter().any(|id| id == pod) || containers.iter().any(|c| c.id() == container);
    probe.expect(Rule::Removed, !listed, || {
        format!("pod {pod:?} or its container {container:?} is still listed")
    });
    let found = (probe.pod(pod).await, probe.container(container).await);
    let has = probe.has_container(container).await.unwrap_or(false);
    probe.expect(
        Rule::Removed,
        found.0.is_none() && found.1.is_none() && !has,
        || format!("pod {pod:?} or its container {container:?} is still found"),
    );
    let [resources, _] = probe.adapter.updates();
    let results: [Result<Result<(), DomainError>, NoAnswer>; 2] = [
        probe.update(container, Some(resources)).await,
        probe.evict(container).await,
    ];
    for result in results.into_iter().flatten() {
        let not_found = matches!(result, Err(DomainError::NotFound(_)));
        probe.expect(Rule::Removed, not_found, || {
            format!("a change of container {container:?}, which is removed, returns {result:?}")
        });
    }
}
