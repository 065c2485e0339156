//! How much of its time a handler uses, which is warned about before it is too late. What may not
//! enter: which handler it is.

use nri_core::HandlerError;
use nri_proto::transport::CallContext;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::link::handling;

/// A handler that uses more than these parts of its time is warned about at each of them, in
/// percent.
const WARN_AT: [u32; 2] = [50, 80];

/// Runs a handler, and warns while it runs as soon as half of its time is used, then most of it,
/// and again if it took all of it.
pub(crate) async fn timed<T>(
    alarm: &Alarm,
    method: &'static str,
    call: &CallContext,
    work: impl Future<Output = Result<T, HandlerError>>,
) -> Result<T, HandlerError> {
    let work = handling(work);
    let Some(left) = call.time_left() else {
        return work.await;
    };
    let began = Instant::now();
    tokio::pin!(work);
    for percent in WARN_AT {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = alarm.until(began + left * percent / 100) => {}
        }
        tracing::warn!(method, allowed = ?left, "a handler has used more than {percent} % of its time");
    }
    let done = work.await;
    let took = began.elapsed();
    if took > left {
        tracing::warn!(method, allowed = ?left, ?took, "a handler was late: the runtime went on without its answer");
    }
    done
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::captured::captured;

    async fn warnings(allowed: u64, takes: u64) -> usize {
        let deadline = Instant::now() + Duration::from_millis(allowed);
        let call = CallContext::new(Some(deadline), Vec::new());
        let work = async {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            Ok(())
        };
        let alarm = Alarm::default();
        let log = captured(timed(&alarm, "CreateContainer", &call, work)).await;
        assert!(log.lines().all(|line| line.contains("CreateContainer")));
        log.lines().count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_is_warned_about_at_half_and_four_fifths_of_its_time_and_if_it_is_late() {
        assert_eq!(warnings(2000, 900).await, 0);
        assert_eq!(warnings(2000, 1500).await, 1);
        assert_eq!(warnings(2000, 1700).await, 2);
        assert_eq!(warnings(2000, 2100).await, 3);
    }

    /// Law: one that never ends is warned about, too.
    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_warned_about_while_it_does() {
        let call = CallContext::new(Some(Instant::now() + Duration::from_secs(2)), Vec::new());
        let hangs = std::future::pending::<Result<(), HandlerError>>();
        let alarm = Alarm::default();
        let hangs = timed(&alarm, "Hang", &call, hangs);
        let give_up = tokio::time::timeout(Duration::from_secs(5), hangs);
        assert!(captured(give_up).await.contains("80 %"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_deadline_there_is_nothing_to_warn_about() {
        let call = CallContext::default();
        let work = async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        };
        let alarm = Alarm::default();
        assert_eq!(captured(timed(&alarm, "Slow", &call, work)).await, "");
    }
}
