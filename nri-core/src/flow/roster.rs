//! Who is part of a request: the plugins that are ready, in the order in which they are called, and
//! what they may ask for.

use std::sync::Arc;

use nri_proto::api;

use crate::merge::Support;
use crate::policy::{self, KnownPods};
use crate::{Event, EventMask, RegisteredPlugin};

/// What a plugin's trouble means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "policy-serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "policy-serde", serde(rename_all = "lowercase"))]
pub enum FailureAction {
    /// The request fails.
    Fail,
    /// The request goes on without the plugin, as if it had answered nothing.
    Skip,
}

/// What a plugin's trouble means for a request, by kind of trouble. The defaults are the
/// protocol's: an error fails the request, lateness and a lost connection do not. Of a validator
/// none of it counts: what it does not accept is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The plugin answers with an error. Default: fail.
    pub on_error: FailureAction,
    /// The plugin does not answer in time. Default: skip.
    pub on_late: FailureAction,
    /// The plugin is disconnected when its turn comes, or while it is asked. Default:
    /// skip.
    pub on_absent: FailureAction,
    /// The plugin's connection goes after the request was handed to it;
    /// [`on_absent`](Self::on_absent) covers that too, so either of them fails the request.
    /// Default: skip.
    pub on_lost: FailureAction,
}

impl Policy {
    /// What a plugin's own wish means (protocol v0.12.4): with `fail_request`, a request fails that
    /// it does not answer in time, or whose connection goes while it has the request. A plugin
    /// that was disconnected before its turn is skipped (v0.12.5), and an error that it answers
    /// fails the request, whatever it wishes.
    ///
    /// What becomes of the plugin is the other half, see
    /// [`PluginLimits::wished`](crate::schedule::PluginLimits::wished).
    #[must_use]
    pub fn wished(wish: &api::FailurePolicy) -> Self {
        let unanswered = match wish.fail_request {
            true => FailureAction::Fail,
            false => FailureAction::Skip,
        };
        Self {
            on_late: unanswered,
            on_lost: unanswered,
            ..Self::default()
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_error: FailureAction::Fail,
            on_late: FailureAction::Skip,
            on_absent: FailureAction::Skip,
            on_lost: FailureAction::Skip,
        }
    }
}

/// A plugin that is part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The plugin.
    pub plugin: RegisteredPlugin,
    /// The events that it gets.
    pub events: EventMask,
    /// Whether it gets them because it answered the empty mask, which means all. Such a plugin may
    /// be older than some of them, so "unimplemented" counts as "not subscribed" for
    /// validation and pod updates.
    pub implicit: bool,
    /// Whether, being subscribed to validation, it judges updates of containers as well. The
    /// protocol has creations in mind only: such a request has no adjustment in it, only
    /// updates. Default: false.
    pub validates_updates: bool,
    /// Whether it only hears of what happened: no request waits for it, and nothing that it
    /// answers counts. It is not asked to validate. Default: false.
    pub observes: bool,
    /// What its trouble means.
    pub policy: Policy,
}

impl Member {
    /// A member with explicit subscriptions and the default policy.
    pub fn new(plugin: RegisteredPlugin, events: EventMask) -> Self {
        Self {
            plugin,
            events,
            implicit: false,
            validates_updates: false,
            observes: false,
            policy: Policy::default(),
        }
    }

    /// The same member with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The same member, subscribed to everything because it named no event.
    #[must_use]
    pub fn implicitly_subscribed(mut self) -> Self {
        self.events = EventMask::ALL;
        self.implicit = true;
        self
    }

    /// The same member, which judges updates as well.
    #[must_use]
    pub fn validating_updates(mut self) -> Self {
        self.validates_updates = true;
        self
    }

    /// The same member, which only hears of what happened.
    #[must_use]
    pub fn observing(mut self) -> Self {
        self.observes = true;
        self
    }

    /// Whether "unimplemented" as an answer to `event` means that the plugin is not subscribed to
    /// it.
    pub(super) fn may_not_know(&self, event: Event) -> bool {
        self.implicit
            && matches!(
                event,
                Event::ValidateContainerAdjustment | Event::UpdatePodSandbox
            )
    }
}

/// The plugins of a runtime, in the order (index, name, registration), what the runtime can apply
/// of what they ask for, and what they may ask for. Cheap to clone: a request keeps the one it
/// began with.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    members: Arc<[Member]>,
    /// Those that hear of what came of a request, and are not asked.
    observers: Arc<[Member]>,
    support: Support,
    policy: policy::Policy,
    known_pods: KnownPods,
    /// Whether creations are validated by others.
    validated_elsewhere: bool,
}

impl Roster {
    /// A roster of these members, put in order.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        let (observers, members): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.observes);
        Self {
            members: members.into(),
            observers: observers.into(),
            support: Support::default(),
            policy: Default::default(),
            known_pods: KnownPods::default(),
            validated_elsewhere: false,
        }
    }

    /// The same plugins of a runtime that can apply just this. Without it, everything can be
    /// applied.
    #[must_use]
    pub fn with_support(mut self, support: Support) -> Self {
        self.support = support;
        self
    }

    /// What the runtime can apply.
    pub fn support(&self) -> Support {
        self.support
    }

    /// The same plugins, which may ask for what this policy allows. Updates and evictions of other
    /// containers than a request's own are judged by the pods that are known. Without it, plugins
    /// may ask for everything.
    #[must_use]
    pub fn with_policy(mut self, policy: policy::Policy, known_pods: KnownPods) -> Self {
        self.policy = policy;
        self.known_pods = known_pods;
        self
    }

    /// The same plugins, whose validators do not judge creations now: whoever asks for one has it
    /// validated later, when it is merged with what others ask for
    /// ([`ValidateFlow::of_request`](super::ValidateFlow::of_request)).
    #[must_use]
    pub fn without_validation(mut self) -> Self {
        self.validated_elsewhere = true;
        self
    }

    /// Whether validators judge creations before they are answered.
    pub fn validates_creations(&self) -> bool {
        !self.validated_elsewhere
    }

    /// What plugins may ask for.
    pub fn policy(&self) -> &policy::Policy {
        &self.policy
    }

    /// Which pods containers are in.
    pub fn known_pods(&self) -> &KnownPods {
        &self.known_pods
    }

    /// The members that are asked, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that [observe](Member::observes), in order: requests go on without them.
    pub fn observers(&self) -> &[Member] {
        &self.observers
    }

    /// Whether an observer wants to hear of an event. None hears of validation, which is a
    /// question.
    pub fn is_observed(&self, event: Event) -> bool {
        let mut observers = self.observers.iter();
        event != Event::ValidateContainerAdjustment
            && observers.any(|member| member.events.contains(event))
    }
}
