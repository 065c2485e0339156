//! Requests as JSON. What may not enter: what is done with it.

use nri_core::Request;
use serde_json::Value;

use crate::event_table::handled_events;

macro_rules! define {
    ($($kind:ident $event:ident $setter:ident $handler:ident($request:ident: $($part:ident)+) -> $answer:ty;)*) => {
        fn value(request: &Request) -> serde_json::Result<Value> {
            match request {
                $(Request::$event(request) => serde_json::to_value(request),)*
                // Of an event that is newer than this crate.
                _ => Ok(Value::Null),
            }
        }
    };
}

handled_events!(define);

/// The message of a request in proto3 JSON: names in lowerCamel, 64-bit numbers as texts, what has
/// its default value left out. Messages themselves are `Serialize` and `Deserialize` with the
/// feature `json`.
///
/// ```
/// use nri_plugin::{Request, api, request_to_json};
///
/// let pod = api::PodSandbox { name: "web-1".to_owned(), ..Default::default() };
/// let request = Request::RunPodSandbox(api::RunPodSandboxRequest { pod: Some(pod) });
/// assert_eq!(request_to_json(&request).to_string(), r#"{"pod":{"name":"web-1"}}"#);
/// ```
pub fn request_to_json(request: &Request) -> Value {
    // What the protocol's own words do not say has no form in JSON: an enumeration's number of a
    // newer version.
    value(request).unwrap_or_else(|error| Value::from(error.to_string()))
}
