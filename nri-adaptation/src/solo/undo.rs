//! What plugins hear all the same where something was begun and failed, or where nobody waits for
//! it any more.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nri_core::api::{Container, PodSandbox};
use nri_core::model::PodSnapshot;
use nri_core::{Ctx, Error, RuntimeApi};

use super::pods::{Due, Pods};

/// What plugins hear of a container.
#[derive(Debug)]
pub(super) enum Way {
    /// It never came to be; that is told of the container itself by its creation.
    Leave,
    /// It does not run.
    End(Box<Container>),
    /// It is no more.
    Remove(Box<Container>),
}

/// Tells what it says when it is dropped.
pub(super) struct Undo {
    pub(super) nri: Arc<dyn RuntimeApi>,
    pub(super) pods: Arc<Pods>,
    pub(super) domain: Arc<str>,
    pub(super) container: String,
    /// `None` once it came to something.
    pub(super) way: Option<Way>,
}

impl Undo {
    /// It came to something.
    pub(super) fn disarm(&mut self) {
        self.way = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let cx = Ctx::new();
        let pod = self.pods.of(&self.container);
        let pod = pod.map(|pod| named(&self.domain, pod));
        let due = match (self.way.take(), pod) {
            (None, _) | (_, None) => return,
            (Some(Way::Leave), _) => self.pods.leave(&self.container),
            (Some(Way::End(container)), Some(pod)) => {
                submit(self.nri.stop_container(&cx, &pod, &*container));
                self.pods.end(&self.container)
            }
            (Some(Way::Remove(container)), Some(pod)) => {
                submit(self.nri.remove_container(&cx, &pod, &*container));
                self.pods.leave(&self.container)
            }
        };
        submit(carry_out(&*self.nri, &cx, &self.domain, due));
    }
}

/// Polls what has not ended yet.
fn unless_ended<T>(
    ended: &mut Option<T>,
    future: Pin<&mut impl Future<Output = T>>,
    cx: &mut Context<'_>,
) {
    if ended.is_some() {
        return;
    }
    if let Poll::Ready(value) = future.poll(cx) {
        *ended = Some(value);
    }
}

/// Hands two notifications in, one after the other, and waits for both.
pub(super) async fn in_order<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(|cx| {
        unless_ended(&mut a, first.as_mut(), cx);
        unless_ended(&mut b, second.as_mut(), cx);
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            unfinished => {
                (a, b) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}

/// A pod of a domain.
pub(super) fn named(domain: &Arc<str>, pod: PodSandbox) -> PodSnapshot {
    PodSnapshot::new(pod).with_domain(&**domain)
}

/// Tells of what is due for a pod.
pub(super) async fn carry_out(
    nri: &dyn RuntimeApi,
    cx: &Ctx,
    domain: &Arc<str>,
    due: Due,
) -> Result<(), Error> {
    match due {
        Due::Nothing => Ok(()),
        Due::Stop(pod) => nri.stop_pod_sandbox(cx, &named(domain, pod)).await,
        Due::Remove(pod) => {
            let pod = named(domain, pod);
            nri.remove_pod_sandbox(cx, &pod).await
        }
    }
}

/// Hands a notification in without waiting for it: it goes on by itself, see
/// [cancel safety](RuntimeApi#cancel-safety).
fn submit<T>(notification: impl Future<Output = Result<T, Error>>) {
    let mut notification = pin!(notification);
    // Whoever is told of its end is not here any more.
    let _ = notification
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
}
