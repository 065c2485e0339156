//! A tap: it listens where plugins connect, connects to the runtime for each of them, and passes
//! the bytes on as they are. What goes by is told to a [`Sink`] without waiting for it.
//!
//! What may not enter: anything that could change a byte or wait for a reader of entries.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nri_adaptation::{Error, SocketFile};
use nri_proto::transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::entry::{Entry, Side, What};
use super::trace::Trace;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;
/// How many entries may wait to be told, and how many bytes they may hold together.
const WAITING: usize = 16_384;
const WAITING_BYTES: usize = 64 << 20;
/// How many connections there may be at a time. Others wait.
const CONNECTIONS: usize = 1024;
/// How soon to accept again when that was not possible.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a tap is put.
#[derive(Debug, Clone)]
pub struct TapOptions {
    /// The runtime's socket.
    pub runtime: PathBuf,
    /// Where plugins connect.
    pub listen: PathBuf,
}

/// Takes what a tap sees. More than it can take in time is left out, and that is told.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    entries: mpsc::Sender<Entry>,
    held: Arc<AtomicUsize>,
    left_out: AtomicU64,
    begin: Instant,
}

/// The other end of a [`Sink`].
#[derive(Debug)]
pub struct Entries {
    entries: mpsc::Receiver<Entry>,
    held: Arc<AtomicUsize>,
}

impl Sink {
    /// A sink, and what comes out of it.
    pub fn new() -> (Self, Entries) {
        let (sender, entries) = mpsc::channel(WAITING);
        let held = Arc::new(AtomicUsize::new(0));
        let shared = Shared {
            entries: sender,
            held: Arc::clone(&held),
            left_out: AtomicU64::new(0),
            begin: Instant::now(),
        };
        (Self(Arc::new(shared)), Entries { entries, held })
    }

    fn tell(&self, connection: u64, what: What) {
        let shared = &self.0;
        let at_us = u64::try_from(shared.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let entry = |what| Entry {
            connection,
            at_us,
            what,
        };
        let left_out = shared.left_out.load(Ordering::Relaxed);
        if left_out > 0 {
            let why = format!(
                "{left_out} entries of all connections: they came faster than they are written"
            );
            if !self.send(entry(What::Lost { why })) {
                shared.left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
            shared.left_out.fetch_sub(left_out, Ordering::Relaxed);
        }
        if !self.send(entry(what)) {
            shared.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there was room for it.
    fn send(&self, entry: Entry) -> bool {
        let size = entry.size();
        let held = self.0.held.fetch_add(size, Ordering::Relaxed);
        let sent = held + size <= WAITING_BYTES && self.0.entries.try_send(entry).is_ok();
        if !sent {
            self.0.held.fetch_sub(size, Ordering::Relaxed);
        }
        sent
    }
}

impl Entries {
    /// The next entry, for a thread of its own; `None` when the tap is gone.
    pub fn blocking_next(&mut self) -> Option<Entry> {
        let entry = self.entries.blocking_recv()?;
        self.held.fetch_sub(entry.size(), Ordering::Relaxed);
        Some(entry)
    }

    /// Whether none waits: a good moment to flush.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A tap between plugins and a runtime. Dropping it takes its socket away; connections go with
/// [`run`](Self::run)'s future.
#[derive(Debug)]
pub struct Tap {
    options: TapOptions,
    listener: UnixListener,
    sink: Sink,
    _file: SocketFile,
}

impl Tap {
    /// Opens the socket for plugins, for the own user only.
    ///
    /// # Errors
    /// There is no place for it, or somebody listens there.
    pub async fn open(options: TapOptions, sink: Sink) -> Result<Self, Error> {
        let (listener, file) = SocketFile::open(&options.listen).await?;
        Ok(Self {
            options,
            listener,
            sink,
            _file: file,
        })
    }

    /// Passes on what comes, until this is dropped.
    pub async fn run(&self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        let mut number = 0;
        // It is never closed, so there is always a place in the end.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((plugin, _)) = self.listener.accept().await else {
                // Too many files are open, or the plugin is gone already.
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            number += 1;
            let (runtime, sink) = (self.options.runtime.clone(), self.sink.clone());
            connections.spawn(async move {
                connection(plugin, &runtime, number, &sink).await;
                drop(place);
            });
        }
    }
}

/// One connection, to its end.
async fn connection(plugin: UnixStream, runtime: &Path, number: u64, sink: &Sink) {
    let runtime = match transport::connect(runtime).await {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = format!(
                "a plugin came, and the runtime at {} does not: {error}",
                runtime.display()
            );
            sink.tell(number, What::Lost { why });
            return;
        }
    };
    sink.tell(number, What::Opened);
    let trace = Mutex::new(Trace::default());
    let (plugin_reads, plugin_writes) = plugin.into_split();
    let (runtime_reads, runtime_writes) = runtime.into_split();
    let read = |side: Side, bytes: &[u8]| {
        let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
        trace.read(side, bytes, |what| sink.tell(number, what));
    };
    let up = pass(plugin_reads, runtime_writes, |bytes| {
        read(Side::Plugin, bytes)
    });
    let down = pass(runtime_reads, plugin_writes, |bytes| {
        read(Side::Runtime, bytes)
    });
    // A side that ends what it says may still hear; a connection that is broken is broken for both.
    let _ = tokio::try_join!(up, down);
    sink.tell(number, What::Closed);
}

/// One direction, until it ends. The bytes are on their way before anybody looks at them.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    look: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        look(&chunk[..read]);
    }
}
