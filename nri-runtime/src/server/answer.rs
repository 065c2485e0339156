//! Answers to requests.

use std::future::Future;

use tonic::{Response, Status};

use crate::error::Result;

/// Does what a request asks for to its end, also if the client does not wait for that.
pub(super) async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> std::result::Result<Response<T>, Status> {
    match tokio::spawn(work).await {
        Ok(Ok(answer)) => Ok(Response::new(answer)),
        Ok(Err(error)) => {
            tracing::info!(%error, "a request fails");
            Err(error.into())
        }
        Err(error) => {
            tracing::error!(%error, "a request ends in the middle");
            Err(Status::internal("the runtime has a fault: see its log"))
        }
    }
}
