//! A request on its way to several plugins: encoded once, where its bytes are the same for them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nri_core::Request;
use prost::Message as _;

/// A request with its bytes, made when they are first needed.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: Arc<Request>,
    bytes: OnceLock<Bytes>,
    old_bytes: OnceLock<Option<Bytes>>,
}

impl Prepared {
    fn new(request: Arc<Request>) -> Self {
        Self {
            request,
            bytes: OnceLock::new(),
            old_bytes: OnceLock::new(),
        }
    }

    /// The request.
    pub(crate) fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// The request on the wire.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes
            .get_or_init(|| self.request.encode().into())
            .clone()
    }

    /// The request as a `StateChange` on the wire; `None` for events that have no such form.
    pub(crate) fn old_bytes(&self) -> Option<Bytes> {
        let encode = || {
            self.request
                .to_state_change()
                .map(|change| change.encode_to_vec().into())
        };
        self.old_bytes.get_or_init(encode).clone()
    }
}

/// Remembers the request prepared last: flows hand out the same one again when it has not changed.
#[derive(Debug, Default)]
pub(crate) struct Preparation(Option<Arc<Prepared>>);

impl Preparation {
    /// The request with its bytes; those of the last call if it is the same request.
    pub(crate) fn of(&mut self, request: Arc<Request>) -> Arc<Prepared> {
        match &self.0 {
            Some(last) if Arc::ptr_eq(last.request(), &request) => Arc::clone(last),
            _ => Arc::clone(self.0.insert(Arc::new(Prepared::new(request)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nri_core::api;

    #[test]
    fn the_same_request_is_encoded_once() {
        let request = Arc::new(Request::RunPodSandbox(api::RunPodSandboxRequest::default()));
        let mut preparation = Preparation::default();
        let one = preparation.of(Arc::clone(&request));
        let same = preparation.of(Arc::clone(&request));
        assert!(Arc::ptr_eq(&one, &same));
        let other = preparation.of(Arc::new((*request).clone()));
        assert!(!Arc::ptr_eq(&one, &other));
        assert!(other.old_bytes().is_some());
    }
}
