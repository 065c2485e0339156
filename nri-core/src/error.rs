//! Why a call into the API failed. Every message names the plugin, the container and the field
//! concerned.

use std::fmt::Write as _;
use std::time::Duration;

use crate::brief::{listed, quoted};
use crate::instance_error::InstanceError;
use crate::merge::MergeError;
use crate::policy::Denial;
use crate::{DomainError, Event, PluginId};

/// Why a call into the API failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Plugins asked for what cannot be combined.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A plugin asked for what the operator's policy denies.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A plugin answered with an error.
    #[error("plugin {plugin} failed {event} of {subject}: {message} (code {code})")]
    Plugin {
        /// The plugin.
        plugin: PluginId,
        /// What it was asked.
        event: Event,
        /// The pod or container it was asked about, in words.
        subject: String,
        /// The status code of the answer.
        code: i32,
        /// The text of the answer.
        message: String,
    },
    /// What plugins ask for makes a request so large that no message to a plugin can carry it.
    #[error(
        "plugin {plugin} makes {event} of {subject} too large: it has {size} bytes, {asked} of which are what the plugin asks \
         for, and a message to a plugin has room for {room}: have it ask for less"
    )]
    TooLarge {
        /// The plugin that asks for most.
        plugin: PluginId,
        /// What the next plugin was to be asked.
        event: Event,
        /// The pod or container it is about, in words.
        subject: String,
        /// How many bytes the plugin's answer had.
        asked: usize,
        /// How many bytes the request would have.
        size: usize,
        /// How many there are.
        room: usize,
    },
    /// A plugin that must answer did not do so in time.
    #[error("plugin {plugin} {} {event} of {subject}{}, and its policy is to fail then", late(.after).0, late(.after).1)]
    Late {
        /// The plugin.
        plugin: PluginId,
        /// What it was asked.
        event: Event,
        /// The pod or container it was asked about, in words.
        subject: String,
        /// How long it had; zero if it was not asked, since it still owes an earlier answer.
        after: Duration,
    },
    /// A plugin that must answer is not connected (any more).
    #[error(
        "plugin {plugin} went away before it answered {event} of {subject}, and its policy is to fail then"
    )]
    Gone {
        /// The plugin.
        plugin: PluginId,
        /// What it was asked.
        event: Event,
        /// The pod or container it was asked about, in words.
        subject: String,
    },
    /// A validator did not accept the combined adjustment of a container.
    #[error("{}", rejected(.container, .validator, .reason, .others, .unheard))]
    Rejected {
        /// The container.
        container: String,
        /// The first validator, in plugin order, that did not accept.
        validator: PluginId,
        /// Its reason.
        reason: String,
        /// The other validators that did not accept, with their reasons.
        others: Vec<(PluginId, String)>,
        /// Those among all of these that did not judge at all: they failed, were late, or are
        /// disconnected. What a validator does not judge is not applied.
        unheard: Box<[PluginId]>,
    },
    /// A pod is not to run.
    #[error("validator {validator} refused {pod}: {reason}")]
    Refused {
        /// The pod, with namespace, name and id.
        pod: String,
        /// The validator.
        validator: PluginId,
        /// Its reason.
        reason: String,
    },
    /// Several plugins failed an event that all of them had to hear of.
    #[error("{} plugins failed: {}", .0.len(), listed(.0, "; "))]
    Several(Vec<Error>),
    /// What a plugin asked for another container could not be done.
    #[error(
        "plugin{} {} asked to {action} container {}: {source}",
        if .plugins.len() == 1 { "" } else { "s" },
        listed(.plugins, ", "),
        quoted(.container)
    )]
    SideEffect {
        /// The plugins that asked for it, or for parts of it, in order.
        plugins: Vec<PluginId>,
        /// `update` or `evict`.
        action: &'static str,
        /// The other container.
        container: String,
        /// Why it could not be done.
        source: DomainError,
    },
    /// The caller's deadline passed, or it cancelled, before the plugins were done. No plugin is to
    /// blame.
    #[error("the caller's time for {event} of {subject} was over before the plugins were done")]
    OutOfTime {
        /// The event.
        event: Event,
        /// The pod or container, in words.
        subject: String,
    },
    /// The call does not fit the pod's or container's lifecycle.
    #[error("{0}")]
    Lifecycle(String),
    /// The call makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
    /// The instance could not start or is in a state that does not allow the call.
    #[error(transparent)]
    Instance(#[from] InstanceError),
}

