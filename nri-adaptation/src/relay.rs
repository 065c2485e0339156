//! The one way in which any request reaches any plugin: its turn, its deadline, its answer, and what holds when it is late.

use std::sync::Arc;

use nri_core::flow::Reply;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use crate::active::Active;
use crate::config::AfterLate;
use crate::endpoint::{Failure, Relaying};
use crate::prepared::Prepared;
use crate::turns::{Admission, Late, Turn};

/// Asks a plugin and waits for its answer.
///
/// Waiting for its turn has no limit here: the caller's budget is the limit. The plugin's own deadline begins with its turn.
/// Dropping the future before that withdraws the request; after that the plugin keeps its turn until it has answered, and the
/// answer is dropped.
pub(crate) async fn relay(active: &Arc<Active>, request: &Arc<Prepared>, strikes: u32) -> Reply {
    let turn = match active.turns.take().await {
        Admission::Turn(turn) => turn,
        Admission::Busy => return Reply::Busy,
        Admission::Closed => {
            return match active.stand_in() {
                // Its connection was lost before it could take over, so the one before it is still the plugin.
                Some(stand_in) => Box::pin(relay(&stand_in, request, strikes)).await,
                None => Reply::Gone { handed_over: false },
            };
        }
    };
    let time = active.settings().request_timeout;
    let relaying = active.endpoint.relay(Arc::clone(request), time);
    let handed_over = relaying.handed_over.clone();
    let mut call = Call {
        deadline: Instant::now() + time,
        strikes,
        active: Arc::clone(active),
        under_way: Some((relaying, turn)),
    };
    match call.answer().await {
        Some(Ok(response)) => Reply::Answer(response),
        Some(Err(Failure::Status { code, message })) => Reply::Error { code, message },
        Some(Err(Failure::Closed(_))) => Reply::Gone {
            handed_over: handed_over.get(),
        },
        Some(Err(Failure::Late)) | None => Reply::Late { after: time },
    }
}

/// A request under way. If it is dropped before it is answered, a task waits for the answer with the turn in hand.
struct Call {
    active: Arc<Active>,
    deadline: Instant,
    strikes: u32,
    under_way: Option<(Relaying, Turn)>,
}

impl Call {
    /// The answer; `None` if it is late.
    async fn answer(&mut self) -> Option<Result<nri_core::Response, Failure>> {
        let (relaying, _) = self.under_way.as_mut()?;
        let answer = timeout_at(self.deadline, &mut relaying.answer).await.ok()?;
        self.under_way = None;
        match &answer {
            // It was never told: nothing will come.
            Err(Failure::Late) => strike(&self.active, self.strikes),
            Err(Failure::Closed(_)) => {}
            Ok(_) | Err(Failure::Status { .. }) => self.active.turns.in_time(),
        }
        Some(answer)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some((relaying, turn)) = self.under_way.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let late = Instant::now() >= self.deadline;
            let overdue = Overdue {
                active: Arc::clone(&self.active),
                deadline: self.deadline,
                strikes: self.strikes,
            };
            // Marked here, so that whoever asks next knows already.
            let mark = late.then(|| overdue.active.turns.late());
            runtime.spawn(overdue.wait(relaying, turn, mark));
        }
    }
}

/// Waits for an answer that nobody waits for any more.
struct Overdue {
    active: Arc<Active>,
    deadline: Instant,
    strikes: u32,
}

impl Overdue {
    async fn wait(self, mut relaying: Relaying, turn: Turn, mut mark: Option<Late>) {
        let time = self.active.settings().request_timeout;
        let mut deadline = self.deadline;
        loop {
            if timeout_at(deadline, &mut relaying.answer).await.is_ok() {
                break;
            }
            if mark.is_none() {
                mark = Some(self.active.turns.late());
            }
            // Every further deadline that passes without an answer is one more that was not kept.
            strike(&self.active, self.strikes);
            if self.active.close_reason().is_some() {
                break;
            }
            deadline = Instant::now() + time;
        }
        drop(mark);
        drop(turn);
    }
}

/// Counts a missed deadline, and closes the plugin if it was one too many.
fn strike(active: &Active, strikes: u32) {
    let time = active.settings().request_timeout;
    let count = active.turns.strike();
    tracing::warn!(plugin = %active.plugin, ?time, strike = count, of = strikes, "the plugin did not answer in time");
    if active.settings().after_late == AfterLate::Close {
        active.close(format!("it did not answer within {time:?}"));
    } else if count >= strikes {
        active.close(format!(
            "it did not answer within {time:?} {count} times in a row"
        ));
    }
}
