//! What a synchronisation costs the runtime in memory, counted: bytes allocated on the thread that
//! it has for itself, with plugins on threads of their own. Resident memory depends on the
//! allocator and on the machine; this does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use nri_adaptation::{Config, Nri, Observer, PluginInfo, RuntimeApi as _};
use nri_core::model::{Container, PodSandbox};
use nri_core::{Ctx, Domain, DomainError, Outline, api};
use nri_plugin::{Ended, Runner, handlers};
use nri_testkit::MemoryDomain;
use tokio::sync::{mpsc, watch};

/// What there is: about as much on the wire as on a node with ten thousand containers.
const CONTAINERS: usize = 10_000;
const BYTES: usize = 7_800;
/// What the runtime may have allocated beyond what it keeps of all that.
const MOST: u64 = 32 << 20;
/// How long each step may take: the runtime has one thread, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// What it may keep of a pod and its container: keys, states and where they belong.
const RECORD: u64 = 2_500;

struct Count(watch::Sender<usize>);

impl Observer for Count {
    fn plugin_synchronized(&self, _plugin: &PluginInfo) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A domain like that of a runtime which puts together what it hands out: nothing is shared with
/// its own records.
struct Copying(MemoryDomain);

#[async_trait]
impl Domain for Copying {
    fn name(&self) -> &str {
        self.0.name()
    }
    async fn list_pod_sandboxes(&self) -> Result<Vec<Arc<dyn PodSandbox>>, DomainError> {
        let pods = self.0.list_pod_sandboxes().await?;
        Ok(pods.iter().map(|pod| copy_of_pod(&**pod)).collect())
    }
    async fn list_containers(&self) -> Result<Vec<Arc<dyn Container>>, DomainError> {
        let containers = self.0.list_containers().await?;
        Ok(containers.iter().map(|it| copy_of(&**it)).collect())
    }
    async fn outline(&self) -> Result<Option<Outline>, DomainError> {
        self.0.outline().await
    }
    async fn get_pod_sandbox(&self, id: &str) -> Option<Arc<dyn PodSandbox>> {
        let pod = self.0.get_pod_sandbox(id).await?;
        Some(copy_of_pod(&*pod))
    }
    async fn get_container(&self, id: &str) -> Option<Arc<dyn Container>> {
        let container = self.0.get_container(id).await?;
        Some(copy_of(&*container))
    }
    async fn update_container(
        &self,
        cx: &Ctx,
        update: &api::ContainerUpdate,
    ) -> Result<(), DomainError> {
        self.0.update_container(cx, update).await
    }
    async fn evict_container(
        &self,
        cx: &Ctx,
        eviction: &api::ContainerEviction,
    ) -> Result<(), DomainError> {
        self.0.evict_container(cx, eviction).await
    }
}

fn copy_of_pod(pod: &dyn PodSandbox) -> Arc<dyn PodSandbox> {
    Arc::new(pod.to_message())
}

fn copy_of(container: &dyn Container) -> Arc<dyn Container> {
    Arc::new(container.to_message())
}

fn domain() -> Arc<dyn Domain> {
    let domain = MemoryDomain::new("many");
    for number in 0..CONTAINERS {
        let pod = format!("pod-{number}");
        domain.put_pod(api::PodSandbox {
            id: pod.clone(),
            name: pod.clone(),
            namespace: "default".into(),
            ..Default::default()
        });
        domain.put_container(api::Container {
            id: format!("container-{number}"),
            pod_sandbox_id: pod,
            state: api::ContainerState::ContainerRunning.into(),
            annotations: [("padding".into(), "x".repeat(BYTES))].into(),
            ..Default::default()
        });
    }
    Arc::new(Copying(domain))
}

/// So many plugins join at once. Prints what it took to start. Returns the most bytes that were
/// allocated at a time, and those that stayed.
fn peak(plugins: usize) -> (u64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nri.sock");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (count, mut synchronized) = watch::channel(0);
    let mut config = Config::default();
    config.plugin_request_timeout = PATIENCE;
    config.plugin_registration_timeout = PATIENCE;
    config.socket_path.clone_from(&socket);
    config.plugin_path = "".into();
    let nri = Nri::builder(config)
        .runtime("counted", "1.0")
        .domain(domain())
        .observer(Arc::new(Count(count)))
        .build()
        .unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    let (failed, mut failures) = mpsc::channel(plugins);
    let started = allocation_counter::measure(|| tokio.block_on(nri.start()).unwrap());
    println!(
        "counted: a start with {CONTAINERS} containers: {:.1} MiB at most, of which {:.1} MiB stay",
        mib(started.bytes_max),
        mib(started.bytes_current.unsigned_abs()),
    );
    let counted = allocation_counter::measure(|| {
        for number in 0..plugins {
            let (socket, seen, failed) = (socket.clone(), Arc::clone(&seen), failed.clone());
            threads.push(std::thread::spawn(move || {
                if let Err(error) = join(&socket, number, seen) {
                    failed.blocking_send((number, error)).unwrap();
                }
            }));
        }
        tokio.block_on(async {
            tokio::select! {
                all = synchronized.wait_for(|count| *count == plugins) => drop(all.unwrap()),
                failure = failures.recv() => panic!("a plugin has ended: {failure:?}"),
            }
        });
    });
    assert_eq!(seen.load(Relaxed), plugins * CONTAINERS);
    tokio.block_on(nri.stop());
    for thread in threads {
        thread.join().unwrap();
    }
    let stayed = u64::try_from(started.bytes_current).unwrap_or_default();
    let more = u64::try_from(counted.bytes_current).unwrap_or_default();
    let peak = (stayed + counted.bytes_max).max(started.bytes_max);
    (peak, stayed + more)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn join(
    socket: &std::path::Path,
    number: usize,
    seen: Arc<AtomicUsize>,
) -> Result<Ended, nri_plugin::Error> {
    let plugin = handlers()
        .on_run_pod_sandbox(|_, _| async { Ok(()) })
        .on_synchronize_part(move |_, part| {
            seen.fetch_add(part.containers.len(), Relaxed);
            async { Ok(()) }
        })
        .build();
    let runner = Runner::builder(plugin)
        .index(format!("{:02}", 10 + number))
        .name("counted")
        .socket(socket)
        .registration_timeout(PATIENCE)
        .configure_timeout(PATIENCE)
        .build()
        .unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(runner.run())
}

/// Law: memory does not grow with what is sent, however many plugins it is sent to.
#[test]
fn synchronising_a_large_node_takes_a_bounded_amount_of_memory() {
    for plugins in [1, 10] {
        let (peak, stayed) = peak(plugins);
        println!(
            "counted: {CONTAINERS} containers to {plugins} plugins: {:.1} MiB at most, of which {:.1} MiB stay",
            mib(peak),
            mib(stayed),
        );
        assert!(stayed < RECORD * CONTAINERS as u64, "{stayed}");
        assert!(peak - stayed < MOST, "{}", peak - stayed);
    }
}
