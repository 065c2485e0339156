//! What the runtime says of containers as it happens, to crictl.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::expect::until;
use crate::stage::Stage;

const HEARD: &str = "/run/e2e/events.json";

/// A `crictl events` that listens, and ends when it is dropped.
pub(crate) struct Events(Child);

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// The runtime does not let it.
    pub(crate) fn listen(stage: &Stage) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{HEARD}: {e}");
        // The runtime says so in its log, where there may be others from before.
        let listening = || {
            let log = fs::read_to_string(stage.log()).unwrap_or_default();
            log.matches("listens to events").count()
        };
        let before = listening();
        let mut command = stage.crictl.command(&["events", "--output", "json"]);
        command
            .stdin(Stdio::null())
            .stdout(File::create(HEARD).map_err(failed)?);
        let events = Self(command.spawn().map_err(|e| format!("crictl: {e}"))?);
        until("a client that listens to events", || {
            Ok(listening() > before)
        })?;
        Ok(events)
    }

    /// Waits until it has heard so many events; each as what it is, and the container.
    ///
    /// # Errors
    /// It has not in time.
    pub(crate) fn heard(&self, count: usize) -> Result<Vec<(String, String)>, String> {
        let mut heard = Vec::new();
        until(&format!("{count} events"), || {
            let text = fs::read_to_string(HEARD).unwrap_or_default();
            let all = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            // The last one may not be all there yet.
            heard = all
                .map_while(Result::ok)
                .map(|event| named(&event))
                .collect();
            Ok(heard.len() >= count)
        })?;
        Ok(heard)
    }

    /// Waits until it has ended by itself, since there is no more to hear.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) fn end(mut self) -> Result<(), String> {
        until("the end of a client that listens to events", || {
            let ended = self.0.try_wait().map_err(|e| format!("crictl: {e}"))?;
            Ok(ended.is_some())
        })
    }
}

fn named(event: &Value) -> (String, String) {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let (what, id) = (text("containerEventType"), text("containerId"));
    (what.replace("CONTAINER_", "").replace("_EVENT", ""), id)
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
