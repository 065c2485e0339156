//! One life of a pre-installed plugin: its process, its connection, and the end of both.

use std::sync::Arc;

use crate::engine::driver::Engine;
use crate::launch::process::launch;
use crate::launch::supervised::Supervised;
use crate::plugin::connected::Origin;
use crate::session::registration::Claim;
use crate::session::stages::{ANSWER_TIME, Registering, Started, watch_over};
use crate::telemetry::plugin_info::PluginKind;

/// One life of a pre-installed plugin, its process included. Returns why it is over.
pub(crate) async fn launched(
    engine: Arc<Engine>,
    supervised: Arc<Supervised>,
    started: Started,
) -> String {
    let installed = &supervised.installed;
    let plugin = &installed.plugin;
    let refused = |reason: &str| {
        tracing::warn!(%plugin, %reason, "a pre-installed plugin is not ready");
        engine
            .shared
            .reporter
            .observer
            .plugin_refused(&plugin.to_string(), reason);
    };
    let (mut process, stream) = match launch(installed) {
        Ok(launched) => launched,
        Err(reason) => {
            refused(&reason);
            // Whoever waited may have stopped waiting.
            let _ = started.send(Err(reason.clone()));
            return reason;
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
        std::future::pending::<()>().await;
    };
    let dismissal = async {
        supervised.told_to_stop().await;
        engine.dismiss(plugin).await;
        connection.close();
        std::future::pending::<()>().await;
    };
    let reason = tokio::select! {
        reason = life => reason,
        () = watch_over(&connection, &service) => String::new(),
        () = end_of_process => String::new(),
        () = dismissal => String::new(),
    };
    connection.close();
    let end = process.end().await;
    format!("{reason}; {end}")
}
