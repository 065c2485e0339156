//! Driving a flow with plugins that answer from a script, and writing down what they see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nri_core::flow::{CreateFlow, Flow, Member, Reply, Report, Roster, Step, StopFlow, UpdateFlow};
use nri_core::policy::{KnownPods, Policy};
use nri_core::{EncodedRequest, Event, EventMask, PluginId, RegisteredPlugin, Response, api};

use super::error::VectorError;
use super::record::{MergeVector, ScriptedFailure, ScriptedPlugin};

/// What came of replaying a vector.
#[derive(Debug)]
pub(super) struct Replay {
    /// The combined response, or why there is none.
    pub(super) result: Result<Response, nri_core::Error>,
    /// The request with which a plugin was called, by its number in the vector.
    pub(super) calls: BTreeMap<usize, Arc<EncodedRequest>>,
    /// The request with which validators were called; the same for all.
    pub(super) validation: Option<Arc<EncodedRequest>>,
}

/// Plays a vector. The request of the vector goes through the flow of its kind, and plugins may ask
/// for what the policy allows.
pub(super) fn replay(vector: &MergeVector, policy: Policy) -> Result<Replay, VectorError> {
    let (event, encoded) = match vector.kind.as_str() {
        "create" => (Event::CreateContainer, &vector.request_b64),
        "update" => (Event::UpdateContainer, &vector.request_b64),
        _ => (Event::StopContainer, &vector.request_b64),
    };
    let cast = Cast::of(vector, event)?;
    let roster = cast.roster().with_policy(policy, KnownPods::default());
    match event {
        Event::CreateContainer => {
            let flow = CreateFlow::new(&roster, encoded.decode()?);
            Ok(cast.play(flow, |outcome| {
                Response::CreateContainer(outcome.to_response())
            }))
        }
        Event::UpdateContainer => {
            let flow = UpdateFlow::new(&roster, encoded.decode()?);
            Ok(cast.play(flow, |outcome| {
                Response::UpdateContainer(outcome.to_response())
            }))
        }
        _ => {
            let flow = StopFlow::new(&roster, encoded.decode()?);
            Ok(cast.play(flow, |outcome| {
                Response::StopContainer(outcome.to_response())
            }))
        }
    }
}

/// The plugins of a vector, by registration: its plugins from 0, then its validators.
struct Cast(Vec<Actor>);

struct Actor {
    plugin: RegisteredPlugin,
    events: EventMask,
    reply: Reply,
    /// Its number, if it is no mere validator.
    number: Option<usize>,
}

impl Cast {
    fn of(vector: &MergeVector, event: Event) -> Result<Self, VectorError> {
        let registered = |index: &str, name: &str, registration: usize| {
            Ok::<_, VectorError>(RegisteredPlugin {
                id: PluginId::from_parts(index, name)?,
                registration: registration as u64,
            })
        };
        let mut actors = Vec::new();
        for (number, scripted) in vector.plugins.iter().enumerate() {
            let events = if scripted.subscribed {
                event.into()
            } else {
                EventMask::NONE
            };
            actors.push(Actor {
                plugin: registered(&scripted.index, &scripted.name, number)?,
                events,
                reply: scripted_reply(scripted, event)?,
                number: Some(number),
            });
        }
        for scripted in &vector.validators {
            let verdict = api::ValidateContainerAdjustmentResponse {
                reject: !scripted.reject.is_empty(),
                reason: scripted.reject.clone(),
            };
            actors.push(Actor {
                plugin: registered(&scripted.index, &scripted.name, actors.len())?,
                events: Event::ValidateContainerAdjustment.into(),
                reply: Reply::Answer(Response::ValidateContainerAdjustment(verdict)),
                number: None,
            });
        }
        Ok(Self(actors))
    }

    fn roster(&self) -> Roster {
        Roster::new(
            self.0
                .iter()
                .map(|actor| Member::new(actor.plugin.clone(), actor.events)),
        )
    }

    fn play<F: Flow>(&self, mut flow: F, combine: impl Fn(&F::Output) -> Response) -> Replay {
        let mut calls = BTreeMap::new();
        let mut validation = None;
        // Scripted plugins answer at once, so there is never anything to wait for.
        while let Step::Call(call) = flow.next() {
            let Some(actor) = self.0.iter().find(|actor| actor.plugin == call.plugin) else {
                break;
            };
            match actor.number {
                Some(number) => {
                    calls.insert(number, Arc::clone(&call.request));
                }
                None => validation = Some(Arc::clone(&call.request)),
            }
            flow.answer(&call.plugin, actor.reply.clone());
        }
        let Report { result, .. } = flow.finish();
        Replay {
            result: result.map(|outcome| combine(&outcome)),
            calls,
            validation,
        }
    }
}

fn scripted_reply(scripted: &ScriptedPlugin, event: Event) -> Result<Reply, VectorError> {
    Ok(match &scripted.fail {
        None => Reply::Answer(match (&scripted.response_b64, event) {
            (None, event) => Response::empty(event),
            (Some(response), Event::CreateContainer) => {
                Response::CreateContainer(response.decode()?)
            }
            (Some(response), Event::UpdateContainer) => {
                Response::UpdateContainer(response.decode()?)
            }
            (Some(response), _) => Response::StopContainer(response.decode()?),
        }),
        Some(ScriptedFailure { kind, text }) => match kind.as_str() {
            "error" => Reply::Error {
                code: 2,
                message: text.clone(),
            },
            "timeout" => Reply::Late {
                after: Duration::from_secs(2),
            },
            "closed" => Reply::Gone { delivered: true },
            kind => {
                return Err(VectorError::Unknown {
                    what: "kind of failure",
                    value: kind.to_owned(),
                });
            }
        },
    })
}
