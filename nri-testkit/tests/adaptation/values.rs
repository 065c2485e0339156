//! What several of these tests ask for.

use nri_adaptation::api;
use nri_testkit::{Behavior, TEST_TIMEOUT, TestRuntime, TestRuntimeBuilder};

/// A runtime that finds nobody late, on a machine however busy, unless a test says so.
pub(crate) fn patient() -> TestRuntimeBuilder {
    let builder = TestRuntime::builder().request_timeout(TEST_TIMEOUT);
    builder.config(|config| config.plugin_registration_timeout = TEST_TIMEOUT)
}

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

/// Answers a creation with one annotation.
pub(crate) fn annotate(key: &str, value: impl Into<String>) -> Behavior {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.annotations.insert(key.into(), value.into());
    Behavior::adjust(adjust)
}
