//! A plugin that somebody else started, from its connection to its end: it has a place among those
//! that are not admitted, and may have to give way.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::engine::driver::Engine;
use crate::plugin::connected::Origin;
use crate::plugin::credentials::Credentials;
use crate::plugin::end_reason::EndReason;
use crate::plugin::places::{GivesWay, Place, Places, Stage};
use crate::session::registration::Claim;
use crate::session::stages::{Registering, watch_over};
use crate::telemetry::plugin_info::PluginKind;

/// The life of a plugin that connected to the socket, with its place among those that are not
/// admitted.
pub(crate) async fn external(
    engine: Arc<Engine>,
    stream: UnixStream,
    peer: Credentials,
    places: Arc<Places>,
    (place, mut gives_way): (Place, GivesWay),
) {
    let since = Instant::now();
    let refused = |reason: &EndReason| {
        let what = "a connection to the NRI socket did not become a plugin";
        engine
            .shared
            .reporter
            .refused(&peer.to_string(), &reason.to_string(), what);
    };
    let crowded = || EndReason::GaveWay(places.most());
    // Until it says something, it costs a descriptor and no buffer.
    let limit = engine.shared.config().plugin_registration_timeout;
    let silent = tokio::select! {
        biased;
        said = stream.readable() => said.err().map(|error| EndReason::Unreadable(error.to_string())),
        () = told(&mut gives_way) => Some(crowded()),
        () = sleep_until(since + limit) => Some(EndReason::RegistrationLate(limit)),
        () = engine.shared.stopping() => Some(EndReason::Stopped),
    };
    if let Some(reason) = silent {
        drop(stream);
        drop(place);
        refused(&reason);
        return;
    }
    place.advance(Stage::Speaking);
    let origin = Origin {
        kind: PluginKind::External,
        pid: peer.pid,
        uid: Some(peer.uid),
        gid: Some(peer.gid),
        nri_version: String::new(),
    };
    let claim = Claim::SelfDeclared(peer);
    let mut registering = Registering::open(&engine, stream, claim, origin, None);
    (registering.since, registering.place) = (since, Some(place));
    let (connection, service) = (
        registering.connection.clone(),
        Arc::clone(&registering.service),
    );
    let gave_way = AtomicBool::new(false);
    let life = async {
        match registering.register().await {
            Ok(configuring) => {
                // Why it is over is logged where it ends.
                let _ = configuring.live(oneshot::channel().0).await;
            }
            Err(_) if gave_way.load(Ordering::Relaxed) => refused(&crowded()),
            Err(reason) => refused(&reason),
        }
    };
    let giving_way = async {
        told(&mut gives_way).await;
        gave_way.store(true, Ordering::Relaxed);
        // Its life ends by that.
        connection.close();
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        () = life => {}
        never = watch_over(&connection, &service) => match never {},
        never = giving_way => match never {},
    }
}

/// Resolves when it is told to give way, and never once it has no place to give away.
async fn told(gives_way: &mut GivesWay) {
    if gives_way.await.is_err() {
        std::future::pending().await
    }
}
