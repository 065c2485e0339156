//! CRI's runtime service.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::answer::whole;
use crate::config::CgroupDriver;
use crate::cri::{self, runtime_service_server::RuntimeService};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::metrics;
use crate::nri::NAME;
use crate::record::{Container, Pod, State};
use crate::usage::usage;
use crate::views;

pub(super) struct Runtime(pub(super) Daemon);

type Answer<T> = std::result::Result<Response<T>, Status>;

fn given<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("the request has no {field}")))
}

/// Seconds of a request; none if it says 0.
fn seconds(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

impl Runtime {
    /// What containers use. Files of many directories are looked at, so a thread does it that may
    /// wait.
    async fn stats(&self, containers: Vec<Container>) -> Result<Vec<cri::ContainerStats>> {
        let engine = self.0.engine.clone();
        let all = tokio::task::spawn_blocking(move || {
            let stats = containers.iter().map(|container| {
                let layer = engine.store.dir::<Container>(&container.id).join("upper");
                views::container_stats(container, usage(&layer))
            });
            stats.collect()
        });
        all.await
            .map_err(|error| Error::internal(error.to_string()))
    }
}

fn condition(kind: &str, problem: Option<(&str, String)>) -> cri::RuntimeCondition {
    let (reason, message) = problem.clone().unwrap_or_default();
    cri::RuntimeCondition {
        r#type: kind.to_owned(),
        status: problem.is_none(),
        reason: reason.to_owned(),
        message,
    }
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: NAME.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let Daemon { engine, .. } = &self.0;
        let plugins = self.0.missing_plugins();
        let network = engine.network.ready().err();
        let conditions = vec![
            condition(
                "RuntimeReady",
                plugins.map(|why| ("NRIPluginsMissing", why)),
            ),
            condition(
                "NetworkReady",
                network.map(|why| ("NetworkNotReady", why.to_string())),
            ),
        ];
        let mut info = BTreeMap::new();
        if request.into_inner().verbose {
            let config = serde_json::to_string(&engine.config).unwrap_or_default();
            info.insert("config".to_owned(), config);
            info.insert(
                "lowLevel".to_owned(),
                json!(engine.low.version()).to_string(),
            );
        }
        Ok(Response::new(cri::StatusResponse {
            status: Some(cri::RuntimeStatus { conditions }),
            info,
            runtime_handlers: vec![cri::RuntimeHandler {
                name: String::new(),
                features: Some(cri::RuntimeHandlerFeatures {
                    recursive_read_only_mounts: engine.low.knows_mount_option("rro"),
                    user_namespaces: engine.user_namespaces.is_ok(),
                }),
            }],
            features: Some(cri::RuntimeFeatures {
                supplemental_groups_policy: true,
                ..Default::default()
            }),
        }))
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        let cgroup_driver = match self.0.engine.config.low_level.cgroup_driver {
            CgroupDriver::Cgroupfs => cri::CgroupDriver::Cgroupfs,
            CgroupDriver::Systemd => cri::CgroupDriver::Systemd,
        };
        let cgroup_driver = cgroup_driver.into();
        let linux = Some(cri::LinuxRuntimeConfiguration { cgroup_driver });
        Ok(Response::new(cri::RuntimeConfigResponse { linux }))
    }

    /// The pods' address range, which CNI's configuration says here.
    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let cri::RunPodSandboxRequest {
            config,
            runtime_handler,
        } = request.into_inner();
        let (daemon, config) = (self.0.clone(), given(config, "config")?);
        whole(async move {
            let pod_sandbox_id = daemon.run_pod(config, runtime_handler).await?;
            Ok(cri::RunPodSandboxResponse { pod_sandbox_id })
        })
        .await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let (daemon, id) = (self.0.clone(), request.into_inner().pod_sandbox_id);
        whole(async move {
            daemon.stop_pod(&id).await?;
            Ok(cri::StopPodSandboxResponse {})
        })
        .await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let (daemon, id) = (self.0.clone(), request.into_inner().pod_sandbox_id);
        whole(async move {
            daemon.remove_pod(&id).await?;
            Ok(cri::RemovePodSandboxResponse {})
        })
        .await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let cri::PodSandboxStatusRequest {
            pod_sandbox_id,
            verbose,
        } = request.into_inner();
        let pod: Pod = self.0.engine.store.find(&pod_sandbox_id)?;
        let mut info = BTreeMap::new();
        if verbose {
            let all = json!({"pid": pod.pid, "runtimeSpec": pod.spec, "config": pod.config});
            info.insert("info".to_owned(), all.to_string());
        }
        let status = Some(views::pod_status(&pod));
        Ok(Response::new(cri::PodSandboxStatusResponse {
            status,
            info,
            ..Default::default()
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut pods = self.0.engine.store.all::<Pod>();
        pods.retain(|pod| views::pod_matches(pod, &filter));
        let items = pods.iter().map(views::pod).collect();
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        // The pod's configuration is the one that it was run with, whatever is sent along.
        let cri::CreateContainerRequest {
            pod_sandbox_id,
            config,
            ..
        } = request.into_inner();
        let (daemon, config) = (self.0.clone(), given(config, "config")?);
        whole(async move {
            let container_id = daemon.create_container(&pod_sandbox_id, config).await?;
            Ok(cri::CreateContainerResponse { container_id })
        })
        .await
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let (daemon, id) = (self.0.clone(), request.into_inner().container_id);
        whole(async move {
            daemon.start_container(&id).await?;
            Ok(cri::StartContainerResponse {})
        })
        .await
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let cri::StopContainerRequest {
            container_id,
            timeout,
        } = request.into_inner();
        let (daemon, grace) = (self.0.clone(), seconds(timeout).unwrap_or_default());
        whole(async move {
            daemon.stop_container(&container_id, grace).await?;
            Ok(cri::StopContainerResponse {})
        })
        .await
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let (daemon, id) = (self.0.clone(), request.into_inner().container_id);
        whole(async move {
            daemon.remove_container(&id).await?;
            Ok(cri::RemoveContainerResponse {})
        })
        .await
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut containers = self.0.engine.store.all::<Container>();
        containers.retain(|container| views::container_matches(container, &filter));
        let containers = containers.iter().map(views::container).collect();
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let cri::ContainerStatusRequest {
            container_id,
            verbose,
        } = request.into_inner();
        let container: Container = self.0.engine.store.find(&container_id)?;
        let mut info = BTreeMap::new();
        if verbose {
            let all = json!({
                "sandboxID": container.pod_id,
                "pid": container.pid,
                "runtimeSpec": container.spec,
                "config": container.config,
            });
            info.insert("info".to_owned(), all.to_string());
        }
        let status = Some(views::container_status(&container));
        Ok(Response::new(cri::ContainerStatusResponse { status, info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let cri::UpdateContainerResourcesRequest {
            container_id,
            linux,
            ..
        } = request.into_inner();
        let (daemon, linux) = (self.0.clone(), given(linux, "linux resources")?);
        whole(async move {
            daemon.update_container(&container_id, &linux).await?;
            Ok(cri::UpdateContainerResourcesResponse {})
        })
        .await
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        let (daemon, request) = (self.0.clone(), request.into_inner());
        whole(async move {
            daemon.update_pod(request).await?;
            Ok(cri::UpdatePodSandboxResourcesResponse {})
        })
        .await
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let id = request.into_inner().container_id;
        let container: Container = self.0.engine.store.find(&id)?;
        let stats = self.stats(vec![container]).await?.pop();
        Ok(Response::new(cri::ContainerStatsResponse { stats }))
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = cri::ContainerFilter {
            id: filter.id,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
            state: None,
        };
        let mut containers = self.0.engine.store.all::<Container>();
        containers.retain(|container| {
            container.state != State::Exited && views::container_matches(container, &filter)
        });
        let stats = self.stats(containers).await?;
        Ok(Response::new(cri::ListContainerStatsResponse { stats }))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        let descriptors = metrics::descriptors();
        Ok(Response::new(cri::ListMetricDescriptorsResponse {
            descriptors,
        }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        let engine = self.0.engine.clone();
        let all = tokio::task::spawn_blocking(move || {
            let of = |pod: &Pod| {
                let mut containers = engine.store.containers_of(&pod.id);
                containers.retain(|container| container.state != State::Exited);
                let layer = |id: &str| engine.store.dir::<Container>(id).join("upper");
                let containers = containers.into_iter().map(|one| (layer(&one.id), one));
                metrics::of_pod(pod, containers.map(|(layer, one)| (one, layer)).collect())
            };
            engine.store.all::<Pod>().iter().map(of).collect()
        });
        let all = all
            .await
            .map_err(|error| Error::internal(error.to_string()));
        Ok(Response::new(cri::ListPodSandboxMetricsResponse {
            pod_metrics: all?,
        }))
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<BoxStream<cri::ContainerEventResponse>> {
        let events = self.0.engine.events.listen()?;
        tracing::info!("a client listens to events");
        Ok(Response::new(Box::pin(events)))
    }

    async fn exec_sync(
        &self,
        request: Request<cri::ExecSyncRequest>,
    ) -> Answer<cri::ExecSyncResponse> {
        let cri::ExecSyncRequest {
            container_id,
            cmd,
            timeout,
        } = request.into_inner();
        let daemon = self.0.clone();
        whole(async move {
            let output = daemon.exec(&container_id, &cmd, seconds(timeout)).await?;
            Ok(cri::ExecSyncResponse {
                stdout: output.stdout,
                stderr: output.stderr,
                exit_code: output.status.code().unwrap_or(-1),
            })
        })
        .await
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        let (daemon, id) = (self.0.clone(), request.into_inner().container_id);
        whole(async move {
            daemon.reopen_log(&id).await?;
            Ok(cri::ReopenContainerLogResponse {})
        })
        .await
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        let url = self.0.streaming.exec(request.into_inner())?;
        Ok(Response::new(cri::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        let url = self.0.streaming.attach(request.into_inner())?;
        Ok(Response::new(cri::AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        let url = self.0.streaming.port_forward(&request.into_inner())?;
        Ok(Response::new(cri::PortForwardResponse { url }))
    }
}
