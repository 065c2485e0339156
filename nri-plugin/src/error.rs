//! Why a plugin could not run.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nri_core::{InvalidIdentity, PluginId};
use nri_proto::InvalidSocketPath;
use nri_proto::transport::{CloseReason, Code};

/// Why a plugin could not connect, register or stay connected.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection that another process has handed over cannot be gone on with.
    #[error("the connection that was handed over: {reason}")]
    HandedOver {
        /// Why.
        reason: String,
    },
    /// The identity given is none.
    #[error("{source}")]
    Identity {
        /// What is wrong with it.
        source: InvalidIdentity,
    },
    /// Nothing says who the plugin is.
    #[error(
        "the plugin's {missing} is not known: give it an identity such as 10-logger, or call the program by such a name"
    )]
    NoIdentity {
        /// `index` or `name`.
        missing: &'static str,
    },
    /// The text that is to say where the runtime's socket is does not.
    #[error(transparent)]
    Socket {
        /// What is wrong with it.
        #[from]
        source: InvalidSocketPath,
    },
    /// The runtime's socket cannot be connected to.
    #[error("cannot connect to the runtime at {}: {source}: {advice}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
        /// What to do about it.
        advice: String,
    },
    /// The runtime's socket did not accept in time.
    #[error("the runtime at {} did not accept the connection within {after:?}", .path.display())]
    ConnectTimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it had.
        after: Duration,
    },
    /// The environment says that a socket was inherited, and that is not so.
    #[error("NRI_PLUGIN_SOCKET is {value:?}: {reason}")]
    Inherited {
        /// The variable's value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// The runtime did not answer the registration in time.
    #[error("the runtime did not answer the registration of plugin {plugin} within {after:?}")]
    RegistrationTimedOut {
        /// The plugin.
        plugin: PluginId,
        /// How long it had.
        after: Duration,
    },
    /// The runtime does not want the plugin.
    #[error("the runtime refused plugin {plugin}: {reason} [{code}]")]
    Refused {
        /// The plugin.
        plugin: PluginId,
        /// The status code of the answer.
        code: Code,
        /// Its text.
        reason: String,
    },
    /// The runtime accepted the plugin and did not configure it in time.
    #[error("the runtime accepted plugin {plugin}, but did not configure it within {after:?}")]
    NotConfigured {
        /// The plugin.
        plugin: PluginId,
        /// How long it had.
        after: Duration,
    },
    /// The plugin could not take its configuration, or the runtime has nothing that it subscribes
    /// to.
    #[error("plugin {plugin} could not be configured: {reason}")]
    Configure {
        /// The plugin.
        plugin: PluginId,
        /// What its handler said, or what is missing.
        reason: String,
    },
    /// The plugin could not be synchronised.
    #[error("plugin {plugin} could not be synchronised: {reason}")]
    Synchronize {
        /// The plugin.
        plugin: PluginId,
        /// What its handler said, or what was wrong.
        reason: String,
    },
    /// The connection ended before the plugin was set up.
    #[error("the connection of plugin {plugin} ended while {during}: {reason}{}", advice(.reason))]
    Closed {
        /// The plugin.
        plugin: PluginId,
        /// What was going on.
        during: &'static str,
        /// How it ended.
        reason: CloseReason,
    },
    /// The connection of a plugin that was set up broke.
    #[error("the connection of plugin {plugin} broke: {reason}")]
    Lost {
        /// The plugin.
        plugin: PluginId,
        /// How.
        reason: CloseReason,
    },
    /// The plugin was stopped before it was set up.
    #[error("the plugin was stopped")]
    Stopped,
}

/// What to look at when a connection ended before a plugin was set up.
fn advice(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Protocol(_) => ": is that the NRI socket of a runtime?",
        CloseReason::PeerClosed => ": the log of the runtime should say why",
        _ => "",
    }
}

/// The same words as its `Display`: a `main` that returns the error prints this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_an_error_prints_it_readably() {
        let plugin: PluginId = "10-logger".parse().unwrap();
        let reason = "line 2:\n  | level = \\x\n".to_owned();
        let error = Error::Configure { plugin, reason };
        let printed = format!("Error: {error:?}");
        assert_eq!(
            printed,
            "Error: plugin 10-logger could not be configured: line 2:\n  | level = \\x\n"
        );
    }

    #[test]
    fn an_error_before_the_plugin_is_set_up_says_where_to_look() {
        for (reason, says) in [
            (CloseReason::Protocol("no frame".to_owned()), "NRI socket"),
            (CloseReason::PeerClosed, "log of the runtime"),
        ] {
            let error = Error::Closed {
                plugin: "10-logger".parse().unwrap(),
                during: "registering",
                reason,
            };
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
