//! Values that several of these tests ask for.

use nri_adaptation::api;

/// An update of a container's memory limit.
pub(crate) fn memory(id: &str, limit: i64) -> api::ContainerUpdate {
    let memory = api::LinuxMemory {
        limit: Some(api::OptionalInt64 { value: limit }),
        ..Default::default()
    };
    let resources = api::LinuxResources {
        memory: Some(memory),
        ..Default::default()
    };
    api::ContainerUpdate {
        container_id: id.into(),
        linux: Some(api::LinuxContainerUpdate {
            resources: Some(resources),
        }),
        ignore_failure: false,
    }
}
