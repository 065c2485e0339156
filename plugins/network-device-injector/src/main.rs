//! Moves network devices of the host into the network namespace of pods that ask for them by an
//! annotation, and back when the pod stops. The README says how.

mod moving;
mod namespace;
mod netlink;
mod requested;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use nri_plugin::prelude::*;

use namespace::Namespace;
use requested::{Allowed, Device};

fn plugin() -> impl Plugin {
    let allowed = configuration::<Allowed>();
    handlers()
        .configured_by(&allowed)
        .on_run_pod_sandbox(move |_cx, pod| {
            let allowed = allowed.get();
            async move {
                let devices = requested::read(&pod.annotations)?;
                if devices.is_empty() {
                    return Ok(());
                }
                allowed.check(&pod.namespace, &devices)?;
                // The kernel is asked by threads that enter namespaces.
                let moved = tokio::task::spawn_blocking(move || inject(&pod, &devices, &allowed));
                Ok(moved.await??)
            }
        })
        .on_stop_pod_sandbox(|_cx, pod| async move {
            let devices = requested::read(&pod.annotations)?;
            if devices.is_empty() {
                return Ok(());
            }
            let moved = tokio::task::spawn_blocking(move || release(&pod, &devices));
            Ok(moved.await??)
        })
        .build()
}

/// The path of the pod's network namespace; empty if it has that of the host.
fn network(pod: &api::PodSandbox) -> &str {
    let namespaces = pod.linux.iter().flat_map(|linux| &linux.namespaces);
    let mut networks = namespaces.filter(|namespace| namespace.r#type == "network");
    networks
        .next()
        .map_or("", |namespace| namespace.path.as_str())
}

/// Moves all, or none.
fn inject(pod: &api::PodSandbox, devices: &[Device], allowed: &Arc<Allowed>) -> Result<(), String> {
    let of_the_host = "the pod has the network of the host: nothing can be moved into it";
    let path = network(pod);
    if path.is_empty() {
        return Err(of_the_host.to_owned());
    }
    let named = |error: std::io::Error| format!("the network namespace {path}: {error}");
    let host = Namespace::own().map_err(|error| error.to_string())?;
    let there = Namespace::open(Path::new(path)).map_err(named)?;
    if there.is(&host).map_err(named)? {
        return Err(of_the_host.to_owned());
    }
    let mut moved = Vec::new();
    for device in devices {
        match moving::inject(device, &host, &there, allowed.takes_what_is_in_use()) {
            Ok(before) => moved.push((device, before)),
            Err(error) => {
                for (done, before) in moved {
                    if let Err(error) = moving::put_back(done, &before, &host, &there) {
                        tracing::error!(
                            device = done.name,
                            "the device could not be put back: {error}"
                        );
                    }
                }
                return Err(format!("network device {}: {error}", device.name));
            }
        }
        tracing::info!(
            pod = pod.name,
            namespace = pod.namespace,
            "{} is {} in the pod",
            device.name,
            device.new_name
        );
    }
    Ok(())
}

/// Moves back what is there; what fails does not keep the others.
fn release(pod: &api::PodSandbox, devices: &[Device]) -> Result<(), String> {
    let path = network(pod);
    if path.is_empty() {
        return Ok(());
    }
    // With its namespace a pod's devices are gone: the kernel gives those that are of hardware
    // back.
    let Ok(there) = Namespace::open(Path::new(path)) else {
        return Ok(());
    };
    let host = Namespace::own().map_err(|error| error.to_string())?;
    if there.is(&host).map_err(|error| error.to_string())? {
        return Ok(());
    }
    let mut faults = Vec::new();
    for device in devices {
        match moving::release(device, &host, &there) {
            Ok(true) => tracing::info!(
                pod = pod.name,
                namespace = pod.namespace,
                "{} is back on the host",
                device.name
            ),
            Ok(false) => tracing::warn!(
                pod = pod.name,
                namespace = pod.namespace,
                "{} is not in the pod any more",
                device.new_name
            ),
            Err(error) => faults.push(format!("network device {}: {error}", device.name)),
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("; ")),
    }
}

nri_plugin::main!("10-network-device-injector", plugin());