impl Error {
    /// The error as one of gRPC's status codes, for runtimes whose own API speaks gRPC (CRI): a
    /// number, so that no gRPC crate has to be the same on both sides.
    ///
    /// | error | code |
    /// |---|---|
    /// | [`Plugin`](Error::Plugin) | the plugin's, if it is one of gRPC's that stands for an error; otherwise 2, `UNKNOWN` |
    /// | [`Invalid`](Error::Invalid) | 3, `INVALID_ARGUMENT` |
    /// | [`Late`](Error::Late), [`OutOfTime`](Error::OutOfTime) | 4, `DEADLINE_EXCEEDED` |
    /// | [`Rejected`](Error::Rejected), [`Refused`](Error::Refused), [`Denied`](Error::Denied) | 7, `PERMISSION_DENIED` |
    /// | [`TooLarge`](Error::TooLarge) | 8, `RESOURCE_EXHAUSTED` |
    /// | [`Merge`](Error::Merge), [`Lifecycle`](Error::Lifecycle), [`Instance`](Error::Instance) | 9, `FAILED_PRECONDITION` |
    /// | [`Gone`](Error::Gone) | 14, `UNAVAILABLE` |
    /// | [`Several`](Error::Several) | the code of all of them if they agree; otherwise 2, `UNKNOWN` |
    /// | [`SideEffect`](Error::SideEffect) | that of the [`DomainError`]: 5, `NOT_FOUND`; 9, `FAILED_PRECONDITION` (wrong state); 3, `INVALID_ARGUMENT`; 13, `INTERNAL` (failed) |
    ///
    /// ```
    /// use nri_core::Error;
    /// assert_eq!(Error::Lifecycle("the container was removed".into()).code(), 9);
    /// ```
    pub fn code(&self) -> i32 {
        const UNKNOWN: i32 = 2;
        match self {
            Self::Plugin { code, .. } if (1..=16).contains(code) => *code,
            Self::Plugin { .. } => UNKNOWN,
            Self::Invalid(_) => 3,
            Self::Late { .. } | Self::OutOfTime { .. } => 4,
            Self::Rejected { .. } | Self::Refused { .. } | Self::Denied(_) => 7,
            Self::TooLarge { .. } => 8,
            Self::Merge(_) | Self::Lifecycle(_) | Self::Instance(_) => 9,
            Self::Gone { .. } => 14,
            Self::Several(errors) => {
                let mut codes = errors.iter().map(Self::code);
                let first = codes.next().unwrap_or(UNKNOWN);
                if codes.all(|code| code == first) {
                    first
                } else {
                    UNKNOWN
                }
            }
            Self::SideEffect { source, .. } => match source {
                DomainError::NotFound(_) => 5,
                DomainError::WrongState { .. } => 9,
                DomainError::Invalid { .. } => 3,
                DomainError::Failed(_) => 13,
            },
        }
    }
}

fn rejected(
    container: &str,
    validator: &PluginId,
    reason: &str,
    others: &[(PluginId, String)],
    unheard: &[PluginId],
) -> String {
    let did = match unheard.contains(validator) {
        true => "did not judge",
        false => "rejected",
    };
    let mut text = format!(
        "validator {validator} {did} the adjustment of container {}: {reason}",
        quoted(container)
    );
    for (other, reason) in others {
        let _ = match unheard.contains(other) {
            true => write!(text, "; validator {other} did not judge it: {reason}"),
            false => write!(text, "; validator {other} rejected it: {reason}"),
        };
    }
    text
}

/// What a plugin did that did not answer in time, and how long it had for that.
fn late(after: &Duration) -> (&'static str, String) {
    match after.is_zero() {
        true => (
            "still owes an earlier answer and was not asked about",
            String::new(),
        ),
        false => ("did not answer", format!(" within {after:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(code: i32) -> Error {
        Error::Plugin {
            plugin: "10-a".parse().unwrap(),
            event: Event::CreateContainer,
            subject: "container".into(),
            code,
            message: "no".into(),
        }
    }

    fn side_effect(source: DomainError) -> Error {
        Error::SideEffect {
            plugins: vec!["10-a".parse().unwrap(), "20-b".parse().unwrap()],
            action: "update",
            container: "c".into(),
            source,
        }
    }

    #[test]
    fn what_could_not_be_done_names_all_who_asked_for_it() {
        assert_eq!(
            side_effect(DomainError::Failed("PidsLimit \"-2\": no".into())).to_string(),
            "plugins 10-a, 20-b asked to update container \"c\": PidsLimit \"-2\": no"
        );
    }

    #[test]
    fn codes_are_those_of_grpc_and_never_ok() {
        let out_of_time = Error::OutOfTime {
            event: Event::CreateContainer,
            subject: "container".into(),
        };
        let wrong_state = DomainError::WrongState {
            id: "c".into(),
            state: "stopped".into(),
        };
        for (error, code) in [
            (plugin(7), 7),
            (plugin(0), 2),
            (plugin(17), 2),
            (plugin(-1), 2),
            (Error::Invalid("x".into()), 3),
            (out_of_time, 4),
            (Error::Lifecycle("x".into()), 9),
            (InstanceError::Stopped.into(), 9),
            (Error::Several(vec![plugin(7), plugin(7)]), 7),
            (Error::Several(vec![plugin(7), plugin(5)]), 2),
            (Error::Several(Vec::new()), 2),
            (side_effect(DomainError::NotFound("c".into())), 5),
            (side_effect(wrong_state), 9),
            (side_effect(DomainError::Failed("x".into())), 13),
        ] {
            assert_eq!(error.code(), code, "{error}");
        }
    }
}
