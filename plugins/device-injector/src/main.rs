//! Gives containers what annotations of their pod ask for: device nodes, mounts, CDI devices,
//! network devices, sysctls, I/O priority, scheduling and memory policy. The README says how.

mod allowed;
mod names;
mod requested;
#[cfg(test)]
mod tests;

use nri_plugin::prelude::*;

use allowed::Allowed;
use requested::Requested;

fn plugin() -> impl Plugin {
    let allowed = configuration::<Allowed>();
    handlers()
        .configured_by(&allowed)
        .on_create_container(move |_cx, pod, container| {
            let allowed = allowed.get();
            async move {
                let requested = Requested::read(&pod.annotations, &container.name)?;
                allowed.check(&pod.namespace, &requested)?;
                adjustment(requested)
            }
        })
        .build()
}

fn adjustment(requested: Requested) -> Result<Adjustment, HandlerError> {
    let mut adjust = Adjustment::new();
    for device in requested.devices {
        adjust.add_device(device.message())?;
    }
    for mount in requested.mounts {
        adjust.add_mount(mount.message())?;
    }
    for device in requested.cdi_devices {
        adjust.add_cdi_device(device.0)?;
    }
    for device in requested.network_devices {
        let (host, device) = device.message();
        adjust.add_net_device(host, device)?;
    }
    for (name, value) in requested.sysctls {
        adjust.add_sysctl(name, value)?;
    }
    if let Some(priority) = requested.io_priority {
        adjust.set_io_priority(priority.message());
    }
    if let Some(scheduler) = requested.scheduler {
        adjust.set_scheduler(scheduler.message());
    }
    if let Some(policy) = requested.memory_policy {
        adjust.set_memory_policy(policy.mode, policy.nodes, policy.flags);
    }
    Ok(adjust)
}

nri_plugin::main!("10-device-injector", plugin());
