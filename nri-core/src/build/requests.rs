//! Updates and evictions of containers.

use nri_proto::api::{ContainerEviction, ContainerUpdate};

use super::BuildError;

fn checked(container_id: impl Into<String>) -> Result<String, BuildError> {
    let container_id = container_id.into();
    if container_id.is_empty() {
        return Err(BuildError::NoContainer);
    }
    Ok(container_id)
}

/// An update. Its resources are set with [`SetResources`](super::SetResources).
pub trait Update: Sized {
    /// An update of a container that changes nothing yet.
    ///
    /// # Errors
    /// The id is empty.
    fn of_container(container_id: impl Into<String>) -> Result<Self, BuildError>;

    /// Whether the update's failure is of no matter. If not (the default), it fails what the update
    /// belongs to.
    fn set_ignore_failure(&mut self, ignore: bool) -> &mut Self;
}

impl Update for ContainerUpdate {
    fn of_container(container_id: impl Into<String>) -> Result<Self, BuildError> {
        Ok(Self {
            container_id: checked(container_id)?,
            ..Self::default()
        })
    }

    fn set_ignore_failure(&mut self, ignore: bool) -> &mut Self {
        self.ignore_failure = ignore;
        self
    }
}

/// An eviction.
pub trait Evict: Sized {
    /// An eviction of a container, with a reason for humans.
    ///
    /// # Errors
    /// The id is empty.
    fn of_container(
        container_id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Self, BuildError>;
}

impl Evict for ContainerEviction {
    fn of_container(
        container_id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            container_id: checked(container_id)?,
            reason: reason.into(),
        })
    }
}
