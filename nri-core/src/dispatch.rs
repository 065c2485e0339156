//! How a plugin is given a request, whoever calls it: a runtime that it is built into, or the end
//! of a connection. What may not enter: what a handler does.

use nri_proto::api;

use crate::plugin::{HandlerError, Plugin, PluginCtx};
use crate::{Event, ReceivedRequest, Request, Response};

/// Has a plugin handle a request: the one door for events, of plugins over the wire and of those
/// built into a runtime.
///
/// Cancel-safe as far as the handler is: dropping the future drops the handler's.
///
/// # Errors
/// What the handler returned, or that it answers another event than it was asked about. A failing
/// validation handler is a rejection with the error as its reason instead; one that is not there
/// says so.
pub fn dispatch<'a>(
    plugin: &'a dyn Plugin,
    cx: &'a PluginCtx,
    request: Request,
) -> impl Future<Output = Result<Response, HandlerError>> + Send + use<'a> {
    let event = request.event();
    answered(event, plugin.relay(cx, request))
}

/// The same for a request that is not decoded: the door for plugins that
/// [take it so](Plugin::takes_undecoded).
///
/// # Errors
/// As [`dispatch`].
pub fn dispatch_undecoded<'a>(
    plugin: &'a dyn Plugin,
    cx: &'a PluginCtx,
    request: ReceivedRequest,
) -> impl Future<Output = Result<Response, HandlerError>> + Send + use<'a> {
    let event = request.event();
    answered(event, plugin.receive(cx, request))
}

/// The answer to an event.
async fn answered(
    event: Event,
    answer: impl Future<Output = Result<Response, HandlerError>> + Send,
) -> Result<Response, HandlerError> {
    let answer = match answer.await {
        Ok(response) if response.event() != event => {
            Err(format!("the answer to {event} is one to {}", response.event()).into())
        }
        answer => answer,
    };
    match answer {
        Err(error) if event == Event::ValidateContainerAdjustment && !error.is_unimplemented() => {
            let verdict = api::ValidateContainerAdjustmentResponse {
                reject: true,
                reason: error.to_string(),
            };
            Ok(Response::ValidateContainerAdjustment(verdict))
        }
        answer => answer,
    }
}
