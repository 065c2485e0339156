//! How a connection ends, and a plugin.

use nri_core::{Event, api};
use nri_proto::frame;

use crate::plugin_conformance::check::Check;
use crate::plugin_conformance::stage::{Played, Stage, in_pod};
use crate::tested_plugin::Manner;

/// How much of a message comes before the connection ends, and how much of it was announced.
const TORN: u32 = 4096;

pub(super) async fn shutdown(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let event = session.preferably(Event::CreateContainer);
    let (pod, container) = (crate::pod("web-1"), in_pod("web", "web-1"));
    let nothing = api::Empty {};
    let (asked, told) = tokio::join!(
        session.ask(event, &pod, &container),
        session.peer.get::<api::Empty>("Shutdown", &nothing),
    );
    // A plugin may end at once, and take the connection with it.
    for fault in [asked.err(), told.err()].into_iter().flatten() {
        if fault.is_breakdown() && !session.peer.is_closed() {
            stage.found(Check::Shutdown, fault.what);
        }
    }
    session.peer.close();
    stage.copes(Check::Shutdown).await;
    Ok(())
}

pub(super) async fn torn(stage: &mut Stage) -> Played {
    let session = stage.joined(Manner::default()).await?;
    let header = frame::Header {
        id: frame::PLUGIN_ID,
        len: TORN,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend([0; 10]);
    // It fails if the plugin has closed the connection, which shows in what follows.
    let _ = session.peer.tear(&bytes);
    drop(session);
    stage.copes(Check::Torn).await;
    Ok(())
}

pub(super) async fn restart(stage: &mut Stage) -> Played {
    if !stage.bench.subject.connects() {
        let why = "a launched plugin ends with its runtime: write {socket} into the command to check this";
        stage.skip(Check::Restart, why);
        return Ok(());
    }
    let session = stage.joined(Manner::default()).await?;
    stage.bench.stop_listening();
    session.peer.close();
    if let Some(peer) = stage.copes(Check::Restart).await {
        let session = stage.joined_on(peer).await?;
        stage
            .still_answers(Check::Restart, &session, "a restart of the runtime")
            .await;
    }
    Ok(())
}

pub(super) async fn with_runtime(stage: &mut Stage) -> Played {
    if stage.bench.subject.command.is_none() {
        let why = "nri-sim does not start the plugin: say --plugin COMMAND";
        stage.skip(Check::EndsWithRuntime, why);
        return Ok(());
    }
    let peer = stage.launched().await?;
    let session = stage.joined_on(peer).await?;
    session.peer.close();
    let patience = stage.patience();
    match stage.bench.ends().await {
        Some(ended) => stage.expect_no_crash(Check::EndsWithRuntime, &ended),
        None => {
            let printed = stage.bench.printed();
            let text = format!("its process is still there after {patience:?}{printed}");
            stage.found(Check::EndsWithRuntime, text);
        }
    }
    Ok(())
}

pub(super) async fn terminated(stage: &mut Stage) -> Played {
    if stage.bench.subject.command.is_none() {
        let why = "nri-sim does not start the plugin: say --plugin COMMAND";
        stage.skip(Check::Terminates, why);
        return Ok(());
    }
    let _session = stage.joined(Manner::default()).await?;
    if let Some(process) = &stage.bench.process {
        process.terminate();
    }
    let patience = stage.patience();
    if stage.bench.ends().await.is_none() {
        let text = format!("its process is still there {patience:?} after SIGTERM");
        stage.found(Check::Terminates, text);
    }
    // Whether it handles the signal or dies of it is its own affair.
    stage.bench.process = None;
    Ok(())
}
