//! Accepting connections: always, each in a task of its own and with a place among those that are
//! not plugins yet.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::engine::driver::Engine;
use crate::plugin::credentials::Credentials;
use crate::plugin::places::{Owner, Places};
use crate::session::admission::may_connect;
use crate::session::external::external;

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
    engine: Arc<Engine>,
    places: Arc<Places>,
    listener: UnixListener,
    stop: oneshot::Receiver<()>,
) {
    let take = |stream: UnixStream| match admit(&engine, &stream) {
        Ok(peer) => {
            let Credentials { pid, uid, .. } = peer;
            let place = places.enter(Owner { uid, pid });
            let life = external(
                Arc::clone(&engine),
                stream,
                peer,
                Arc::clone(&places),
                place,
            );
            engine.shared.tasks.spawn(life);
        }
        Err((peer, reason)) => {
            engine.shared.reporter.refused(
                &peer,
                &reason,
                "refusing a connection to the NRI socket",
            );
        }
    };
    tokio::select! {
        biased;
        () = engine.shared.stopping() => {}
        _ = stop => {}
        () = accept_all(&listener, take, || places.make_room()) => {}
    }
}

/// Hands over every connection. No error ends it; where descriptors or memory are short,
/// `make_room` may help.
async fn accept_all(
    incoming: &impl Incoming,
    mut take: impl FnMut(UnixStream),
    make_room: impl Fn() -> bool,
) {
    let mut pause = BACK_OFF.0;
    let mut failing = false;
    loop {
        match incoming.next().await {
            Ok(stream) => {
                (pause, failing) = (BACK_OFF.0, false);
                take(stream);
                // Those who came before get to say something before somebody gives way.
                yield_now().await;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) || pause > BACK_OFF.0 {
                    tracing::warn!(%error, ?pause, "cannot accept a connection to the NRI socket; trying again");
                }
                let room = is_shortage(&error) && make_room();
                sleep(pause).await;
                if !room {
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }
}

/// Whether there are no descriptors left, or no memory, which passes.
fn is_shortage(error: &io::Error) -> bool {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| errors.contains(&error))
}

/// Who is at the other end, if it may be a plugin at all.
fn admit(engine: &Engine, stream: &UnixStream) -> Result<Credentials, (String, String)> {
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
    if may_connect(&engine.shared.config(), &peer, us) {
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
    use std::sync::atomic::{AtomicU32, Ordering};
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

    fn failing(times: u32) -> Failing {
        let left = Mutex::new(times);
        Failing { times, left }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_accepting_are_waited_out() {
        let failing = failing(10);
        let (taken, mut connections) = mpsc::unbounded_channel();
        let take = |stream| taken.send((Instant::now(), stream)).unwrap();
        let accepting = accept_all(&failing, take, || false);
        let begun = Instant::now();
        let watching = async {
            // 10 ms, twice as long each time, 1 s at most; and from the beginning after each
            // success.
            let pauses = 10 + 20 + 40 + 80 + 160 + 320 + 640 + 3 * 1000;
            for n in 1..=3 {
                let (at, stream) = connections.recv().await.unwrap();
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
    async fn where_descriptors_are_short_somebody_gives_way_and_no_time_is_lost() {
        let failing = failing(3);
        let room = AtomicU32::new(0);
        let (taken, mut connections) = mpsc::unbounded_channel();
        // Accepting may go on, and fail again, before anybody looks at the connection.
        let take = |stream| {
            let by_then = (Instant::now(), room.load(Ordering::Relaxed));
            taken.send((by_then, stream)).unwrap();
        };
        let accepting = accept_all(&failing, take, || {
            room.fetch_add(1, Ordering::Relaxed);
            true
        });
        let begun = Instant::now();
        let ((at, room), _stream) = tokio::select! {
            () = accepting => panic!("no error ends it"),
            next = connections.recv() => next.unwrap(),
        };
        assert_eq!((at - begun, room), (BACK_OFF.0 * 3, 3));
    }
}
