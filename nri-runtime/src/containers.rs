//! The life of a container: created, started, updated, stopped, removed, with NRI at each place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_core::Ctx;
use nri_domain_cri::{OciSpec, ResolvedUpdate};
use tokio::time::{sleep, timeout};

use crate::conmon::{Created, Creation};
use crate::cri::{self, ContainerEventType as What};
use crate::daemon::Daemon;
use crate::engine::START_ERROR;
use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::images;
use crate::program::Output;
use crate::record::{self, Container, Image, Pod, Process, State, new_id, now};
use crate::{conmon, files, handed, spec};

impl Daemon {
    /// Creates a container in a pod; its id.
    ///
    /// # Errors
    /// Whatever kept it from being created; nothing of it is left, and plugins know.
    pub(crate) async fn create_container(
        &self,
        pod: &str,
        config: cri::ContainerConfig,
    ) -> Result<String> {
        let Pod { id, .. } = self.engine.store.find(pod)?;
        // Not into one that is just being stopped.
        let _turn = self.engine.turn(&id).await;
        let pod: Pod = self.engine.store.find(&id)?;
        if !pod.ready {
            return Err(Error::precondition(format!("pod {} is not ready", pod.id)));
        }
        let image = config.image.clone().unwrap_or_default().image;
        let held = self.engine.images.hold(&image).ok_or_else(|| {
            Error::not_found(format!("there is no image {image:?}: pull it first"))
        })?;
        let image = &held.image;
        let container = Container {
            id: new_id()?,
            pod_id: pod.id.clone(),
            spec: serde_json::Value::Null,
            removed_annotations: Default::default(),
            layers: image.layers.clone(),
            image: Image {
                name: image.tags.first().unwrap_or(&image.id).clone(),
                digest: image.digests.first().cloned().unwrap_or_default(),
                labels: image.config.labels.clone(),
                id: image.id.clone(),
            },
            state: State::Created,
            pid: 0,
            conmon: Process::default(),
            created_at: now(),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            log: log_path(&pod.config, &config),
            stop_signal: spec::stop_signal(&config, &image.config),
            config,
        };
        if container
            .config
            .metadata
            .as_ref()
            .is_none_or(|metadata| metadata.name.is_empty())
        {
            return Err(Error::invalid("the container has no metadata.name"));
        }
        let _name = self.engine.store.reserve(&container)?;
        let id = container.id.clone();
        let made = self.make_container(&pod, container, image).await;
        if made.is_err() {
            let cleared = self.engine.clear_container(&id).await;
            // What is left is in the log, and cleaned up at the next start.
            let _ = self.engine.cleared::<Container>(&id, cleared);
            drop(held);
            self.engine.collect_layers().await;
        }
        made.map(|()| id)
            .map_err(|error| error.of("the container cannot be created"))
    }

    async fn make_container(
        &self,
        pod: &Pod,
        mut container: Container,
        image: &images::Image,
    ) -> Result<()> {
        let engine = &self.engine;
        let dir = engine.store.dir::<Container>(&container.id);
        files::make_dir(&dir)?;
        let layers: Vec<PathBuf> = image
            .layers
            .iter()
            .map(|id| engine.images.layer(id))
            .collect();
        let users = pod.user_namespace()?;
        let map = users.map(|ids| IdMap::of(pod.pid, ids)).transpose()?;
        let rootfs = images::mount(&dir, &layers, map.as_ref())?;
        let (config, _held) = self.mount_volumes(&dir, &mut container, map.as_ref())?;
        container.spec = self.spec(pod, &container, &config, image, &rootfs)?;

        // The spec is complete and nothing is created yet: plugins are asked. From here on an early
        // return drops the token, which tells them that the container never came to be.
        let (cx, seen_pod, mut seen) = (Ctx::new(), pod.seen()?, container.seen()?);
        let mut token = self.nri.create_container(&cx, &seen_pod, &seen).await?;
        token.apply_to_record(&mut seen)?;
        container.spec = (*seen.spec).clone();
        container.removed_annotations = seen.removed_annotations;

        let handed = handed::prepare(&dir, &container.spec, map.as_ref())?;
        files::write(&dir.join("config.json"), handed.to_string().as_bytes())?;
        if let Some(log) = Path::new(&container.log)
            .parent()
            .filter(|_| !container.log.is_empty())
        {
            files::make_dir(log)?;
        }
        let Created { pid, conmon } = engine
            .conmon
            .create(&Creation {
                id: &container.id,
                bundle: &dir,
                log: Some(Path::new(&container.log)).filter(|log| !log.as_os_str().is_empty()),
                tty: container.config.tty,
                stdin: container.config.stdin,
                stdin_once: container.config.stdin_once,
            })
            .await?;
        (container.pid, container.conmon) = (pid, conmon);
        handed::give_pipes(pid, &container.spec, map.as_ref())?;
        // The container has what it needs of it.
        handed::clear(&dir)?;
        engine.store.insert(container.clone())?;
        engine.announce(What::ContainerCreatedEvent, &container.id, &pod.id);
        self.watch_container(&container);
        token.commit(&cx, &seen_pod, &container.seen()?).await;
        Ok(())
    }

