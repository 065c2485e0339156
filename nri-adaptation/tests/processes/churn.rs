//! What is left of plugins that come and go.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nri_adaptation::{Ctx, RuntimeApi as _};
use nri_core::{Event, EventMask, api};
use nri_proto::transport::{
    CallContext, CallOptions, Connection, PluginServer, PluginService, Role, RuntimeClient, Status,
};
use tokio::net::UnixStream;

use crate::TEST_TIMEOUT;
use crate::setup::{Setup, names};

/// Answers everything, and counts the pods that it is told of.
struct Counter {
    events: EventMask,
    pods: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl PluginService for Counter {
    async fn configure(
        &self,
        _: CallContext,
        _: api::ConfigureRequest,
    ) -> Result<api::ConfigureResponse, Status> {
        Ok(api::ConfigureResponse {
            events: self.events.bits(),
            ..Default::default()
        })
    }

    async fn synchronize(
        &self,
        _: CallContext,
        request: api::SynchronizeRequest,
    ) -> Result<api::SynchronizeResponse, Status> {
        Ok(api::SynchronizeResponse {
            more: request.more,
            update: Vec::new(),
        })
    }

    async fn run_pod_sandbox(
        &self,
        _: CallContext,
        request: api::RunPodSandboxRequest,
    ) -> Result<api::RunPodSandboxResponse, Status> {
        let first = self.pods.lock().unwrap().insert(request.pod.unwrap().id);
        assert!(first, "each pod is told of once");
        Ok(api::RunPodSandboxResponse {})
    }
}

async fn external(socket: &Path, index: &str, name: &str) -> (Arc<Counter>, Connection) {
    let events = Event::RunPodSandbox.into();
    let counter = Arc::new(Counter {
        events,
        pods: Mutex::default(),
    });
    let connection = Connection::builder(Role::Plugin)
        .serve(PluginServer::new(Arc::clone(&counter)))
        .start(UnixStream::connect(socket).await.unwrap());
    let request = api::RegisterPluginRequest {
        plugin_name: name.into(),
        plugin_idx: index.into(),
        nri_version: String::new(),
    };
    // Some are refused, and some are gone before they know.
    let _ = RuntimeClient::new(connection.client())
        .register_plugin(&request, CallOptions::default())
        .await;
    (counter, connection)
}

pub(crate) async fn plugins_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 300;
    let setup = Setup::new(&[], &[]);
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    let socket = nri.config().socket_path.clone();
    let (healthy, _connection) = external(&socket, "50", "healthy").await;
    setup.wait_for("synchronized 50-healthy").await;
    let count = || {
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        (tasks, std::fs::read_dir("/proc/self/fd").unwrap().count())
    };
    let before = count();
    let events = tokio::spawn({
        let nri = nri.clone();
        async move {
            for n in 0..ROUNDS {
                let pod = api::PodSandbox {
                    id: n.to_string(),
                    ..Default::default()
                };
                nri.run_pod_sandbox(&Ctx::new(), &pod).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0..ROUNDS {
        match n % 4 {
            0 => drop(UnixStream::connect(&socket).await.unwrap()),
            1 => drop(external(&socket, "no", "index").await),
            // Gone at some point between its registration and its first events.
            2 => drop(external(&socket, "10", &format!("p{n}")).await),
            _ => {
                let (_, connection) = external(&socket, "90", "again").await;
                tokio::task::yield_now().await;
                drop(connection);
            }
        }
    }
    events.await.unwrap();
    assert_eq!(healthy.pods.lock().unwrap().len(), ROUNDS);
    // Nobody tells when a task or a descriptor is gone, so they are counted until they are.
    let all_gone = async {
        while names(&nri) != ["50-healthy"] || count().0 > before.0 || count().1 > before.1 {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(TEST_TIMEOUT, all_gone).await.is_err() {
        panic!("{:?}, {before:?} before and {:?} now", names(&nri), count());
    }
    nri.stop().await;
}
