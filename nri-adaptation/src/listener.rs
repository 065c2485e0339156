//! Accepting connections: each in a task of its own, and only so many that have not said who they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::instance::Instance;
use crate::session::{Credentials, external};

/// How many connections may be there that have not registered. Further ones wait to be accepted.
pub(crate) const MOST_UNREGISTERED: usize = 16;
/// The pauses after errors of accepting: the first one, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts plugins until the instance stops. No error ends it.
pub(crate) async fn accept(instance: Arc<Instance>, listener: UnixListener) {
    let places = Arc::new(Semaphore::new(MOST_UNREGISTERED));
    let mut pause = BACK_OFF.0;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = instance.stopping() => return,
            next = next => match next {
                Some(next) => next,
                None => return,
            },
        };
        match accepted {
            Ok((stream, _)) => {
                pause = BACK_OFF.0;
                match admit(&instance, &stream) {
                    Ok(peer) => {
                        instance
                            .tasks
                            .spawn(external(Arc::clone(&instance), stream, peer, place));
                    }
                    Err((peer, reason)) => {
                        tracing::warn!(peer, reason, "refusing a connection to the NRI socket");
                        instance.observer.plugin_refused(&peer, &reason);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept a connection to the NRI socket; trying again");
                tokio::select! {
                    () = instance.stopping() => return,
                    () = sleep(pause) => pause = (pause * 2).min(BACK_OFF.1),
                }
            }
        }
    }
}

/// Who is at the other end, if it may be a plugin at all.
fn admit(instance: &Instance, stream: &UnixStream) -> Result<Credentials, (String, String)> {
    let cred = stream.peer_cred().map_err(|error| {
        (
            "unknown peer".to_owned(),
            format!("its credentials cannot be read: {error}"),
        )
    })?;
    let peer = Credentials {
        pid: cred.pid(),
        uid: cred.uid(),
        gid: cred.gid(),
    };
    let config = instance.config();
    let own = rustix::process::geteuid().as_raw();
    let listed = config.allowed_uids.contains(&peer.uid) || config.allowed_gids.contains(&peer.gid);
    // Names can be bound to users that nobody else may be; whether that holds is seen at registration.
    let named = config.plugins.values().any(|plugin| {
        plugin
            .allowed_uids
            .as_ref()
            .is_some_and(|uids| uids.contains(&peer.uid))
    });
    let default = config.allowed_uids.is_empty() && (peer.uid == own || peer.uid == 0);
    if listed || named || default {
        tracing::debug!(%peer, "a connection to the NRI socket");
        Ok(peer)
    } else {
        let reason = format!(
            "its user {} and group {} may not connect",
            peer.uid, peer.gid
        );
        Err((peer.to_string(), reason))
    }
}
