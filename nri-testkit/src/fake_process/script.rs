//! The script of a fake plugin as a file: TOML, or JSON of the same form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nri_adaptation::duration;
use nri_core::{Event, EventMask, UnknownEvent, api};
use nri_proto::transport::Code;
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::named_file::read_file;
use crate::{Behavior, FakePlugin, When};

/// Bytes of garbage where the script does not say.
const GARBAGE: usize = 64;
/// Frames of a flood where the script does not say.
const FLOOD: usize = 1000;

/// The script of a fake plugin.
///
/// ```
/// use nri_testkit::Script;
///
/// let script = Script::from_toml(r#"
///     identity = "10-fake"
///     events = ["pod", "CreateContainer"]
///
///     [[rule]]                       # the latest rule that holds counts
///     call = "CreateContainer"       # or Configure, Synchronize, Shutdown, StateChange
///     of = "c1"                      # only for this container (or pod)
///     nth = 2                        # only the second time
///     after = "10ms"                 # wait before
///     do = "fail"
///     code = 5
///     message = "no such device"
///
///     [[rule]]
///     call = "CreateContainer"
///     do = "answer"
///     answer.adjust.env = [{ key = "A", value = "1" }]
/// "#)?;
/// assert_eq!(script.plugin()?.identity(), "10-fake");
/// # Ok::<(), nri_testkit::ScriptError>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Script {
    /// Who it says it is, `NN-name`. Default `10-fake`; the runtime that launched it knows better.
    pub identity: String,
    /// The events that it wants, by names and groups as [`EventMask`] reads them. Default all but
    /// validation.
    pub events: Option<Vec<String>>,
    /// The same by the bits of the mask; goes before `events`.
    pub event_bits: Option<i32>,
    /// Behaves as one built against protocol v0.2. Default false.
    pub old_protocol: bool,
    /// The protocol level that it registers with. Default this crate's.
    pub nri_version: Option<String>,
    /// What is to happen when it does not answer. Default: it does not say.
    pub failure_policy: Option<Wish>,
    /// Whether it registers at all, or stays silent. Default true.
    pub register: bool,
    /// Whether it connects again when the connection has ended; never with an inherited one.
    /// Default false.
    pub reconnect: bool,
    /// What it does, in order.
    pub rule: Vec<Rule>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            identity: "10-fake".to_owned(),
            events: None,
            event_bits: None,
            old_protocol: false,
            nri_version: None,
            failure_policy: None,
            register: true,
            reconnect: false,
            rule: Vec::new(),
        }
    }
}

/// What a script's plugin wishes to happen when it does not answer a request in time, or loses its
/// connection meanwhile. In the protocol's own names; both are false by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Wish {
    /// The request fails.
    pub fail_request: bool,
    /// It stays connected.
    pub keep_connected: bool,
}

/// What to do when.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// The method, by its bare name.
    pub call: String,
    /// Only for the container of this id, or for the pod in events of pods.
    pub of: Option<String>,
    /// Only the n-th time, counted from 1.
    pub nth: Option<usize>,
    /// How long to wait before, as `100ms`.
    pub after: Option<String>,
    /// What to do.
    #[serde(rename = "do")]
    pub deed: Action,
    /// The message of `answer`, in proto3 JSON.
    pub answer: Option<serde_json::Value>,
    /// The status code of `fail`; default 2.
    pub code: Option<i32>,
    /// The text of `fail`.
    pub message: Option<String>,
    /// Bytes of `garbage`, default 64; frames of `flood`, default 1000.
    pub size: Option<usize>,
    /// Who it says it is in `register`.
    pub identity: Option<String>,
}

/// What a plugin can do; see the constructors of [`Behavior`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Answers as a plugin that has nothing to say.
    Usual,
    /// Answers with `answer`.
    Answer,
    /// Answers with what is no message.
    BadAnswer,
    /// Answers with an error of `code` and `message`.
    Fail,
    /// Answers that there is no such method.
    Unimplemented,
    /// Never answers.
    Hang,
    /// Drops the connection; a process of its own ends then, unless it reconnects.
    Exit,
    /// The same, once it has answered.
    AnswerAndExit,
    /// Kills the process that it runs in, whatever else that does.
    Kill,
    /// Writes `size` bytes that are no frames, and never answers.
    Garbage,
    /// Writes `size` frames that nobody asked for, then answers.
    Flood,
    /// Reads nothing any more.
    StopReading,
    /// Closes its own direction of the connection.
    HalfClose,
    /// Registers again, as `identity`, then answers.
    Register,
}

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no script.
    #[error("the script is not understood: {0}")]
    Malformed(String),
    /// A name is no event's.
    #[error(transparent)]
    Event(#[from] UnknownEvent),
    /// A rule makes no sense.
    #[error("rule {number} of the script, for {call}: {reason}")]
    Rule {
        /// Which rule, counted from 1.
        number: usize,
        /// Its method.
        call: String,
        /// What is wrong.
        reason: String,
    },
}

