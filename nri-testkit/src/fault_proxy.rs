//! A proxy between plugins and a runtime that does to the bytes what networks of other protocols
//! do, and what broken peers do.
//!
//! What may not enter: frames and messages. It counts bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Gate;

/// What happens to one direction of a connection. Positions count that direction's bytes, as they
/// arrive, from 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is cut, both ways, before the byte at this position.
    CutAt(u64),
    /// The byte at this position, and all after it, waits until the gate lets them through.
    HoldAt(u64, Gate),
    /// From this position on nothing is read any more. The connection stays.
    StallAt(u64),
    /// The byte at a position is changed: the bits that are set here are turned over.
    Flip {
        /// The position.
        at: u64,
        /// The bits.
        bits: u8,
    },
    /// So many bytes from a position on are lost.
    Drop {
        /// The position of the first.
        at: u64,
        /// How many.
        len: u64,
    },
    /// These bytes come before the byte at a position.
    Insert {
        /// The position.
        at: u64,
        /// What comes.
        bytes: Vec<u8>,
    },
    /// Every byte is written by itself.
    Split,
}

/// What happens to a connection. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    to_runtime: Vec<Fault>,
    to_plugin: Vec<Fault>,
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a fault to what the plugin writes.
    #[must_use]
    pub fn to_runtime(mut self, fault: Fault) -> Self {
        self.to_runtime.push(fault);
        self
    }

    /// Adds a fault to what the runtime writes.
    #[must_use]
    pub fn to_plugin(mut self, fault: Fault) -> Self {
        self.to_plugin.push(fault);
        self
    }
}

/// Listens where plugins connect, connects to a runtime for each of them, and passes the bytes on,
/// with [`Faults`]. Dropping it cuts all connections.
///
/// ```
/// use nri_testkit::{FakePlugin, Fault, FaultProxy, Faults, TestRuntime};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let runtime = TestRuntime::start().await;
/// let proxy = FaultProxy::to(runtime.socket())?;
/// proxy.set(Faults::none().to_runtime(Fault::Split).to_plugin(Fault::Split));
/// let connected = FakePlugin::new("10-slow-line").connect(proxy.socket()).await?;
/// connected.register().await.unwrap();
/// runtime.wait_for_plugins(&["10-slow-line"]).await;
/// proxy.cut();
/// runtime.watcher().wait_for("gone 10-slow-line").await;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    directory: TempDir,
}

#[derive(Debug)]
struct Shared {
    target: PathBuf,
    faults: Mutex<Faults>,
    to_runtime: AtomicU64,
    to_plugin: AtomicU64,
    /// Counts the cuts.
    cut: watch::Sender<u64>,
}

impl FaultProxy {
    /// A proxy to a runtime's socket, on a socket of its own.
    ///
    /// # Errors
    /// There is no place for the socket.
    pub fn to(target: impl AsRef<Path>) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let listener = UnixListener::bind(directory.path().join("nri.sock"))?;
        let shared = Arc::new(Shared {
            target: target.as_ref().to_owned(),
            faults: Mutex::default(),
            to_runtime: AtomicU64::new(0),
            to_plugin: AtomicU64::new(0),
            cut: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            accepting,
            directory,
        })
    }

    /// Where plugins connect.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("nri.sock")
    }

    /// Sets what happens to connections that come from now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults() = faults;
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    /// How many bytes have arrived from plugins so far, all connections together.
    pub fn bytes_to_runtime(&self) -> u64 {
        self.shared.to_runtime.load(Ordering::Relaxed)
    }

    /// How many bytes have arrived from the runtime so far, all connections together.
    pub fn bytes_to_plugin(&self) -> u64 {
        self.shared.to_plugin.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    // A socket that cannot be accepted from has no more use.
    while let Ok((plugin, _)) = listener.accept().await {
        let (shared, faults) = (Arc::clone(&shared), shared.faults().clone());
        // From here on, so that a cut that comes before the task runs is not missed.
        let cut = shared.cut.subscribe();
        tokio::spawn(connection(plugin, faults, shared, cut));
    }
}

/// One connection, to its end.
async fn connection(
    plugin: UnixStream,
    faults: Faults,
    shared: Arc<Shared>,
    mut cut: watch::Receiver<u64>,
) {
    let Ok(runtime) = UnixStream::connect(&shared.target).await else {
        return;
    };
    let (plugin_reads, plugin_writes) = plugin.into_split();
    let (runtime_reads, runtime_writes) = runtime.into_split();
    let up = pass(
        plugin_reads,
        runtime_writes,
        faults.to_runtime,
        &shared.to_runtime,
    );
    let down = pass(
        runtime_reads,
        plugin_writes,
        faults.to_plugin,
        &shared.to_plugin,
    );
    // What is closed on one side is closed on the other; and both ends go when this returns.
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = cut.changed() => {}
    }
}

