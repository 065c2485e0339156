//! What is counted: a container's whole life, relayed by a scheduler that has so much of something
//! beside it. The test `counted_growth` has it too.
//!
//! What may not enter: how anything is counted.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use nri_core::flow::{Member, Reply};
use nri_core::lifecycle::ObjectKey;
use nri_core::schedule::{Config, Effect, PluginLimits, Scheduler, Submission};
use nri_core::{Event, EventMask, RegisteredPlugin, Request, Response, Settlement, api};

/// What there is more and more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Pods that run.
    Pods,
    /// Containers that run, in one pod.
    Containers,
    /// Plugins that hear of everything; what is counted is counted per plugin.
    Plugins,
    /// Requests that wait for the answer of another plugin.
    Pending,
    /// Containers that have come and gone.
    History,
}

impl Dimension {
    pub(crate) const ALL: [Self; 5] = [
        Self::Pods,
        Self::Containers,
        Self::Plugins,
        Self::Pending,
        Self::History,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Containers => "containers",
            Self::Plugins => "plugins",
            Self::Pending => "pending requests",
            Self::History => "history",
        }
    }

    /// How much of it there is. Of plugins no runtime has more.
    pub(crate) fn sizes(self) -> &'static [usize] {
        match self {
            Self::Plugins => &[10, 100, 1000],
            _ => &[10, 1000, 100_000],
        }
    }
}

/// The name of the plugin that never answers.
const SLOW: &str = "silent";

/// A scheduler with what there is.
pub(crate) struct World {
    scheduler: Scheduler,
    now: Instant,
    next: usize,
    /// Calls per event.
    plugins: usize,
}

impl World {
    /// A scheduler that has so much of something.
    pub(crate) fn new(dimension: Dimension, count: usize) -> Result<Self, Box<dyn Error>> {
        let mut world = Self {
            scheduler: Scheduler::new(Config::default()),
            now: Instant::now(),
            next: 0,
            plugins: 0,
        };
        let all: EventMask = EventMask::ALL;
        let plugins = if dimension == Dimension::Plugins {
            count
        } else {
            1
        };
        for number in 0..plugins {
            world.join(&format!("{:02}-plugin{number}", number % 100), all)?;
        }
        world.plugins = plugins;
        match dimension {
            Dimension::Plugins => {}
            Dimension::Pods => {
                (0..count).for_each(|number| world.run_pod(&format!("pod-{number}")))
            }
            Dimension::Containers => {
                for number in 0..count {
                    world.create("full", &format!("container-{number}"));
                }
            }
            Dimension::Pending => {
                let pod_events: EventMask = Event::RunPodSandbox.into();
                world.join(&format!("99-{SLOW}"), pod_events)?;
                (0..count).for_each(|number| world.run_pod(&format!("pod-{number}")));
            }
            Dimension::History => (0..count).for_each(|_| world.live()),
        }
        // What follows is in a pod of its own, and tables have the size that they keep.
        (0..10).for_each(|_| world.live());
        Ok(world)
    }

    /// Among how many plugins the work is divided.
    pub(crate) fn plugins(&self) -> usize {
        self.plugins
    }

    /// A container comes and goes.
    pub(crate) fn live(&mut self) {
        self.next += 1;
        let id = format!("living-{}", self.next);
        self.create("measured", &id);
        for event in [
            Event::StartContainer,
            Event::PostStartContainer,
            Event::StopContainer,
            Event::RemoveContainer,
        ] {
            self.relay("measured", Some(&id), event);
        }
    }

    fn create(&mut self, pod: &str, container: &str) {
        self.relay(pod, Some(container), Event::CreateContainer);
    }

    fn run_pod(&mut self, pod: &str) {
        self.relay(pod, None, Event::RunPodSandbox);
    }

    fn join(&mut self, id: &str, events: EventMask) -> Result<(), Box<dyn Error>> {
        let plugin = RegisteredPlugin {
            id: id.parse()?,
            registration: 1,
        };
        let member = Member::new(plugin, events);
        let limits = PluginLimits::default();
        self.scheduler.handle_admitted(member, limits, self.now);
        self.drive();
        Ok(())
    }

    fn relay(&mut self, pod: &str, container: Option<&str>, event: Event) {
        let mut request = Request::decode(event, &[])
            .unwrap_or_else(|_| Request::RunPodSandbox(api::RunPodSandboxRequest::default()));
        if let Request::CreateContainer(create) = &mut request {
            create.container = Some(api::Container {
                id: container.unwrap_or_default().to_owned(),
                ..Default::default()
            });
        }
        let mut submission = Submission::new(Arc::new(request.into()), ObjectKey::pod("", pod));
        if let Some(container) = container {
            submission = submission.with_container(ObjectKey::container("", container));
        }
        self.scheduler.handle_request(submission, self.now);
        self.drive();
    }

    /// Does what the scheduler wants. Every plugin answers at once, but for the one that never
    /// does.
    fn drive(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Call {
                    call,
                    plugin,
                    message,
                    ..
                } if plugin.id.name().as_str() != SLOW => {
                    let answer = Reply::Answer(Response::empty(message.event()));
                    self.scheduler.handle_reply(call, answer, self.now);
                }
                Effect::Synchronize { plugin } => {
                    // Nothing is hidden that is not shown either.
                    let _plan = self.scheduler.handle_snapshot(&plugin, self.now);
                    self.scheduler.handle_synchronized(&plugin, self.now);
                }
                Effect::Finished {
                    request,
                    unsettled: true,
                    ..
                } => {
                    let settled = Settlement::Committed;
                    self.scheduler.handle_settled(request, settled, self.now);
                }
                _ => {}
            }
        }
    }
}
