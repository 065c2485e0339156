//! The messages of all methods: between bytes and JSON, and with their values hidden. What may not
//! enter: whose messages they are.

use bytes::Bytes;
use nri_core::api;
use nri_proto::{Method, rpc};
use prost::Message as _;
use serde_json::{Value, json};

use super::entry::What;

/// What stands for a value that is hidden.
const HIDDEN: &str = "***";

/// Which message of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Request,
    Answer,
}

macro_rules! methods {
    ($($service:ident::$method:ident),+ $(,)?) => {
        /// A message as JSON; `None` if the method is not known, or it is no message of that.
        pub(super) fn to_json(method: &str, part: Part, payload: &[u8]) -> Option<Value> {
            $(if method == rpc::$service::$method::NAME {
                type Asked = <rpc::$service::$method as Method>::Request;
                type Told = <rpc::$service::$method as Method>::Response;
                return match part {
                    Part::Request => serde_json::to_value(Asked::decode(payload).ok()?).ok(),
                    Part::Answer => serde_json::to_value(Told::decode(payload).ok()?).ok(),
                };
            })+
            None
        }

        /// The bytes of a message that is JSON.
        fn to_bytes(method: &str, part: Part, json: Value) -> Option<Vec<u8>> {
            $(if method == rpc::$service::$method::NAME {
                type Asked = <rpc::$service::$method as Method>::Request;
                type Told = <rpc::$service::$method as Method>::Response;
                return match part {
                    Part::Request => {
                        serde_json::from_value::<Asked>(json).ok().map(|it| it.encode_to_vec())
                    }
                    Part::Answer => {
                        serde_json::from_value::<Told>(json).ok().map(|it| it.encode_to_vec())
                    }
                };
            })+
            None
        }

        /// The name of a method that is known, as it lives for ever.
        pub(super) fn known(method: &str) -> Option<&'static str> {
            $(if method == rpc::$service::$method::NAME {
                return Some(rpc::$service::$method::NAME);
            })+
            None
        }
    };
}

methods! {
    runtime::RegisterPlugin, runtime::UpdateContainers,
    plugin::Configure, plugin::Synchronize, plugin::Shutdown, plugin::StateChange,
    plugin::RunPodSandbox, plugin::UpdatePodSandbox, plugin::PostUpdatePodSandbox,
    plugin::StopPodSandbox, plugin::RemovePodSandbox,
    plugin::CreateContainer, plugin::PostCreateContainer, plugin::StartContainer,
    plugin::PostStartContainer, plugin::UpdateContainer, plugin::PostUpdateContainer,
    plugin::StopContainer, plugin::RemoveContainer, plugin::ValidateContainerAdjustment,
}

/// What a request is about: the container's id, else the pod's; empty for others.
pub(super) fn subject(payload: &[u8], method: &str) -> String {
    // The pod and the container have the same places in the requests of all events.
    let read = match method {
        "StateChange" => api::StateChangeEvent::decode(payload).map(|it| (it.pod, it.container)),
        "Configure" | "Synchronize" | "Shutdown" | "RegisterPlugin" | "UpdateContainers" => {
            return String::new();
        }
        _ => api::PostStartContainerRequest::decode(payload).map(|it| (it.pod, it.container)),
    };
    match read {
        Ok((_, Some(container))) => container.id,
        Ok((Some(pod), _)) => pod.id,
        _ => String::new(),
    }
}

/// The message of an entry as JSON: what cannot be read is told by its length.
pub(super) fn shown(what: &What, hide: bool) -> Value {
    let (method, part, payload) = match what {
        What::Request {
            method, payload, ..
        } => (method, Part::Request, payload),
        What::Answer {
            method, payload, ..
        } => (method, Part::Answer, payload),
        _ => return Value::Null,
    };
    match to_json(method, part, payload) {
        Some(mut message) => {
            if hide {
                hide_values(&mut message);
            }
            message
        }
        None if payload.is_empty() => json!({}),
        None => json!({ "undecoded_bytes": payload.len() }),
    }
}

/// The same entry with its values hidden; a message that is not understood is left out.
pub(super) fn hidden(what: What) -> What {
    let conceal = |method: &str, part: Part, payload: &Bytes| {
        let mut message = to_json(method, part, payload).unwrap_or_else(|| json!({}));
        hide_values(&mut message);
        Bytes::from(to_bytes(method, part, message).unwrap_or_default())
    };
    match what {
        What::Request {
            from,
            stream,
            method,
            payload,
            timeout_ns,
        } => What::Request {
            payload: conceal(&method, Part::Request, &payload),
            from,
            stream,
            method,
            timeout_ns,
        },
        What::Answer {
            from,
            stream,
            method,
            payload,
            error,
        } => What::Answer {
            payload: conceal(&method, Part::Answer, &payload),
            error: error.map(|(code, _)| (code, HIDDEN.to_owned())),
            from,
            stream,
            method,
        },
        other => other,
    }
}

/// Hides what may be secret: the values of variables, annotations and labels, command lines, and
/// configurations. Names stay.
fn hide_values(message: &mut Value) {
    match message {
        Value::Array(list) => list.iter_mut().for_each(hide_values),
        Value::Object(members) => {
            for (name, value) in members {
                match &**name {
                    "annotations" | "labels" => {
                        let values = value
                            .as_object_mut()
                            .into_iter()
                            .flat_map(|it| it.values_mut());
                        values.for_each(|value| *value = HIDDEN.into());
                    }
                    "env" => {
                        for variable in value.as_array_mut().into_iter().flatten() {
                            hide_variable(variable);
                        }
                    }
                    "args" => {
                        let words = value.as_array_mut().into_iter().flatten();
                        words.for_each(|word| *word = HIDDEN.into());
                    }
                    "config" | "reason" if value.is_string() => *value = HIDDEN.into(),
                    _ => hide_values(value),
                }
            }
        }
        _ => {}
    }
}

/// `NAME=value`, or a message of both.
fn hide_variable(variable: &mut Value) {
    match variable {
        Value::String(text) => {
            let name = text.split_once('=').map_or("", |(name, _)| name);
            *text = format!("{name}={HIDDEN}");
        }
        Value::Object(members) => {
            members.insert("value".to_owned(), HIDDEN.into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_hidden_wherever_it_stands_and_names_stay() {
        let mut message = json!({
            "pod": {"labels": {"app": "s3cret"}, "annotations": {"a": "s3cret"}, "name": "web"},
            "container": {"env": ["TOKEN=s3cret", "s3cret"], "args": ["run", "s3cret"],
                          "hooks": {"prestart": [{"path": "/h", "args": ["s3cret"], "env": ["A=s3cret"]}]}},
            "adjust": {"env": [{"key": "TOKEN", "value": "s3cret"}], "mounts": [{"source": "/data"}]},
            "config": "s3cret",
        });
        hide_values(&mut message);
        let text = message.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        for kept in ["app", "web", "TOKEN=***", "/data", "/h"] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }

    #[test]
    fn a_hidden_request_is_a_request_still() {
        let asked = api::CreateContainerRequest {
            container: Some(crate::container("web")),
            pod: Some(crate::pod("web-1")),
        };
        let what = What::Request {
            from: super::super::Side::Runtime,
            stream: 1,
            method: "CreateContainer".to_owned(),
            payload: asked.encode_to_vec().into(),
            timeout_ns: 0,
        };
        let What::Request { payload, .. } = hidden(what) else {
            panic!("a request")
        };
        let read = api::CreateContainerRequest::decode(payload).unwrap();
        assert_eq!(read.container.unwrap().id, crate::container("web").id);
    }
}
