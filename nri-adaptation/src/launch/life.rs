//! One life of a pre-installed plugin: its process, its connection, and the end of both.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use crate::engine::driver::Engine;
use crate::launch::process::{End, launch};
use crate::launch::supervised::Supervised;
use crate::plugin::connected::Origin;
use crate::plugin::end_reason::EndReason;
use crate::session::registration::Claim;
use crate::session::stages::{ANSWER_TIME, Registering, Started, watch_over};
use crate::telemetry::plugin_info::PluginKind;

/// Why a life is over, and how the process has ended, if there was one.
#[derive(Debug)]
pub(crate) struct LifeOver {
    reason: EndReason,
    process: Option<End>,
}

impl fmt::Display for LifeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some(end) => write!(f, "{}; {end}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

/// One life of a pre-installed plugin, its process included. Returns why it is over.
pub(crate) async fn launched(
    engine: Arc<Engine>,
    supervised: Arc<Supervised>,
    started: Started,
) -> LifeOver {
    let installed = &supervised.installed;
    let plugin = &installed.plugin;
    let refused = |reason: &EndReason| {
        tracing::warn!(%plugin, %reason, "a pre-installed plugin is not ready");
        engine
            .shared
            .reporter
            .observer
            .plugin_refused(&plugin.to_string(), &reason.to_string());
    };
    let (mut process, stream) = match launch(installed) {
        Ok(launched) => launched,
        Err(reason) => {
            let reason = EndReason::NotLaunched(reason);
            refused(&reason);
            // Whoever waited may have stopped waiting.
            let _ = started.send(Err(reason.clone()));
            return LifeOver {
                reason,
                process: None,
            };
        }
    };
    let origin = Origin {
        kind: PluginKind::Launched,
        pid: Some(process.pid()),
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        nri_version: String::new(),
    };
    let claim = Claim::Assigned(plugin.clone());
    let registering = Registering::open(&engine, stream, claim, origin, installed.config.clone());
    let (connection, service) = (
        registering.connection.clone(),
        Arc::clone(&registering.service),
    );
    let life = async {
        match registering.register().await {
            Ok(configuring) => configuring.live(started).await,
            Err(reason) => {
                refused(&reason);
                let _ = started.send(Err(reason.clone()));
                reason
            }
        }
    };
    let end_of_process = async {
        process.ended().await;
        // What it said last is still to be read. But something of it may have kept the other end.
        let _ = tokio::time::timeout(ANSWER_TIME, connection.closed()).await;
        connection.close();
        std::future::pending::<Infallible>().await
    };
    let dismissal = async {
        supervised.told_to_stop().await;
        engine.dismiss(plugin).await;
        connection.close();
        std::future::pending::<Infallible>().await
    };
    let reason = tokio::select! {
        reason = life => reason,
        never = watch_over(&connection, &service) => match never {},
        never = end_of_process => match never {},
        never = dismissal => match never {},
    };
    connection.close();
    LifeOver {
        reason,
        process: Some(process.end().await),
    }
}
