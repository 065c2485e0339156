//! How large a request has become by what plugins ask for, and who is to blame when it fits into no
//! message any more.

use super::{ENVELOPE_RESERVE, MESSAGE_LIMIT};
use crate::{EncodedRequest, Error, PluginId, RegisteredPlugin};

/// The most bytes that a request to a plugin may have.
pub(super) const ROOM: usize = MESSAGE_LIMIT - ENVELOPE_RESERVE;

/// What the answers to a request have added to it so far.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// By plugin, those that added something, in order.
    added: Vec<(PluginId, usize)>,
    total: usize,
    /// More than this the request does not have; not known before it matters.
    bound: Option<usize>,
}

impl Growth {
    /// What one plugin asks for, in so many bytes.
    pub(super) fn by(plugin: &PluginId, bytes: usize) -> Self {
        Self {
            added: vec![(plugin.clone(), bytes)],
            total: bytes,
            bound: None,
        }
    }

    /// Takes in that an answer of so many bytes was merged. `current` is the request as the next
    /// plugin is to see it; it is only asked for, and measured, if there is a next plugin
    /// (`more`) and it may be too large.
    ///
    /// # Errors
    /// It is too large by now.
    pub(super) fn absorbed(
        &mut self,
        plugin: &RegisteredPlugin,
        bytes: usize,
        more: bool,
        current: impl FnOnce() -> std::sync::Arc<EncodedRequest>,
    ) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        self.added.push((plugin.id.clone(), bytes));
        self.total = self.total.saturating_add(bytes);
        let bound = match self.bound {
            // What the runtime asks for itself is taken to leave that much.
            None if self.total < ENVELOPE_RESERVE => return Ok(()),
            None => usize::MAX,
            Some(bound) => bound.saturating_add(bytes),
        };
        if bound <= ROOM || !more {
            self.bound = Some(bound);
            return Ok(());
        }
        let current = current();
        self.bound = Some(current.len());
        self.check(&current)
    }

    /// Whether a request that was made of all of it fits into a message. Without large answers it
    /// is taken to.
    ///
    /// # Errors
    /// It does not: who asked for most is to blame.
    pub(super) fn check(&self, request: &EncodedRequest) -> Result<(), Error> {
        if self.total < ENVELOPE_RESERVE {
            return Ok(());
        }
        let size = request.len();
        let most = self.added.iter().max_by_key(|(_, bytes)| *bytes);
        match most {
            Some((plugin, bytes)) if size > ROOM => Err(Error::TooLarge {
                plugin: plugin.clone(),
                event: request.event(),
                subject: request.subject(),
                asked: *bytes,
                size,
                room: ROOM,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nri_proto::api;

    use crate::flow::{CreateFlow, Flow, Member, Reply, Report, Roster, Step, UpdateFlow};
    use crate::{Error, Event, EventMask, RegisteredPlugin, Response};

    fn roster(plugins: &[&str]) -> Roster {
        Roster::new(plugins.iter().zip(1..).map(|(id, registration)| {
            let id = id.parse().unwrap();
            Member::new(RegisteredPlugin { id, registration }, EventMask::ALL)
        }))
    }

    /// Plays a flow in which each plugin answers the first request as told, and all that judges
    /// accepts.
    fn play<F: Flow>(
        mut flow: F,
        answer: impl Fn(&str) -> Response,
    ) -> (Report<F::Output>, Vec<String>) {
        let mut asked = Vec::new();
        loop {
            match flow.next() {
                Step::Call(call) => {
                    let event = call.request.event();
                    let plugin = call.plugin.id.to_string();
                    asked.push(format!("{event} {plugin}"));
                    let answer = match event {
                        Event::ValidateContainerAdjustment => Response::empty(event),
                        _ => answer(&plugin),
                    };
                    drop(call.request);
                    flow.answer(&call.plugin, Reply::Answer(answer));
                }
                Step::Wait => {}
                Step::Done => break,
            }
        }
        (flow.finish(), asked)
    }

    fn sets(name: &str, count: usize, length: usize) -> Response {
        let env = (0..count).map(|n| api::KeyValue {
            key: format!("{name}{n}"),
            value: "x".repeat(length),
        });
        Response::CreateContainer(api::CreateContainerResponse {
            adjust: Some(api::ContainerAdjustment {
                env: env.collect(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn request() -> api::CreateContainerRequest {
        api::CreateContainerRequest {
            pod: Some(api::PodSandbox::default()),
            container: Some(api::Container {
                id: "c1".into(),
                ..Default::default()
            }),
        }
    }

    fn blamed<T>(report: Report<T>) -> String {
        match report.result {
            Err(Error::TooLarge {
                plugin, size, room, ..
            }) => {
                assert!(size > room);
                plugin.to_string()
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("nothing is too large"),
        }
    }

    #[test]
    fn who_made_the_request_too_large_fails_and_the_next_plugin_is_not_asked() {
        let flow = CreateFlow::new(&roster(&["10-a", "20-b", "50-good"]), request());
        let (report, asked) = play(flow, |plugin| match plugin {
            "10-a" => sets("A", 1, 3 << 20),
            _ => sets("B", 3, 400_000),
        });
        assert_eq!(asked, ["CreateContainer 10-a", "CreateContainer 20-b"]);
        // That is the one who asked for most, not the one who was last.
        assert_eq!(blamed(report), "10-a");
    }

    #[test]
    fn what_nobody_else_is_asked_about_may_be_as_large_as_an_answer() {
        let events = EventMask::from(Event::CreateContainer);
        let id = "10-last".parse().unwrap();
        let last = Member::new(
            RegisteredPlugin {
                id,
                registration: 1,
            },
            events,
        );
        let flow = CreateFlow::new(&Roster::new([last]), request());
        let (report, _) = play(flow, |_| sets("A", 1, (4 << 20) - 1024));
        assert_eq!(report.result.unwrap().adjustment.unwrap().env.len(), 1);
    }

    #[test]
    fn who_made_the_judging_too_large_fails_and_no_validator_does() {
        // It fits itself, but not with an owner for each entry.
        let flow = CreateFlow::new(&roster(&["10-bad"]), request());
        let (report, asked) = play(flow, |_| sets("VARIABLE", 100_000, 16));
        assert_eq!(asked, ["CreateContainer 10-bad"]);
        assert_eq!(blamed(report), "10-bad");
    }

    #[test]
    fn what_fits_is_not_held_up_however_it_comes_about() {
        let plugins: Vec<String> = (10..90).map(|n| format!("{n}-p")).collect();
        let plugins: Vec<&str> = plugins.iter().map(String::as_str).collect();
        let flow = CreateFlow::new(&roster(&plugins), request());
        let (report, _) = play(flow, |plugin| sets(&plugin.replace('-', "_"), 1, 40_000));
        assert_eq!(report.result.unwrap().adjustment.unwrap().env.len(), 80);
    }

    #[test]
    fn an_update_too_large_is_the_plugins_too() {
        let unified = |n: usize| (format!("k{n}"), "x".repeat(1 << 20));
        let response = api::UpdateContainerResponse {
            update: vec![api::ContainerUpdate {
                container_id: "c1".into(),
                linux: Some(api::LinuxContainerUpdate {
                    resources: Some(api::LinuxResources {
                        unified: (0..4).map(unified).collect(),
                        ..Default::default()
                    }),
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let request = api::UpdateContainerRequest {
            container: Some(api::Container {
                id: "c1".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let flow = UpdateFlow::new(&roster(&["10-bad", "20-good"]), request);
        let (report, asked) = play(flow, |_| Response::UpdateContainer(response.clone()));
        assert_eq!(asked, ["UpdateContainer 10-bad"]);
        assert_eq!(blamed(report), "10-bad");
    }
}