    /// Mounts images that are to be mounted into the container; its configuration with the mounts
    /// in the places of the images, which stay until the container is on record.
    fn mount_volumes(
        &self,
        dir: &Path,
        container: &mut Container,
        map: Option<&IdMap>,
    ) -> Result<(cri::ContainerConfig, Vec<images::Held>)> {
        let images = &self.engine.images;
        let mut config = container.config.clone();
        let mut all = Vec::new();
        let shown = container.config.mounts.iter_mut();
        for (number, (mount, shown)) in config.mounts.iter_mut().zip(shown).enumerate() {
            let Some(spec) = mount.image.take().filter(|spec| !spec.image.is_empty()) else {
                continue;
            };
            let at = mount.container_path.clone();
            let named = |error: Error| error.of(format!("the mount at {at:?}"));
            if !mount.readonly {
                return Err(named(Error::invalid(
                    "an image can be mounted read-only only",
                )));
            }
            let held = images.hold(&spec.image).ok_or_else(|| {
                named(Error::not_found(format!(
                    "there is no image {:?}: pull it first",
                    spec.image
                )))
            })?;
            let image = held.image.clone();
            all.push(held);
            let layers: Vec<PathBuf> = image.layers.iter().map(|id| images.layer(id)).collect();
            container.layers.extend(image.layers);
            let path = images::mount_volume(dir, number, &layers, &mount.image_sub_path, map);
            mount.host_path = path.map_err(named)?.display().to_string();
            if let Some(shown) = &mut shown.image {
                shown.image_ref = image.id;
            }
        }
        Ok((config, all))
    }

