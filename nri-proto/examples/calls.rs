//! One connection with both of its ends in this process, and so many calls over it: what `strace -f
//! -c` and callgrind count.
//!
//! `calls COUNT [multi]` prints the allocations per call; with `multi`, where they are made in
//! several threads, it does not.

use std::sync::Arc;
use std::time::Duration;

use nri_proto::api;
use nri_proto::transport::{
    CallContext, CallOptions, Connection, PluginClient, PluginServer, PluginService, Role, Status,
};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

/// Adds one annotation to every container.
struct Annotate;

#[async_trait::async_trait]
impl PluginService for Annotate {
    async fn create_container(
        &self,
        _: CallContext,
        _: api::CreateContainerRequest,
    ) -> Result<api::CreateContainerResponse, Status> {
        let annotations = [("example.com/seen".to_owned(), "yes".to_owned())].into();
        Ok(api::CreateContainerResponse {
            adjust: Some(api::ContainerAdjustment {
                annotations,
                ..api::ContainerAdjustment::default()
            }),
            ..api::CreateContainerResponse::default()
        })
    }
}

/// A container with as much in it as containers have.
fn request() -> api::CreateContainerRequest {
    let mut container = api::Container {
        id: "c0".into(),
        ..api::Container::default()
    };
    for i in 0..40 {
        container.env.push(format!("VARIABLE_{i}=some value of it"));
        container.mounts.push(api::Mount {
            destination: format!("/var/lib/data/{i}"),
            source: format!("/var/lib/kubelet/pods/some-pod/volumes/{i}"),
            r#type: "bind".into(),
            options: vec!["rbind".into(), "ro".into()],
        });
    }
    api::CreateContainerRequest {
        container: Some(container),
        ..api::CreateContainerRequest::default()
    }
}

async fn calls(count: u32) -> Result<(), Box<dyn std::error::Error>> {
    let (ours, theirs) = UnixStream::pair()?;
    let plugin = Connection::builder(Role::Plugin)
        .serve(PluginServer::new(Arc::new(Annotate)))
        .start(theirs);
    let runtime = Connection::builder(Role::Runtime).start(ours);
    let client = PluginClient::new(runtime.client());
    let request = request();
    for _ in 0..count {
        let options = CallOptions::timeout(Duration::from_secs(60));
        client.create_container(&request, options).await?;
    }
    runtime.close();
    plugin.closed().await;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    if arguments.next().is_some() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let calls = async { tokio::spawn(done(count)).await };
        return Ok(runtime.block_on(calls)??);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| result = runtime.block_on(done(count)));
    println!(
        "allocations per call: {:.1}",
        counted.count_total as f64 / f64::from(count.max(1))
    );
    result.map_err(Into::into)
}

async fn done(count: u32) -> Result<(), String> {
    calls(count).await.map_err(|error| error.to_string())
}
