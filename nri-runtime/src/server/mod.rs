//! CRI over gRPC on a unix socket.

mod answer;
mod image;
mod runtime;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::time::timeout;
use tonic::service::Routes;

use crate::cri::image_service_server::ImageServiceServer;
use crate::cri::runtime_service_server::RuntimeServiceServer;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::files;

/// The largest message: kubelets and crictl have the same limit.
const MOST: usize = 16 << 20;

/// How long nobody is let in when that fails.
const CROWDED: Duration = Duration::from_millis(100);

/// How long what is being answered at the end is waited for. A client that takes no answers would
/// keep us for ever, and systemd kills after 90 seconds.
const LAST_ANSWERS: Duration = Duration::from_secs(80);

/// Serves CRI until `end`. What is being answered then is answered.
///
/// A client's deadline is the client's: it looks at its own clock and says then what its gRPC says.
/// The server of tonic would end the request when its clock says so, with another code.
///
/// # Errors
/// The socket cannot be used.
pub(crate) async fn serve(daemon: Daemon, end: impl Future<Output = ()>) -> Result<()> {
    let engine = daemon.engine.clone();
    let socket = engine.config.socket.clone();
    let listener = listen(&socket)?;
    let runtime = RuntimeServiceServer::new(runtime::Runtime(daemon.clone()));
    let image = ImageServiceServer::new(image::Images(daemon));
    let routes = Routes::new(
        runtime
            .max_decoding_message_size(MOST)
            .max_encoding_message_size(MOST),
    );
    let routes = routes.add_service(
        image
            .max_decoding_message_size(MOST)
            .max_encoding_message_size(MOST),
    );
    let end = async {
        end.await;
        engine.events.close();
    };
    accept(&listener, routes, end).await;
    files::remove_file(&socket)
}

async fn accept(listener: &UnixListener, routes: Routes, end: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(routes.prepare());
    let http = http2::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            () = &mut end => break,
        };
        match client {
            Ok((client, _)) => {
                let served = http.serve_connection(TokioIo::new(client), service.clone());
                let served = connections.watch(served);
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "a connection of a CRI client ends");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a CRI client cannot be let in");
                tokio::time::sleep(CROWDED).await;
            }
        }
    }
    let answered = timeout(LAST_ANSWERS, connections.shutdown()).await;
    if answered.is_err() {
        tracing::warn!("some CRI clients have not taken their answers");
    }
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
