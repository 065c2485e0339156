//! What handlers answer: an adjustment with the updates and evictions that go with it, updates
//! alone, or nothing. What may not enter: how handlers are called.

use nri_core::api;
use nri_core::build::{Adjust, SetResources};

/// What a plugin wants for a container that is about to be created, and for others because of it.
///
/// It is filled with the methods of [`Adjust`] and [`SetResources`]; an empty one changes nothing.
///
/// ```
/// use nri_plugin::prelude::*;
///
/// # fn main() -> Result<(), nri_plugin::build::BuildError> {
/// let mut adjust = Adjustment::new();
/// adjust.add_env("MODE", "fast")?.set_memory_limit(1 << 30);
///
/// let mut other = api::ContainerUpdate::of_container("other")?;
/// other.set_cpu_shares(512);
/// adjust.also_update(other);
/// assert_eq!(adjust.updates().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "an adjustment does something when the handler returns it"]
pub struct Adjustment {
    /// Large, and moved often.
    adjust: Box<api::ContainerAdjustment>,
    changes: Updates,
}

impl Adjustment {
    /// One that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has another container updated, too.
    pub fn also_update(&mut self, update: api::ContainerUpdate) -> &mut Self {
        self.changes.update(update);
        self
    }

    /// Has another container evicted, too. Runtimes in Go do not carry that out.
    pub fn also_evict(&mut self, eviction: api::ContainerEviction) -> &mut Self {
        self.changes.evict(eviction);
        self
    }

    /// What it does to the container itself.
    pub fn message(&self) -> &api::ContainerAdjustment {
        &self.adjust
    }

    /// The updates of other containers.
    pub fn updates(&self) -> &[api::ContainerUpdate] {
        &self.changes.updates
    }

    /// The evictions of other containers.
    pub fn evictions(&self) -> &[api::ContainerEviction] {
        &self.changes.evictions
    }
}

impl SetResources for Adjustment {
    fn resources_mut(&mut self) -> &mut api::LinuxResources {
        self.adjust.resources_mut()
    }
}

impl Adjust for Adjustment {
    fn adjustment(&mut self) -> &mut api::ContainerAdjustment {
        &mut self.adjust
    }
}

impl From<api::ContainerAdjustment> for Adjustment {
    fn from(adjust: api::ContainerAdjustment) -> Self {
        Self {
            adjust: Box::new(adjust),
            changes: Updates::new(),
        }
    }
}

/// Updates and evictions of containers: the answer to an update or a stop.
///
/// ```
/// use nri_plugin::prelude::*;
///
/// # fn main() -> Result<(), nri_plugin::build::BuildError> {
/// let mut grow = api::ContainerUpdate::of_container("other")?;
/// grow.set_memory_limit(2 << 30);
/// let mut updates = Updates::new();
/// updates.update(grow);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "updates do something when the handler returns them"]
pub struct Updates {
    updates: Vec<api::ContainerUpdate>,
    evictions: Vec<api::ContainerEviction>,
}

impl Updates {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has a container updated.
    pub fn update(&mut self, update: api::ContainerUpdate) -> &mut Self {
        self.updates.push(update);
        self
    }

    pub(crate) fn into_parts(self) -> (Vec<api::ContainerUpdate>, Vec<api::ContainerEviction>) {
        (self.updates, self.evictions)
    }

    /// Has a container evicted. Runtimes in Go do not carry that out; the answer to a stop has no
    /// room for it, so that there it is [an error](IntoAnswer::into_answer).
    pub fn evict(&mut self, eviction: api::ContainerEviction) -> &mut Self {
        self.evictions.push(eviction);
        self
    }
}

impl FromIterator<api::ContainerUpdate> for Updates {
    fn from_iter<I: IntoIterator<Item = api::ContainerUpdate>>(updates: I) -> Self {
        Self {
            updates: updates.into_iter().collect(),
            evictions: Vec::new(),
        }
    }
}

/// What a handler may return as the answer `T` of its event. Nothing, `()`, is an answer to all of
/// them. (Where a handler does nothing but fail, say which: `Err::<(), _>("...".into())`.)
///
/// | event | may be answered with |
/// |---|---|
/// | `CreateContainer` | an [`Adjustment`], an `Option` of one, or the protocol's response |
/// | `UpdateContainer`, `StopContainer` | [`Updates`], a `Vec` of updates, or the protocol's response |
/// | `Synchronize` | a `Vec` of updates |
pub trait IntoAnswer<T> {
    /// The message of the protocol.
    ///
    /// # Errors
    /// It asks for what the answer has no room for.
    fn into_answer(self) -> Result<T, NoRoom>;
}

/// An answer that the protocol has no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer to a stop has no room for the eviction of container {container:?}: ask for it outside of the request, through \
     PluginCtx::runtime"
)]
pub struct NoRoom {
    container: String,
}

