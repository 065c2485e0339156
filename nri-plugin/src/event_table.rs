//! The table of what handlers are given: per event whether there is something to answer, its method
//! of the builders, its method of [`Plugin`](nri_core::Plugin) with the request, the parts of the
//! request that the handler gets, and the answer. What may not enter: what is made of it.

use nri_core::{Event, HandlerError, Response, api};
use nri_proto::rpc;

/// Calls `$then!` with a row per event.
macro_rules! handled_events {
    ($then:ident) => {
        $then! {
            tells RunPodSandbox on_run_pod_sandbox run_pod_sandbox(RunPodSandboxRequest: pod) -> ();
            tells StopPodSandbox on_stop_pod_sandbox stop_pod_sandbox(StopPodSandboxRequest: pod) -> ();
            tells RemovePodSandbox on_remove_pod_sandbox remove_pod_sandbox(RemovePodSandboxRequest: pod) -> ();
            tells UpdatePodSandbox on_update_pod_sandbox update_pod_sandbox(UpdatePodSandboxRequest: pod overhead_linux_resources linux_resources) -> ();
            tells PostUpdatePodSandbox on_post_update_pod_sandbox post_update_pod_sandbox(PostUpdatePodSandboxRequest: pod) -> ();
            asks CreateContainer on_create_container create_container(CreateContainerRequest: pod container) -> api::CreateContainerResponse;
            tells PostCreateContainer on_post_create_container post_create_container(PostCreateContainerRequest: pod container) -> ();
            tells StartContainer on_start_container start_container(StartContainerRequest: pod container) -> ();
            tells PostStartContainer on_post_start_container post_start_container(PostStartContainerRequest: pod container) -> ();
            asks UpdateContainer on_update_container update_container(UpdateContainerRequest: pod container linux_resources) -> api::UpdateContainerResponse;
            tells PostUpdateContainer on_post_update_container post_update_container(PostUpdateContainerRequest: pod container) -> ();
            asks StopContainer on_stop_container stop_container(StopContainerRequest: pod container) -> api::StopContainerResponse;
            tells RemoveContainer on_remove_container remove_container(RemoveContainerRequest: pod container) -> ();
            tells ValidateContainerAdjustment on_validate_container_adjustment validate_container_adjustment(ValidateContainerAdjustmentRequest: pod container proposal) -> ();
        }
    };
}

/// The type of a part that a handler gets.
macro_rules! part_type {
    (pod) => {
        api::PodSandbox
    };
    (container) => {
        api::Container
    };
    (linux_resources) => {
        api::LinuxResources
    };
    (overhead_linux_resources) => {
        api::LinuxResources
    };
    (proposal) => {
        Proposal
    };
}

/// Takes a part out of a request.
macro_rules! take_part {
    ($event:ident $request:ident proposal) => {
        Proposal::of($request)
    };
    ($event:ident $request:ident linux_resources) => {
        $request.linux_resources.unwrap_or_default()
    };
    ($event:ident $request:ident overhead_linux_resources) => {
        $request.overhead_linux_resources.unwrap_or_default()
    };
    ($event:ident $request:ident $part:ident) => {
        $request
            .$part
            .take()
            .ok_or_else(|| missing(Event::$event, stringify!($part)))?
    };
}

pub(crate) use {handled_events, part_type, take_part};

/// An event as a type, by the name of its method ([`rpc::plugin`](crate::rpc::plugin)): what
/// [`on_view`](crate::HandlersBuilder::on_view) subscribes to.
pub trait Viewed {
    /// The event.
    const EVENT: Event;
    /// What it is answered with; see [`IntoAnswer`](crate::IntoAnswer).
    type Answer: Send + 'static;
    /// The answer as that of any event.
    fn response(answer: Self::Answer) -> Response;
}

macro_rules! define_viewed {
    ($($kind:ident $event:ident $setter:ident $handler:ident($request:ident: $($part:ident)+) -> $answer:ty;)*) => {
        $(impl Viewed for rpc::plugin::$event {
            const EVENT: Event = Event::$event;
            type Answer = $answer;

            fn response(answer: $answer) -> Response {
                response_of!($kind $event answer)
            }
        })*
    };
}

macro_rules! response_of {
    (asks $event:ident $answer:ident) => {
        Response::$event($answer)
    };
    (tells $event:ident $answer:ident) => {{
        let () = $answer;
        Response::empty(Event::$event)
    }};
}

handled_events!(define_viewed);

/// What all plugins together want for a container, to be judged: the argument of
/// [`on_validate_container_adjustment`](crate::HandlersBuilder::on_validate_container_adjustment).
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Proposal {
    /// The combined adjustment.
    pub adjust: api::ContainerAdjustment,
    /// The combined updates of other containers.
    pub updates: Vec<api::ContainerUpdate>,
    /// Which plugin asked for what.
    pub owners: api::OwningPlugins,
    /// The plugins that were asked, in the order in which they were.
    pub plugins: Vec<api::PluginInstance>,
}

impl Proposal {
    pub(crate) fn of(request: api::ValidateContainerAdjustmentRequest) -> Self {
        Self {
            adjust: request.adjust.unwrap_or_default(),
            updates: request.update,
            owners: request.owners.unwrap_or_default(),
            plugins: request.plugins,
        }
    }

    /// The plugins that have set or removed a field of a container, or one of its entries: none if
    /// nobody has, or the runtime does not say. Hooks have several.
    pub fn owners_of<'p>(
        &'p self,
        container_id: &str,
        field: api::Field,
        key: Option<&str>,
    ) -> impl Iterator<Item = &'p str> + use<'p> {
        let fields = self.owners.owners.get(container_id);
        let number = field as i32;
        let of_entry = fields
            .zip(key)
            .and_then(|(fields, key)| fields.compound.get(&number)?.owners.get(key));
        let owner = of_entry.or_else(|| fields?.simple.get(&number));
        let names = owner.into_iter().flat_map(|owner| owner.split(','));
        // A dash in front says that it was removed.
        names.map(|name| name.trim_start_matches('-'))
    }

    /// All plugins that have set or removed anything, in the order of their identities.
    pub fn all_owners(&self) -> impl Iterator<Item = &str> {
        let mut names = std::collections::BTreeSet::new();
        for fields in self.owners.owners.values() {
            let compound = fields
                .compound
                .values()
                .flat_map(|entries| entries.owners.values());
            for owner in fields.simple.values().chain(compound) {
                names.extend(owner.split(',').map(|name| name.trim_start_matches('-')));
            }
        }
        names.into_iter()
    }
}

/// Says that a runtime left out what every runtime sends.
pub(crate) fn missing(event: Event, part: &str) -> HandlerError {
    format!("the runtime sent {event} without a {part}, which the protocol requires").into()
}