/// One direction, until it ends or is cut.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    faults: Vec<Fault>,
    count: &AtomicU64,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut position = 0;
    loop {
        if let Ending::Stall = ending(&faults, position) {
            return std::future::pending().await;
        }
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        count.fetch_add(read as u64, Ordering::Relaxed);
        let mut passed = Vec::with_capacity(read);
        for byte in &buffer[..read] {
            match ending(&faults, position) {
                Ending::None => {}
                ending => {
                    // What came before is through.
                    let _ = to.write_all(&passed).await;
                    match ending {
                        Ending::Stall => return std::future::pending().await,
                        _ => return,
                    }
                }
            }
            for fault in &faults {
                match fault {
                    Fault::HoldAt(at, gate) if *at == position => {
                        if to.write_all(&passed).await.is_err() {
                            return;
                        }
                        passed.clear();
                        gate.pass().await;
                    }
                    _ => {}
                }
            }
            change(&faults, position, *byte, &mut passed);
            position += 1;
            let split = faults.iter().any(|fault| matches!(fault, Fault::Split));
            if split {
                if to.write_all(&passed).await.is_err() {
                    return;
                }
                passed.clear();
                // So that the peer may read it by itself.
                tokio::task::yield_now().await;
            }
        }
        if to.write_all(&passed).await.is_err() {
            return;
        }
    }
}

enum Ending {
    None,
    Cut,
    Stall,
}

fn ending(faults: &[Fault], position: u64) -> Ending {
    for fault in faults {
        match fault {
            Fault::CutAt(at) if *at == position => return Ending::Cut,
            Fault::StallAt(at) if *at <= position => return Ending::Stall,
            _ => {}
        }
    }
    Ending::None
}

/// Writes what becomes of one byte.
fn change(faults: &[Fault], position: u64, byte: u8, out: &mut Vec<u8>) {
    let (mut byte, mut lost) = (byte, false);
    for fault in faults {
        match fault {
            Fault::Flip { at, bits } if *at == position => byte ^= bits,
            Fault::Drop { at, len } => {
                lost |= position.checked_sub(*at).is_some_and(|into| into < *len);
            }
            Fault::Insert { at, bytes } if *at == position => out.extend(bytes),
            _ => {}
        }
    }
    if !lost {
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out at the other end of `bytes`.
    async fn through(faults: Vec<Fault>, bytes: &[u8]) -> Vec<u8> {
        let (mut here, near) = UnixStream::pair().unwrap();
        let (far, mut there) = UnixStream::pair().unwrap();
        let passing = tokio::spawn(async move {
            let count = AtomicU64::new(0);
            let (reads, _writes) = near.into_split();
            pass(reads, far.into_split().1, faults, &count).await;
            count.into_inner()
        });
        here.write_all(bytes).await.unwrap();
        drop(here);
        let mut out = Vec::new();
        there.read_to_end(&mut out).await.unwrap();
        assert_eq!(passing.await.unwrap(), bytes.len() as u64);
        out
    }

    #[tokio::test]
    async fn faults_are_where_they_are_said_to_be() {
        let flip = Fault::Flip { at: 1, bits: 0x20 };
        let lose = Fault::Drop { at: 2, len: 2 };
        let insert = Fault::Insert {
            at: 4,
            bytes: b"--".to_vec(),
        };
        assert_eq!(through(vec![], b"abcdef").await, b"abcdef");
        assert_eq!(through(vec![Fault::CutAt(3)], b"abcdef").await, b"abc");
        assert_eq!(through(vec![Fault::CutAt(0)], b"abcdef").await, b"");
        let all = vec![flip, lose, insert, Fault::Split];
        assert_eq!(through(all, b"abcdef").await, b"aB--ef");
    }

    #[tokio::test]
    async fn what_is_held_comes_when_it_may() {
        let gate = Gate::new();
        let passing = tokio::spawn({
            let gate = gate.clone();
            async move { through(vec![Fault::HoldAt(2, gate)], b"abc").await }
        });
        gate.visitors(1).await;
        assert!(!passing.is_finished());
        gate.open();
        assert_eq!(passing.await.unwrap(), b"abc");
    }
}