impl IntoAnswer<api::CreateContainerResponse> for Adjustment {
    fn into_answer(self) -> Result<api::CreateContainerResponse, NoRoom> {
        let Self { adjust, changes } = self;
        Ok(api::CreateContainerResponse {
            // A runtime merges an empty one like any other; not to send it spares both the work.
            adjust: (*adjust != api::ContainerAdjustment::default()).then_some(*adjust),
            update: changes.updates,
            evict: changes.evictions,
        })
    }
}

impl IntoAnswer<api::CreateContainerResponse> for Option<Adjustment> {
    fn into_answer(self) -> Result<api::CreateContainerResponse, NoRoom> {
        self.unwrap_or_default().into_answer()
    }
}

impl IntoAnswer<api::UpdateContainerResponse> for Updates {
    fn into_answer(self) -> Result<api::UpdateContainerResponse, NoRoom> {
        Ok(api::UpdateContainerResponse {
            update: self.updates,
            evict: self.evictions,
        })
    }
}

impl IntoAnswer<api::StopContainerResponse> for Updates {
    fn into_answer(self) -> Result<api::StopContainerResponse, NoRoom> {
        match self.evictions.into_iter().next() {
            Some(eviction) => Err(NoRoom {
                container: eviction.container_id,
            }),
            None => Ok(api::StopContainerResponse {
                update: self.updates,
            }),
        }
    }
}

impl IntoAnswer<Vec<api::ContainerUpdate>> for Vec<api::ContainerUpdate> {
    fn into_answer(self) -> Result<Self, NoRoom> {
        Ok(self)
    }
}

/// What there is no answer to.
impl IntoAnswer<()> for () {
    fn into_answer(self) -> Result<(), NoRoom> {
        Ok(())
    }
}

impl IntoAnswer<Vec<api::ContainerUpdate>> for () {
    fn into_answer(self) -> Result<Vec<api::ContainerUpdate>, NoRoom> {
        Ok(Vec::new())
    }
}

/// The protocol's own response, and nothing, where a response has room for something.
macro_rules! responses {
    ($($response:ident)*) => {$(
        impl IntoAnswer<api::$response> for api::$response {
            fn into_answer(self) -> Result<Self, NoRoom> {
                Ok(self)
            }
        }

        impl IntoAnswer<api::$response> for () {
            fn into_answer(self) -> Result<api::$response, NoRoom> {
                Ok(Default::default())
            }
        }
    )*};
}

responses! { CreateContainerResponse UpdateContainerResponse StopContainerResponse }

/// A list of updates, where updates may be the answer.
macro_rules! lists {
    ($($response:ident)*) => {$(
        impl IntoAnswer<api::$response> for Vec<api::ContainerUpdate> {
            fn into_answer(self) -> Result<api::$response, NoRoom> {
                Updates::from_iter(self).into_answer()
            }
        }
    )*};
}

lists! { UpdateContainerResponse StopContainerResponse }

#[cfg(test)]
mod tests {
    use super::*;
    use nri_core::build::{Evict as _, Update as _};

    #[test]
    fn an_adjustment_becomes_the_response_with_all_that_goes_with_it() {
        let mut adjust = Adjustment::new();
        adjust.add_env("A", "1").unwrap().set_cpu_shares(5);
        adjust
            .also_update(api::ContainerUpdate::of_container("c2").unwrap())
            .also_evict(api::ContainerEviction::of_container("c3", "in the way").unwrap());
        let response = adjust.clone().into_answer().unwrap();
        assert_eq!(response.adjust.as_ref(), Some(adjust.message()));
        assert_eq!(response.update, adjust.updates());
        assert_eq!(response.evict, adjust.evictions());
    }

    /// Law: who changes nothing sends nothing, whichever way it is said.
    #[test]
    fn what_changes_nothing_is_an_empty_response() {
        let empty = api::CreateContainerResponse::default();
        assert_eq!(Adjustment::new().into_answer().unwrap(), empty);
        assert_eq!(None::<Adjustment>.into_answer().unwrap(), empty);
        let nothing: api::CreateContainerResponse = ().into_answer().unwrap();
        assert_eq!(nothing, empty);
    }

    #[test]
    fn an_eviction_in_the_answer_to_a_stop_is_refused_rather_than_lost() {
        let mut updates = Updates::new();
        updates.evict(api::ContainerEviction::of_container("c3", "in the way").unwrap());
        let update: api::UpdateContainerResponse = updates.clone().into_answer().unwrap();
        assert_eq!(update.evict.len(), 1);
        let stop: Result<api::StopContainerResponse, NoRoom> = updates.into_answer();
        assert!(stop.unwrap_err().to_string().contains("\"c3\""));
    }
}