impl Script {
    /// Reads a script in TOML.
    ///
    /// # Errors
    /// It is none; the message says where.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        toml::from_str(text).map_err(|error| ScriptError::Malformed(error.to_string()))
    }

    /// Reads a script in JSON.
    ///
    /// # Errors
    /// It is none; the message says where.
    pub fn from_json(text: &str) -> Result<Self, ScriptError> {
        serde_json::from_str(text).map_err(|error| ScriptError::Malformed(error.to_string()))
    }

    /// Reads a file: JSON if its name ends so, else TOML.
    ///
    /// # Errors
    /// It cannot be read, or is no script.
    pub fn from_file(path: &Path) -> Result<Self, ScriptError> {
        let text = read_file(path).map_err(|source| ScriptError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        match path.extension() {
            Some(extension) if extension == "json" => Self::from_json(&text),
            _ => Self::from_toml(&text),
        }
    }

    /// The plugin that does what the script says.
    ///
    /// # Errors
    /// A rule makes no sense.
    pub fn plugin(&self) -> Result<FakePlugin, ScriptError> {
        let mut plugin = FakePlugin::new(&self.identity);
        if self.old_protocol {
            plugin = plugin.old_protocol();
        }
        if let Some(version) = &self.nri_version {
            plugin = plugin.nri_version(version);
        }
        if let Some(wish) = self.failure_policy {
            plugin = plugin.failure_policy(wish.fail_request, wish.keep_connected);
        }
        if let Some(events) = &self.events {
            plugin = plugin.subscribe(EventMask::parse(events)?);
        }
        if let Some(bits) = self.event_bits {
            plugin = plugin.subscribe_bits(bits);
        }
        for (number, rule) in self.rule.iter().enumerate() {
            let made = rule.when().and_then(|when| Ok((when, rule.act()?)));
            let (when, act) = made.map_err(|reason| ScriptError::Rule {
                number: number + 1,
                call: rule.call.clone(),
                reason,
            })?;
            plugin.change(when, act);
        }
        Ok(plugin)
    }
}

impl Rule {
    fn when(&self) -> Result<When, String> {
        let known = ["Configure", "Synchronize", "Shutdown", "StateChange"];
        let event = Event::ALL.iter().any(|event| event.name() == self.call);
        if !event && !known.contains(&&*self.call) {
            return Err(format!(
                "there is no such method; there are {} and those of the events, such as CreateContainer",
                known.join(", ")
            ));
        }
        let mut when = When::method(&self.call);
        if let Some(id) = &self.of {
            when = when.of(id);
        }
        if let Some(nth) = self.nth {
            when = when.nth(nth);
        }
        Ok(when)
    }

    fn act(&self) -> Result<Behavior, String> {
        let given: BTreeMap<&str, bool> = [
            ("answer", self.answer.is_some()),
            ("code", self.code.is_some()),
            ("message", self.message.is_some()),
            ("size", self.size.is_some()),
            ("identity", self.identity.is_some()),
        ]
        .into();
        let used = self.deed.uses();
        if let Some((unused, _)) = given
            .iter()
            .find(|(key, given)| **given && !used.contains(key))
        {
            return Err(format!("`{unused}` has no meaning here"));
        }
        let act = match self.deed {
            Action::Usual => Behavior::usual(),
            Action::Answer => self.answer()?,
            Action::BadAnswer => Behavior::bad_answer(),
            Action::Fail => {
                let code = self.code.map_or(Code::Unknown, Code::from);
                let message = self.message.as_deref().unwrap_or("as the script says");
                Behavior::fail(code, message)
            }
            Action::Unimplemented => Behavior::unimplemented(),
            Action::Hang => Behavior::hang(),
            Action::Exit => Behavior::exit(),
            Action::AnswerAndExit => Behavior::answer_and_exit(),
            Action::Kill => Behavior::decide(|_| async {
                // It cannot fail: one may always send a signal to oneself.
                let _ = kill_process(getpid(), Signal::KILL);
                Behavior::hang()
            }),
            Action::Garbage => Behavior::garbage(vec![0xff; self.size.unwrap_or(GARBAGE)]),
            Action::Flood => Behavior::flood(self.size.unwrap_or(FLOOD)),
            Action::StopReading => Behavior::stop_reading(),
            Action::HalfClose => Behavior::half_close(),
            Action::Register => {
                Behavior::register(self.identity.as_ref().ok_or("`identity` is missing")?)
            }
        };
        match self.after.as_deref().map(wait).transpose()? {
            Some(time) => Ok(act.after(time)),
            None => Ok(act),
        }
    }

