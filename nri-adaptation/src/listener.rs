//! Accepting connections: each in a task of its own, and only so many that have not said who they are.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use crate::admission::may_connect;
use crate::instance::Instance;
use crate::session::{Credentials, external};

/// How many connections may be there that have not registered. Further ones wait to be accepted.
pub(crate) const MOST_UNREGISTERED: usize = 16;
/// The pauses after errors of accepting: the first one, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Where connections come from.
pub(crate) trait Incoming: Send {
    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<UnixStream>> + Send;
}

impl Incoming for UnixListener {
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Accepts plugins until the instance stops, or `stop` is used or dropped.
pub(crate) async fn accept(
    instance: Arc<Instance>,
    listener: UnixListener,
    stop: oneshot::Receiver<()>,
) {
    let take = |stream: UnixStream, place| match admit(&instance, &stream) {
        Ok(peer) => {
            instance
                .tasks
                .spawn(external(Arc::clone(&instance), stream, peer, place));
        }
        Err((peer, reason)) => {
            tracing::warn!(peer, reason, "refusing a connection to the NRI socket");
            instance.observer.plugin_refused(&peer, &reason);
        }
    };
    tokio::select! {
        biased;
        () = instance.stopping() => {}
        _ = stop => {}
        () = accept_all(&listener, take) => {}
    }
}

/// Hands over every connection, with a place among those that have not registered. No error ends it.
async fn accept_all(
    incoming: &impl Incoming,
    mut take: impl FnMut(UnixStream, OwnedSemaphorePermit),
) {
    let places = Arc::new(Semaphore::new(MOST_UNREGISTERED));
    let mut pause = BACK_OFF.0;
    // It is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match incoming.next().await {
            Ok(stream) => {
                pause = BACK_OFF.0;
                take(stream, place);
            }
            Err(error) => {
                // Most of all there are no descriptors left, which passes.
                tracing::warn!(%error, ?pause, "cannot accept a connection to the NRI socket; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
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
    let us = rustix::process::geteuid().as_raw();
    if may_connect(&instance.config(), &peer, us) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// Fails so many times, then has a connection, and again.
    struct Failing {
        times: u32,
        left: Mutex<u32>,
    }

    impl Incoming for Failing {
        async fn next(&self) -> io::Result<UnixStream> {
            let mut left = self.left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return Err(rustix::io::Errno::MFILE.into());
            }
            *left = self.times;
            Ok(UnixStream::pair()?.0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_accepting_are_waited_out() {
        let failing = Failing {
            times: 10,
            left: Mutex::new(10),
        };
        let (taken, mut connections) = mpsc::unbounded_channel();
        let accepting = accept_all(&failing, |stream, place| {
            taken.send((Instant::now(), stream, place)).unwrap();
        });
        let begun = Instant::now();
        let watching = async {
            // 10 ms, twice as long each time, 1 s at most; and from the beginning after each success.
            let pauses = 10 + 20 + 40 + 80 + 160 + 320 + 640 + 3 * 1000;
            for n in 1..=3 {
                let (at, stream, _place) = connections.recv().await.unwrap();
                assert_eq!((at - begun).as_millis(), n * pauses);
                drop(stream);
            }
        };
        tokio::select! {
            () = accepting => panic!("no error ends it"),
            () = watching => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_have_a_place() {
        let failing = Failing {
            times: 0,
            left: Mutex::new(0),
        };
        let places = Mutex::new(Vec::new());
        let accepting = accept_all(&failing, |_, place| places.lock().unwrap().push(place));
        let mut accepting = std::pin::pin!(accepting);
        for _ in 0..2 {
            let soon = tokio::time::timeout(Duration::from_secs(1), accepting.as_mut());
            soon.await.unwrap_err();
            assert_eq!(places.lock().unwrap().len(), MOST_UNREGISTERED);
            places.lock().unwrap().clear();
        }
    }
}
