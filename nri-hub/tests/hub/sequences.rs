//! Law: a plugin behind the hub sees and achieves what it does at the runtime itself, over random
//! sequences of requests.

use nri_adaptation::{Event, RuntimeApi as _, api};
use nri_core::build::{Adjust as _, SetResources as _, Update as _};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, Connected, FakePlugin, TestRuntime, When};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::stage::{Stage, Staged};

/// A step of a runtime, about one of a few pods and containers.
#[derive(Debug, Clone)]
enum Step {
    Run(u8),
    Create(u8, u8),
    Start(u8),
    Update(u8, i64),
    Stop(u8),
    Remove(u8),
    StopPod(u8),
    RemovePod(u8),
}

/// What a plugin does whenever it is asked to create or update a container of this number.
#[derive(Debug, Clone)]
enum Wish {
    Env(u8),
    Memory(i64),
    UpdateOther(u8, i64),
    Evict(u8),
    Fail,
}

#[derive(Debug, Clone)]
struct Story {
    /// Of each plugin, by container.
    wishes: Vec<Vec<(u8, Wish)>>,
    steps: Vec<Step>,
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, container) = (0u8..3, 0u8..4);
    prop_oneof![
        3 => pod.clone().prop_map(Step::Run),
        5 => (pod.clone(), container.clone()).prop_map(|(p, c)| Step::Create(p, c)),
        3 => container.clone().prop_map(Step::Start),
        3 => (container.clone(), 1i64..9).prop_map(|(c, m)| Step::Update(c, m)),
        2 => container.clone().prop_map(Step::Stop),
        2 => container.prop_map(Step::Remove),
        1 => pod.clone().prop_map(Step::StopPod),
        1 => pod.prop_map(Step::RemovePod),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        (0u8..4).prop_map(Wish::Env),
        (1i64..9).prop_map(Wish::Memory),
        (0u8..4, 1i64..9).prop_map(|(c, m)| Wish::UpdateOther(c, m)),
        (0u8..4).prop_map(Wish::Evict),
        Just(Wish::Fail),
    ]
}

fn story() -> impl Strategy<Value = Story> {
    let wishes = prop::collection::vec((0u8..4, wish()), 0..3);
    (
        prop::collection::vec(wishes, 1..4),
        prop::collection::vec(step(), 4..30),
    )
        .prop_map(|(wishes, steps)| Story { wishes, steps })
}

fn update(container: u8, limit: i64) -> api::ContainerUpdate {
    let mut update = api::ContainerUpdate::of_container(format!("c{container}")).unwrap();
    update.set_memory_limit(limit);
    update
}

fn plugin(at: usize, wishes: &[(u8, Wish)]) -> FakePlugin {
    let mut plugin = FakePlugin::new(format!("{}0-p", at + 1));
    for (container, wish) in wishes {
        let id = format!("c{container}");
        let (mut create, mut updated) = (
            api::CreateContainerResponse::default(),
            api::UpdateContainerResponse::default(),
        );
        match wish {
            Wish::Env(name) => {
                let adjust = create.adjust.get_or_insert_default();
                adjust.add_env(format!("E{name}"), format!("{at}")).unwrap();
            }
            Wish::Memory(limit) => {
                create
                    .adjust
                    .get_or_insert_default()
                    .set_memory_limit(*limit);
                updated.update.push(update(*container, *limit));
            }
            Wish::UpdateOther(other, limit) => {
                create.update.push(update(*other, *limit));
                updated.update.push(update(*other, *limit));
            }
            Wish::Evict(other) => {
                let evict = api::ContainerEviction {
                    container_id: format!("c{other}"),
                    reason: "room".into(),
                };
                create.evict.push(evict.clone());
                updated.evict.push(evict);
            }
            Wish::Fail => {
                let no = || Behavior::fail(Code::Unknown, "no");
                for event in [Event::CreateContainer, Event::UpdateContainer] {
                    plugin = plugin.on(When::from(event).of(&id), no());
                }
                continue;
            }
        }
        plugin = plugin
            .on(
                When::from(Event::CreateContainer).of(&id),
                Behavior::answer(create),
            )
            .on(
                When::from(Event::UpdateContainer).of(&id),
                Behavior::answer(updated),
            );
    }
    plugin
}

/// Everything that can be seen: what the runtime came to, what its domain was asked, and what each
/// plugin was asked.
#[derive(Debug, PartialEq)]
struct Seen {
    results: Vec<String>,
    updates: Vec<api::ContainerUpdate>,
    evictions: Vec<String>,
    plugins: Vec<Vec<String>>,
}

/// Waits until a creation that was refused is undone at all who saw it.
async fn undone(plugins: &[FakePlugin], id: &str) {
    let (created, removed) = (
        format!("CreateContainer {id}"),
        format!("RemoveContainer {id}"),
    );
    for plugin in plugins {
        let events = plugin.events();
        let times = events.iter().filter(|event| **event == created).count();
        if times > 0 {
            plugin.wait_for_nth(&removed, times).await;
        }
    }
}