    fn answer(&self) -> Result<Behavior, String> {
        fn message<M: prost::Message + DeserializeOwned>(
            json: serde_json::Value,
        ) -> Result<Behavior, String> {
            serde_json::from_value::<M>(json)
                .map(Behavior::answer)
                .map_err(|error| format!("`answer` is no message of this method: {error}"))
        }
        let json = self.answer.clone().ok_or("`answer` is missing")?;
        match &*self.call {
            "Configure" => message::<api::ConfigureResponse>(json),
            "Synchronize" => message::<api::SynchronizeResponse>(json),
            "CreateContainer" => message::<api::CreateContainerResponse>(json),
            "UpdateContainer" => message::<api::UpdateContainerResponse>(json),
            "StopContainer" => message::<api::StopContainerResponse>(json),
            "ValidateContainerAdjustment" => {
                message::<api::ValidateContainerAdjustmentResponse>(json)
            }
            _ => Err("there is nothing to answer: the message has no fields".to_owned()),
        }
    }
}

impl Action {
    /// The keys that say more about it.
    fn uses(self) -> &'static [&'static str] {
        match self {
            Self::Answer => &["answer"],
            Self::Fail => &["code", "message"],
            Self::Garbage | Self::Flood => &["size"],
            Self::Register => &["identity"],
            _ => &[],
        }
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| format!("`after`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Script::from_toml(text)
            .and_then(|script| script.plugin())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn mistakes_are_named() {
        let rule = |text: &str| error(&format!("[[rule]]\n{text}"));
        for (text, says) in [
            ("call = 'CreateContaner'\ndo = 'hang'", "no such method"),
            (
                "call = 'Configure'\ndo = 'dance'",
                "unknown variant `dance`",
            ),
            ("call = 'Configure'\ndo = 'answer'", "`answer` is missing"),
            (
                "call = 'Configure'\ndo = 'hang'\ncode = 3",
                "`code` has no meaning",
            ),
            ("call = 'Configure'\ndo = 'hang'\nafter = '3'", "`after`"),
            (
                "call = 'Configure'\ndo = 'hang'\nwhen = 3",
                "unknown field `when`",
            ),
            (
                "call = 'RunPodSandbox'\ndo = 'answer'\nanswer = {}",
                "nothing to answer",
            ),
            (
                "call = 'CreateContainer'\ndo = 'answer'\nanswer.adjst = {}",
                "adjst",
            ),
        ] {
            let error = rule(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(error("events = ['CreateContaner']").contains("unknown event"));
        assert!(error("identiy = ''").contains("identiy"));
        let path = Path::new("/nonexistent/script.toml");
        let error = Script::from_file(path).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/script.toml"), "{error}");
    }

    #[test]
    fn a_failure_policy_is_absent_or_said() {
        assert_eq!(Script::from_toml("").unwrap().failure_policy, None);
        let said = Script::from_toml("failure_policy = { keep_connected = true }").unwrap();
        let wish = said.failure_policy.unwrap();
        assert!(wish.keep_connected && !wish.fail_request);
        assert!(error("failure_policy = { keep = true }").contains("keep"));
    }

    #[test]
    fn json_says_the_same() {
        let script = Script::from_json(
            r#"{"identity": "20-j", "event_bits": 0, "rule": [{"call": "Shutdown", "do": "hang"}]}"#,
        )
        .unwrap();
        assert_eq!(script.rule[0].deed, Action::Hang);
        assert_eq!(script.plugin().unwrap().identity(), "20-j");
    }
}