    fn spec(
        &self,
        pod: &Pod,
        container: &Container,
        config: &cri::ContainerConfig,
        image: &images::Image,
        rootfs: &Path,
    ) -> Result<OciSpec> {
        let engine = &self.engine;
        let security = container.config.linux.as_ref();
        let security = security.and_then(|linux| linux.security_context.as_ref());
        let target = security.and_then(|security| security.namespace_options.as_ref());
        let target = target.filter(|options| !options.target_id.is_empty());
        let target =
            target.and_then(|options| engine.store.find::<Container>(&options.target_id).ok());
        let target = target.filter(|target| target.pod_id == pod.id && target.pid != 0);
        spec::container(&spec::Input {
            id: &container.id,
            pod,
            pod_dir: &engine.store.dir::<Pod>(&pod.id),
            network: pod
                .has_own_network()
                .then(|| engine.network_namespace(&pod.id)),
            target: target.map(|target| target.pid),
            config,
            image: &image.config,
            rootfs,
            daemon: &engine.config,
            options: &engine.apply_options(),
            host: &engine.host,
        })
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// A plugin or the low-level runtime refuses: it has ended then. It is not a created one.
    pub(crate) async fn start_container(&self, id: &str) -> Result<()> {
        let id = self.engine.store.find::<Container>(id)?.id;
        let _turn = self.engine.turn(&id).await;
        let container: Container = self.engine.store.find(&id)?;
        if container.state != State::Created {
            return Err(Error::precondition(format!(
                "container {id} is not in the state created"
            )));
        }
        let pod: Pod = self.engine.store.find(&container.pod_id)?;
        let (cx, pod) = (Ctx::new(), pod.seen()?);
        let starting = self.engine.events.starting(&id);
        let started = async {
            self.nri
                .start_container(&cx, &pod, &container.seen()?)
                .await?;
            self.engine.low.start(&id).await
        };
        if let Err(error) = started.await {
            let why = Some((START_ERROR, &*error.to_string()));
            if let Err(error) = self.engine.stop(&id, Duration::ZERO, why).await {
                tracing::warn!(container = id, %error, "a container that cannot be started is left");
            }
            let container: Container = self.engine.store.find(&id)?;
            self.nri.start_failed(&cx, &pod, &container.seen()?).await;
            return Err(error.of(format!("container {id} cannot be started")));
        }
        let container = self.engine.store.observe(&id, Container::was_started)?;
        let what = What::ContainerStartedEvent;
        starting.done(|| self.engine.event(what, &id, &container.pod_id));
        self.nri
            .post_start_container(&cx, &pod, &container.seen()?)
            .await;
        Ok(())
    }

    /// Changes the resources of a container, as far as plugins agree.
    ///
    /// # Errors
    /// Resources that make no sense; a plugin or the low-level runtime refuses.
    pub(crate) async fn update_container(
        &self,
        id: &str,
        request: &cri::LinuxContainerResources,
    ) -> Result<()> {
        let id = self.engine.store.find::<Container>(id)?.id;
        let _turn = self.engine.turn(&id).await;
        let container: Container = self.engine.store.find(&id)?;
        let pod: Pod = self.engine.store.find(&container.pod_id)?;
        let (cx, pod) = (Ctx::new(), pod.seen()?);
        let request = record::resources(request)?;
        let answer = self
            .nri
            .update_container(&cx, &pod, &container.seen()?, &request)
            .await?;
        let update = match answer {
            Some(update) => update,
            None => ResolvedUpdate::requested(&request, &self.engine.apply_options())
                .map_err(|error| Error::from(error).of(format!("container {id}")))?,
        };
        let container = self.engine.update(&id, &update).await?;
        self.nri
            .post_update_container(&cx, &pod, &container.seen()?)
            .await;
        Ok(())
    }

    /// Stops a container. One that is not there or has ended is stopped already.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let Ok(Container { id, .. }) = self.engine.store.find(id) else {
            return Ok(());
        };
        let _turn = self.engine.turn(&id).await;
        let Some(container) = self.engine.store.get::<Container>(&id) else {
            return Ok(());
        };
        if container.state != State::Exited {
            self.engine.stop(&id, grace, None).await?;
        }
        let container: Container = self.engine.store.find(&id)?;
        self.nri
            .stop_container(&Ctx::new(), &container.seen()?)
            .await;
        Ok(())
    }

    /// Removes a container, killing it if it runs. One that is not there is removed already.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub(crate) async fn remove_container(&self, id: &str) -> Result<()> {
        let Ok(Container { id, .. }) = self.engine.store.find(id) else {
            return Ok(());
        };
        self.stop_container(&id, Duration::ZERO).await?;
        let _turn = self.engine.turn(&id).await;
        let Some(container) = self.engine.store.get::<Container>(&id) else {
            return Ok(());
        };
        self.nri
            .remove_container(&Ctx::new(), &container.seen()?)
            .await;
        let cleared = self.engine.clear_container(&id).await;
        self.engine.cleared::<Container>(&id, cleared)?;
        let what = What::ContainerDeletedEvent;
        self.engine.announce(what, &id, &container.pod_id);
        self.engine.collect_layers().await;
        Ok(())
    }

    /// Runs a command in a container to its end.
    ///
    /// # Errors
    /// The container does not run; the command cannot be run, or is not done in time.
    pub(crate) async fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: Option<Duration>,
    ) -> Result<Output> {
        let container = self.engine.running(id)?;
        if command.is_empty() {
            return Err(Error::invalid("the command is empty"));
        }
        let pid_file = self.engine.exec_pid_file()?;
        self.engine
            .low
            .exec(&container.id, command, limit, &pid_file)
            .await
    }

    /// Has a container's log written to a new file, and waits until that is there.
    ///
    /// # Errors
    /// The container does not run, or has no log; the file is not there in time.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(10);
        let container = self.engine.running(id)?;
        if container.log.is_empty() {
            return Err(Error::precondition(format!(
                "container {} has no log",
                container.id
            )));
        }
        let log = Path::new(&container.log);
        // One that was not moved away would be emptied.
        if conmon::writes_to(container.conmon, log) {
            return Ok(());
        }
        conmon::prepare_log(log)?;
        conmon::reopen_log(&self.engine.store.dir::<Container>(&container.id)).await?;
        let there = async {
            while !conmon::writes_to(container.conmon, log) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let late = |_| Error::file("reopen", log, "conmon does not do it");
        timeout(LIMIT, there).await.map_err(late)
    }
}

/// Where a container's log goes; empty if nowhere.
fn log_path(pod: &cri::PodSandboxConfig, config: &cri::ContainerConfig) -> String {
    match (&*pod.log_directory, &*config.log_path) {
        ("", _) | (_, "") => String::new(),
        (directory, path) => Path::new(directory).join(path).display().to_string(),
    }
}
