//! Running the hub as a program: its configuration, signals, and who started it.

use std::path::PathBuf;

use nri_hub::{Hub, HubConfig, TakenOver};
use nri_plugin::Ended;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::supervision::Supervisor;
use crate::{Failure, config_file};

/// Runs the hub until a signal, or until another one takes its place. What no request waits for is
/// done `aside`.
pub(crate) async fn serve(
    config: Option<PathBuf>,
    aside: Handle,
    take_over: bool,
    stay: bool,
) -> Result<(), Failure> {
    let file = config_file(config);
    let config = match &file {
        Some(file) => HubConfig::read(file).map_err(Failure::wrong)?,
        None => HubConfig::default(),
    };
    let taken = match take_over {
        true => TakenOver::from_hub(&config.hub.control_socket).await?,
        false => None,
    };
    let mut builder = Hub::builder(config).aside(aside);
    if let Some(taken) = taken {
        builder = builder.take_over(taken);
    }
    if let Some(file) = file {
        builder = builder.file(file);
    }
    let hub = builder.build()?;
    let handle = hub.handle();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let supervisor = Supervisor::from_environment();
    let reloads = {
        let (handle, supervisor) = (handle.clone(), supervisor.clone());
        async move {
            while hang_up.recv().await.is_some() {
                supervisor.tell("RELOADING=1");
                // It is logged, and told in the status.
                let _ = handle.reload().await;
                supervisor.tell("READY=1");
            }
            std::future::pending().await
        }
    };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        supervisor.tell("STOPPING=1\nSTATUS=shutting plugins down");
    };
    let ended = tokio::select! {
        ended = hub.run(stop) => ended?,
        () = reloads => Ended::Stopped,
        () = supervisor.follow(&handle) => Ended::Stopped,
    };
    tracing::info!("{ended}");
    if stay && ended == Ended::HandedOver {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    Ok(())
}