async fn play(runtime: &TestRuntime, steps: &[Step], plugins: &[FakePlugin]) -> Vec<String> {
    let mut results = Vec::new();
    let domain = runtime.domain();
    for step in steps {
        let pod_of = |id: &str| {
            let container = domain.container(id)?;
            domain.pod(&container.pod_sandbox_id)
        };
        let said = match step {
            Step::Run(p) if domain.pod(&format!("p{p}")).is_none() => {
                runtime.run_pod(&format!("p{p}")).await;
                "ran".to_owned()
            }
            Step::Create(p, c) => {
                let id = format!("c{c}");
                match domain.pod(&format!("p{p}")) {
                    Some(pod) if domain.container(&id).is_none() => {
                        match runtime.try_create(&pod, &id).await {
                            Ok(container) => format!("{:?} {:?}", container.env, container.linux),
                            Err(_) => {
                                undone(plugins, &id).await;
                                "refused".to_owned()
                            }
                        }
                    }
                    _ => continue,
                }
            }
            Step::Start(c) => {
                let id = format!("c{c}");
                match (pod_of(&id), domain.container(&id)) {
                    (Some(pod), Some(container))
                        if container.state() == api::ContainerState::ContainerCreated
                            || container.state() == api::ContainerState::ContainerUnknown =>
                    {
                        runtime.start_container(&pod, &id).await;
                        "started".to_owned()
                    }
                    _ => continue,
                }
            }
            Step::Update(c, limit) => {
                let id = format!("c{c}");
                let Some(pod) = pod_of(&id) else { continue };
                let asked = update(*c, *limit).linux.unwrap().resources.unwrap();
                match runtime.try_update(&pod, &id, asked).await {
                    Ok(result) => format!("{:?}", result.resources),
                    Err(_) => "refused".to_owned(),
                }
            }
            Step::Stop(c) => {
                let id = format!("c{c}");
                let Some(pod) = pod_of(&id) else { continue };
                runtime.stop_container(&pod, &id).await;
                "stopped".to_owned()
            }
            Step::Remove(c) => {
                let id = format!("c{c}");
                let Some(pod) = pod_of(&id) else { continue };
                runtime.remove_container(&pod, &id).await;
                "removed".to_owned()
            }
            Step::StopPod(p) => {
                let Some(pod) = domain.pod(&format!("p{p}")) else {
                    continue;
                };
                runtime.stop_pod(&pod).await;
                "stopped".to_owned()
            }
            Step::RemovePod(p) => {
                let Some(pod) = domain.pod(&format!("p{p}")) else {
                    continue;
                };
                for id in domain.container_ids() {
                    if domain
                        .container(&id)
                        .is_some_and(|c| c.pod_sandbox_id == pod.id)
                    {
                        runtime.remove_container(&pod, &id).await;
                    }
                }
                runtime.remove_pod(&pod).await;
                "removed".to_owned()
            }
            Step::Run(_) => continue,
        };
        results.push(said);
    }
    results
}

fn seen(runtime: &TestRuntime, results: Vec<String>, plugins: &[FakePlugin]) -> Seen {
    Seen {
        results,
        updates: runtime.domain().updates(),
        evictions: runtime
            .domain()
            .evictions()
            .into_iter()
            .map(|eviction| eviction.container_id)
            .collect(),
        plugins: plugins.iter().map(FakePlugin::events).collect(),
    }
}

async fn directly(story: &Story) -> Seen {
    let runtime = TestRuntime::start().await;
    let mut kept: Vec<Connected> = Vec::new();
    let mut plugins = Vec::new();
    for (at, wishes) in story.wishes.iter().enumerate() {
        let plugin = plugin(at, wishes);
        kept.push(runtime.join(&plugin).await);
        plugins.push(plugin);
    }
    let results = play(&runtime, &story.steps, &plugins).await;
    let seen = seen(&runtime, results, &plugins);
    runtime.nri().stop().await;
    seen
}

async fn behind_a_hub(story: &Story) -> Seen {
    let runtime = TestRuntime::start().await;
    let hub: Staged = Stage::at(runtime.socket()).run().await;
    let mut kept: Vec<Connected> = Vec::new();
    let mut plugins = Vec::new();
    for (at, wishes) in story.wishes.iter().enumerate() {
        let plugin = plugin(at, wishes);
        kept.push(hub.join(&plugin).await);
        plugins.push(plugin);
    }
    let results = play(&runtime, &story.steps, &plugins).await;
    let seen = seen(&runtime, results, &plugins);
    hub.stop().await;
    runtime.nri().stop().await;
    seen
}

#[test]
fn plugins_behind_the_hub_see_and_achieve_what_they_do_at_the_runtime_itself() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let law = |story: Story| {
        let (direct, behind) =
            tokio.block_on(async { (directly(&story).await, behind_a_hub(&story).await) });
        prop_assert_eq!(direct, behind);
        Ok(())
    };
    runner.run(&story(), law).unwrap();
}
