//! The life of a pod: its pause process, namespaces and network, with NRI at each place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nri_core::Ctx;
use rustix::mount::{MountFlags, mount, mount_bind};

use crate::conmon::{Created, Creation};
use crate::cri::{self, ContainerEventType as What};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::network::Attachment;
use crate::record::{self, Container, Pod, Process, new_id, now};
use crate::{files, idmap, pause, spec};

impl Daemon {
    /// Runs a pod; its id.
    ///
    /// # Errors
    /// Whatever kept it from being run; nothing of it is left, and plugins know.
    pub(crate) async fn run_pod(
        &self,
        config: cri::PodSandboxConfig,
        handler: String,
    ) -> Result<String> {
        let metadata = config.metadata.clone().unwrap_or_default();
        for (field, value) in [("name", &metadata.name), ("namespace", &metadata.namespace)] {
            if value.is_empty() {
                return Err(Error::invalid(format!("the pod has no metadata.{field}")));
            }
        }
        if !handler.is_empty() {
            return Err(Error::not_found(format!(
                "there is no runtime handler {handler:?}"
            )));
        }
        let mut pod = Pod {
            id: new_id()?,
            config,
            runtime_handler: handler,
            ready: true,
            spec: serde_json::Value::Null,
            pid: 0,
            conmon: Process::default(),
            ips: Vec::new(),
            overhead: None,
            resources: None,
            created_at: now(),
        };
        let (engine, id) = (&self.engine, pod.id.clone());
        if let (Some(_), Err(error)) = (pod.user_namespace()?, &engine.user_namespaces) {
            return Err(Error::unimplemented(format!(
                "the pod cannot have a user namespace of its own: {error}"
            )));
        }
        let low = &engine.config.low_level;
        pod.spec = spec::pause(&id, &pod.config, &pod.options(), low, &engine.host)?;
        let _name = engine.store.reserve(&pod)?;
        let made = self.make_pod(pod).await;
        if made.is_err() {
            let cleared = engine.clear_pod(&id).await;
            // What is left is in the log, and cleaned up at the next start.
            let _ = engine.cleared::<Pod>(&id, cleared);
        }
        made.map(|()| id)
            .map_err(|error| error.of("the pod cannot be run"))
    }

    async fn make_pod(&self, mut pod: Pod) -> Result<()> {
        let engine = &self.engine;
        let dir = engine.store.dir::<Pod>(&pod.id);
        self.prepare_pod(&pod, &dir)?;
        let creation = Creation {
            id: &pod.id,
            bundle: &dir,
            log: None,
            tty: false,
            stdin: false,
            stdin_once: false,
        };
        let Created { pid, conmon } = engine.conmon.create(&creation).await?;
        (pod.pid, pod.conmon) = (pid, conmon);
        if pod.has_own_network() {
            self.connect_pod(&mut pod).await?;
        }
        engine.low.start(&pod.id).await?;

        // All is there and nobody else sees it yet.
        let (cx, seen) = (Ctx::new(), pod.seen()?);
        self.nri.run_pod_sandbox(&cx, &seen).await?;
        if let Err(error) = engine.store.insert(pod.clone()) {
            self.nri.remove_pod_sandbox(&cx, &seen).await;
            return Err(error);
        }
        for what in [What::ContainerCreatedEvent, What::ContainerStartedEvent] {
            engine.announce(what, &pod.id, &pod.id);
        }
        self.watch_pod(&pod);
        Ok(())
    }

    /// The pod's directory: the pause program, and what containers share.
    fn prepare_pod(&self, pod: &Pod, dir: &Path) -> Result<()> {
        for part in ["rootfs", "rootfs/proc", "rootfs/dev", "shm"] {
            files::make_dir(&dir.join(part))?;
        }
        let program = dir.join("rootfs/pause");
        fs::hard_link(pause::installed(&self.engine.config), &program)
            .map_err(|error| Error::file("link", &program, error))?;
        let shm = dir.join("shm");
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        mount(c"shm", &shm, "tmpfs", flags, Some(c"mode=1777,size=65536k"))
            .map_err(|error| Error::file("mount a tmpfs at", &shm, error))?;
        for (file, path) in spec::SHARED {
            files::write(&dir.join(file), shared(path, pod)?.as_bytes())?;
        }
        if let Some(users) = pod.user_namespace()? {
            let shared = spec::SHARED.map(|(file, _)| file);
            for name in shared.into_iter().chain(["shm"]) {
                idmap::give(&dir.join(name), &users)?;
            }
        }
        files::write(&dir.join("config.json"), pod.spec.to_string().as_bytes())
    }

