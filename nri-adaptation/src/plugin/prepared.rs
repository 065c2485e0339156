//! A request on its way to several plugins: encoded once, where its bytes are the same for them.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use nri_core::Request;
use prost::Message as _;

/// A request with its bytes, made when they are first needed.
#[derive(Debug)]
pub(crate) struct Prepared {
    request: Arc<Request>,
    encoded: Arc<Encoded>,
}

#[derive(Debug, Default)]
struct Encoded {
    now: OnceLock<Bytes>,
    old: OnceLock<Option<Bytes>>,
}

impl Prepared {
    /// The request.
    pub(crate) fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// The request on the wire.
    pub(crate) fn bytes(&self) -> Bytes {
        self.encoded
            .now
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
        self.encoded.old.get_or_init(encode).clone()
    }
}

/// Remembers the bytes of the request prepared last: flows hand out the same one again when it has
/// not changed.
///
/// The request itself is not held, so that a flow that changes it between two calls need not copy
/// it. While it is remembered, nothing else can come to lie where it lies, and a change in place
/// moves it elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Preparation(Option<(Weak<Request>, Arc<Encoded>)>);

impl Preparation {
    /// The request with its bytes; those of the last call if it is the same request.
    pub(crate) fn of(&mut self, request: Arc<Request>) -> Arc<Prepared> {
        let known = self
            .0
            .as_ref()
            .filter(|(last, _)| std::ptr::eq(last.as_ptr(), Arc::as_ptr(&request)));
        let encoded = match known {
            Some((_, encoded)) => Arc::clone(encoded),
            None => {
                let encoded = Arc::new(Encoded::default());
                self.0 = Some((Arc::downgrade(&request), Arc::clone(&encoded)));
                encoded
            }
        };
        Arc::new(Prepared { request, encoded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nri_core::api;

    #[test]
    fn the_same_request_is_encoded_once_and_a_changed_one_again() {
        let mut request = Arc::new(Request::RunPodSandbox(api::RunPodSandboxRequest::default()));
        let mut preparation = Preparation::default();
        let one = preparation.of(Arc::clone(&request));
        let same = preparation.of(Arc::clone(&request));
        assert!(Arc::ptr_eq(&one.encoded, &same.encoded));
        assert!(one.old_bytes().is_some());
        assert!(one.bytes().is_empty());

        drop((one, same));
        // Nobody else holds it now, so it is changed without a copy.
        if let Request::RunPodSandbox(run) = Arc::make_mut(&mut request) {
            run.pod = Some(api::PodSandbox {
                id: "p1".into(),
                ..Default::default()
            });
        }
        let changed = preparation.of(Arc::clone(&request));
        assert_eq!(changed.bytes(), request.encode());
    }
}
