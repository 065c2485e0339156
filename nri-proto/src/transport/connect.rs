//! Connecting to a socket that many connect to. What may not enter: how long to try, and what a
//! failure means to whoever reads of it.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

/// How long a socket is left alone whose queue is full. The kernel does not tell when there is room
/// again.
const CROWDED: Duration = Duration::from_millis(5);

/// Connects to a unix socket, and waits for room where so many connections wait to be accepted that
/// the kernel keeps no more, as a blocking call does: when a runtime restarts, all its plugins come
/// at once.
///
/// It waits as long as there is no room; dropping the future gives up.
///
/// # Errors
/// There is no socket at the path, nobody listens on it, or it may not be connected to.
///
/// ```no_run
/// use std::time::Duration;
/// use nri_proto::transport::connect;
///
/// # async fn doc() -> std::io::Result<()> {
/// let connecting = connect("/var/run/nri/nri.sock".as_ref());
/// let stream = tokio::time::timeout(Duration::from_secs(5), connecting).await??;
/// # drop(stream);
/// # Ok(())
/// # }
/// ```
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CROWDED).await;
            }
            connected => return connected,
        }
    }
}