    /// Gives the pod's network namespace a name, which holds it, and connects it.
    async fn connect_pod(&self, pod: &mut Pod) -> Result<()> {
        let engine = &self.engine;
        let namespace = engine.network_namespace(&pod.id);
        files::write(&namespace, b"")?;
        mount_bind(format!("/proc/{}/ns/net", pod.pid), &namespace)
            .map_err(|error| Error::file("mount a network namespace at", &namespace, error))?;
        engine.intend_network(pod)?;
        let attachment = Attachment {
            pod: &pod.id,
            namespace: Some(&namespace),
            config: &pod.config,
        };
        let connected = engine.network.connect(&attachment).await?;
        engine.keep_connection(pod, &connected.kept)?;
        pod.ips = connected.ips;
        Ok(())
    }

    /// Stops a pod and its containers. One that is not there is stopped already.
    ///
    /// # Errors
    /// Something of it cannot be stopped.
    pub(crate) async fn stop_pod(&self, id: &str) -> Result<()> {
        let Ok(Pod { id, .. }) = self.engine.store.find(id) else {
            return Ok(());
        };
        let _turn = self.engine.turn(&id).await;
        self.stop_pod_in_turn(&id).await
    }

    async fn stop_pod_in_turn(&self, id: &str) -> Result<()> {
        for container in self.engine.store.containers_of(id) {
            self.stop_container(&container.id, Duration::ZERO).await?;
        }
        let Some(pod) = self.engine.store.get::<Pod>(id) else {
            return Ok(());
        };
        self.nri.stop_pod_sandbox(&Ctx::new(), &pod.seen()?).await;
        self.engine.stop_pod(id).await?;
        self.engine.pod_ended(id)
    }

    /// Removes a pod and its containers. One that is not there is removed already.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub(crate) async fn remove_pod(&self, id: &str) -> Result<()> {
        let Ok(Pod { id, .. }) = self.engine.store.find(id) else {
            return Ok(());
        };
        let _turn = self.engine.turn(&id).await;
        self.stop_pod_in_turn(&id).await?;
        for Container { id, .. } in self.engine.store.containers_of(&id) {
            self.remove_container(&id).await?;
        }
        let Some(pod) = self.engine.store.get::<Pod>(&id) else {
            return Ok(());
        };
        self.nri.remove_pod_sandbox(&Ctx::new(), &pod.seen()?).await;
        let cleared = self.engine.clear_pod(&id).await;
        self.engine.cleared::<Pod>(&id, cleared)?;
        let gone = || Some(self.engine.event_of(What::ContainerDeletedEvent, &id, &pod));
        self.engine.events.tell(gone);
        Ok(())
    }

    /// Records the resources of a pod, as far as plugins agree.
    ///
    /// # Errors
    /// Resources that make no sense; a plugin refuses.
    pub(crate) async fn update_pod(
        &self,
        request: cri::UpdatePodSandboxResourcesRequest,
    ) -> Result<()> {
        let cri::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id,
            overhead,
            resources,
        } = request;
        let id = self.engine.store.find::<Pod>(&id)?.id;
        let _turn = self.engine.turn(&id).await;
        let (cx, pod) = (Ctx::new(), self.engine.store.find::<Pod>(&id)?.seen()?);
        let wanted = |resources: &Option<_>| resources.as_ref().map(record::resources).transpose();
        let (new_overhead, new_resources) = (wanted(&overhead)?, wanted(&resources)?);
        let asked = (new_overhead.as_ref(), new_resources.as_ref());
        self.nri
            .update_pod_sandbox(&cx, &pod, asked.0, asked.1)
            .await?;
        let pod = self.engine.store.change(&id, |pod: &mut Pod| {
            pod.overhead = overhead.or(pod.overhead.take());
            pod.resources = resources.or(pod.resources.take());
        })?;
        self.nri.post_update_pod_sandbox(&cx, &pod.seen()?).await;
        Ok(())
    }
}

/// The contents of a file that the containers of a pod share.
fn shared(path: &str, pod: &Pod) -> Result<String> {
    let own_network = pod.has_own_network();
    let host = |path: &str| {
        let text = files::read(Path::new(path), 1 << 20)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    match (path, &pod.config.dns_config) {
        ("/etc/hostname", _) if own_network => Ok(format!("{}\n", pod.config.hostname)),
        ("/etc/resolv.conf", Some(dns)) => Ok(resolv_conf(dns)),
        // Who the host is and whom it knows is so for its pods too.
        (path, _) => host(path),
    }
}

fn resolv_conf(dns: &cri::DnsConfig) -> String {
    let servers = dns
        .servers
        .iter()
        .map(|server| format!("nameserver {server}\n"));
    let mut text: String = servers.collect();
    for (word, list) in [("search", &dns.searches), ("options", &dns.options)] {
        if !list.is_empty() {
            text.push_str(&format!("{word} {}\n", list.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_is_written_as_resolvers_read_it() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let dns = cri::DnsConfig {
            servers: list(&["10.0.0.10", "10.0.0.11"]),
            searches: list(&["a.local", "b.local"]),
            options: list(&["ndots:5"]),
        };
        let text =
            "nameserver 10.0.0.10\nnameserver 10.0.0.11\nsearch a.local b.local\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), text);
        assert_eq!(resolv_conf(&cri::DnsConfig::default()), "");
    }
}
