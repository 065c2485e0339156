//! CRI over gRPC on a unix socket.

mod answer;
mod image;
mod runtime;
mod views;

use std::future::Future;
use std::path::Path;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::cri::image_service_server::ImageServiceServer;
use crate::cri::runtime_service_server::RuntimeServiceServer;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::files;

/// The largest message: kubelets and crictl have the same limit.
const MOST: usize = 16 << 20;

/// Serves CRI until `end`. What is being answered then is answered.
///
/// # Errors
/// The socket cannot be used.
pub(crate) async fn serve(daemon: Daemon, end: impl Future<Output = ()>) -> Result<()> {
    let socket = daemon.engine.config.socket.clone();
    let listener = listen(&socket)?;
    let runtime = RuntimeServiceServer::new(runtime::Runtime(daemon.clone()));
    let image = ImageServiceServer::new(image::Images(daemon));
    tonic::transport::Server::builder()
        .add_service(
            runtime
                .max_decoding_message_size(MOST)
                .max_encoding_message_size(MOST),
        )
        .add_service(
            image
                .max_decoding_message_size(MOST)
                .max_encoding_message_size(MOST),
        )
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), end)
        .await
        .map_err(|error| Error::file("serve CRI on", &socket, error))?;
    files::remove_file(&socket)
}

/// The lock of our directory says that no other instance uses a socket that is there.
fn listen(socket: &Path) -> Result<UnixListener> {
    if let Some(dir) = socket.parent() {
        files::make_dir(dir)?;
    }
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        let message = "somebody listens there already";
        return Err(Error::file("serve CRI on", socket, message));
    }
    files::remove_file(socket)?;
    UnixListener::bind(socket).map_err(|error| Error::file("serve CRI on", socket, error))
}
